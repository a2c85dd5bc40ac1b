//! Where a command that changes the log goes: to the process that has it, or to its folder where none runs.

use crate::{
    cli::Server,
    client::{self, Client},
    config::{Config, Env, Need, Overrides},
};
use anyhow::bail;
use std::path::Path;

pub enum Target {
    Process(Client),
    /// Nothing runs, and there is a log in the data folder.
    Folder(Box<Config>),
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
        if config.kafka.is_some() {
            return Err(absent.context("nothing runs here, and the log is on Kafka: name a running process with --url"));
        }
        if !config.data_dir.join("log.sqlite").exists() {
            return Err(absent.context(format!("nothing runs, and there is no log in {} either", config.data_dir.display())));
        }
        Ok(Target::Folder(Box::new(config)))
    }
}

/// The data folder, for commands that work on the embedded log only. `instead`: what to do on Kafka.
pub fn folder<'a>(config: &'a Config, instead: &str) -> anyhow::Result<&'a Path> {
    match &config.kafka {
        Some(_) => bail!("this command reads a data folder, and the log is on Kafka: {instead}"),
        None => Ok(&config.data_dir),
    }
}
