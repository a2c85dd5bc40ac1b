//! Data written with another version of a schema is still read.

use schemas::{generic, *};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Visit {
    page: String,
    /// Was `int` in the first version.
    count: i64,
    /// Came later. Its default is the schema's, whatever serde's would be.
    source: Option<String>,
    kind: Kind,
    /// Was called `mark` once.
    stamp: Option<Stamp>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    #[serde(rename = "human")]
    Human,
    #[serde(rename = "other")]
    Other,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Stamp {
    at: i64,
}

const FIRST: &str = r#"{"type":"record","name":"Visit","fields":[
    {"name":"count","type":"int"},{"name":"page","type":"string"},{"name":"secret","type":{"type":"map","values":"string"}},
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["human","robot"]}},
    {"name":"mark","type":["null",{"type":"record","name":"Stamp","fields":[{"name":"at","type":"int"}]}]}]}"#;
const SECOND: &str = r#"{"type":"record","name":"Visit","fields":[
    {"name":"page","type":"string"},{"name":"count","type":"long"},{"name":"source","type":["string","null"],"default":"direct"},
    {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["human","other"],"default":"other"}},
    {"name":"stamp","aliases":["mark"],"type":["null",{"type":"record","name":"Stamp","fields":[{"name":"at","type":"long"}]}],
     "default":null}]}"#;

#[test]
fn bytes_of_an_older_version_are_read_as_the_newer_says() {
    let registry = Registry::new();
    registry.register("visits-value", FIRST).unwrap();
    let old = registry
        .encode_json(
            "visits-value",
            &serde_json::json!({"count": 3, "page": "/", "secret": {"k": "v"}, "kind": "robot", "mark": {"at": 12}}),
        )
        .unwrap();
    let codec = registry.codec_with_schema::<Visit>("visits-value", SECOND).unwrap();
    assert_eq!(codec.id(), 2);
    let expected = Visit { page: "/".into(), count: 3, source: Some("direct".into()), kind: Kind::Other, stamp: Some(Stamp { at: 12 }) };
    assert_eq!(codec.decode(&old).unwrap(), expected);
    assert_eq!(codec.decode(&codec.encode(&expected).unwrap()).unwrap(), expected);
    assert!(matches!(codec.decode(&old[..old.len() - 1]), Err(CodecError::Datum { id: 1, .. })));
    assert!(matches!(codec.decode(&[&old[..], b"x"].concat()), Err(CodecError::Trailing { id: 1, bytes: 1 })));
}

#[test]
fn bytes_that_the_schema_cannot_read_say_where_and_why() {
    let registry = Registry::new();
    registry.register("others-value", r#"{"type":"record","name":"Visit","fields":[{"name":"page","type":"long"}]}"#).unwrap();
    let bytes = registry.encode_json("others-value", &serde_json::json!({"page": 1})).unwrap();
    let codec = registry.codec_with_schema::<Visit>("visits-value", SECOND).unwrap();
    assert_eq!(
        codec.decode(&bytes).unwrap_err().to_string(),
        "written with schema 1, which schema 2 cannot read: page: the writer's long cannot be read as string"
    );
}

/// Another text with the same bytes (documentation, say) takes no detour.
#[test]
fn every_message_is_read_from_an_undocumented_and_from_a_longer_version() {
    for (name, text) in all() {
        let registry = Registry::new();
        let mut json: serde_json::Value = serde_json::from_str(text).unwrap();
        json["doc"] = "Undocumented.".into();
        registry.register("t-value", &json.to_string()).unwrap();
        let fields = json["fields"].as_array_mut().unwrap();
        fields.insert(0, serde_json::json!({"name": "added", "type": "string", "default": "", "doc": "From a later version."}));
        registry.register("t-value", &json.to_string()).unwrap();
        assert_eq!(registry.register("t-value", text).unwrap().0, 3, "{name} can be rolled back");
    }
    let registry = Registry::new();
    let mut json: serde_json::Value = serde_json::from_str(SourceCustomer::SCHEMA).unwrap();
    let fields = json["fields"].as_array_mut().unwrap();
    fields.insert(0, serde_json::json!({"name": "added", "type": "string", "default": "", "doc": "From a later version."}));
    registry.register("t-value", &json.to_string()).unwrap();
    let newer = registry.encode_json("t-value", &serde_json::json!({"added": "x", "order": 5, "fields": {"name": "Ada"}})).unwrap();
    let codec = registry.codec::<SourceCustomer>("t-value").unwrap();
    let fields = CustomerFields { name: Some("Ada".into()), ..Default::default() };
    assert_eq!(codec.decode(&newer).unwrap(), SourceCustomer { order: Some(5), fields: Some(fields), ..Default::default() });
}

#[test]
fn generic_json_names_the_place_of_each_error() {
    let schema = Schema::parse(SourceCustomer::SCHEMA).unwrap();
    for (json, error) in [
        (r#"{"name":"Ada"}"#, r#"name: belongs inside "fields": {"fields": {"name": ...}}"#),
        (r#"{"fields":{"nmae":"Ada"}}"#, "fields.nmae: no such field; CustomerFields has name, email, phone, address, attributes"),
        (r#"{"fields":{"name":5}}"#, "fields.name: expected null or string, got 5"),
        (r#"{"fields":{"address":{"line1":[]}}}"#, "fields.address.line1: expected string, got an array"),
        (r#"{"fields":{"attributes":{"plan":null}}}"#, "fields.attributes.plan: expected string, got null"),
        (r#"{"notices":[{"time":0}]}"#, "notices[0].event_id: missing, and it has no default"),
        (
            r#"{"answer":{"write_id":"w","outcome":"maybe"}}"#,
            r#"answer.outcome: expected one of done, moved_on, refused, gone, held, got "maybe""#,
        ),
        (r#"{"look":1.5}"#, "look: expected long, got 1.5"),
        (r#"[]"#, "expected record SourceCustomer, got an array"),
    ] {
        assert_eq!(generic::from_json(&serde_json::from_str(json).unwrap(), &schema).unwrap_err().to_string(), error);
    }
    // Avro's own JSON is understood as well.
    let tagged = serde_json::json!({"fields": {"concord.CustomerFields": {"name": {"string": "Ada"}}}});
    let plain = serde_json::json!({"fields": {"name": "Ada"}});
    assert_eq!(generic::from_json(&tagged, &schema).unwrap(), generic::from_json(&plain, &schema).unwrap());
}
