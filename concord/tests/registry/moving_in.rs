//! A `_schemas` topic that a registry of Confluent's wrote is taken as it is; and ours is what theirs reads.

use crate::server::Server;
use serde_json::json;
use streams::{
    ProducerRecord, TopicPartition,
    embedded::{Append, Log, Options, TopicConfig},
};

fn record(key: &str, value: Option<&str>) -> ProducerRecord {
    let key = key.to_owned();
    match value {
        Some(value) => ProducerRecord::new("_schemas", key, value.to_owned()),
        None => ProducerRecord::tombstone("_schemas", key),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_of_confluents_registry_is_taken_over() {
    let mut server = Server::prepared();
    let log = Log::open(&server.data, Options::default()).unwrap();
    log.create_topic(TopicConfig::compact("_schemas", 1)).unwrap();
    let json_schema =
        r#"{"subject":"j-value","version":1,"id":5,"md5":"x","schemaType":"JSON","schema":"{\"type\":\"object\"}","deleted":false}"#;
    let strange = r#"{"subject":"s-value","version":1,"id":6,"schema":"{\"type\":\"record\",\"name\":\"S\",\"fields\":[{\"name\":\"a\",\"type\":\"int\",\"default\":\"x\"}]}","deleted":false}"#;
    let referring = r#"{"subject":"r-value","version":1,"id":4,"references":[{"name":"O","subject":"o-value","version":1}],"schema":"[\"null\",\"O\"]","deleted":false}"#;
    let with_rules = r#"{"subject":"w-value","version":1,"id":7,"md5":"y","metadata":{"properties":{"owner":"ada"}},"schema":"\"string\"","deleted":false}"#;
    let records = [
        record(r#"{"keytype":"NOOP","magic":0}"#, None),
        record(r#"{"keytype":"CONFIG","magic":0}"#, Some(r#"{"compatibilityLevel":"FULL","compatibilityGroup":"app.version"}"#)),
        record(
            r#"{"keytype":"SCHEMA","subject":"o-value","version":1,"magic":1}"#,
            Some(
                r#"{"subject":"o-value","version":1,"id":2,"md5":"z","schema":"{\"type\":\"record\",\"name\":\"O\",\"fields\":[]}","deleted":false,"ts":1}"#,
            ),
        ),
        record(
            r#"{"keytype":"SCHEMA","subject":"d-value","version":1,"magic":1}"#,
            Some(r#"{"subject":"d-value","version":1,"id":3,"schema":"\"int\"","deleted":false}"#),
        ),
        record(r#"{"keytype":"DELETE_SUBJECT","subject":"d-value","magic":0}"#, Some(r#"{"subject":"d-value","version":1}"#)),
        record(r#"{"keytype":"SCHEMA","subject":"r-value","version":1,"magic":1}"#, Some(referring)),
        record(r#"{"keytype":"SCHEMA","subject":"j-value","version":1,"magic":0}"#, Some(json_schema)),
        record(r#"{"keytype":"SCHEMA","subject":"s-value","version":1,"magic":1}"#, Some(strange)),
        record(r#"{"keytype":"SCHEMA","subject":"w-value","version":1,"magic":1}"#, Some(with_rules)),
        record(r#"{"keytype":"MODE","subject":"r-value","magic":0}"#, Some(r#"{"subject":"r-value","mode":"READONLY"}"#)),
        record(r#"{"keytype":"CONTEXT","tenant":"default","context":".","magic":0}"#, Some(r#"{"tenant":"default","context":"."}"#)),
    ];
    log.append_blocking(Append::of(records)).unwrap();
    log.close();
    server.start().await;
    let get = async |path: &str| server.ask("GET", path, None).await;
    assert_eq!(get("/subjects").await.1, json!(["j-value", "o-value", "r-value", "s-value", "w-value"]));
    assert_eq!(get("/subjects?deletedOnly=true").await.1, json!(["d-value"]));
    assert_eq!(get("/config").await.1["compatibilityLevel"], "FULL");
    assert_eq!(get("/mode/r-value").await.1, json!({"mode": "READONLY"}));
    // Of another type, or too strange for our parser: shown as it is.
    assert_eq!(get("/schemas/ids/5").await.1, json!({"schemaType": "JSON", "schema": "{\"type\":\"object\"}"}));
    assert!(get("/schemas/ids/6").await.1["schema"].as_str().unwrap().contains("\"default\":\"x\""));
    assert_eq!(get("/schemas/ids/7").await.1["metadata"], json!({"properties": {"owner": "ada"}}));
    assert_eq!(get("/subjects/o-value/versions/1/referencedby").await.1, json!([4]));
    // Known schemas keep their ids, new ones go on behind the highest.
    let post = async |subject: &str, schema: &str| {
        server.ask("POST", &format!("/subjects/{subject}/versions"), Some(&json!({"schema": schema}))).await
    };
    assert_eq!(post("n-value", r#"{"type":"record","name":"O","fields":[]}"#).await.1["id"], 2);
    assert_eq!(post("n2-value", "\"long\"").await.1["id"], 8);
    assert_eq!(post("j-value", "\"long\"").await.1["error_code"], 40901, "an Avro schema cannot follow one of type JSON");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_what_confluents_registry_reads() {
    let mut server = Server::running().await;
    for (method, path, body) in [
        ("POST", "/subjects/a-value/versions", Some(json!({"schema": "{ \"type\": \"string\" }"}))),
        ("PUT", "/config/a-value", Some(json!({"compatibility": "NONE"}))),
        ("POST", "/subjects/a-value/versions", Some(json!({"schema": "\"int\""}))),
        ("PUT", "/mode/b", Some(json!({"mode": "READONLY"}))),
        ("DELETE", "/subjects/a-value/versions/1", None),
        ("DELETE", "/subjects/a-value/versions/1?permanent=true", None),
        ("DELETE", "/subjects/a-value", None),
    ] {
        let (status, answer) = server.ask(method, path, body.as_ref()).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
    }
    server.kill();
    let log = Log::open(&server.data, Options::default()).unwrap();
    let text = |bytes: Option<bytes::Bytes>| bytes.map_or("null".into(), |bytes| String::from_utf8(bytes.to_vec()).unwrap());
    let records = log.read(&TopicPartition::new("_schemas", 0), 0, 100, 1 << 20).unwrap();
    let mut lines: Vec<String> = records.into_iter().map(|r| format!("{} {}", text(r.key), text(r.value))).collect();
    // What compaction has removed meanwhile may be missing.
    lines.retain(|line| !line.contains("\"version\":1,\"magic\":1} {"));
    let wanted = [
        r#"{"keytype":"CONFIG","subject":"a-value","magic":0} {"compatibilityLevel":"NONE"}"#,
        r#"{"keytype":"SCHEMA","subject":"a-value","version":2,"magic":1} {"subject":"a-value","version":2,"id":2,"schema":"\"int\"","deleted":false}"#,
        r#"{"keytype":"MODE","subject":"b","magic":0} {"subject":"b","mode":"READONLY"}"#,
        r#"{"keytype":"NOOP","magic":0} {"lastId":2}"#,
        r#"{"keytype":"SCHEMA","subject":"a-value","version":1,"magic":1} null"#,
        r#"{"keytype":"DELETE_SUBJECT","subject":"a-value","magic":0} {"subject":"a-value","version":2}"#,
    ];
    assert_eq!(lines, wanted);
}
