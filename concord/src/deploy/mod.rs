//! `concord deploy`: makes what Concord needs before it runs, and says what is not as it must be.
//!
//! - [`plan`]: one step for each thing; [`topics`]: topics, pure; [`schemas`]: schemas, against those that are registered
//! - [`make`]: makes topics; where they and schemas are: [`log`], in the data folder, or [`kafka`], on brokers
//! - [`database`]: the schema `concord` and the triggers in Postgres; [`ksqldb`]: the migrations of ksqlDB
//! - [`destroy`]: the way back; [`removal`]: what of it is on brokers

mod database;
mod destroy;
mod kafka;
mod ksqldb;
mod log;
mod make;
mod plan;
mod removal;
mod schemas;
mod topics;

pub use destroy::{agreed, gone};
pub use kafka::Brokers;
pub use log::FILE;
pub use make::make;
pub use removal::{idle, internal_topics, is_ours, stop_first};
pub use topics::wanted;

use crate::{
    config::{Config, Env, Need, Overrides},
    exit::Exit,
    reader::Reader,
    stdout,
};
use clap::{Args, ValueEnum};
use plan::Step;

#[derive(Debug, Args)]
pub struct Deploy {
    /// Say what differs and what would be done, and do nothing
    #[arg(long, conflicts_with = "destroy")]
    pub dry_run: bool,
    /// Do what is refused otherwise
    #[arg(long, value_enum, value_name = "WHAT")]
    pub allow: Vec<Allow>,
    /// Take everything of Concord's away again: the log (on Kafka its topics and groups), the schema concord, the triggers. Customers' tables
    /// and other programs' topics stay
    #[arg(long)]
    pub destroy: bool,
    /// Do not ask before --destroy
    #[arg(long, requires = "destroy")]
    pub yes: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "destroy")]
    pub json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Allow {
    /// Topics may keep records for a shorter time than they do: the older ones go at once
    ShorterRetention,
    /// A ksqlDB migration that failed, or was not finished, is applied again: drop what it made first
    UnfinishedMigration,
    /// --destroy takes away what was made in the database for another log than the one that it is given: that log is gone
    OtherLog,
}

/// The log that the configuration names, if there is one yet.
async fn at_hand(config: &Config, brokers: Option<&Brokers>) -> anyhow::Result<Option<Reader>> {
    match brokers {
        Some(brokers) => Ok(Some(brokers.reader(config))),
        None if config.data_dir.join(log::FILE).exists() => Reader::open(config).await.map(Some),
        None => Ok(None),
    }
}

pub async fn run(args: Deploy, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let config = Config::load(overrides, env, Need::Everything)?;
    if args.destroy {
        return destroy::run(&config, args.yes, &args.allow).await;
    }
    let brokers = match &config.kafka {
        Some(kafka) => Some(Brokers::reach(&config, kafka).await?),
        None => None,
    };
    let (there, registry) = match &brokers {
        Some(brokers) => brokers.look(&config).await?,
        None => log::look(&config)?,
    };
    let wanted = topics::wanted(&config);
    let in_topics = topics::steps(&wanted, &there, config.kafka.as_ref(), &args.allow);
    let in_registry = schemas::plan(&config, &registry).await?;
    let in_database = database::plan(&config, at_hand(&config, brokers.as_ref()).await?.as_ref()).await?;
    let ksqldb = match &config.ksqldb {
        Some(ksqldb) => Some(ksqldb::Deployment::look(ksqldb).await?),
        None => None,
    };
    let will_be = wanted.iter().map(|it| (it.topic.name.clone(), it.topic.partitions));
    let topics: ksqldb::Topics = will_be.chain(there.iter().map(|it| (it.name.clone(), it.partitions))).collect();
    let in_ksqldb = ksqldb.as_ref().map(|ksqldb| ksqldb.steps(&topics, &args.allow)).unwrap_or_default();
    let steps: Vec<Step> = [&in_topics, &in_registry, &in_database, &in_ksqldb].into_iter().flatten().cloned().collect();
    let refused = steps.iter().any(Step::is_refused);
    let changes = steps.iter().any(Step::is_change);
    if !args.dry_run && !refused {
        let [make, register, migrate] = [&in_topics, &in_registry, &in_database].map(|steps| steps.iter().any(Step::is_change));
        // What is nearer to customers last: a trigger without a log would only fill the outbox.
        match &brokers {
            Some(brokers) => {
                if make {
                    make::make(&brokers.log(), wanted).await?;
                }
                if register {
                    brokers.register(&config).await?;
                }
            }
            None if make || register => log::apply(&config, wanted).await?,
            None => {}
        }
        if migrate {
            database::apply(&config).await?;
        }
        // It reads what the others made.
        if let Some(ksqldb) = ksqldb.filter(|_| in_ksqldb.iter().any(Step::is_change)) {
            ksqldb.apply(&config).await?;
        }
    }
    if args.json {
        stdout::print(format_args!("{:#}\n", plan::json(&steps, args.dry_run)))?;
    } else {
        stdout::print(plan::text(&steps, args.dry_run))?;
    }
    match (refused, args.dry_run && changes) {
        (true, _) => Ok(false),
        (false, true) => Err(Exit { code: 2, says: String::new() }.into()),
        (false, false) => Ok(true),
    }
}
