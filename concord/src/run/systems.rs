//! The configured systems: each one's source and sink, supervised on their own, so that one that is down stops no other.

use super::{
    engine::Engine,
    owned::{Acting, Owned, Stops, Tasks, Work, act},
    product, stripe,
    supervise::{Trouble, keep},
};
use crate::{
    cli::Role,
    config::{Config, Kind},
    http::{Part, Parts, Product},
};
use clients::stripe::Client;
use schemas::System;
use sources::stripe::{RecentEvents, Webhook};
use sqlx::PgPool;
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use streams::{TopicPartition, embedded::LogError};
use tokio::task::JoinHandle;

/// How often what was published to a topic is counted.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What was started.
#[derive(Default)]
pub struct Systems {
    pub sources: Vec<JoinHandle<()>>,
    pub sinks: Vec<JoinHandle<()>>,
    pub webhooks: Vec<Webhook>,
    pub pool: Option<PgPool>,
    pub product: Option<Arc<OnceLock<Product>>>,
}

/// Starts what this process does for every system.
pub async fn start(config: &Config, roles: &[Role], engine: &Arc<Engine>, parts: &mut Parts, stops: &Stops) -> anyhow::Result<Systems> {
    let mut systems = Systems::default();
    let (connectors, http) = (roles.contains(&Role::Connectors), roles.contains(&Role::Http));
    for (name, system) in &config.systems {
        let mut works = Vec::new();
        match &system.kind {
            Kind::Postgres(table) => {
                let database = product::Database::new(config)?;
                if connectors {
                    let (work, acting) = product::table(name, system, table, &database, engine, parts);
                    works.push(act(format!("system-{name}"), work, acting, engine, stops).await?);
                    let (work, acting) = product::golden_tables(&database, engine, parts);
                    works.push(act("golden-tables".to_owned(), work, acting, engine, stops).await?);
                }
                if http {
                    product::serve(name, table, &database, parts, stops, &mut systems);
                }
            }
            Kind::Stripe(account) => {
                let Some(options) = account.options.clone() else { continue };
                let recent = RecentEvents::default();
                if http {
                    systems.webhooks.extend(stripe::webhook(name, account, engine, &recent)?);
                }
                if connectors {
                    let (work, acting) = stripe::account(name, system, Client::new(options)?, engine, recent, parts);
                    works.push(act(format!("system-{name}"), work, acting, engine, stops).await?);
                }
            }
            Kind::Topic => {
                if http {
                    systems.sources.push(show_topic(name, engine, parts, stops));
                }
                if connectors {
                    let work = Configured { name: name.clone(), walk_reason: engine.customers.walk_reason(name) };
                    works.push(act(format!("system-{name}"), work, Acting::default(), engine, stops).await?);
                }
            }
        }
        for tasks in works {
            systems.sources.extend(tasks.sources);
            systems.sinks.extend(tasks.sinks);
        }
    }
    Ok(systems)
}

/// A system without connectors: its owner only tells of a configuration that changed.
struct Configured {
    name: System,
    walk_reason: String,
}

impl Work for Configured {
    async fn begin(&self, owned: &Owned) -> anyhow::Result<Tasks> {
        owned.walks.configured(&self.name, &self.walk_reason).await?;
        Ok(Tasks::default())
    }
}

/// Nothing runs for a system of kind `topic`: what was published to it tells whether anybody does.
fn show_topic(name: &System, engine: &Engine, parts: &mut Parts, stops: &Stops) -> JoinHandle<()> {
    let (log, topic) = (engine.log.clone(), format!("customers.{name}"));
    let count = Arc::new(AtomicI64::new(0));
    let (shown, of) = (count.clone(), topic.clone());
    parts.add(name.as_str(), move || Part::Ok(format!("{} published to {of}", shown.load(Ordering::Relaxed))));
    let stop = stops.sources.clone();
    keep(format!("{name}: count"), stops.sources.clone(), Trouble::default(), move || {
        let (log, topic, count, stop) = (log.clone(), topic.clone(), count.clone(), stop.clone());
        async move {
            while !stop.is_cancelled() {
                let mut ends = 0;
                for partition in 0..log.partitions(&topic).unwrap_or(0) {
                    ends += log.end_offset(&TopicPartition::new(&*topic, partition)).await?;
                }
                count.store(ends, Ordering::Relaxed);
                let _ = tokio::time::timeout(COUNT_EVERY, stop.cancelled()).await;
            }
            Ok::<(), LogError>(())
        }
    })
}
