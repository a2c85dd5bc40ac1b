//! `concord validate`: is the configuration right, and can everything in it be reached?

use crate::{
    config::{Config, Env, Kafka, Kind, Need, Overrides},
    stdout,
};
use anyhow::Context;
use clients::{
    postgres::{Table, message},
    stripe,
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::time::Duration;

/// One thing that was looked at.
struct Check {
    what: String,
    error: Option<String>,
}

pub async fn run(overrides: &Overrides, env: &Env, offline: bool, as_json: bool) -> anyhow::Result<bool> {
    let config = match Config::load(overrides, env, Need::Everything) {
        Ok(config) => config,
        Err(error) if as_json => {
            let checks: Vec<_> = error.mistakes.iter().map(|m| json!({"what": "configuration", "error": m})).collect();
            stdout::print(format_args!("{:#}\n", json!({"ok": false, "checks": checks})))?;
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    };
    let mut checks = vec![Check { what: format!("configuration ({})", config.source), error: None }];
    if !offline {
        if let Some(kafka) = &config.kafka {
            let error = brokers(kafka, &config.application_id).await.err().map(|error| format!("{error:#}"));
            checks.push(Check { what: "brokers".into(), error });
        }
        for (name, system) in &config.systems {
            let error = match &system.kind {
                Kind::Postgres(table) => postgres(&config, table).await.err(),
                Kind::Stripe(account) => match &account.options {
                    Some(options) => vendor(options.clone()).await.err(),
                    None => None,
                },
                Kind::Topic => None,
            };
            checks.push(Check { what: format!("{name} ({})", system.kind.name()), error });
        }
    }
    let ok = checks.iter().all(|check| check.error.is_none());
    if as_json {
        let checks: Vec<_> = checks.iter().map(|c| json!({"what": c.what, "error": c.error})).collect();
        stdout::print(format_args!("{:#}\n", json!({"ok": ok, "checks": checks})))?;
    } else {
        for check in &checks {
            match &check.error {
                None => stdout::print(format_args!("ok     {}\n", check.what))?,
                Some(error) => stdout::print(format_args!("WRONG  {}: {error}\n", check.what))?,
            }
        }
    }
    Ok(ok)
}

async fn brokers(kafka: &Kafka, application_id: &str) -> anyhow::Result<()> {
    kafka.reach(application_id).await?.topic_states().await.map(drop).context("asking for topics")
}

async fn postgres(config: &Config, table: &clients::postgres::TableConfig) -> Result<(), String> {
    let url = config.database_url.as_ref().map(|url| url.reveal().to_string()).unwrap_or_default();
    // sqlx's own message may repeat the string that it was given.
    let connect = async { PgConnection::connect(&url).await.map_err(|e| format!("DATABASE_URL: {}", without(&message(&e), &url))) };
    let mut db = tokio::time::timeout(Duration::from_secs(10), connect)
        .await
        .map_err(|_| "DATABASE_URL: no answer within 10 seconds".to_string())??;
    if table.owned {
        return Ok(());
    }
    Table::inspect(&mut db, table).await.map(drop).map_err(|e| e.to_string())
}

fn without(text: &str, secret: &str) -> String {
    if secret.is_empty() { text.into() } else { text.replace(secret, "(DATABASE_URL)") }
}

async fn vendor(options: stripe::Options) -> Result<(), String> {
    let client = stripe::Client::new(options).map_err(|e| e.to_string())?;
    client.list(&stripe::ListQuery { limit: Some(1), ..stripe::ListQuery::default() }).await.map(drop).map_err(|e| e.to_string())
}
