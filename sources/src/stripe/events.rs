//! Catching up through the Events API: what no webhook told of, while it was lost, late, or nobody listened.

use super::{
    patience::Patience,
    source::{PAGE, Stripe, by_stripes_clock},
};
use clients::stripe::{Class, Error, Event, EventsQuery, record};
use connect::ConnectError;
use rustc_hash::FxHashMap;
use schemas::{ExternalId, Millis, Notice};
use std::time::Duration;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

/// The types in use.
const TYPES: [&str; 3] = ["customer.created", "customer.updated", "customer.deleted"];
/// A long stop is caught up in steps of this, oldest first.
const STEP: Duration = Duration::from_secs(6 * 3600);
/// The cursor is stored with the notices that it follows, and without any when it has moved this far.
const STORE_EVERY: Duration = Duration::from_secs(3600);
/// An account without an Events API is asked again this often whether it has one now.
const ASK_AGAIN: Duration = Duration::from_secs(3600);

/// A time by Stripe's clock: every event before it was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    at: Millis,
    stored: Millis,
    /// Nothing before this is looked back for: whatever happened then, the backfill or the sweep that began then has shown.
    floor: Millis,
}

/// Why there are no events.
enum NoEvents {
    /// A restricted key, or a stand-in without such an API.
    Unavailable(Error),
    Log(ConnectError),
}

fn millis(duration: Duration) -> Millis {
    Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX)
}

impl Stripe {
    /// Where the events are to be followed from. At the first start: from now on, stored before the backfill begins.
    pub(super) async fn events_from(&self) -> Result<Since, ConnectError> {
        let name = self.cursor("events");
        if let Some(at) = self.cursors.get(&name).and_then(|text| text.parse().ok()) {
            return Ok(Since { at, stored: at, floor: 0 });
        }
        let at = self.stripe_time().await;
        self.cursors.set(&name, &at.to_string()).await?;
        Ok(Since { at, stored: at, floor: at })
    }

    /// Notices what happens from then on; for ever. `noticed` becomes true once everything that happened before the start is.
    /// `backfill_shows_all`: without events, too.
    pub(super) async fn follow(
        &self,
        mut since: Since,
        backfill_shows_all: bool,
        noticed: &watch::Sender<bool>,
    ) -> Result<(), ConnectError> {
        let now = self.stripe_time().await;
        if now - since.at > millis(self.options.events_kept) {
            tracing::warn!(system = %self.system(), "Stripe keeps events for 30 days, and the last look is longer ago: every customer is looked at.");
            self.sweep().await?;
            (since.at, since.floor) = (now, now);
            self.store(&mut since).await?;
        }
        loop {
            match self.notice_events(&mut since).await {
                Ok(()) => {
                    noticed.send_replace(true);
                    sleep(self.options.events_every).await;
                }
                Err(NoEvents::Log(error)) => return Err(error),
                Err(NoEvents::Unavailable(error)) => {
                    tracing::warn!(system = %self.system(), %error, every = ?self.options.sweep_every, "There is no Events API for this key: every customer is looked at now and then instead.");
                    if backfill_shows_all {
                        noticed.send_replace(true);
                    }
                    since = self.sweep_instead(noticed).await?;
                }
            }
        }
    }

    /// Sweeps for a while, and says from when on events are wanted.
    async fn sweep_instead(&self, noticed: &watch::Sender<bool>) -> Result<Since, ConnectError> {
        let asked = Instant::now();
        // What the webhook misses before the first backfill is through, that finds.
        loop {
            if *noticed.borrow() {
                sleep(self.options.sweep_every).await;
            }
            let at = self.stripe_time().await;
            self.sweep().await?;
            let mut since = Since { at, stored: 0, floor: at };
            self.store(&mut since).await?;
            noticed.send_replace(true);
            if asked.elapsed() >= ASK_AGAIN {
                return Ok(since);
            }
        }
    }

    /// Notices every event up to now.
    async fn notice_events(&self, since: &mut Since) -> Result<(), NoEvents> {
        loop {
            let from = since.at.saturating_sub(millis(self.options.overlap)).max(since.floor).div_euclid(1000);
            let until = from.saturating_add(STEP.as_secs() as i64);
            let (events, look) = self.events(from, until).await?;
            // Whether now is in this step.
            let last = look.div_euclid(1000) <= until;
            since.at = since.at.max(if last { look } else { until.saturating_mul(1000) });
            self.notice(events, since).await.map_err(NoEvents::Log)?;
            if last {
                return Ok(());
            }
        }
    }

    /// Events of these seconds, oldest first, with Stripe's time before the first was looked for.
    async fn events(&self, from: i64, until: i64) -> Result<(Vec<Event>, Millis), NoEvents> {
        let mut patience = Patience::new(self.system(), &self.catch_up);
        let mut query = EventsQuery {
            types: TYPES.map(str::to_owned).to_vec(),
            created_gte: Some(from),
            created_lte: Some(until),
            limit: Some(PAGE),
            ..EventsQuery::default()
        };
        let (mut events, mut first_look) = (Vec::new(), None);
        loop {
            match self.client.events(&query).await {
                Ok(answer) => {
                    patience.answered();
                    first_look.get_or_insert(by_stripes_clock(answer.look));
                    query.starting_after = answer.value.data.last().map(|event| event.id.clone());
                    let more = answer.value.has_more && query.starting_after.is_some();
                    events.extend(answer.value.data);
                    if !more {
                        events.reverse();
                        return Ok((events, first_look.unwrap_or(0)));
                    }
                }
                Err(error) if error.class == Class::Credentials && error.status == Some(403) => return Err(NoEvents::Unavailable(error)),
                Err(error) => patience.after(error).await.map_err(NoEvents::Unavailable)?,
            }
        }
    }

    /// Publishes the notices of what is new among the events, one read for each customer, and the cursor with them.
    async fn notice(&self, events: Vec<Event>, since: &mut Since) -> Result<(), ConnectError> {
        let mut customers: Vec<(ExternalId, Vec<Notice>)> = Vec::new();
        let mut places: FxHashMap<ExternalId, usize> = FxHashMap::default();
        for event in events.iter().filter(|event| !self.recent.contains(&event.id)) {
            let Some((id, notice)) = record::notice(event) else { continue };
            let place = *places.entry(id.clone()).or_insert_with(|| {
                customers.push((id, Vec::new()));
                customers.len() - 1
            });
            customers[place].1.push(notice);
        }
        if customers.is_empty() {
            if since.at - since.stored >= millis(STORE_EVERY) {
                self.store(since).await?;
            }
            return Ok(());
        }
        let (name, value) = (self.cursor("events"), since.at.to_string());
        let count: usize = customers.iter().map(|(_, notices)| notices.len()).sum();
        self.requests.notices_and(customers, [self.cursors.record(&name, &value)]).await?;
        self.cursors.appended(&name, &value);
        since.stored = since.at;
        events.iter().for_each(|event| self.recent.noticed(&event.id));
        metrics::counter!("concord_events_caught_up_total", "system" => self.system().to_string()).increment(count as u64);
        tracing::debug!(system = %self.system(), events = count, "Events that no webhook had told of.");
        Ok(())
    }

    async fn store(&self, since: &mut Since) -> Result<(), ConnectError> {
        self.cursors.set(&self.cursor("events"), &since.at.to_string()).await?;
        since.stored = since.at;
        Ok(())
    }
}
