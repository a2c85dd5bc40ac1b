//! `concord schemas lint`: what makes a schema hard to read, or hard to change later.

use super::{args::Lint, place, print};
use anyhow::Context;
use serde_json::{Value as Json, json};

/// What no schema has to be, and what most are better for: it is told, and fails only a strict look.
const ADVICE: [&str; 1] = ["enum-default"];

/// One thing to mend.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    rule: &'static str,
    says: String,
}

/// Logical types of the specification, and what each may be made of.
const LOGICAL: [(&str, &[&str]); 13] = [
    ("decimal", &["bytes", "fixed"]),
    ("big-decimal", &["bytes"]),
    ("uuid", &["string", "fixed"]),
    ("date", &["int"]),
    ("time-millis", &["int"]),
    ("time-micros", &["long"]),
    ("timestamp-millis", &["long"]),
    ("timestamp-micros", &["long"]),
    ("timestamp-nanos", &["long"]),
    ("local-timestamp-millis", &["long"]),
    ("local-timestamp-micros", &["long"]),
    ("local-timestamp-nanos", &["long"]),
    ("duration", &["fixed"]),
];

pub fn run(args: &Lint) -> anyhow::Result<bool> {
    let mut found = Vec::new();
    for path in &args.paths {
        for entry in place::files(path).with_context(|| path.display().to_string())? {
            // It was parsed before.
            let schema: Json = serde_json::from_str(entry.schema().text())?;
            found.push((entry.name, lint(&schema)));
        }
    }
    anyhow::ensure!(!found.is_empty(), "no .avsc file is there");
    let fault = |f: &Finding| args.strict || !ADVICE.contains(&f.rule);
    let clean = !found.iter().any(|(_, findings)| findings.iter().any(fault));
    let json = || {
        let one = |f: &Finding| json!({"path": f.path, "rule": f.rule, "says": f.says, "advice": !fault(f)});
        let schemas = found.iter().map(|(name, findings)| json!({"name": name, "findings": findings.iter().map(one).collect::<Vec<_>>()}));
        json!({"clean": clean, "schemas": schemas.collect::<Vec<_>>()})
    };
    let text = || {
        let line = |name: &str, f: &Finding| {
            let place = if f.path.is_empty() { String::new() } else { format!(" {}", f.path) };
            let advice = if fault(f) { "" } else { ", advice" };
            format!("{name}{place}: {} [{}{advice}]\n", f.says, f.rule)
        };
        let lines = found.iter().flat_map(|(name, findings)| findings.iter().map(move |f| line(name, f)));
        let lines: String = lines.collect();
        if lines.is_empty() { format!("{} schemas, nothing found\n", found.len()) } else { lines }
    };
    print(args.json, json, text)?;
    Ok(clean)
}

fn lint(schema: &Json) -> Vec<Finding> {
    let mut findings = Vec::new();
    if schema["name"].is_string() && schema["namespace"].as_str().is_none_or(str::is_empty) && !text(&schema["name"]).contains('.') {
        findings.push(Finding {
            path: String::new(),
            rule: "namespace",
            says: "it has no namespace: its name may be somebody else's".into(),
        });
    }
    types(schema, "", &mut findings);
    findings
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

fn types(schema: &Json, path: &str, findings: &mut Vec<Finding>) {
    let under = |step: &str| if path.is_empty() { step.to_owned() } else { format!("{path}.{step}") };
    match schema {
        Json::Array(branches) => branches.iter().for_each(|branch| types(branch, path, findings)),
        Json::Object(_) => {
            logical(schema, path, findings);
            match schema["type"].as_str() {
                Some("array") => types(&schema["items"], &under("[]"), findings),
                Some("map") => types(&schema["values"], &under("{}"), findings),
                Some(kind @ ("record" | "enum" | "fixed")) => {
                    named(schema, kind, path, findings);
                    for field in schema["fields"].as_array().into_iter().flatten() {
                        self::field(field, &under(text(&field["name"])), findings);
                    }
                }
                Some(_) => {}
                None => types(&schema["type"], path, findings),
            }
        }
        _ => {}
    }
}

fn named(schema: &Json, kind: &str, path: &str, findings: &mut Vec<Finding>) {
    let mut find = |rule, says: String| findings.push(Finding { path: path.to_owned(), rule, says });
    let name = text(&schema["name"]).rsplit('.').next().unwrap_or_default().to_owned();
    if !name.starts_with(|c: char| c.is_ascii_uppercase()) || name.contains('_') {
        find("type-name", format!("the {kind} {name} is not named LikeThis"));
    }
    if kind != "fixed" && text(&schema["doc"]).trim().is_empty() {
        find("doc", format!("the {kind} {name} has no documentation"));
    }
    if kind == "enum" && schema["default"].is_null() {
        find(
            "enum-default",
            format!("the enum {name} has no default: a symbol that is added later breaks everybody who reads with this version"),
        );
    }
}

fn field(field: &Json, path: &str, findings: &mut Vec<Finding>) {
    let mut find = |rule, says: String| findings.push(Finding { path: path.to_owned(), rule, says });
    let name = text(&field["name"]);
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.chars().any(|c| c.is_ascii_uppercase()) {
        find("field-name", "it is not named like_this".into());
    }
    if text(&field["doc"]).trim().is_empty() {
        find("doc", "it has no documentation".into());
    }
    let nullable = field["type"].as_array().filter(|branches| branches.iter().any(|branch| branch == "null"));
    if let Some(branches) = nullable {
        if field.get("default").is_none() {
            find("null-default", "it may be null and has no default: add \"default\": null".into());
        } else if field["default"].is_null() && branches.first().is_some_and(|first| first != "null") {
            find("null-first", "its default is null, so null must be the first of its types".into());
        }
    }
    let bare_long = field["type"] == "long" || nullable.is_some_and(|branches| branches.iter().any(|branch| branch == "long"));
    if bare_long && (name == "time" || name == "timestamp" || name.ends_with("_at") || name.ends_with("_time")) {
        find("logical-type", "it looks like a time and has no logical type: readers cannot tell its unit".into());
    }
    types(&field["type"], path, findings);
}

fn logical(schema: &Json, path: &str, findings: &mut Vec<Finding>) {
    let Some(logical) = schema["logicalType"].as_str() else { return };
    let mut find = |says: String| findings.push(Finding { path: path.to_owned(), rule: "logical-type", says });
    match LOGICAL.iter().find(|(known, _)| *known == logical) {
        None => find(format!("{logical:?} is no logical type of Avro's: readers pass it over")),
        Some((_, of)) if !of.contains(&text(&schema["type"])) => {
            find(format!("{logical} is made of {}, not of {}: readers pass it over", of.join(" or "), text(&schema["type"])));
        }
        Some(_) if logical == "decimal" && schema["precision"].as_u64().unwrap_or(0) == 0 => find("decimal without a precision".into()),
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(schema: &str) -> Vec<String> {
        lint(&serde_json::from_str(schema).unwrap()).iter().map(|f| format!("{} {}", f.path, f.rule)).collect()
    }

    #[test]
    fn each_rule_finds_its_fault_and_nothing_else() {
        let good = r#"{"type":"record","name":"Order","namespace":"shop","doc":"One order.","fields":[
            {"name":"placed_at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When."},
            {"name":"note","type":["null","string"],"default":null,"doc":"What."},
            {"name":"state","type":{"type":"enum","name":"State","doc":"How far.","symbols":["open","other"],"default":"other"},"doc":"How far."}]}"#;
        assert_eq!(rules(good), [""; 0]);
        for (from, to, expected) in [
            (r#""namespace":"shop","#, "", " namespace"),
            (r#""Order""#, r#""order_line""#, " type-name"),
            (r#","doc":"One order.""#, "", " doc"),
            (r#""name":"note""#, r#""name":"Note""#, "Note field-name"),
            (r#","doc":"What.""#, "", "note doc"),
            (r#""default":null,"#, "", "note null-default"),
            (r#"["null","string"]"#, r#"["string","null"]"#, "note null-first"),
            (r#"{"type":"long","logicalType":"timestamp-millis"}"#, r#""long""#, "placed_at logical-type"),
            ("timestamp-millis", "timestamp-milliseconds", "placed_at logical-type"),
            (r#"{"type":"long","logical"#, r#"{"type":"string","logical"#, "placed_at logical-type"),
            (r#","default":"other""#, "", "state enum-default"),
        ] {
            assert!(good.contains(from), "{from}");
            assert_eq!(rules(&good.replace(from, to)), [expected], "{from} -> {to}");
        }
    }
}
