//! Stripe as the conversation reads it, and the loop that notices what no webhook told of.

use super::{recent::RecentEvents, sweep::ListPage};
use async_trait::async_trait;
use clients::stripe::{Class, Client, Customer, Error, Found, ListQuery, record::Record};
use connect::{CatchUp, ConnectError, Cursors, Refusal, Reply, Requests, Seen, Source, SourceError, Walks};
use schemas::{ExternalId, Millis, System};
use std::time::Duration;
use streams::{
    Log,
    embedded::{Clock, SystemClock},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Customers on a page of a list: Stripe's most.
pub(super) const PAGE: u8 = 100;
/// Characters of Stripe's explanation that a conflict shows.
const REASON: usize = 300;

/// How changes are noticed beside the webhook.
#[derive(Clone, Debug)]
pub struct Options {
    /// Between two looks at the events.
    pub events_every: Duration,
    /// How far each look goes back behind the last: events may show up late, and clocks differ.
    pub overlap: Duration,
    /// Events are kept for 30 days; after a longer stop than this everything is looked at instead.
    pub events_kept: Duration,
    /// Between two looks at everything, where there is no Events API.
    pub sweep_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            events_every: Duration::from_secs(10),
            overlap: Duration::from_secs(300),
            events_kept: Duration::from_secs(29 * 24 * 3600),
            sweep_every: Duration::from_secs(900),
        }
    }
}

/// One Stripe account as a source.
pub struct Stripe {
    pub(super) client: Client,
    pub(super) log: Log,
    pub(super) requests: Requests,
    pub(super) cursors: Cursors,
    pub(super) recent: RecentEvents,
    pub(super) walks: Option<Walks>,
    pub(super) catch_up: CatchUp,
    pub(super) options: Options,
}

impl Stripe {
    /// `recent`: shared with the account's webhook. To be made before the account's runner.
    pub async fn new(
        client: Client,
        log: Log,
        requests: Requests,
        cursors: Cursors,
        recent: RecentEvents,
        options: Options,
    ) -> Result<Self, ConnectError> {
        let catch_up = CatchUp::new(&requests).await?;
        Ok(Stripe { client, log, requests, cursors, recent, walks: None, catch_up, options })
    }

    /// Waits for the topology, and announces the import when the first backfill is through.
    pub fn announcing(mut self, walks: Walks) -> Self {
        self.walks = Some(walks);
        self
    }

    pub(super) fn system(&self) -> &System {
        self.requests.system()
    }

    /// The name of one of this account's cursors.
    pub(super) fn cursor(&self, what: &str) -> String {
        format!("{}.{what}", self.system())
    }

    fn error(&self, stage: &'static str, cause: ConnectError) -> SourceError {
        SourceError { system: self.system().clone(), stage, cause: Box::new(cause) }
    }

    /// The first backfill, the catch-up (`noticed`: the events before the start are noticed, or a sweep has shown what they tell),
    /// and the import.
    async fn import(&self, mut noticed: watch::Receiver<bool>) -> Result<(), SourceError> {
        self.backfill().await.map_err(|cause| self.error("backfill", cause))?;
        if noticed.wait_for(|noticed| *noticed).await.is_ok() {
            self.catch_up.noticed(self.walks.as_ref()).await.map_err(|cause| self.error("catch-up", cause))?;
        }
        if let Some(walks) = &self.walks {
            walks.import(self.system()).await.map_err(|cause| self.error("import", cause))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Source for Stripe {
    async fn read(&self, id: &ExternalId) -> Reply {
        match self.client.retrieve(id.as_str()).await {
            Ok(answer) => {
                let seen = match answer.value {
                    Found::Live(customer) => seen(*customer, answer.look),
                    Found::Deleted(_) => Seen::deleted(id.clone(), answer.look),
                };
                Reply::Done { seen, exact: false }
            }
            Err(Error { class: Class::Missing, look, .. }) => {
                Reply::Done { seen: Seen::deleted(id.clone(), look.unwrap_or(0)), exact: false }
            }
            Err(error) => failed(error),
        }
    }

    async fn list(&self, page: &str) -> Option<Reply> {
        // Reads that are on no page (records that may be deleted) are read singly.
        let Some(page) = ListPage::parse(page) else { return Some(Reply::Found(Vec::new())) };
        let query = ListQuery { limit: Some(PAGE), ..page.query() };
        Some(match self.client.bulk().list(&query).await {
            Ok(answer) => Reply::Found(answer.value.data.into_iter().map(|customer| seen(customer, answer.look)).collect()),
            // The customer that the page begins after is gone: so is the page.
            Err(error) if error.param.as_deref() == Some("starting_after") => Reply::Found(Vec::new()),
            Err(error) => failed(error),
        })
    }

    fn catch_up(&self) -> Option<&CatchUp> {
        Some(&self.catch_up)
    }

    async fn run(&self, shutdown: CancellationToken) -> Result<(), SourceError> {
        let work = async {
            // What happens from here on is in the events, what was before is in the list.
            let since = self.events_from().await.map_err(|cause| self.error("events", cause))?;
            // A backfill that begins now shows what there is; one that began before an earlier stop does not.
            let shows_all = self.cursors.get(&self.cursor("backfill")).is_none();
            let noticed = watch::Sender::new(false);
            let follow = async { self.follow(since, shows_all, &noticed).await.map_err(|cause| self.error("events", cause)) };
            tokio::try_join!(self.import(noticed.subscribe()), follow)?;
            Ok(())
        };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            ended = work => ended,
        }
    }
}

/// The answer's Date, or (a proxy took it away) our own clock: whatever goes by it looks back a little.
pub(super) fn by_stripes_clock(look: Millis) -> Millis {
    if look > 0 { look } else { SystemClock.now_ms() }
}

/// A customer as Stripe showed it at `look`.
fn seen(customer: Customer, look: Millis) -> Seen {
    let Record { id, fields, concord_id, mark, created } = customer.into();
    Seen { id, look, fields: Some(fields), concord_id, mark, created, stamp: None }
}

/// What a failed read means to the conversation: nothing was changed, whatever happened.
fn failed(error: Error) -> Reply {
    let reason = error.to_string();
    let retry_after = error.retry_after.map(|pause| Millis::try_from(pause.as_millis()).unwrap_or(Millis::MAX));
    match error.class {
        Class::Refused | Class::KeyReused => {
            Reply::Refused(Refusal { field: None, reason: error.message.chars().take(REASON).collect(), taken: false })
        }
        Class::Missing => Reply::Missing,
        Class::Credentials => Reply::Unauthorized { reason },
        Class::Limited | Class::Unreachable | Class::Busy => Reply::Busy { reason, retry_after },
        Class::Stored | Class::Unavailable | Class::Lost | Class::Foreign => Reply::Unknown { reason, retry_after },
    }
}
