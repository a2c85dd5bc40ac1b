//! JSON whose objects keep their order, which is a part of a schema's text.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, SeqAccess, Visitor},
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::{Number, Value as Json};
use std::fmt;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// Each key once.
    Object(Vec<(String, Node)>),
}

impl Node {
    pub fn read(text: &str) -> Result<Node, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub fn text(text: impl Into<String>) -> Node {
        Node::Text(text.into())
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn list(&self) -> &[Node] {
        match self {
            Node::List(items) => items,
            _ => &[],
        }
    }

    /// The member of an object.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.members().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub fn members(&self) -> &[(String, Node)] {
        match self {
            Node::Object(members) => members,
            _ => &[],
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its keys are texts and its numbers came from JSON: there is nothing that JSON could not say.
        f.write_str(&serde_json::to_string(self).unwrap_or_default())
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Null => s.serialize_unit(),
            Node::Bool(value) => s.serialize_bool(*value),
            Node::Number(value) => value.serialize(s),
            Node::Text(value) => s.serialize_str(value),
            Node::List(items) => {
                let mut list = s.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Node::Object(members) => {
                let mut object = s.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(key, value)| object.serialize_entry(key, value))?;
                object.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Node;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
                Ok(Node::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
                Ok(Node::Number(value.into()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
                Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
            }
            fn visit_str<E>(self, value: &str) -> Result<Node, E> {
                Ok(Node::text(value))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
                let mut members: Vec<(String, Node)> = Vec::new();
                while let Some((key, value)) = object.next_entry::<String, Node>()? {
                    match members.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => *known = value,
                        None => members.push((key, value)),
                    }
                }
                Ok(Node::Object(members))
            }
        }
        d.deserialize_any(Any)
    }
}

impl From<&Node> for Json {
    fn from(node: &Node) -> Json {
        match node {
            Node::Null => Json::Null,
            Node::Bool(value) => Json::Bool(*value),
            Node::Number(value) => Json::Number(value.clone()),
            Node::Text(value) => Json::String(value.clone()),
            Node::List(items) => items.iter().map(Json::from).collect(),
            Node::Object(members) => members.iter().map(|(key, value)| (key.clone(), Json::from(value))).collect(),
        }
    }
}
