//! One Stripe account: its webhook, and for its owner the source and the conversation.

use super::{
    engine::Engine,
    owned::{Acting, Owned, Tasks, Work},
    supervise::{Trouble, keep},
};
use crate::{
    config::{Mode, Stripe, SystemConfig},
    http::{Part, Parts},
};
use clients::stripe::Client;
use connect::{CatchUp, Health, Requests, Runner, Sink, Source, Style, catch_up::Stage, runner};
use parking_lot::Mutex;
use schemas::{Registry, System};
use sources::stripe::{RecentEvents, Webhook};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// At the end, calls under way have this long: then what they brought is published, and the account left to the next owner.
const DRAIN: Duration = Duration::from_secs(2);

/// What an owner does for the account.
pub struct Account {
    name: System,
    mode: Mode,
    client: Client,
    registry: Registry,
    /// Shared with the webhook of this process.
    recent: RecentEvents,
    walk_reason: String,
    shown: Shown,
}

/// What the account's part of the health tells, from owner to owner.
#[derive(Clone, Default)]
struct Shown {
    noticing: Trouble,
    talking: Trouble,
    health: Arc<Mutex<Option<watch::Receiver<Health>>>>,
    stage: Arc<Mutex<Option<watch::Receiver<Stage>>>>,
}

/// The account's webhook. Any process takes it: what it tells of is only read by the owner.
pub fn webhook(name: &System, account: &Stripe, engine: &Engine, recent: &RecentEvents) -> anyhow::Result<Option<Webhook>> {
    if account.webhook_secrets.is_empty() {
        tracing::warn!(system = %name, "No webhook secret is set: changes are noticed by polling Stripe's events only.");
        return Ok(None);
    }
    let requests = Requests::new(&engine.log, &engine.registry, name)?;
    Ok(Some(Webhook::new(requests, account.webhook_secrets.clone(), recent.clone())?))
}

/// The account's work, and its part of the health.
pub fn account(
    name: &System,
    system: &SystemConfig,
    client: Client,
    engine: &Engine,
    recent: RecentEvents,
    parts: &mut Parts,
) -> (Account, Acting) {
    let (shown, acting) = (Shown::default(), Acting::default());
    let (look, here) = (shown.clone(), acting.clone());
    parts.add(name.as_str(), move || here.elsewhere().unwrap_or_else(|| look.part()));
    let walk_reason = engine.customers.walk_reason(name);
    let registry = engine.registry.clone();
    (Account { name: name.clone(), mode: system.mode, client, registry, recent, walk_reason, shown }, acting)
}

impl Shown {
    /// A vendor that is away is degraded, never down: its outage must not take our webhook out of service.
    fn part(&self) -> Part {
        let health = self.health.lock().as_ref().map(|health| health.borrow().clone()).unwrap_or_default();
        let stage = self.stage.lock().as_ref().map_or(Stage::Through, |stage| stage.borrow().clone());
        let (waits, failing) = match stage {
            Stage::Through => ("", None),
            Stage::Going => ("catching up with what changed before the start: creates wait for it", None),
            Stage::Failing(why) => ("", Some(format!("creates wait until it has caught up with what changed before the start: {why}"))),
        };
        let troubles: Vec<String> = match health {
            Health::Ok => [self.talking.get(), self.noticing.get(), failing].into_iter().flatten().collect(),
            Health::Degraded(_) | Health::Paused(_) => [Some(health.to_string()), failing].into_iter().flatten().collect(),
        };
        if troubles.is_empty() { Part::Ok(waits.to_owned()) } else { Part::Degraded(troubles.join("; ")) }
    }
}

impl Work for Account {
    async fn begin(&self, owned: &Owned) -> anyhow::Result<Tasks> {
        let (name, shown) = (&self.name, &self.shown);
        owned.walks.configured(name, &self.walk_reason).await?;
        let requests = Requests::new(&owned.log, &self.registry, name)?;
        let source = sources::stripe::Stripe::new(
            self.client.clone(),
            owned.log.clone(),
            requests,
            owned.cursors.clone(),
            self.recent.clone(),
            sources::stripe::Options::default(),
        )
        .await?;
        let source: Arc<dyn Source> = Arc::new(source.announcing(owned.walks.clone()));
        *shown.stage.lock() = source.catch_up().map(CatchUp::watch).filter(|_| self.mode == Mode::Sync);
        let sink: Option<Arc<dyn Sink>> =
            (self.mode == Mode::Sync).then(|| Arc::new(sinks::stripe::Stripe::new(self.client.clone())) as Arc<dyn Sink>);

        let (run, stop, well) = (source.clone(), owned.stops.sources.clone(), shown.noticing.clone());
        let noticing = keep(format!("{name}: source"), stop.clone(), shown.noticing.clone(), move || {
            let (run, stop) = (run.clone(), stop.clone());
            well.clear();
            async move { run.run(stop).await }
        });

        let (log, registry, stop, shown) = (owned.log.clone(), self.registry.clone(), owned.stops.sinks.clone(), shown.clone());
        let options = runner::Options { lists: true, drain: DRAIN, ..runner::Options::new(name.clone(), Style::Idempotent) };
        let talking = keep(format!("{name}: conversation"), stop.clone(), shown.talking.clone(), move || {
            let (log, registry, options, source, sink, stop) =
                (log.clone(), registry.clone(), options.clone(), source.clone(), sink.clone(), stop.clone());
            let shown = shown.clone();
            shown.talking.clear();
            async move {
                let runner = Runner::new(log, &registry, options, source, sink).await?;
                *shown.health.lock() = Some(runner.health());
                runner.run(stop).await
            }
        });
        Ok(Tasks { sources: vec![noticing], sinks: vec![talking] })
    }
}
