//! Every customer of the account, page by page: the first backfill, and sweeps where events cannot tell what happened.

use super::{
    patience::Patience,
    source::{PAGE, Stripe, by_stripes_clock},
};
use clients::stripe::{Customer, Error, ListQuery, Page};
use connect::{ConnectError, Slices};
use rustc_hash::FxHashSet;
use schemas::{ExternalId, Millis};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use streams::{ConsumerRecord, ProducerRecord, TopicPartition};

/// A place in the list (newest first) that stays where it is while customers come and go: those created until a second, after one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListPage {
    pub created_lte: i64,
    pub after: Option<String>,
}

impl ListPage {
    /// As [`connect::Source::list`] is given it.
    pub(super) fn text(&self) -> String {
        match &self.after {
            Some(after) => format!("{}/{after}", self.created_lte),
            None => self.created_lte.to_string(),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (created_lte, after) = text.split_once('/').map_or((text, None), |(lte, after)| (lte, Some(after.to_owned())));
        Some(ListPage { created_lte: created_lte.parse().ok()?, after })
    }

    pub(super) fn query(&self) -> ListQuery {
        ListQuery { created_lte: Some(self.created_lte), starting_after: self.after.clone(), ..ListQuery::default() }
    }
}

/// How far the first backfill is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Backfill {
    #[serde(rename = "next")]
    Next(ListPage),
    #[serde(rename = "through")]
    Through,
}

/// Between two looks at how far the conversation is.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Stripe {
    /// The first backfill, from where it was left; returns at once when it was through before.
    pub(super) async fn backfill(&self) -> Result<(), ConnectError> {
        let name = self.cursor("backfill");
        let stored = self.cursors.get(&name).and_then(|text| serde_json::from_str(&text).ok());
        let (begin, before, whole) = match stored {
            Some(Backfill::Through) => return Ok(()),
            // Reads of the process before may not be answered yet: nobody counts these, so wait for all of them.
            Some(Backfill::Next(page)) => (page, self.ends().await?, false),
            None => (self.newest().await, Vec::new(), true),
        };
        tracing::info!(system = %self.system(), page = begin.text(), "Backfill: every customer of the account is read.");
        let mut slices = Slices::new(self.requests.clone()).await?;
        let listed = self
            .walk(&mut slices, begin, |next| serde_json::to_string(&Backfill::Next(next.clone())).ok().map(|text| (name.clone(), text)));
        let listed = listed.await?;
        // A log that began anew knows of customers that may have been deleted meanwhile.
        if whole {
            self.read_missing(&mut slices, &listed).await?;
        }
        let count = listed.len();
        slices.answered().await?;
        self.committed(&before).await?;
        self.cursors.set(&name, &serde_json::to_string(&Backfill::Through).unwrap_or_default()).await?;
        tracing::info!(system = %self.system(), customers = count, "The backfill is through.");
        Ok(())
    }

    /// Reads every customer of the list, and every linked one that the list lacks.
    pub(super) async fn sweep(&self) -> Result<(), ConnectError> {
        let mut slices = Slices::new(self.requests.clone()).await?;
        let begin = self.newest().await;
        let listed = self.walk(&mut slices, begin, |_| None).await?;
        let missing = self.read_missing(&mut slices, &listed).await?;
        tracing::info!(system = %self.system(), customers = listed.len(), missing, "Sweep: every customer of the account is read.");
        slices.answered().await
    }

    /// Publishes a read for each linked customer that the list lacks; how many they are.
    async fn read_missing(&self, slices: &mut Slices, listed: &FxHashSet<String>) -> Result<usize, ConnectError> {
        let missing: Vec<ExternalId> = self.linked().await?.into_iter().filter(|id| !listed.contains(id)).map(ExternalId::new).collect();
        for part in missing.chunks(usize::from(PAGE)) {
            slices.publish(None, part, Vec::new()).await?;
        }
        Ok(missing.len())
    }

    /// Publishes a read for each customer from `page` on, with the cursor that `cursor` makes of the next page. The customers' ids.
    async fn walk(
        &self,
        slices: &mut Slices,
        mut page: ListPage,
        cursor: impl Fn(&ListPage) -> Option<(String, String)>,
    ) -> Result<FxHashSet<String>, ConnectError> {
        let mut listed = FxHashSet::default();
        // The second in which the last customer of the page before was made.
        let mut last_created = page.created_lte;
        loop {
            let answer = match self.page(&page).await {
                Ok(answer) => answer,
                Err(_) if page.after.is_some() => {
                    // The customer that the page begins after was deleted: begin with its second, some come twice.
                    page = ListPage { created_lte: last_created, after: None };
                    continue;
                }
                Err(error) => {
                    tracing::error!(system = %self.system(), %error, "The list of customers is refused; trying again later.");
                    tokio::time::sleep(self.options.events_every).await;
                    continue;
                }
            };
            let ids: Vec<ExternalId> = answer.data.iter().map(|customer| ExternalId::new(&customer.id)).collect();
            let next = answer.data.last().map(|last| ListPage { created_lte: page.created_lte, after: Some(last.id.clone()) });
            let stored = next.as_ref().and_then(&cursor);
            let record: Vec<ProducerRecord> = stored.iter().map(|(name, value)| self.cursors.record(name, value)).collect();
            slices.publish(Some(&page.text()), &ids, record).await?;
            if let Some((name, value)) = &stored {
                self.cursors.appended(name, value);
            }
            metrics::counter!("concord_listed_records_total", "system" => self.system().to_string()).increment(ids.len() as u64);
            last_created = answer.data.last().map_or(last_created, |last| last.created);
            listed.extend(answer.data.into_iter().map(|customer| customer.id));
            match next {
                Some(next) if answer.has_more => page = next,
                _ => return Ok(listed),
            }
        }
    }

    /// The first page, of customers that are there by now.
    async fn newest(&self) -> ListPage {
        ListPage { created_lte: self.stripe_time().await.div_euclid(1000), after: None }
    }

    /// Stripe's clock.
    pub(super) async fn stripe_time(&self) -> Millis {
        let mut patience = Patience::new(self.system(), &self.catch_up);
        loop {
            match self.client.list(&ListQuery { limit: Some(1), ..ListQuery::default() }).await {
                Ok(answer) => {
                    patience.answered();
                    return by_stripes_clock(answer.look);
                }
                Err(error) => {
                    if let Err(error) = patience.after(error).await {
                        tracing::error!(system = %self.system(), %error, "The list of customers is refused; trying again later.");
                        tokio::time::sleep(self.options.events_every).await;
                    }
                }
            }
        }
    }

    async fn page(&self, page: &ListPage) -> Result<Page<Customer>, Error> {
        let mut patience = Patience::new(self.system(), &self.catch_up);
        let query = ListQuery { limit: Some(PAGE), ..page.query() };
        loop {
            match self.client.bulk().list(&query).await {
                Ok(answer) => {
                    patience.answered();
                    return Ok(answer.value);
                }
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// The ends of `requests.<system>`.
    async fn ends(&self) -> Result<Vec<(TopicPartition, i64)>, ConnectError> {
        let topic = connect::topics::requests_topic(self.system());
        let failed = |source| ConnectError::Log { action: format!("reading {topic}"), source };
        let mut ends = Vec::new();
        for tp in self.partitions(&topic)? {
            let end = self.log.end_offset(&tp).await.map_err(failed)?;
            ends.push((tp, end));
        }
        Ok(ends)
    }

    /// Waits until the conversation has passed these.
    async fn committed(&self, ends: &[(TopicPartition, i64)]) -> Result<(), ConnectError> {
        let group = connect::topics::runner_group(self.system());
        for (tp, end) in ends {
            let failed = |source| ConnectError::Log { action: format!("reading the offsets of {group}"), source };
            while !self.log.passed(&group, tp, *end).await.map_err(failed)? {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// External ids that are linked.
    async fn linked(&self) -> Result<FxHashSet<String>, ConnectError> {
        let topic = format!("links.{}", self.system());
        let failed = |source| ConnectError::Log { action: format!("reading {topic}"), source };
        let mut linked = FxHashSet::default();
        for tp in self.partitions(&topic)? {
            let take = |record: ConsumerRecord| {
                let Some(Ok(id)) = record.key.as_deref().map(std::str::from_utf8) else { return };
                match record.value {
                    Some(_) => linked.insert(id.to_owned()),
                    None => linked.remove(id),
                };
            };
            let end = self.log.end_offset(&tp).await.map_err(failed)?;
            self.log.scan(&tp, 0, end, take).await.map_err(failed)?;
        }
        Ok(linked)
    }

    fn partitions(&self, topic: &str) -> Result<Vec<TopicPartition>, ConnectError> {
        let partitions = self.log.partitions(topic).ok_or_else(|| ConnectError::NoTopic(topic.to_owned()))?;
        Ok((0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back_and_nothing_else_is_one() {
        for page in [ListPage { created_lte: 5, after: None }, ListPage { created_lte: 1_700_000_000, after: Some("cus_1".into()) }] {
            assert_eq!(ListPage::parse(&page.text()), Some(page));
        }
        assert_eq!(ListPage::parse(""), None);
        assert_eq!(ListPage::parse("cus_1"), None);
    }
}
