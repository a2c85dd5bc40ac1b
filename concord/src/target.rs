//! Where a command that changes the log goes: to the process that has it, or to the log itself where none runs.

use crate::{
    cli::Server,
    client::{self, Client},
    config::{Config, Env, Need, Overrides},
};
use anyhow::bail;
use streams::{
    Log,
    embedded::{self, Options},
};

pub enum Target {
    Process(Client),
    /// Nothing runs here.
    Log(Box<Config>, Log),
}

impl Target {
    pub async fn find(server: &Server, overrides: &Overrides, env: &Env) -> anyhow::Result<Target> {
        let client = Client::new(server, overrides, env)?;
        let absent = match client.ask("/healthz", &[]).await {
            Ok((200, _)) => return Ok(Target::Process(client)),
            Ok((status, body)) => bail!("the process answered {status}: {body}"),
            Err(absent) if client::nobody_listens(&absent) => absent,
            Err(error) => return Err(error),
        };
        if server.url.is_some() {
            return Err(absent);
        }
        let config = Config::load(overrides, env, Need::Shape)?;
        if let Some(kafka) = &config.kafka {
            // Processes elsewhere may be at work: what goes to the brokers needs none of them, and hinders none.
            let log = Log::from(kafka.reach(&config.application_id).await?);
            return Ok(Target::Log(Box::new(config), log));
        }
        if !config.data_dir.join("log.sqlite").exists() {
            return Err(absent.context(format!("nothing runs, and there is no log in {} either", config.data_dir.display())));
        }
        let log = embedded::Log::open(&config.data_dir, Options::default())?.into();
        Ok(Target::Log(Box::new(config), log))
    }
}
