//! Subjects, versions, ids and the `_schemas` topic, as Confluent's registry has them.

use schemas::{Compatibility, Registry, RegistryError, SchemaRecord, SourceCustomer, UnifiedCustomer, registry::Proposal, value_subject};

const V1: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
const V2: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"}]}"#;
const V3: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"long"},{"name":"b","type":"int","default":0}]}"#;
const OTHER: &str = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"string"}]}"#;

#[test]
fn the_same_schema_has_the_same_id_everywhere_and_versions_count_per_subject() {
    let registry = Registry::new();
    assert_eq!(registry.register("x-value", V1).unwrap().0, 1);
    assert_eq!(registry.register("x-value", V2).unwrap().0, 2);
    let (id, records) = registry.register("y-value", V2).unwrap();
    assert_eq!((id, records.len()), (2, 1));
    assert_eq!(registry.versions("y-value"), [(1, 2)]);
    // White space and the order of an object's keys make no other schema.
    let spaced = r#" { "name" : "R", "type":"record", "fields":[ {"type":"int", "name":"a"} ] } "#;
    assert_eq!(registry.register("x-value", spaced).unwrap(), (1, vec![]));
    assert_eq!(registry.versions("x-value"), [(1, 1), (2, 2)]);
    assert_eq!(registry.subjects(), ["x-value", "y-value"]);
    assert_eq!(registry.latest("x-value").unwrap().1.text(), V2);
}

#[test]
fn compatibility_is_backward_unless_set_otherwise() {
    let registry = Registry::new();
    registry.register("x-value", V2).unwrap();
    let refused = registry.register("x-value", V1).unwrap_err();
    assert!(matches!(refused, RegistryError::Incompatible { level: Compatibility::Backward, .. }), "{refused}");
    assert_eq!(registry.subjects().len(), 1);

    registry.set_compatibility(Some("x-value"), Compatibility::Forward);
    assert_eq!(registry.register("x-value", V1).unwrap().0, 2);
    registry.set_compatibility(Some("x-value"), Compatibility::Full);
    assert!(registry.register("x-value", V3).is_err());
    registry.set_compatibility(Some("x-value"), Compatibility::None);
    assert_eq!(registry.register("x-value", OTHER).unwrap().0, 3);
    // The latest version alone counts, unless the level is transitive.
    registry.set_compatibility(Some("x-value"), Compatibility::BackwardTransitive);
    let refused = registry.register("x-value", r#"{"type":"record","name":"R","fields":[{"name":"a","type":"bytes"}]}"#).unwrap_err();
    assert!(matches!(refused, RegistryError::Incompatible { version: 2, .. }), "{refused}");

    registry.set_compatibility(None, Compatibility::None);
    assert_eq!(registry.compatibility("y-value"), Compatibility::None);
}

#[test]
fn records_are_confluents_and_a_replay_restores_everything() {
    let registry = Registry::new();
    let mut topic = Vec::new();
    topic.extend(registry.register("x-value", V1).unwrap().1);
    topic.extend(registry.register("x-value", V2).unwrap().1);
    topic.extend(registry.register("y-value", V2).unwrap().1);
    topic.push(registry.set_compatibility(Some("y-value"), Compatibility::None));
    registry.codec::<SourceCustomer>(&value_subject("customers.crm")).unwrap();
    topic.extend(registry.take_unsaved());
    assert_eq!(registry.take_unsaved(), []);
    assert_eq!(String::from_utf8_lossy(&topic[0].key), r#"{"keytype":"SCHEMA","subject":"x-value","version":1,"magic":1}"#);
    assert_eq!(
        String::from_utf8_lossy(topic[0].value.as_deref().unwrap()),
        format!(r#"{{"subject":"x-value","version":1,"id":1,"schema":{},"deleted":false}}"#, serde_json::to_string(V1).unwrap())
    );
    assert_eq!(String::from_utf8_lossy(&topic[3].key), r#"{"keytype":"CONFIG","subject":"y-value","magic":0}"#);
    assert_eq!(String::from_utf8_lossy(topic[3].value.as_deref().unwrap()), r#"{"compatibilityLevel":"NONE"}"#);

    let again = Registry::new();
    for record in &topic {
        again.apply(&record.key, record.value.as_deref()).unwrap();
    }
    assert_eq!(again.versions("x-value"), registry.versions("x-value"));
    assert_eq!(again.versions("y-value"), registry.versions("y-value"));
    assert_eq!(again.compatibility("y-value"), Compatibility::None);
    // What was registered is known: nothing new to save. What comes next gets the next id.
    let codec = again.codec::<SourceCustomer>("customers.crm-value").unwrap();
    assert_eq!((codec.id(), again.take_unsaved()), (3, vec![]));
    assert_eq!(again.codec::<UnifiedCustomer>("customers.unified-value").unwrap().id(), 4);
}

#[test]
fn deleted_versions_keep_their_number_and_their_data_stays_readable() {
    let registry = Registry::new();
    let apply = |key: &str, value: Option<&str>| registry.apply(key.as_bytes(), value.map(str::as_bytes)).unwrap();
    let schema = serde_json::to_string(V1).unwrap();
    let key = r#"{"keytype":"SCHEMA","subject":"x","version":1,"magic":1}"#;
    apply(key, Some(&format!(r#"{{"subject":"x","version":1,"id":7,"schema":{schema},"deleted":false}}"#)));
    apply(key, Some(&format!(r#"{{"subject":"x","version":1,"id":7,"schema":{schema},"deleted":true}}"#)));
    assert!(registry.versions("x").is_empty() && registry.subjects().is_empty());
    assert!(registry.schema(7).is_some());
    // Incompatible with what was deleted, which counts no more.
    assert_eq!(registry.register("x", OTHER).unwrap().0, 8);
    assert_eq!(registry.versions("x"), [(2, 8)]);
    apply(r#"{"keytype":"DELETE_SUBJECT","subject":"x","magic":0}"#, Some(r#"{"subject":"x","version":2}"#));
    assert!(registry.versions("x").is_empty());
    apply(r#"{"keytype":"NOOP","magic":0}"#, None);
    apply(r#"{"keytype":"CONFIG","magic":0}"#, Some(r#"{"compatibilityLevel":"FULL"}"#));
    assert_eq!(registry.compatibility("anything"), Compatibility::Full);
    let proto = r#"{"subject":"p","version":1,"id":9,"schemaType":"PROTOBUF","schema":"syntax","deleted":false}"#;
    apply(r#"{"keytype":"SCHEMA","subject":"p","version":1,"magic":1}"#, Some(proto));
    assert!(registry.schema(9).is_none());
}

#[test]
fn broken_records_and_schemas_are_errors() {
    let registry = Registry::new();
    for text in [
        "",
        "{",
        "\"nothing\"",
        r#"{"type":"record"}"#,
        r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#,
    ] {
        let error = registry.register("x", text).unwrap_err();
        assert!(error.to_string().starts_with("subject x: not an Avro schema: "), "{text}: {error}");
    }
    assert!(matches!(registry.apply(b"junk", Some(b"{}")), Err(RegistryError::Record(_))));
    let key = br#"{"keytype":"SCHEMA","subject":"x","version":1,"magic":1}"#;
    assert!(matches!(registry.apply(key, Some(b"{}")), Err(RegistryError::Record(_))));
    registry.register("x", V1).unwrap();
    let other = format!(r#"{{"subject":"y","version":1,"id":1,"schema":{}}}"#, serde_json::to_string(OTHER).unwrap());
    assert!(matches!(registry.apply(key, Some(other.as_bytes())), Err(RegistryError::IdTaken { id: 1, .. })));
}

#[test]
fn what_concord_writes_with_is_not_deleted_by_a_registry_that_only_read_of_it() {
    let (writer, reader) = (Registry::new(), Registry::new());
    writer.codec::<UnifiedCustomer>("customers.unified-value").unwrap();
    writer.codec::<UnifiedCustomer>("copies.of.mine-value").unwrap();
    let mut records = writer.take_unsaved();
    records.extend(writer.register("customers.mine-value", r#""string""#).unwrap().1);
    for SchemaRecord { key, value } in &records {
        reader.apply(key, value.as_deref()).unwrap();
    }
    let refused = |subject: &str| reader.delete_subject(subject, false).err().map(|refusal| refusal.code);
    let by_subject = ["customers.unified-value", "copies.of.mine-value", "customers.mine-value"].map(refused);
    assert_eq!(by_subject, [Some(42205), None, None]);
    assert_eq!(reader.delete_version("customers.unified-value", Some(1), false).err().map(|refusal| refusal.code), Some(42205));

    // Nor does anything come beside it that makes other things of the records, at any level; what did can go.
    reader.set_compatibility(None, Compatibility::None);
    let foreign = Proposal {
        schema: Some(r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"string"}]}"#.into()),
        ..Proposal::default()
    };
    let proposed = |subject: &str| reader.propose(subject, &foreign, false).map(|change| change.records).map_err(|refusal| refusal.code);
    assert_eq!(proposed("customers.unified-value"), Err(40901));
    assert!(proposed("customers.mine-value").is_ok());
    let there = SchemaRecord {
        key: br#"{"keytype":"SCHEMA","subject":"customers.unified-value","version":2,"magic":1}"#.to_vec(),
        value: Some(br#"{"subject":"customers.unified-value","version":2,"id":99,"schema":"\"string\"","deleted":false}"#.to_vec()),
    };
    reader.apply(&there.key, there.value.as_deref()).unwrap();
    assert_eq!(
        reader.delete_version("customers.unified-value", None, false).map(|change| change.answer).map_err(|refusal| refusal.code),
        Ok(2)
    );
}
