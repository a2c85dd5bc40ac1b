//! `concord deploy`: makes what Concord needs before it runs, and says what is not as it must be.
//!
//! - [`plan`]: one step for each thing; [`topics`]: topics, pure
//! - [`log`]: topics and schemas in the data folder; [`database`]: the schema `concord` and the triggers in Postgres
//! - [`destroy`]: the way back

mod database;
mod destroy;
mod log;
mod plan;
mod topics;

use crate::{
    config::{Config, Env, Need, Overrides},
    exit::Exit,
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
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with = "destroy")]
    pub allow: Vec<Allow>,
    /// Take everything of Concord's away again: the log, the schema concord, the triggers. Customers' tables stay
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
}

pub async fn run(args: Deploy, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let config = Config::load(overrides, env, Need::Everything)?;
    anyhow::ensure!(
        config.kafka.is_none(),
        "KAFKA_BOOTSTRAP_SERVERS is set, and concord deploy knows the embedded log only: on Kafka `concord run` makes its topics and schemas, and prepares Postgres, when it starts"
    );
    if args.destroy {
        return destroy::run(&config, args.yes).await;
    }
    let log = log::plan(&config, &args.allow)?;
    let database = database::plan(&config).await?;
    let steps: Vec<Step> = log.iter().chain(&database).cloned().collect();
    let refused = steps.iter().any(Step::is_refused);
    let changes = steps.iter().any(Step::is_change);
    if !args.dry_run && !refused {
        // What is nearer to customers last: a trigger without a log would only fill the outbox.
        if log.iter().any(Step::is_change) {
            log::apply(&config).await?;
        }
        if database.iter().any(Step::is_change) {
            database::apply(&config).await?;
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
