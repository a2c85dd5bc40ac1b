//! Request parameters: form encoding with brackets, as a tree; and the same tree from JSON, for the page.

use super::refusal::Refusal;
use percent_encoding::percent_decode;
use serde_json::Value;

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Param {
    Text(String),
    /// In the order given; a key that comes again replaces the one before.
    Map(Vec<(String, Param)>),
    List(Vec<Param>),
}

impl Param {
    pub(crate) fn empty() -> Self {
        Param::Map(Vec::new())
    }

    pub(crate) fn entries(&self) -> &[(String, Param)] {
        match self {
            Param::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Param> {
        self.entries().iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// A text or nothing; a hash where a text belongs is refused.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Param::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::shape(name, "Invalid string")),
        }
    }

    fn entry(&mut self, key: &str) -> Option<&mut Param> {
        let Param::Map(entries) = self else { return None };
        let at = match entries.iter().position(|(k, _)| k == key) {
            Some(at) => at,
            None => {
                entries.push((key.to_owned(), Param::empty()));
                entries.len() - 1
            }
        };
        Some(&mut entries[at].1)
    }

    /// What a browser's JSON says: `null` clears.
    pub(crate) fn from_json(value: &Value) -> Param {
        match value {
            Value::Null => Param::Text(String::new()),
            Value::String(text) => Param::Text(text.clone()),
            Value::Object(map) => Param::Map(map.iter().map(|(k, v)| (k.clone(), Param::from_json(v))).collect()),
            Value::Array(list) => Param::List(list.iter().map(Param::from_json).collect()),
            other => Param::Text(other.to_string()),
        }
    }
}

/// The pairs of a form or query, decoded.
pub(crate) fn pairs(encoded: &[u8]) -> Result<Vec<(String, String)>, Refusal> {
    let decode = |part: &[u8]| {
        let plain: Vec<u8> = part.iter().map(|&c| if c == b'+' { b' ' } else { c }).collect();
        let bytes: Vec<u8> = percent_decode(&plain).collect();
        String::from_utf8(bytes).map_err(|_| Refusal::unread("Invalid request: the parameters are not valid UTF-8."))
    };
    encoded
        .split(|&c| c == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let mut halves = pair.splitn(2, |&c| c == b'=');
            Ok((decode(halves.next().unwrap_or_default())?, decode(halves.next().unwrap_or_default())?))
        })
        .collect()
}

/// The tree that the pairs spell: `a[b]=1&c[]=2&c[]=3`.
pub(crate) fn tree(pairs: &[(String, String)]) -> Result<Param, Refusal> {
    let mut root = Param::empty();
    for (name, value) in pairs {
        let wrong = || Refusal::shape(name, "Invalid parameter name");
        let (first, path) = path(name).ok_or_else(wrong)?;
        let mut node = root.entry(first).ok_or_else(wrong)?;
        for part in path {
            if part.is_empty() || part.bytes().all(|c| c.is_ascii_digit()) && matches!(node, Param::List(_)) {
                if *node == Param::empty() {
                    *node = Param::List(Vec::new());
                }
                let Param::List(list) = node else { return Err(wrong()) };
                list.push(Param::empty());
                let last = list.len() - 1;
                node = &mut list[last];
            } else {
                node = node.entry(part).ok_or_else(wrong)?;
            }
        }
        *node = Param::Text(value.clone());
    }
    Ok(root)
}

/// `a[b][]` → `a`, `["b", ""]`.
fn path(name: &str) -> Option<(&str, Vec<&str>)> {
    let Some(open) = name.find('[') else { return (!name.is_empty() && !name.contains(']')).then_some((name, Vec::new())) };
    let (first, mut rest) = name.split_at(open);
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (part, after) = rest.strip_prefix('[')?.split_once(']')?;
        if part.contains('[') {
            return None;
        }
        parts.push(part);
        rest = after;
    }
    (!first.is_empty() && !first.contains(']')).then_some((first, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Param, Refusal> {
        tree(&pairs(text.as_bytes())?)
    }

    #[test]
    fn brackets_nest_and_nothing_else_does() {
        let form = read("a=1+2&b%5Bc%5D=%C3%A9&b[d]=&t[]=x&t[]=y&a=3").unwrap();
        assert_eq!(form.text("a").unwrap(), Some("3"));
        assert_eq!(form.get("b").unwrap().text("c").unwrap(), Some("é"));
        assert_eq!(form.get("b").unwrap().text("d").unwrap(), Some(""));
        assert_eq!(form.get("t"), Some(&Param::List(vec![Param::Text("x".into()), Param::Text("y".into())])));
        for wrong in ["[a]=1", "a[b=1", "a]b=1", "a[b[c]]=1", "a[b]c=1", "=1", "a=1&a[b]=2", "a=%FF"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
