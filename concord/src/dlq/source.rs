//! Dead letters as the command reads them, beside the processes.

use super::{
    letter::{Letter, Place},
    marks::{MARKS, Mark, Marks},
    wanted::Wanted,
};
use crate::{
    config::{Config, Env, Need, Overrides},
    reader::Reader,
};
use anyhow::Context;
use schemas::Registry;
use std::{collections::BTreeMap, ops::ControlFlow};
use streams::TopicPartition;

/// Dead letters, and how each was dealt with.
pub type Letters<'a> = Vec<(Letter, Option<&'a Mark>)>;

/// A log, and the marks that were in it when it was opened.
pub struct Source {
    reader: Reader,
    marks: Marks,
    /// Where each queue began and ended then: what comes in meanwhile, such as a letter that was retried and failed again, is for the next
    /// time.
    queues: BTreeMap<(String, i32), (i64, i64)>,
}

impl Source {
    pub async fn open(overrides: &Overrides, env: &Env) -> anyhow::Result<Source> {
        let config = Config::load(overrides, env, Need::Shape)?;
        let reader = Reader::open(&config).await?;
        let mut marks = Marks::default();
        let tp = TopicPartition::new(MARKS, 0);
        if reader.has(&tp)? {
            let (from, end) = reader.ends(&tp).await?;
            let mut read = Ok(());
            let take = |record| {
                read = marks.read(&record).map(drop);
                if read.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            reader.scan(&tp, from, end, take).await?;
            read?;
        }
        let mut queues = BTreeMap::new();
        for topic in reader.topics()?.into_iter().filter(|topic| Wanted::default().takes_topic(&topic.name)) {
            for partition in 0..topic.partitions {
                let ends = reader.ends(&TopicPartition::new(topic.name.as_str(), partition)).await?;
                queues.insert((topic.name.clone(), partition), ends);
            }
        }
        Ok(Source { reader, marks, queues })
    }

    /// The first that are wanted, in order of place; and whether there are more.
    pub async fn page(&self, wanted: &Wanted, limit: usize) -> anyhow::Result<(Letters<'_>, bool)> {
        let mut found = Vec::new();
        for ((topic, partition), (beginning, end)) in self.queues.iter().filter(|((topic, _), _)| wanted.takes_topic(topic)) {
            let tp = TopicPartition::new(topic.as_str(), *partition);
            let take = |record| {
                let letter = Letter(record);
                let mark = self.marks.of(&letter.place());
                if wanted.takes(&letter, mark) {
                    found.push((letter, mark));
                }
                // One more than is shown tells that there are more.
                if found.len() > limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            self.reader.scan(&tp, wanted.begin(&tp).max(*beginning), *end, take).await?;
            if found.len() > limit {
                found.truncate(limit);
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    pub async fn one(&self, id: &Place) -> anyhow::Result<(Letter, Option<&Mark>)> {
        let tp = id.topic_partition();
        let mut found = None;
        if self.reader.has(&tp)? && id.offset < self.reader.ends(&tp).await?.1 {
            let take = |record| {
                found = Some(record);
                ControlFlow::Break(())
            };
            self.reader.scan(&tp, id.offset, id.offset + 1, take).await?;
        }
        let letter = found.filter(|record| record.offset == id.offset).map(Letter);
        let letter = letter.with_context(|| format!("there is no dead letter {id}; `concord dlq list --all` shows those there are"))?;
        Ok((letter, self.marks.of(id)))
    }

    pub async fn registry(&self) -> anyhow::Result<Registry> {
        self.reader.registry().await
    }
}
