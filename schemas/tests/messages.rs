//! The Rust types and the `.avsc` files say the same, both ways.

mod strategies;

use proptest::{prelude::*, sample::Index};
use schemas::{generic, *};

/// Rust → bytes → Rust; the bytes are a datum to apache-avro, too; and what apache-avro writes from plain JSON is the same value in Rust.
fn agrees<T: Message + PartialEq + std::fmt::Debug>(message: &T) {
    let registry = Registry::new();
    let codec = registry.codec::<T>("any-value").unwrap();
    let bytes = codec.encode(message).unwrap();
    assert_eq!(codec.decode(&bytes).unwrap(), *message);

    // The type stands as its schema does.
    let by_schema = registry.codec_with_schema::<T>("any-value", T::SCHEMA).unwrap();
    assert_eq!(by_schema.encode(message).unwrap(), bytes);
    assert_eq!(by_schema.decode(&bytes).unwrap(), *message);

    let schema = Schema::parse(T::SCHEMA).unwrap();
    let value = generic::decode(&bytes[wire_header()..], &schema).unwrap();
    let again = generic::encode(&value, &schema).unwrap();
    assert_eq!(codec.decode(&[&bytes[..wire_header()], &again].concat()).unwrap(), *message);

    let json = registry.decode_json(&bytes).unwrap();
    let from_json = registry.encode_json("any-value", &json).unwrap_or_else(|e| panic!("{e}\n{json}"));
    assert_eq!(codec.decode(&from_json).unwrap(), *message, "{json}");
}

/// Whatever bytes are made of a message's: they are read as by the schema, or not at all.
fn agrees_on_damage<T: Message + PartialEq + std::fmt::Debug>(message: &T, damage: &[(Index, u8)], cut: Index) {
    let registry = Registry::new();
    let (codec, by_schema) = (registry.codec::<T>("any-value").unwrap(), registry.codec_with_schema::<T>("any-value", T::SCHEMA).unwrap());
    let mut bytes = codec.encode(message).unwrap();
    for (at, byte) in damage {
        let at = wire_header() + at.index(bytes.len() - wire_header());
        bytes[at] = *byte;
        assert_eq!(codec.decode(&bytes), by_schema.decode(&bytes));
    }
    bytes.truncate(wire_header() + cut.index(bytes.len() - wire_header()));
    assert_eq!(codec.decode(&bytes), by_schema.decode(&bytes));
}

/// Bytes, and where they come in.
fn damage() -> impl Strategy<Value = Vec<(Index, u8)>> {
    prop::collection::vec((any::<Index>(), prop_oneof![any::<u8>(), 0u8..8]), 1..4)
}

fn wire_header() -> usize {
    schemas::wire::HEADER
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_agree(message in strategies::request()) { agrees(&message) }
    #[test]
    fn source_customers_agree(message in strategies::source_customer()) { agrees(&message) }
    #[test]
    fn links_agree(message in strategies::link()) { agrees(&message) }
    #[test]
    fn identify_messages_agree(message in strategies::identify()) { agrees(&message) }
    #[test]
    fn unify_messages_agree(message in strategies::unify()) { agrees(&message) }
    #[test]
    fn unified_customers_agree(message in strategies::unified()) { agrees(&message) }
    #[test]
    fn conflicts_agree(message in strategies::conflict()) { agrees(&message) }
}

/// A strategy's values and what shrinks them are large in a debug build, and a test's thread is small.
fn with_room(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().stack_size(32 << 20).spawn(test).unwrap();
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

#[test]
fn damaged_requests_agree() {
    with_room(|| {
        proptest!(|(message in strategies::request(), damage in damage(), cut in any::<Index>())| agrees_on_damage(&message, &damage, cut));
    });
}

#[test]
fn damaged_unify_messages_agree() {
    with_room(|| {
        proptest!(|(message in strategies::unify(), damage in damage(), cut in any::<Index>())| agrees_on_damage(&message, &damage, cut));
    });
}

#[test]
fn damaged_unified_customers_agree() {
    with_room(|| {
        proptest!(|(message in strategies::unified(), damage in damage(), cut in any::<Index>())| agrees_on_damage(&message, &damage, cut));
    });
}

/// Each field of each record is documented, and each type that several files define is the same in all of them.
#[test]
fn schemas_are_documented_and_agree_with_each_other() {
    fn walk(schema: &serde_json::Value, file: &str, types: &mut std::collections::BTreeMap<String, serde_json::Value>) {
        match schema {
            serde_json::Value::Array(branches) => branches.iter().for_each(|branch| walk(branch, file, types)),
            serde_json::Value::Object(object) => {
                if let Some(name) = object.get("name") {
                    let name = name.as_str().unwrap().to_owned();
                    assert!(object["doc"].as_str().is_some_and(|doc| doc.len() > 5), "{file}: {name} says nothing");
                    let mut definition = schema.clone();
                    definition.as_object_mut().unwrap().remove("namespace");
                    inline_names(&mut definition);
                    let known = types.entry(name.clone()).or_insert_with(|| definition.clone());
                    assert_eq!(*known, definition, "{file}: {name} differs from another file's");
                }
                for field in object.get("fields").into_iter().flat_map(|fields| fields.as_array().unwrap()) {
                    assert!(field["doc"].as_str().is_some_and(|doc| doc.len() > 3), "{file}: {} says nothing", field["name"]);
                    walk(&field["type"], file, types);
                }
                for inner in ["items", "values", "type"] {
                    if let Some(inner) = object.get(inner) {
                        walk(inner, file, types);
                    }
                }
            }
            _ => {}
        }
    }
    /// A type's definition may be inside or elsewhere: its name stands for it.
    fn inline_names(definition: &mut serde_json::Value) {
        for field in definition.get_mut("fields").into_iter().flat_map(|fields| fields.as_array_mut().unwrap()) {
            shorten(&mut field["type"]);
        }
    }
    fn shorten(schema: &mut serde_json::Value) {
        match schema {
            serde_json::Value::Array(branches) => branches.iter_mut().for_each(shorten),
            serde_json::Value::Object(object) => {
                if let Some(name) = object.get("name").cloned() {
                    *schema = name;
                } else {
                    ["items", "values"].iter().for_each(|inner| {
                        if let Some(inner) = object.get_mut(*inner) {
                            shorten(inner)
                        }
                    });
                }
            }
            _ => {}
        }
    }
    let mut types = std::collections::BTreeMap::new();
    for (name, text) in all() {
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!((json["name"].as_str(), json["namespace"].as_str()), (Some(*name), Some("concord")));
        walk(&json, name, &mut types);
    }
    assert_eq!(types.len(), 32, "{:?}", types.keys());
}

/// Who publishes to a system of kind `topic` gives the fields alone, as natural JSON.
#[test]
fn a_publisher_gives_the_fields_alone() {
    let registry = Registry::new();
    let codec = registry.codec::<SourceCustomer>("customers.crm-value").unwrap();
    let line = serde_json::json!({"fields": {"name": "Ada", "email": "ada@example.com", "attributes": {"plan": "pro"}}});
    let customer = codec.decode(&registry.encode_json("customers.crm-value", &line).unwrap()).unwrap();
    let mut fields = CustomerFields { name: Some("Ada".into()), email: Some("ada@example.com".into()), ..Default::default() };
    fields.attributes.insert("plan".into(), "pro".into());
    assert_eq!(customer, SourceCustomer { fields: Some(fields), ..Default::default() });
    let deleted = codec.decode(&registry.encode_json("customers.crm-value", &serde_json::json!({"fields": null})).unwrap()).unwrap();
    assert_eq!(deleted, SourceCustomer::default());
}

#[test]
fn topics_know_their_schemas() {
    for (topic, name) in [
        ("requests.stripe", Some("Request")),
        ("customers.stripe", Some("SourceCustomer")),
        ("customers.identify", Some("IdentifyMessage")),
        ("customers.unify", Some("UnifyMessage")),
        ("customers.unified", Some("UnifiedCustomer")),
        ("customers.conflicts", Some("CustomerConflict")),
        ("links.product", Some("CustomerLink")),
        ("customers.stripe.dlq", None),
        ("orders", None),
    ] {
        assert_eq!(schema_of_topic(topic).map(|(name, _)| name), name, "{topic}");
    }
}

#[test]
fn a_kind_of_conflict_is_named_as_it_stands_in_records() {
    for kind in ConflictKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
    }
}
