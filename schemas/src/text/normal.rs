//! The form in which two schemas are alike that differ in the order of properties and aliases, or in how names are written.

use super::{
    Node,
    names::{Name, PRIMITIVES, is_named, unwrapped},
};

/// The schema with whole names everywhere, and members, properties and aliases in one order.
pub fn normal(schema: &Node) -> Node {
    write(schema, "")
}

fn write(schema: &Node, space: &str) -> Node {
    match unwrapped(schema) {
        Node::Text(name) if PRIMITIVES.contains(&name.as_str()) => Node::text(name),
        Node::Text(name) => Node::Text(Name::read(name, space).full()),
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
    let mut out = Vec::new();
    let mut known = vec!["type", "logicalType", "name", "namespace", "doc", "aliases", "fields", "symbols", "size", "items", "values"];
    let named = is_named(kind).then(|| Name::of(schema, space));
    if let Some(name) = &named {
        out.push(("name".to_string(), Node::Text(name.full())));
    }
    out.push(("type".into(), Node::text(kind)));
    let inside = named.as_ref().map_or(space, |name| &name.space);
    for key in ["items", "values", "symbols", "size", "fields"] {
        let Some(value) = schema.get(key) else { continue };
        let value = match key {
            "items" | "values" => write(value, inside),
            "fields" => Node::List(value.list().iter().map(|f| field(f, inside)).collect()),
            _ => value.clone(),
        };
        out.push((key.into(), value));
    }
    if let Some(logical) = schema.get("logicalType") {
        out.push(("logicalType".into(), logical.clone()));
        if logical.as_text() == Some("decimal") {
            known.extend(["precision", "scale"]);
            out.extend(schema.get("precision").map(|value| ("precision".into(), value.clone())));
            out.extend(schema.get("scale").filter(|scale| **scale != Node::Number(0.into())).map(|value| ("scale".into(), value.clone())));
        }
    }
    if named.is_some() {
        out.extend(schema.get("doc").filter(|doc| doc.as_text() != Some("")).map(|doc| ("doc".into(), doc.clone())));
        aliases(&mut out, schema, |alias| Name::read(alias, inside).full());
        if kind == "enum" {
            known.push("default");
            out.extend(schema.get("default").map(|value| ("default".into(), value.clone())));
        }
    }
    properties(&mut out, schema, &known);
    if out.len() == 1 { write(&Node::text(kind), space) } else { Node::Object(out) }
}

fn field(field: &Node, space: &str) -> Node {
    let mut out = Vec::new();
    out.extend(field.get("name").map(|name| ("name".to_string(), name.clone())));
    out.extend(field.get("type").map(|schema| ("type".to_string(), write(schema, space))));
    let order = field.get("order").and_then(Node::as_text).unwrap_or("ascending").to_ascii_lowercase();
    out.push(("order".into(), Node::Text(order)));
    out.extend(field.get("doc").map(|doc| ("doc".into(), doc.clone())));
    aliases(&mut out, field, str::to_owned);
    out.extend(field.get("default").map(|value| ("default".into(), value.clone())));
    properties(&mut out, field, &["name", "type", "order", "doc", "aliases", "default"]);
    Node::Object(out)
}

fn aliases(out: &mut Vec<(String, Node)>, from: &Node, whole: impl Fn(&str) -> String) {
    let mut aliases: Vec<String> =
        from.get("aliases").map(Node::list).unwrap_or_default().iter().filter_map(Node::as_text).map(whole).collect();
    aliases.sort();
    aliases.dedup();
    if !aliases.is_empty() {
        out.push(("aliases".into(), Node::List(aliases.into_iter().map(Node::Text).collect())));
    }
}

fn properties(out: &mut Vec<(String, Node)>, from: &Node, known: &[&str]) {
    let mut rest: Vec<(String, Node)> = from.members().iter().filter(|(key, _)| !known.contains(&key.as_str())).cloned().collect();
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    out.extend(rest);
}
