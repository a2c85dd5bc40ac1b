//! What a new schema may change so that it still reads what is there, and what the refusal says.

use schemas::{Registry, RegistryError, Schema, compatibility::unreadable, generic, resolve::resolve};

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"t","fields":[{fields}]}}"#)
}

/// What, the writer's schema, the reader's; where it cannot be read and a part of why (none: it can).
type Case = (&'static str, String, String, Option<(&'static str, &'static str)>);

fn cases() -> Vec<Case> {
    let field = |kind: &str| record(&format!(r#"{{"name":"a","type":{kind}}}"#));
    let enumeration = |symbols: &str, rest: &str| field(&format!(r#"{{"type":"enum","name":"E","symbols":[{symbols}]{rest}}}"#));
    let list = |value: &str| {
        format!(r#"{{"type":"record","name":"L","fields":[{{"name":"v","type":{value}}},{{"name":"next","type":["null","L"]}}]}}"#)
    };
    vec![
        ("the same", field(r#""int""#), field(r#""int""#), None),
        ("int to long", field(r#""int""#), field(r#""long""#), None),
        ("int to double", field(r#""int""#), field(r#""double""#), None),
        ("long to float", field(r#""long""#), field(r#""float""#), None),
        ("float to double", field(r#""float""#), field(r#""double""#), None),
        ("string to bytes", field(r#""string""#), field(r#""bytes""#), None),
        ("bytes to string", field(r#""bytes""#), field(r#""string""#), None),
        ("long to int", field(r#""long""#), field(r#""int""#), Some(("a", "the writer's long cannot be read as int"))),
        ("double to float", field(r#""double""#), field(r#""float""#), Some(("a", "double cannot be read as float"))),
        ("boolean to int", field(r#""boolean""#), field(r#""int""#), Some(("a", "boolean cannot be read as int"))),
        ("a new field with a default", record(""), record(r#"{"name":"a","type":"int","default":7}"#), None),
        ("a new field without", record(""), field(r#""int""#), Some(("a", "it has no default"))),
        ("a field gone", field(r#""int""#), record(""), None),
        ("a field renamed", field(r#""int""#), record(r#"{"name":"b","type":"int"}"#), Some(("b", "the writer has none"))),
        ("a field renamed, with an alias", field(r#""int""#), record(r#"{"name":"b","aliases":["a"],"type":"long"}"#), None),
        ("made nullable", field(r#""int""#), field(r#"["null","int"]"#), None),
        ("nullable no more", field(r#"["null","int"]"#), field(r#""int""#), Some(("a", "the writer's null cannot be read as int"))),
        ("nullable with promotion", field(r#"["null","int"]"#), field(r#"["null","long","string"]"#), None),
        (
            "a branch gone",
            field(r#"["null","int","string"]"#),
            field(r#"["null","int"]"#),
            Some(("a", "the writer's string is in no branch of the reader's union (null, int)")),
        ),
        ("a branch in another place", field(r#"["null","int"]"#), field(r#"["int","null"]"#), None),
        ("a symbol more", enumeration(r#""x""#, ""), enumeration(r#""x","y""#, ""), None),
        ("a symbol gone", enumeration(r#""x","y""#, ""), enumeration(r#""x""#, ""), Some(("a", "the reader's enum E lacks y"))),
        ("a symbol gone, with a default", enumeration(r#""x","y""#, ""), enumeration(r#""x""#, r#","default":"x""#), None),
        ("array items", field(r#"{"type":"array","items":"int"}"#), field(r#"{"type":"array","items":"long"}"#), None),
        (
            "array items that do not fit",
            field(r#"{"type":"array","items":"string"}"#),
            field(r#"{"type":"array","items":"int"}"#),
            Some(("a.[]", "string cannot be read as int")),
        ),
        (
            "map values that do not fit",
            field(r#"{"type":"map","values":"long"}"#),
            field(r#"{"type":"map","values":"int"}"#),
            Some(("a.{}", "long cannot be read as int")),
        ),
        (
            "another size",
            field(r#"{"type":"fixed","name":"F","size":4}"#),
            field(r#"{"type":"fixed","name":"F","size":8}"#),
            Some(("a", "4 bytes, the reader's 8")),
        ),
        (
            "another record's name",
            record(""),
            record("").replace("\"R\"", "\"S\""),
            Some(("", "the writer's record R is not the reader's S")),
        ),
        (
            "another name with an alias",
            record(""),
            r#"{"type":"record","name":"S","namespace":"t","aliases":["R"],"fields":[]}"#.into(),
            None,
        ),
        ("a recursive type", list(r#""int""#), list(r#""long""#), None),
        ("a recursive type that does not fit", list(r#""long""#), list(r#""int""#), Some(("v", "long cannot be read as int"))),
        (
            "a type defined in one place, referred to in the other",
            record(r#"{"name":"a","type":{"type":"record","name":"I","fields":[]}},{"name":"b","type":"I"}"#),
            record(r#"{"name":"b","type":{"type":"record","name":"I","fields":[]}},{"name":"a","type":"I"}"#),
            None,
        ),
        (
            "inside a record of a union",
            field(r#"["null",{"type":"record","name":"I","fields":[{"name":"x","type":"long"}]}]"#),
            field(r#"["null",{"type":"record","name":"I","fields":[{"name":"x","type":"int"}]}]"#),
            Some(("a.x", "long cannot be read as int")),
        ),
        ("a logical type", field(r#"{"type":"long","logicalType":"timestamp-millis"}"#), field(r#""long""#), None),
        (
            "another decimal: logical types do not count",
            field(r#"{"type":"bytes","logicalType":"decimal","precision":8,"scale":2}"#),
            field(r#"{"type":"bytes","logicalType":"decimal","precision":8,"scale":3}"#),
            None,
        ),
        (
            "by its alias two of the writer's fields",
            record(r#"{"name":"a","type":"int"},{"name":"b","type":"int"}"#),
            record(r#"{"name":"b","aliases":["a"],"type":"int"}"#),
            Some(("b", "more than one of the writer's fields")),
        ),
    ]
}

#[test]
fn each_change_is_judged_with_its_place_and_reason() {
    for (what, writer, reader, expected) in cases() {
        let found = unreadable(&Schema::parse(&writer).unwrap(), &Schema::parse(&reader).unwrap());
        match expected {
            None => assert!(found.is_empty(), "{what}: {found:?}"),
            Some((path, reason)) => {
                assert_eq!(found.len(), 1, "{what}: {found:?}");
                assert_eq!(found[0].path, path, "{what}");
                assert!(found[0].reason.contains(reason), "{what}: {}", found[0].reason);
            }
        }
    }
}

/// What the check lets pass is then read, and to the value that Avro's rules say.
#[test]
fn what_is_compatible_is_read() {
    for (what, writer, reader, written, read) in [
        ("int to long", r#""int""#, r#""long""#, "5", "5"),
        ("long to float", r#""long""#, r#""float""#, "5", "5.0"),
        ("string to bytes", r#""string""#, r#""bytes""#, r#""x""#, r#""x""#),
        ("made nullable", r#""int""#, r#"["null","int"]"#, "5", "5"),
        ("null stays null", r#"["null","int"]"#, r#"["int","null"]"#, "null", "null"),
        ("the exact branch before a promotion", r#""int""#, r#"["double","int"]"#, "5", "5"),
        ("promoted inside a union", r#"["null","int"]"#, r#"["null","double"]"#, "5", "5.0"),
        (
            "an unknown symbol takes the default",
            r#"{"type":"enum","name":"E","symbols":["x","y"]}"#,
            r#"{"type":"enum","name":"E","symbols":["z","x"],"default":"z"}"#,
            r#""y""#,
            r#""z""#,
        ),
        (
            "fields added, renamed, reordered and gone",
            r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"string"},{"name":"gone","type":"long"}]}"#,
            r#"{"type":"record","name":"R","fields":[{"name":"c","aliases":["b"],"type":"string"},{"name":"a","type":"long"},
                {"name":"new","type":["null","string"],"default":null},{"name":"more","type":{"type":"map","values":"int"},"default":{"k":1}}]}"#,
            r#"{"a":1,"b":"x","gone":9}"#,
            r#"{"a":1,"c":"x","more":{"k":1},"new":null}"#,
        ),
        (
            "in arrays and maps",
            r#"{"type":"array","items":{"type":"map","values":"int"}}"#,
            r#"{"type":"array","items":{"type":"map","values":["null","long"]}}"#,
            r#"[{"k":1},{}]"#,
            r#"[{"k":1},{}]"#,
        ),
    ] {
        let (writer, reader) = (Schema::parse(writer).unwrap(), Schema::parse(reader).unwrap());
        assert_eq!(unreadable(&writer, &reader), [], "{what}");
        let value = generic::from_json(&serde_json::from_str(written).unwrap(), &writer).unwrap();
        let datum = generic::encode(&value, &writer).unwrap();
        let value = resolve(generic::decode(&datum, &writer).unwrap(), &writer, &reader).unwrap();
        // It is a value of the reader's schema: it goes through bytes.
        let datum = generic::encode(&value, &reader).unwrap();
        let value = generic::decode(&datum, &reader).unwrap();
        assert_eq!(generic::to_json(&value, &reader).to_string(), read, "{what}");
    }
}

#[test]
fn a_refusal_names_subject_version_place_and_reason() {
    let registry = Registry::new();
    registry.register("s-value", &record(r#"{"name":"a","type":"long"}"#)).unwrap();
    let error = registry.register("s-value", &record(r#"{"name":"a","type":"int"},{"name":"b","type":"string"}"#)).unwrap_err();
    assert!(matches!(error, RegistryError::Incompatible { version: 1, .. }));
    assert_eq!(
        error.to_string(),
        "subject s-value: the schema is not BACKWARD compatible with version 1: a: the writer's long cannot be read as int; \
         b: the reader wants this field, the writer has none, and it has no default"
    );
}
