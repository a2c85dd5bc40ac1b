//! What a registry of somebody else's would say to the schemas of this build: for `concord deploy`.

use super::{
    place::Entry,
    publish::{self, State},
    registry::Client,
};
use crate::config::RemoteConfig;
use anyhow::bail;
use schemas::Registry;

pub enum Found {
    There,
    /// So many versions are there before it.
    New {
        after: usize,
    },
    Refused(String),
}

/// By subject. Nothing is changed.
pub async fn plan(remote: &RemoteConfig, ours: &Registry) -> anyhow::Result<Vec<(String, Found)>> {
    let client = answering(remote).await?;
    let entry = |subject: String| {
        let (_, schema) = ours.latest(&subject)?;
        Some(Entry::new(subject, "this build", schema))
    };
    let planned = publish::plan(&client, ours.subjects().into_iter().filter_map(entry).collect()).await?;
    let found = |state| match state {
        State::There { .. } | State::Done { .. } => Found::There,
        State::New { after } => Found::New { after },
        State::Refused(verdict) => Found::Refused(verdict.why()),
    };
    Ok(planned.into_iter().map(|it| (it.entry.name, found(it.state))).collect())
}

/// The first of its addresses that answers.
async fn answering(remote: &RemoteConfig) -> anyhow::Result<Client> {
    let mut silent = Vec::new();
    for url in remote.url.split(',') {
        let client = Client::with(url.trim(), remote.basic.as_ref())?;
        match client.subjects().await {
            Ok(_) => return Ok(client),
            Err(error) => silent.push(format!("{error:#}")),
        }
    }
    bail!("{}", silent.join("; "))
}
