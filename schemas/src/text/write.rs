//! The form in which a schema is kept: Java Avro's own.

use super::{
    Node,
    names::{Name, PRIMITIVES, is_named, unwrapped},
};

/// What a schema's own members mean; all others are properties, which are kept as they are.
const RESERVED: [&str; 10] = ["doc", "fields", "items", "name", "namespace", "size", "symbols", "values", "type", "aliases"];
const RESERVED_OF_FIELDS: [&str; 6] = ["name", "type", "doc", "default", "order", "aliases"];

/// The schema's text as Java Avro writes it: no white space, members in a fixed order, names and namespaces no longer than needed.
/// What is no schema comes out as something; whether it is one, a parser says.
pub fn canonical(schema: &Node) -> Node {
    write(schema, "")
}

fn write(schema: &Node, space: &str) -> Node {
    match unwrapped(schema) {
        Node::Text(name) if PRIMITIVES.contains(&name.as_str()) => Node::text(name),
        Node::Text(name) => Node::Text(Name::read(name, space).within(space)),
        Node::List(branches) => Node::List(branches.iter().map(|branch| write(branch, space)).collect()),
        object @ Node::Object(_) => match object.get("type") {
            Some(Node::Text(kind)) => of_kind(kind, object, space),
            Some(inner) => write(inner, space),
            None => object.clone(),
        },
        other => other.clone(),
    }
}

fn of_kind(kind: &str, schema: &Node, space: &str) -> Node {
    let mut out = vec![("type".to_string(), Node::text(kind))];
    let copy = |out: &mut Vec<_>, key: &str| out.extend(schema.get(key).map(|value| (key.to_string(), value.clone())));
    let inner = |out: &mut Vec<_>, key: &str| out.extend(schema.get(key).map(|value| (key.to_string(), write(value, space))));
    if !is_named(kind) {
        inner(&mut out, "items");
        inner(&mut out, "values");
        properties(&mut out, schema, &RESERVED);
        // `{"type": "string"}` is "string"; a name there is a reference.
        return if out.len() == 1 { write(&Node::text(kind), space) } else { Node::Object(out) };
    }
    let name = Name::of(schema, space);
    out.push(("name".into(), Node::text(&*name.name)));
    if name.space != space {
        out.push(("namespace".into(), Node::text(&*name.space)));
    }
    copy(&mut out, "doc");
    if let Some(fields) = schema.get("fields") {
        out.push(("fields".into(), Node::List(fields.list().iter().map(|f| field(f, &name.space)).collect())));
    }
    copy(&mut out, "symbols");
    copy(&mut out, "size");
    if kind == "enum" {
        copy(&mut out, "default");
    }
    let reserved = RESERVED.iter().copied().chain((kind == "enum").then_some("default"));
    properties(&mut out, schema, &reserved.collect::<Vec<_>>());
    let aliases: Vec<_> = schema.get("aliases").map(Node::list).unwrap_or_default().iter().filter_map(Node::as_text).collect();
    if !aliases.is_empty() {
        let short = |alias: &str| Node::Text(Name::read(alias, &name.space).within(&name.space));
        out.push(("aliases".into(), Node::List(aliases.into_iter().map(short).collect())));
    }
    Node::Object(out)
}

fn field(field: &Node, space: &str) -> Node {
    let mut out = Vec::new();
    for key in RESERVED_OF_FIELDS {
        let Some(value) = field.get(key) else { continue };
        let value = match (key, value) {
            ("type", value) => write(value, space),
            ("order", Node::Text(order)) if order.eq_ignore_ascii_case("ascending") => continue,
            ("order", Node::Text(order)) => Node::Text(order.to_ascii_lowercase()),
            ("aliases", Node::List(none)) if none.is_empty() => continue,
            (_, value) => value.clone(),
        };
        out.push((key.to_string(), value));
    }
    properties(&mut out, field, &RESERVED_OF_FIELDS);
    Node::Object(out)
}

fn properties(out: &mut Vec<(String, Node)>, from: &Node, reserved: &[&str]) {
    out.extend(from.members().iter().filter(|(key, _)| !reserved.contains(&key.as_str())).cloned());
}
