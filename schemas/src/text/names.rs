//! What a name in a schema stands for.

use super::Node;

pub(super) const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// Kinds of types that have a name.
pub(super) fn is_named(kind: &str) -> bool {
    matches!(kind, "record" | "error" | "enum" | "fixed")
}

/// A type's name and namespace; none is "".
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    pub space: String,
    pub name: String,
}

impl Name {
    /// A name as it is written where `space` is the enclosing namespace.
    pub fn read(text: &str, space: &str) -> Name {
        match text.rsplit_once('.') {
            Some((own, name)) => Name { space: own.into(), name: name.into() },
            None => Name { space: space.into(), name: text.into() },
        }
    }

    /// The name of a definition.
    pub fn of(definition: &Node, space: &str) -> Name {
        let space = definition.get("namespace").and_then(Node::as_text).unwrap_or(space);
        Name::read(definition.get("name").and_then(Node::as_text).unwrap_or_default(), space)
    }

    pub fn full(&self) -> String {
        if self.space.is_empty() { self.name.clone() } else { format!("{}.{}", self.space, self.name) }
    }

    /// As short as it may be written where `space` is the enclosing namespace. A name that is also a primitive's is written whole.
    pub fn within(&self, space: &str) -> String {
        if self.space == space && !PRIMITIVES.contains(&self.name.as_str()) { self.name.clone() } else { self.full() }
    }
}

/// The schema inside `{"type": …}` that says nothing else; the schema itself, if it is none of these.
pub(super) fn unwrapped(mut schema: &Node) -> &Node {
    while let [(key, inner)] = schema.members()
        && key == "type"
    {
        schema = inner;
    }
    schema
}
