//! Migrations of ksqlDB: applied in their order, each once.
//!
//! - [`files`]: those of this build; [`statements`]: what each is made of
//! - [`record`]: which are applied, as Confluent's `ksql-migrations` keeps it; [`server`]: the REST API

mod files;
mod record;
mod server;
mod statements;

use super::{
    Allow,
    plan::{State, Step},
};
use crate::config::{Config, KsqlDb};
use anyhow::Context;
use files::{Migration, migrations};
use record::{Entry, Found, MIGRATED, STREAM, TABLE};
use server::Server;
use statements::Statement;
use std::collections::BTreeMap;

/// Partitions of the topics that there will be when migrations are applied.
pub type Topics = BTreeMap<String, i32>;

/// The server, and what it has of the migrations of this build.
pub struct Deployment {
    server: Server,
    migrations: Vec<Migration>,
    found: Found,
    /// Why those failed that did.
    reasons: BTreeMap<u32, String>,
}

impl Deployment {
    pub async fn look(config: &KsqlDb) -> anyhow::Result<Deployment> {
        let server = Server::new(config)?;
        let migrations = migrations()?;
        let found = record::look(&server, &migrations).await.context("KSQLDB_URL")?;
        let mut reasons = BTreeMap::new();
        for version in found.versions.iter().filter(|(_, row)| row.state != MIGRATED).map(|(version, _)| *version) {
            reasons.extend(record::reason(&server, version).await.map(|reason| (version, reason)));
        }
        Ok(Deployment { server, migrations, found, reasons })
    }

    pub fn steps(&self, topics: &Topics, allow: &[Allow]) -> Vec<Step> {
        let metadata = match [(self.found.stream, STREAM), (self.found.table, TABLE)].map(|(there, name)| (!there).then_some(name)) {
            [None, None] => State::Same,
            missing => State::Create(missing.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        };
        let mut steps = vec![Step::new("ksqldb", "which migrations are applied", metadata)];
        steps.extend(self.migrations.iter().map(|migration| {
            let reason = self.reasons.get(&migration.version).map(String::as_str);
            Step::new("ksqldb", migration.title(), state(migration, &self.found, reason, topics, allow))
        }));
        steps
    }

    /// Applies what is not applied yet; none of it may be refused.
    pub async fn apply(mut self, config: &Config) -> anyhow::Result<()> {
        let replicas = config.kafka.as_ref().map(|kafka| kafka.replication_factor).filter(|factor| *factor > 0);
        record::initialise(&mut self.server, &self.found, replicas).await.context("KSQLDB_URL")?;
        let mut last = self.found.last().to_owned();
        for migration in &self.migrations {
            if self.found.versions.get(&migration.version).is_some_and(|row| row.state == MIGRATED) {
                continue;
            }
            let entry = Entry::begin(&mut self.server, migration, &last).await.context("KSQLDB_URL")?;
            tracing::info!(migration = migration.title(), "Applying a migration of ksqlDB.");
            if let Err(error) = run(&mut self.server, &migration.statements).await {
                let reason = format!("{error:#}");
                entry.failed(&mut self.server, &reason).await.with_context(|| format!("after {} failed: {reason}", migration.title()))?;
                return Err(error.context(format!("KSQLDB_URL: {} failed", migration.title())));
            }
            entry.end(&mut self.server).await.context("KSQLDB_URL")?;
            last = migration.version.to_string();
        }
        Ok(())
    }
}

async fn run(server: &mut Server, statements: &[Statement]) -> anyhow::Result<()> {
    let mut properties = BTreeMap::new();
    for statement in statements {
        match statement {
            Statement::Set { name, value } => drop(properties.insert(name.clone(), value.clone())),
            Statement::Unset(name) => drop(properties.remove(name)),
            Statement::Run(sql) => server.run(sql, &properties).await.with_context(|| format!("Failed to execute sql: {sql}"))?,
        }
    }
    Ok(())
}

fn state(migration: &Migration, found: &Found, reason: Option<&str>, topics: &Topics, allow: &[Allow]) -> State {
    match found.versions.get(&migration.version) {
        Some(row) if row.state == MIGRATED && row.checksum == migration.checksum => return State::Same,
        Some(row) if row.state == MIGRATED => {
            return State::Refused(format!(
                "another file of this version was applied (its MD5 is {}, this one's {}): what is applied is changed by a later migration only",
                row.checksum, migration.checksum
            ));
        }
        Some(row) if !allow.contains(&Allow::UnfinishedMigration) => {
            let reason = reason.map(|reason| format!(", {reason}")).unwrap_or_default();
            return State::Refused(format!(
                "it was begun, and is {}{reason}: drop what it made, then --allow unfinished-migration applies it again",
                row.state
            ));
        }
        _ => {}
    }
    if found.last().parse::<u32>().is_ok_and(|last| last > migration.version) {
        return State::Refused(format!("version {} was applied before it: migrations go in their order", found.last()));
    }
    let unmet = migration.topics().find_map(|(topic, wanted)| match (topics.get(topic), wanted) {
        (None, _) => Some(format!("there is no topic {topic}")),
        (Some(has), Some(wanted)) if *has != wanted => Some(format!("topic {topic} has {has} partitions, and it is for {wanted}")),
        _ => None,
    });
    match unmet {
        Some(unmet) => State::Refused(format!(
            "{unmet}: it is for the systems product and stripe with 4 partitions. Apply your own with ksql-migrations, and unset KSQLDB_URL"
        )),
        None => State::Create(format!("{} statements", migration.statements.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{NONE, Row};

    fn row(version: &str, state: &str, checksum: &str, previous: &str) -> Row {
        Row { version: version.into(), state: state.into(), checksum: checksum.into(), previous: previous.into() }
    }

    fn topics() -> Topics {
        migrations()
            .unwrap()
            .iter()
            .flat_map(|it| it.topics().map(|(topic, n)| (topic.to_owned(), n.unwrap_or(1))).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn what_was_applied_is_compared_and_what_is_unfinished_waits_for_a_person() {
        let migrations = migrations().unwrap();
        let judged = |found: &Found, n: usize, allow: &[Allow]| state(&migrations[n], found, Some("no such topic"), &topics(), allow);
        let mut found = Found { stream: true, table: true, ..Found::default() };
        assert_eq!(judged(&found, 0, &[]), State::Create(format!("{} statements", migrations[0].statements.len())));

        let first = row("1", MIGRATED, &migrations[0].checksum, NONE);
        found.current = Some(first.clone());
        found.versions.insert(1, first.clone());
        assert_eq!(judged(&found, 0, &[]), State::Same);
        found.versions.insert(1, row("1", MIGRATED, "abc", NONE));
        assert!(matches!(judged(&found, 0, &[]), State::Refused(why) if why.contains("its MD5 is abc")));
        found.versions.insert(1, first);

        for unfinished in ["ERROR", "RUNNING"] {
            found.current = Some(row("2", unfinished, "abc", "1"));
            found.versions.insert(2, row("2", unfinished, "abc", "1"));
            assert_eq!(found.last(), "1");
            let told = format!("it was begun, and is {unfinished}, no such topic: drop");
            assert!(matches!(judged(&found, 1, &[]), State::Refused(why) if why.starts_with(&told)));
            assert!(matches!(judged(&found, 1, &[Allow::UnfinishedMigration]), State::Create(_)), "the file may have been mended");
        }
    }

    #[test]
    fn one_that_comes_too_late_or_is_for_other_topics_is_refused_before_it_begins() {
        let migrations = migrations().unwrap();
        let later = Found { current: Some(row("7", MIGRATED, "abc", "1")), ..Found::default() };
        assert!(
            matches!(state(&migrations[1], &later, None, &topics(), &[]), State::Refused(why) if why.contains("version 7 was applied"))
        );
        let mut other = topics();
        other.insert("customers.unified".into(), 8);
        assert!(
            matches!(state(&migrations[0], &Found::default(), None, &other, &[]), State::Refused(why) if why.contains("has 8 partitions"))
        );
        other.remove("customers.stripe");
        assert!(
            matches!(state(&migrations[0], &Found::default(), None, &other, &[]), State::Refused(why) if why.contains("no topic customers.stripe"))
        );
    }
}
