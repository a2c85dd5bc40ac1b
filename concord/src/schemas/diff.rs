//! `concord schemas diff`: what changed between two schemas, and which levels still hold.

use super::{
    args::Diff,
    check::{LEVELS, Verdict, pairs},
    fields::{self, Field},
    place::{Entry, Place},
    print,
};
use crate::config::Env;
use schemas::Schema;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// What became of one field.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Added(Field),
    Removed(Field),
    Retyped { old: String, new: String },
    Default { old: Option<String>, new: Option<String> },
}

/// Every field that is not as it was, by path. What is inside a field that came or went is not told again.
fn changes(old: &Schema, new: &Schema) -> Vec<(String, Change)> {
    let (old, new) = (fields::of(old), fields::of(new));
    let within = |path: &str, all: &std::collections::BTreeMap<String, Field>| {
        path.match_indices('.').any(|(at, _)| !all.contains_key(&path[..at]) && !matches!(path[..at].rsplit('.').next(), Some("[]" | "{}")))
    };
    let mut changes = Vec::new();
    for (path, field) in &old {
        match new.get(path) {
            None if within(path, &new) => {}
            None => changes.push((path.clone(), Change::Removed(field.clone()))),
            Some(now) => {
                if now.kind != field.kind {
                    changes.push((path.clone(), Change::Retyped { old: field.kind.clone(), new: now.kind.clone() }));
                }
                if now.default != field.default {
                    changes.push((path.clone(), Change::Default { old: field.default.clone(), new: now.default.clone() }));
                }
            }
        }
    }
    let added = new.iter().filter(|(path, _)| !old.contains_key(*path) && !within(path, &old));
    changes.extend(added.map(|(path, field)| (path.clone(), Change::Added(field.clone()))));
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

impl Change {
    fn text(&self, path: &str) -> String {
        let path = if path.is_empty() { "(the whole)" } else { path };
        let or = |default: &Option<String>| default.clone().unwrap_or_else(|| "none".into());
        match self {
            Change::Added(Field { kind, default: Some(default) }) => format!("+ {path}: {kind}, default {default}"),
            Change::Added(Field { kind, default: None }) => format!("+ {path}: {kind}, without a default"),
            Change::Removed(Field { kind, .. }) => format!("- {path}: {kind}"),
            Change::Retyped { old, new } => format!("~ {path}: {old} -> {new}"),
            Change::Default { old, new } => format!("~ {path}: default {} -> {}", or(old), or(new)),
        }
    }

    fn json(&self, path: &str) -> Json {
        match self {
            Change::Added(field) => json!({"path": path, "change": "added", "type": field.kind, "default": field.default}),
            Change::Removed(field) => json!({"path": path, "change": "removed", "type": field.kind, "default": field.default}),
            Change::Retyped { old, new } => json!({"path": path, "change": "retyped", "old": old, "new": new}),
            Change::Default { old, new } => json!({"path": path, "change": "default", "old": old, "new": new}),
        }
    }
}

/// One schema on both sides, or on one.
struct Compared<'a> {
    name: &'a str,
    what: What,
}

enum What {
    Added,
    Removed,
    Same,
    /// Another text, the same fields: documentation, aliases, their order.
    Text(Verdict),
    Changed(Vec<(String, Change)>, Verdict),
}

fn compare<'a>(old: &'a Entry, new: &'a Entry) -> Compared<'a> {
    let latest = Entry { versions: old.versions[old.versions.len() - 1..].to_vec(), ..old.clone() };
    let changes = changes(old.schema(), new.schema());
    let verdict = Verdict::of(&latest, new, None);
    let what = match changes.is_empty() {
        true if json_of(old) == json_of(new) => What::Same,
        true => What::Text(verdict),
        false => What::Changed(changes, verdict),
    };
    Compared { name: &new.name, what }
}

/// Without white space and the order of attributes: a registry has an order of its own.
fn json_of(entry: &Entry) -> Option<Json> {
    serde_json::from_str(entry.schema().text()).ok()
}

impl Compared<'_> {
    fn text(&self) -> String {
        let name = self.name;
        let levels = |verdict: &Verdict| {
            let held: Vec<String> = LEVELS.iter().step_by(2).filter(|level| verdict.holds(**level)).map(ToString::to_string).collect();
            if held.is_empty() { "  no level holds".to_owned() } else { format!("  holds: {}", held.join(", ")) }
        };
        match &self.what {
            What::Same => String::new(),
            What::Added => format!("{name}: added\n"),
            What::Removed => format!("{name}: removed\n"),
            What::Text(verdict) => {
                format!("{name}: the same fields; only documentation, aliases or their order differ\n{}\n", levels(verdict))
            }
            What::Changed(changes, verdict) => {
                let mut out = format!("{name}:\n");
                for (path, change) in changes {
                    let _ = writeln!(out, "  {}", change.text(path));
                }
                let _ = writeln!(out, "{}", levels(verdict));
                out
            }
        }
    }

    fn json(&self) -> Json {
        let levels = |verdict: &Verdict| verdict.json()["levels"].clone();
        let name = self.name;
        match &self.what {
            What::Same => json!({"name": name, "change": "none"}),
            What::Added => json!({"name": name, "change": "added"}),
            What::Removed => json!({"name": name, "change": "removed"}),
            What::Text(verdict) => json!({"name": name, "change": "text", "levels": levels(verdict)}),
            What::Changed(changes, verdict) => {
                let fields: Vec<Json> = changes.iter().map(|(path, change)| change.json(path)).collect();
                json!({"name": name, "change": "fields", "fields": fields, "levels": levels(verdict)})
            }
        }
    }
}

pub async fn run(args: Diff, env: &Env) -> anyhow::Result<bool> {
    let (old, new) = (Place::of(&args.old, env)?.entries(&[]).await?, Place::of(&args.new, env)?.entries(&[]).await?);
    let mut compared: Vec<Compared<'_>> = Vec::new();
    match (old.as_slice(), new.as_slice()) {
        // Two files: whatever they are called.
        ([old], [new]) => compared.push(compare(old, new)),
        _ => {
            let (paired, gone) = pairs(&old, &new);
            for (entry, found) in paired {
                match found.as_slice() {
                    [] => compared.push(Compared { name: &entry.name, what: What::Added }),
                    found => compared.extend(found.iter().map(|old| compare(old, entry))),
                }
            }
            compared.extend(gone.into_iter().map(|entry| Compared { name: &entry.name, what: What::Removed }));
        }
    }
    let same = compared.iter().all(|it| matches!(it.what, What::Same));
    let json = || json!({"same": same, "schemas": compared.iter().map(Compared::json).collect::<Vec<_>>()});
    print(args.json, json, || compared.iter().map(Compared::text).collect())?;
    Ok(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(old: &str, new: &str) -> Vec<String> {
        let record = |fields: &str| Schema::parse(&format!(r#"{{"type":"record","name":"R","fields":[{fields}]}}"#)).unwrap();
        changes(&record(old), &record(new)).iter().map(|(path, change)| change.text(path)).collect()
    }

    #[test]
    fn what_came_went_and_changed_is_told_once_at_its_place() {
        let inner = r#"{"type":"record","name":"I","fields":[{"name":"x","type":"int"},{"name":"y","type":"int"}]}"#;
        let old = format!(r#"{{"name":"a","type":"int"}},{{"name":"b","type":"string"}},{{"name":"i","type":["null",{inner}]}}"#);
        let less = inner.replace(r#",{"name":"y","type":"int"}"#, "");
        let new =
            format!(r#"{{"name":"a","type":"long"}},{{"name":"c","type":"string","default":""}},{{"name":"i","type":["null",{less}]}}"#);
        assert_eq!(told(&old, &new), ["~ a: int -> long", "- b: string", "+ c: string, default \"\"", "- i.y: int"]);
        assert_eq!(
            told(&old, r#"{"name":"a","type":"int","default":1},{"name":"b","type":"string"}"#),
            ["~ a: default none -> 1", "- i: null | record I"]
        );
        let list = |inner: &str| format!(r#"{{"name":"l","type":{{"type":"array","items":{inner}}}}}"#);
        assert_eq!(told(&list(inner), &list(&less)), ["- l.[].y: int"]);
    }
}
