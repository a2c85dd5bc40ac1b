//! `concord reset`: a log that begins anew, from what is known of each customer; everything else is found out again from the systems.
//!
//! - [`fate`]: what becomes of each thing, pure; [`plan`]: how that is told
//! - [`state`]: what is taken over
//! - [`folder`]: in a data folder, where the new log takes the place of the old one; [`cluster`]: on Kafka, topic by topic

mod cluster;
mod fate;
mod folder;
mod plan;
mod state;

pub use cluster::refuse_half_done;

use crate::{
    config::{Config, Env, Kind, Need, Overrides},
    deploy::{FILE, agreed},
    exit::Exit,
    stdout,
};
use anyhow::bail;
use clap::Args;
use cluster::Cluster;
use fate::Fate;
use plan::Line;

/// What is told where nothing is done.
const NOTHING: &str = "Nothing was reset";

#[derive(Debug, Args)]
pub struct Reset {
    /// Do it. Without this it is only told what would be done
    #[arg(long)]
    pub execute: bool,
    /// Do not ask before
    #[arg(long, requires = "execute")]
    pub yes: bool,
    /// Forget also who is linked to whom, and all that is known of customers: they are matched by e-mail again
    #[arg(long)]
    pub forget_links: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

pub async fn run(args: Reset, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let cluster = match &config.kafka {
        Some(kafka) => Some(Cluster::reach(&config, kafka, args.forget_links).await?),
        None => None,
    };
    let mut lines = match &cluster {
        Some(cluster) => cluster.plan()?,
        None => folder::plan(&config, args.forget_links)?,
    };
    if !lines.iter().any(Line::is_change) {
        tell(&args, &[], None, "There is nothing to reset\n")?;
        return Ok(true);
    }
    lines.extend(in_postgres(&config));
    if !args.execute {
        tell(&args, &lines, None, "Nothing was done: --execute does it\n")?;
        return Err(Exit { code: 2, says: String::new() }.into());
    }
    if !args.yes {
        eprint!("{}", plan::text(&lines));
        if !agreed("reset", NOTHING)? {
            bail!("nothing was reset");
        }
    }
    let (backup, done) = match cluster {
        Some(cluster) => {
            cluster.execute().await?;
            let copies = "Reset. Before Concord starts on other machines, empty their data folders: the copies of stores there are of changelogs that are gone.\n";
            (None, copies.to_owned())
        }
        None => {
            let backup = folder::execute(&config, args.forget_links).await?;
            let name = backup.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let log = config.data_dir.join(FILE);
            let says = format!(
                "Reset. The log of before is {}. It holds customers' data: remove it once all is well. To go back to it (before people edit): stop Concord, and rename it to {}.\n",
                backup.display(),
                log.display()
            );
            (Some(name), says)
        }
    };
    tell(&args, &lines, backup.as_deref(), &done)?;
    Ok(true)
}

/// What is derived there, and what is not.
fn in_postgres(config: &Config) -> Vec<Line> {
    if !config.systems.values().any(|system| matches!(system.kind, Kind::Postgres(_))) {
        return Vec::new();
    }
    let golden = Fate::Anew("emptied at the next start, and filled from customers.unified and customers.conflicts");
    let outbox = Fate::Stays("what people did while Concord was off is in it");
    vec![Line::new("postgres", "the golden tables", golden), Line::new("postgres", "the outbox and the fence", outbox)]
}

fn tell(args: &Reset, lines: &[Line], backup: Option<&str>, says: &str) -> anyhow::Result<()> {
    if args.json {
        let done = args.execute && !lines.is_empty();
        return stdout::print(format_args!("{:#}\n", plan::json(lines, done, backup)));
    }
    stdout::print(format_args!("{}{says}", plan::text(lines)))
}
