//! `ksql/`, checked without a ksqlDB: every statement against the topics and schemas that the topology really has, and
//! against those of ksqlDB's rules that are easily broken.

mod check;
mod expressions;
mod lexer;
mod parser;
mod syntax;
mod types;

use check::{Catalog, Source, Topic};
use schemas::{Registry, System, registry::value_subject};
use serde_json::Value as Json;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use syntax::Statement;
use topology::customers::{self, Cleanup, Config, SystemConfig, topics};
use types::Type;

/// Of every topic, unless configured otherwise.
const PARTITIONS: i32 = 4;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ksql").join(name)
}

/// The folder's entries with this ending, in order of name.
fn entries(name: &str, ending: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder(name)).unwrap().map(|entry| entry.unwrap().path());
    let mut entries: Vec<_> = all.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
    entries.sort();
    assert!(!entries.is_empty(), "{name} is empty");
    entries
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What Concord has by default: the product and Stripe.
fn config() -> Config {
    let systems = ["product", "stripe"].map(|name| SystemConfig::connector(System::new(name).unwrap()));
    Config { partitions: PARTITIONS, ..Config::new("concord", systems.into()) }
}

/// Topics whose records can become dead letters: all that are processed.
fn dead_letters(config: &Config) -> BTreeSet<String> {
    let all = topics::topics(config).into_iter().map(|topic| topic.name);
    all.filter(|name| name != topics::UNIFIED && name != topics::CONFLICTS).map(|name| format!("{name}.dlq")).collect()
}

/// Nothing made yet, over the topics and schemas as the topology registers them.
fn empty() -> Catalog {
    let (config, registry) = (config(), Registry::new());
    customers::build(&config, &registry).unwrap();
    let mut known = BTreeMap::new();
    for topic in topics::topics(&config) {
        let (_, schema) = registry.latest(&value_subject(&topic.name)).unwrap();
        let value = Some(types::of_avro(&serde_json::from_str(schema.text()).unwrap()));
        known.insert(topic.name, Topic { partitions: topic.partitions.into(), is_compacted: topic.cleanup == Cleanup::Compact, value });
    }
    for name in dead_letters(&config) {
        known.insert(name, Topic { partitions: PARTITIONS.into(), is_compacted: false, value: None });
    }
    use streams::dlq_headers::{EXCEPTION, MESSAGE, OFFSET, PARTITION, TOPIC};
    Catalog::new(known, vec![EXCEPTION, MESSAGE, TOPIC, PARTITION, OFFSET])
}

/// After all migrations.
fn migrated() -> Catalog {
    let mut catalog = empty();
    for path in entries("migrations", ".sql") {
        catalog.run(&read(&path)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    }
    catalog
}

#[test]
fn the_migrations_fit_the_topics_and_schemas_of_concord() {
    let example = read(&folder("../concord.example.toml"));
    assert!(example.contains(&format!("# partitions = {PARTITIONS} ")), "the default is another number now");
    for path in entries("migrations", ".sql") {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("V00000") && name[7..].starts_with("__"), "{name} is not named as ksql-migrations wants it");
    }
    let read: BTreeSet<String> = migrated().sources.into_values().map(|source| source.topic).collect();
    let told = topics::topics(&config()).into_iter().map(|topic| topic.name).filter(|name| {
        let is_internal = name.starts_with("requests.") || name == topics::IDENTIFY || name == topics::UNIFY;
        !is_internal
    });
    for topic in told.chain(dead_letters(&config())) {
        assert!(read.contains(&topic), "no statement is about {topic}");
    }
}

#[test]
fn the_queries_fit_the_migrations() {
    for path in entries("queries", ".sql") {
        let (sql, mut catalog) = (read(&path), migrated());
        catalog.run(&sql).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let statements = parser::statements(&sql).unwrap().into_iter();
        let defined: BTreeSet<String> =
            statements.filter_map(|(s, _)| if let Statement::Define(name) = s { Some(name.to_lowercase()) } else { None }).collect();
        let used = sql.split("${").skip(1).map(|rest| rest.split('}').next().unwrap().to_string()).collect();
        assert_eq!(defined, used, "{}", path.display());
    }
}

#[test]
fn the_tests_are_about_the_migrations() {
    let catalog = migrated();
    let migrations = entries("migrations", ".sql");
    let shipped: Vec<Statement> =
        migrations.iter().flat_map(|path| parser::statements(&read(path)).unwrap()).map(|(statement, _)| statement).collect();
    for test in entries("tests", "") {
        let at = |what: &str| format!("{} {what}", test.display());
        let (mut read_topics, mut written_topics) = (BTreeSet::new(), BTreeSet::new());
        for (statement, line) in parser::statements(&read(&test.join("statements.sql"))).unwrap() {
            assert!(shipped.contains(&statement), "{}", at(&format!("line {line}: no migration says this")));
            match statement {
                Statement::CreateSource { name, .. } => read_topics.insert(catalog.sources[&name].topic.clone()),
                Statement::CreateAs { name, .. } => written_topics.insert(catalog.sources[&name].topic.clone()),
                _ => false,
            };
        }
        for (file, list, topics) in [("input.json", "inputs", read_topics), ("output.json", "outputs", written_topics)] {
            let json: Json = serde_json::from_str(&read(&test.join(file))).unwrap();
            let records = json[list].as_array().unwrap();
            let used: BTreeSet<String> = records.iter().map(|record| record["topic"].as_str().unwrap().into()).collect();
            assert_eq!(used, topics, "{}", at(file));
            for (n, record) in records.iter().enumerate() {
                fits(record, &catalog).unwrap_or_else(|why| panic!("{}", at(&format!("{file} {n}: {why}"))));
            }
        }
    }
}

/// Whether a record of a test has the columns of its topic's stream or table, all of them, and their types.
fn fits(record: &Json, catalog: &Catalog) -> Result<(), String> {
    let topic = record["topic"].as_str().ok_or("no topic")?;
    let of_topic = |source: &&Source| source.topic == topic && !source.is_lookup;
    let source = catalog.sources.values().find(of_topic).ok_or_else(|| format!("nothing has {topic}"))?;
    if !record["key"].is_string() || !record["timestamp"].is_u64() || record["window"].is_object() != source.is_windowed {
        return Err("key, timestamp or window".into());
    }
    if record["value"].is_null() && source.is_table {
        return Ok(());
    }
    let values = source.columns.iter().filter(|(name, _)| Some(name) != source.key.as_ref()).cloned().collect();
    is_of(&record["value"], &Type::Struct(values))
}

fn is_of(json: &Json, of: &Type) -> Result<(), String> {
    let fine = match (json, of) {
        (Json::Null, _) | (Json::Bool(_), Type::Boolean) | (Json::String(_), Type::String) => true,
        (Json::Number(n), Type::Integer | Type::Bigint | Type::Timestamp) => n.is_i64(),
        (Json::Array(items), Type::Array(of)) => return items.iter().try_for_each(|item| is_of(item, of)),
        (Json::Object(map), Type::Map(_, of)) => return map.values().try_for_each(|value| is_of(value, of)),
        (Json::Object(map), Type::Struct(fields)) => {
            if map.keys().collect::<BTreeSet<_>>() != fields.iter().map(|(name, _)| name).collect() {
                return Err(format!("{:?} where {of} is", map.keys()));
            }
            return fields.iter().try_for_each(|(name, of)| is_of(&map[name], of));
        }
        _ => false,
    };
    if fine { Ok(()) } else { Err(format!("{json} is no {of}")) }
}

/// The first migration and a query of everything, with one thing changed.
fn with(from: &str, to: &str) -> String {
    let shipped = read(&folder("migrations/V000001__customers.sql"));
    assert!(shipped.contains(from), "{from:?} is not there any more");
    let changed = shipped.replacen(from, to, 1);
    empty().run(&changed).expect_err(&format!("{to:?} was not noticed"))
}

#[test]
fn what_would_not_work_is_noticed() {
    for (from, to, why) in [
        // Topics and schemas.
        ("KAFKA_TOPIC = 'customers.product'", "KAFKA_TOPIC = 'customers.products'", "Concord has no topic customers.products"),
        (
            "ASSERT TOPIC 'customers.stripe' WITH (PARTITIONS = 4)",
            "ASSERT TOPIC 'customers.stripe' WITH (PARTITIONS = 8)",
            "4 partitions, not 8",
        ),
        ("ASSERT TOPIC 'links.stripe' WITH (PARTITIONS = 4) TIMEOUT 30 SECONDS;", "", "no ASSERT TOPIC 'links.stripe' before"),
        ("ASSERT SCHEMA SUBJECT 'links.stripe-value' TIMEOUT 30 SECONDS;", "", "no ASSERT SCHEMA SUBJECT 'links.stripe-value' before"),
        ("ASSERT SCHEMA SUBJECT 'links.stripe-value'", "ASSERT SCHEMA SUBJECT 'links.stripe-key'", "not named by its topic"),
        ("look TIMESTAMP", "looked TIMESTAMP", "the schema has no field LOOKED"),
        ("look TIMESTAMP", "look BIGINT", "LOOK: declared as BIGINT, but the schema has TIMESTAMP"),
        ("postal_code STRING", "zip STRING", "the schema has no field ZIP"),
        ("`STRING` STRING, address", "text STRING, address", "the schema has no field TEXT"),
        ("  `ORDER` BIGINT", "  `order` BIGINT", "the schema has no field order"),
        // Keys and formats.
        ("external_id STRING KEY", "external_id BIGINT KEY", "the key is one STRING"),
        ("id STRING PRIMARY KEY,\n  version", "id STRING KEY,\n  version", "PRIMARY KEY of a table"),
        ("KEY_FORMAT = 'KAFKA', VALUE_FORMAT = 'AVRO');", "KEY_FORMAT = 'AVRO', VALUE_FORMAT = 'AVRO');", "keys are plain text"),
        ("VALUE_FORMAT = 'AVRO');", "VALUE_FORMAT = 'JSON');", "'JSON' does not fit"),
        (
            "CREATE STREAM conflicts (\n  customer STRING KEY",
            "CREATE TABLE conflicts (\n  customer STRING PRIMARY KEY",
            "customers.conflicts forgets",
        ),
        ("TIMESTAMP = '`AT`'", "TIMESTAMP = 'at_time'", "there is no TIMESTAMP at_time"),
        ("  `AT` TIMESTAMP", "  at TIMESTAMP", "AT is a keyword"),
        // What is written.
        ("PARTITIONS = 4, REPLICAS = 1", "REPLICAS = 1", "PARTITIONS is not pinned"),
        ("PARTITIONS = 4, REPLICAS = 1", "PARTITIONS = 4", "REPLICAS is not pinned"),
        ("KAFKA_TOPIC = 'ksql.customers'", "KAFKA_TOPIC = 'customers.unified'", "begin with ksql."),
        ("KAFKA_TOPIC = 'ksql.snapshots'", "KAFKA_TOPIC = 'ksql.customers'", "ksql.customers is written already"),
        ("SELECT external_id, 'stripe' AS system", "SELECT external_id, 'stripe' AS name", "into"),
        ("  FROM customers_stripe\n  EMIT CHANGES;", "  FROM customers_stripe;", "no EMIT CHANGES"),
        // Tables, streams and aggregates.
        ("COUNT(*) AS customers,\n    SUM", "MAX(version) AS customers,\n    SUM", "MAX cannot take back"),
        ("COLLECT_LIST(id) AS ids", "LATEST_BY_OFFSET(id) AS ids", "LATEST_BY_OFFSET cannot take back"),
        ("COLLECT_LIST(id) AS ids", "id AS ids", "ID is neither grouped by nor aggregated"),
        ("CASE WHEN deleted THEN 'deleted' ELSE 'live' END AS state", "version AS state", "used for text only"),
        ("WHERE email IS NOT NULL\n  GROUP BY email", "GROUP BY ids", "EMAIL is neither grouped by nor aggregated"),
        ("  GROUP BY email\n  HAVING COUNT(*) > 1\n", "", "an aggregate without GROUP BY"),
        ("CREATE STREAM snapshots", "CREATE TABLE snapshots", "of the other kind"),
        ("CREATE TABLE freshness_per_system", "CREATE STREAM freshness_per_system", "a stream is not grouped"),
        (
            "  FROM customers\n  GROUP BY state",
            "  FROM customers WINDOW TUMBLING (SIZE 1 DAYS, RETENTION 2 DAYS, GRACE PERIOD 1 HOURS)\n  GROUP BY state",
            "no windows",
        ),
        ("SELECT external_id, 'product' AS system", "SELECT TRIM(external_id) AS external_id, 'product' AS system", "is not selected"),
        // Expressions.
        ("f->field = 'email'", "f->fields = 'email'", "there is no field FIELDS"),
        ("[1]->value->`STRING`", "[1]->value", "LCASE"),
        ("r => NOT r->deleted AND NOT r->in_step", "r => r->system", "does not take a lambda to STRING"),
        ("WHEN behind > 0 THEN", "WHEN behind THEN", "BOOLEAN is needed, not INTEGER"),
        ("MAX(look)", "MAX(outcome)", "there is none for (STRING)"),
        ("FROM snapshots\n", "FROM snapshot\n", "there is no stream or table SNAPSHOT"),
    ] {
        let said = with(from, to);
        assert!(said.contains(why), "{to:?}: {said}");
    }
}

#[test]
fn a_query_of_what_is_not_there_is_noticed() {
    for (sql, why) in [
        ("SELECT id FROM customers_unified WHERE id = 'x';", "answers push queries only"),
        ("SELECT nme FROM customer_lookup;", "there is no column NME"),
        ("SELECT COUNT(*) AS n FROM conflicts EMIT CHANGES;", "an aggregate without GROUP BY"),
        ("SELECT id FROM customer_lookup", "; is missing"),
        ("CREATE STREAM customers (raw BYTES) WITH (KAFKA_TOPIC = 'customers.unify.dlq', VALUE_FORMAT = 'KAFKA');", "no ASSERT TOPIC"),
        ("ASSERT TOPIC 'links.x.dlq';", "Concord has no topic links.x.dlq"),
    ] {
        let said = migrated().run(sql).expect_err(sql);
        assert!(said.contains(why), "{sql}: {said}");
    }
}
