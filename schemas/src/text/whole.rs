//! A schema that uses types of others, written so that it needs none of them.

use super::{
    Node,
    names::{Name, PRIMITIVES, is_named, unwrapped},
};
use std::collections::{BTreeMap, BTreeSet};

/// `schema` with every type that it only names, and that one of `others` defines, defined where it is named first. `others` need no
/// further schema themselves.
pub fn whole(schema: &Node, others: &[Node]) -> Node {
    let mut known = BTreeMap::new();
    others.iter().for_each(|other| collect(other, "", &mut known));
    Whole { known, defined: BTreeSet::new() }.schema(schema, "")
}

/// The types that a schema defines, by full name.
fn collect(schema: &Node, space: &str, into: &mut BTreeMap<String, Node>) {
    match unwrapped(schema) {
        Node::List(branches) => branches.iter().for_each(|branch| collect(branch, space, into)),
        object @ Node::Object(_) => {
            let named = object.get("type").and_then(Node::as_text).is_some_and(is_named);
            let name = Name::of(object, space);
            let inside = if named { name.space.as_str() } else { space };
            for inner in ["type", "items", "values"].iter().filter_map(|key| object.get(key)) {
                collect(inner, inside, into);
            }
            for field in object.get("fields").map(Node::list).unwrap_or_default() {
                field.get("type").into_iter().for_each(|of| collect(of, inside, into));
            }
            if named {
                into.entry(name.full()).or_insert_with(|| placed(object, &name));
            }
        }
        _ => {}
    }
}

/// A definition that means the same wherever it stands.
fn placed(definition: &Node, name: &Name) -> Node {
    let rest = definition.members().iter().filter(|(key, _)| key != "name" && key != "namespace").cloned();
    let own = [("name".to_string(), Node::text(&*name.name)), ("namespace".to_string(), Node::text(&*name.space))];
    Node::Object(own.into_iter().chain(rest).collect())
}

struct Whole {
    known: BTreeMap<String, Node>,
    defined: BTreeSet<String>,
}

impl Whole {
    fn schema(&mut self, schema: &Node, space: &str) -> Node {
        match unwrapped(schema) {
            Node::Text(name) if PRIMITIVES.contains(&name.as_str()) => Node::text(name),
            Node::Text(name) => {
                let full = Name::read(name, space).full();
                match self.known.get(&full).cloned() {
                    Some(definition) if !self.defined.contains(&full) => self.schema(&definition, space),
                    _ => Node::Text(full),
                }
            }
            Node::List(branches) => Node::List(branches.iter().map(|branch| self.schema(branch, space)).collect()),
            object @ Node::Object(_) => self.object(object, space),
            other => other.clone(),
        }
    }

    fn object(&mut self, object: &Node, space: &str) -> Node {
        let mut inside = space.to_owned();
        match object.get("type") {
            Some(Node::Text(kind)) if is_named(kind) => {
                let name = Name::of(object, space);
                let full = name.full();
                // A type of two of the others: it is there already.
                if !self.defined.insert(full.clone()) && self.known.contains_key(&full) {
                    return Node::Text(full);
                }
                inside = name.space;
            }
            Some(inner @ (Node::Object(_) | Node::List(_))) => return self.schema(inner, space),
            Some(Node::Text(name)) if object.members().len() == 1 => return self.schema(&Node::text(name), space),
            _ => {}
        }
        let member = |(key, value): &(String, Node)| {
            let value = match key.as_str() {
                "items" | "values" => self.schema(value, &inside),
                "fields" => Node::List(value.list().iter().map(|field| self.field(field, &inside)).collect()),
                _ => value.clone(),
            };
            (key.clone(), value)
        };
        Node::Object(object.members().iter().map(member).collect())
    }

    fn field(&mut self, field: &Node, space: &str) -> Node {
        let member = |(key, value): &(String, Node)| {
            let value = if key == "type" { self.schema(value, space) } else { value.clone() };
            (key.clone(), value)
        };
        Node::Object(field.members().iter().map(member).collect())
    }
}
