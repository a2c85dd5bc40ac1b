//! Where records go: to the running process, or straight into the log where none runs.

use super::args::Args;
use crate::{
    client::Client,
    config::{Env, Overrides},
    moment::now,
    registry::Service,
    target,
    topics::{Batch, Outcome, Publisher, schemas_topic},
};
use anyhow::bail;
use streams::embedded::Append;

pub struct Target {
    topic: String,
    hands: Hands,
}

enum Hands {
    Process(Client),
    Log(Publisher),
}

/// A batch that is encoded.
pub enum Prepared {
    Body(String),
    Append(Append, Outcome),
}

impl Target {
    pub async fn find(args: &Args, overrides: &Overrides, env: &Env) -> anyhow::Result<Target> {
        let hands = match target::Target::find(&args.server, overrides, env).await? {
            target::Target::Process(client) => Hands::Process(client),
            target::Target::Log(config, log) => {
                let schemas = schemas_topic(&config);
                if log.partitions(schemas).is_none() {
                    bail!("nothing is set up in this log yet: `concord run` does it");
                }
                let schemas = Service::open(log.clone(), schemas).await?;
                Hands::Log(Publisher::new(log, schemas.registry().clone(), &config.systems))
            }
        };
        Ok(Target { topic: args.topic.clone(), hands })
    }

    /// Encodes a batch; nothing is sent yet.
    pub fn prepare(&self, batch: &Batch) -> anyhow::Result<Prepared> {
        Ok(match &self.hands {
            Hands::Process(_) => Prepared::Body(serde_json::to_string(batch)?),
            Hands::Log(publisher) => {
                let (append, outcome) = publisher.encode(&self.topic, batch, now())?;
                Prepared::Append(append, outcome)
            }
        })
    }

    /// Publishes it. It is in the log when this returns.
    pub async fn send(&self, prepared: Prepared) -> anyhow::Result<Outcome> {
        match (&self.hands, prepared) {
            (Hands::Process(client), Prepared::Body(body)) => {
                let (status, body) = client.post_text(&format!("/api/v1/topics/{}/records", self.topic), body).await?;
                if status != 200 {
                    bail!("{}", body["detail"].as_str().unwrap_or(&body.to_string()));
                }
                Ok(serde_json::from_value(body)?)
            }
            (Hands::Log(publisher), Prepared::Append(append, outcome)) => {
                publisher.append(append).await?;
                Ok(outcome)
            }
            _ => bail!("a batch was prepared for another target"),
        }
    }
}
