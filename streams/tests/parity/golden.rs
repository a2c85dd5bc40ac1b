//! Reads a golden, does what its steps say, and compares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use streams::{BytesSerde, ConsumerRecord, Headers, ProducerRecord, Serde, TaskConfig, TestDriverConfig, Topology, TopologyTestDriver};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/goldens")
}

pub fn load(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

pub fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).expect("the folder of the goldens");
    let mut names: Vec<String> =
        files.filter_map(|file| file.ok()?.file_name().to_str()?.strip_suffix(".json").map(str::to_owned)).collect();
    names.sort_unstable();
    names
}

pub fn check(name: &str, topology: &Topology, task: TaskConfig) {
    let golden = load(name);
    assert_eq!(topology.describe().to_string(), golden["describe"].as_str().expect("a description"), "{name}: description");

    let built = Arc::new(topology.build("parity").expect("a topology"));
    assert_eq!(subtopologies(&built), golden["subtopologies"], "{name}: topics of the sub-topologies");

    let driver = TopologyTestDriver::with_built(built, TestDriverConfig { task, ..config(&golden) }).expect("a driver");
    for (number, (step, expected)) in list(&golden["steps"]).iter().zip(list(&golden["outputs"])).enumerate() {
        apply(&driver, step);
        let written = written(&driver);
        assert_eq!(&written, expected, "{name}: what step {number} wrote: {step}\n{written:#}");
    }
    for (store, expected) in golden["stores"].as_object().expect("stores") {
        let timestamped = list(expected).first().is_some_and(|entry| list(entry).len() == 3);
        assert_eq!(&entries(&driver, store, timestamped), expected, "{name}: store {store}");
    }
}

fn config(golden: &Value) -> TestDriverConfig {
    // Kafka Streams' own test driver has one partition of each topic, whatever the topology says.
    let repartition = list(&golden["subtopologies"]).iter().flat_map(|subtopology| list(&subtopology["repartition"]));
    let topic_partitions = repartition.map(|topic| (topic.as_str().expect("a name").to_owned(), 1)).collect();
    TestDriverConfig { application_id: "parity".to_owned(), topic_partitions, ..TestDriverConfig::default() }
}

fn subtopologies(built: &streams::BuiltTopology) -> Value {
    let sorted = |names: Vec<&str>| {
        let mut names = names;
        names.sort_unstable();
        names.dedup();
        json!(names)
    };
    let rows = built.subtopologies().iter().enumerate().map(|(id, subtopology)| {
        let changelogs = subtopology.stores.iter().filter_map(|store| built.stores()[*store].changelog_topic.as_deref()).collect();
        json!({
            "id": id,
            "sources": sorted(subtopology.source_topics.iter().map(|topic| &**topic).collect()),
            "sinks": sorted(subtopology.sink_topics.iter().map(|topic| &**topic).collect()),
            "repartition": sorted(subtopology.repartition_topics.iter().map(|topic| &*topic.name).collect()),
            "changelogs": sorted(changelogs),
        })
    });
    Value::Array(rows.collect())
}

fn apply(driver: &TopologyTestDriver, step: &Value) {
    if let Some(milliseconds) = step.get("advance") {
        driver.advance_wall_clock_time(Duration::from_millis(milliseconds.as_u64().expect("milliseconds"))).expect("time passes");
        return;
    }
    let mut headers = Headers::new();
    for header in list(&step["headers"]) {
        headers.add_nullable(header[0].as_str().expect("a name"), bytes(&header[1]));
    }
    let record = ProducerRecord {
        topic: step["topic"].as_str().expect("a topic").into(),
        partition: None,
        key: bytes(&step["key"]),
        value: bytes(&step["value"]),
        timestamp: step["timestamp"].as_i64().expect("a timestamp"),
        headers,
    };
    driver.append(record).expect("the record is processed");
}

fn written(driver: &TopologyTestDriver) -> Value {
    let mut topics = Map::new();
    for topic in driver.produced_topics() {
        let output = driver.create_output_topic::<Bytes, Bytes>(&topic, BytesSerde, BytesSerde);
        let records: Vec<Value> = std::iter::from_fn(|| output.read_raw().ok()).map(row).collect();
        if !records.is_empty() {
            topics.insert(topic.to_string(), Value::Array(records));
        }
    }
    Value::Object(topics)
}

fn row(record: ConsumerRecord) -> Value {
    let headers = record.headers.iter().map(|header| {
        // Class names and stack traces are Java's own.
        let javas = [streams::dlq_headers::EXCEPTION, streams::dlq_headers::MESSAGE, streams::dlq_headers::STACKTRACE];
        let value = if javas.contains(&header.key.as_str()) { json!("*") } else { json!(header.value.as_deref().map(hex)) };
        json!([header.key, value])
    });
    json!({
        "key": record.key.as_deref().map(hex),
        "value": record.value.as_deref().map(hex),
        "timestamp": record.timestamp,
        "headers": headers.collect::<Vec<_>>(),
    })
}

fn entries(driver: &TopologyTestDriver, store: &str, timestamped: bool) -> Value {
    let rows: BTreeMap<String, Value> = driver
        .store_entries(store)
        .expect("the store")
        .into_iter()
        .map(|(_, key, value)| {
            let key = hex(&key);
            let row = match value.split_first_chunk::<8>().filter(|_| timestamped) {
                Some((timestamp, value)) => json!([key, hex(value), i64::from_be_bytes(*timestamp)]),
                None => json!([key, hex(&value)]),
            };
            (key, row)
        })
        .collect();
    Value::Array(rows.into_values().collect())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &Value) -> Option<Bytes> {
    let hex = hex.as_str()?;
    let pairs = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits"));
    Some(pairs.collect::<Vec<u8>>().into())
}

/// Text that may be null.
pub fn nullable_text() -> impl Serde<Option<String>> + Copy + 'static {
    streams::Nullable(streams::StringSerde)
}
