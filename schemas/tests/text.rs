//! A schema's text in one form: as Java Avro writes it, in the form that small differences are gone from, and with other schemas' types
//! in place.

use schemas::{
    Compatibility, Schema,
    text::{Node, canonical, normal, whole},
};

fn node(text: &str) -> Node {
    Node::read(text).unwrap()
}

/// `written.jsonl` is what Java Avro 1.12.0's `new Schema.Parser().parse(line).toString()` makes of each line of `given.jsonl`.
#[test]
fn the_kept_form_is_java_avros() {
    let (given, written) = (include_str!("java_text/given.jsonl"), include_str!("java_text/written.jsonl"));
    assert_eq!(given.lines().count(), written.lines().count());
    for (given, written) in given.lines().zip(written.lines()) {
        assert_eq!(canonical(&node(given)).to_string(), written, "{given}");
        assert_eq!(canonical(&node(written)).to_string(), written, "it is its own form");
    }
}

#[test]
fn the_normal_form_forgets_how_names_and_properties_are_written() {
    let one = r#"{"type":"record","name":"R","namespace":"n","z":1,"a":2,"aliases":["B","A"],"fields":[{"name":"x","type":{"type":"string"},"order":"ascending"},
                  {"name":"y","type":["null","R"]}]}"#;
    let two = r#"{"aliases":["n.A","n.B"],"name":"n.R","type":"record","a":2,"z":1,"fields":[{"type":"string","name":"x"},{"name":"y","type":["null","n.R"]}]}"#;
    assert_eq!(normal(&node(one)), normal(&node(two)));
    assert_ne!(canonical(&node(one)), canonical(&node(two)));
    assert_eq!(normal(&normal(&node(one))), normal(&node(one)));
    let other = two.replace("\"a\":2", "\"a\":3");
    assert_ne!(normal(&node(&other)), normal(&node(two)));
    // Both forms are the schema that was given.
    // (Our parser has no type `error`.)
    for text in include_str!("java_text/given.jsonl").lines().filter(|text| !text.contains("\"error\"")) {
        let given = Schema::parse(text).unwrap();
        for form in [normal(&node(text)), canonical(&node(text))] {
            let parsed = Schema::parse(&form.to_string()).unwrap();
            assert_eq!(Compatibility::Full.check(&given, &parsed), [], "{text}");
        }
    }
}

#[test]
fn types_of_other_schemas_are_defined_where_they_are_named_first() {
    let address = node(
        r#"{"type":"record","name":"Address","namespace":"x","fields":[{"name":"c","type":{"type":"enum","name":"Country","symbols":["GB"]}}]}"#,
    );
    let bare = node(r#"{"type":"record","name":"Bare","fields":[]}"#);
    let person = node(
        r#"{"type":"record","name":"Person","namespace":"y","fields":[{"name":"home","type":["null","x.Address"]},{"name":"work","type":{"type":"array","items":"x.Address"}},
            {"name":"from","type":"x.Country"}]}"#,
    );
    let text = whole(&person, &[address.clone(), bare]).to_string();
    assert_eq!(text.matches("symbols").count(), 1);
    let parsed = Schema::parse(&text).unwrap();
    let by_hand = r#"{"type":"record","name":"y.Person","fields":[{"name":"home","type":["null",{"type":"record","name":"x.Address","fields":[{"name":"c","type":
                     {"type":"enum","name":"x.Country","symbols":["GB"]}}]}]},{"name":"work","type":{"type":"array","items":"x.Address"}},{"name":"from","type":"x.Country"}]}"#;
    assert_eq!(parsed.canonical(), Schema::parse(by_hand).unwrap().canonical());
    assert!(Schema::parse(&whole(&person, &[]).to_string()).is_err(), "without the other schema it is none");
}
