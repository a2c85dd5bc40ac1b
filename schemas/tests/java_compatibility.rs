//! Two hundred pairs of schemas and some histories: judged here as Avro's own Java library judges them.
//!
//! The cases are in `tests/compat/cases.json`; what Java says was captured by `tests/compat/recapture.sh`. Other cases, thousands of random ones
//! for example, are judged with `COMPAT_CASES` and `COMPAT_GOLDEN` (see `tests/random_evolution.rs`).

use schemas::{
    Compatibility, Incompatibility, Registry, RegistryError, Schema,
    compatibility::{Kind, unreadable},
};
use serde::Deserialize;
use serde_json::{Value as Json, value::RawValue};
use std::{collections::BTreeSet, fmt::Write, path::PathBuf, sync::Arc};

const LEVELS: [Compatibility; 7] = [
    Compatibility::None,
    Compatibility::Backward,
    Compatibility::Forward,
    Compatibility::Full,
    Compatibility::BackwardTransitive,
    Compatibility::ForwardTransitive,
    Compatibility::FullTransitive,
];

#[derive(Deserialize)]
struct Cases {
    pairs: Vec<Pair>,
    histories: Vec<History>,
}

#[derive(Deserialize)]
struct Pair {
    name: String,
    writer: Box<RawValue>,
    reader: Box<RawValue>,
}

#[derive(Deserialize)]
struct History {
    name: String,
    versions: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Golden {
    pairs: Vec<PairVerdict>,
    histories: Vec<HistoryVerdict>,
}

/// Each side a list of what is wrong, or a text where the library gives up.
#[derive(Deserialize)]
struct PairVerdict {
    name: String,
    backward: Json,
    forward: Json,
}

#[derive(Deserialize)]
struct HistoryVerdict {
    name: String,
    levels: Vec<String>,
}

fn read<T: serde::de::DeserializeOwned>(variable: &str, file: &str) -> T {
    let path = std::env::var_os(variable)
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/compat")).join(file), PathBuf::from);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Whether these are other cases than ours.
fn given() -> bool {
    std::env::var_os("COMPAT_CASES").is_some()
}

fn cases() -> (Cases, Golden) {
    let (cases, golden): (Cases, Golden) = (read("COMPAT_CASES", "cases.json"), read("COMPAT_GOLDEN", "goldens/java.json"));
    assert!(cases.pairs.iter().map(|c| &c.name).eq(golden.pairs.iter().map(|g| &g.name)), "capture the golden again");
    assert!(cases.histories.iter().map(|c| &c.name).eq(golden.histories.iter().map(|g| &g.name)), "capture the golden again");
    (cases, golden)
}

/// Schemas that Java takes and apache-avro does not, so neither do we: an alias that is a later field's name.
const NOT_PARSED: [&str; 1] = ["alias: two fields exchanged"];

/// The pairs that can be judged, with Java's verdicts.
fn pairs<'a>(cases: &'a Cases, golden: &'a Golden) -> Vec<(&'a Pair, &'a PairVerdict, Arc<Schema>, Arc<Schema>)> {
    let parsed = |(case, golden): (&'a Pair, &'a PairVerdict)| {
        let (writer, reader) = (Schema::parse(case.writer.get()), Schema::parse(case.reader.get()));
        if NOT_PARSED.contains(&case.name.as_str()) {
            assert!(reader.unwrap_err().to_string().contains("Duplicate field name"), "{}", case.name);
            return None;
        }
        Some((
            case,
            golden,
            writer.unwrap_or_else(|e| panic!("{}: {e}", case.name)),
            reader.unwrap_or_else(|e| panic!("{}: {e}", case.name)),
        ))
    };
    cases.pairs.iter().zip(&golden.pairs).filter_map(parsed).collect()
}

fn compatible(verdict: &Json) -> bool {
    verdict.as_array().is_some_and(Vec::is_empty)
}

fn told(found: &[Incompatibility]) -> BTreeSet<String> {
    found.iter().map(|it| format!("{} {}", it.kind, it.pointer)).collect()
}

/// Java's words for a field without a value whose enum has a default: it compares the enum with the whole record.
fn as_java_tells_it(found: BTreeSet<String>, java: &BTreeSet<String>) -> BTreeSet<String> {
    let missing = Kind::ReaderFieldMissingDefaultValue.to_string();
    let renamed = |it: String| match it.strip_prefix(&missing).map(|place| format!("{} {}/type", Kind::TypeMismatch, place.trim())) {
        Some(theirs) if java.contains(&theirs) => theirs,
        _ => it,
    };
    found.into_iter().map(renamed).collect()
}

#[test]
fn every_pair_is_judged_as_java_does_with_the_same_faults_at_the_same_places() {
    let (cases, golden) = cases();
    let mut differ = String::new();
    let mut judged = 0;
    for (case, golden, writer, reader) in pairs(&cases, &golden) {
        for (direction, found, java) in
            [("backward", unreadable(&writer, &reader), &golden.backward), ("forward", unreadable(&reader, &writer), &golden.forward)]
        {
            judged += 1;
            let Some(java) = java.as_array() else {
                if found.is_empty() {
                    let _ = writeln!(differ, "{}, {direction}: Java gives up, and we find nothing wrong", case.name);
                }
                continue;
            };
            let java: BTreeSet<String> = java.iter().map(|it| it.as_str().unwrap().to_owned()).collect();
            let ours = as_java_tells_it(told(&found), &java);
            // A type that is met twice Java judges once: it then tells the place that was the first, as seen from the union around it.
            let differs = if given() { ours.is_empty() != java.is_empty() } else { ours != java };
            if differs {
                let _ = writeln!(differ, "{}, {direction}\n    Java: {java:?}\n    ours: {ours:?}", case.name);
            }
        }
    }
    assert!(differ.is_empty(), "{differ}");
    println!("{judged} verdicts of {} pairs, with their places, are Java's", cases.pairs.len());
}

/// What a registry does with a new version at a level: it takes it, or says which older version it does not fit.
fn taken(level: Compatibility, old: &[Box<RawValue>], new: &RawValue) -> bool {
    let registry = Registry::new();
    registry.set_compatibility(Some("s"), Compatibility::None);
    for version in old {
        registry.register("s", version.get()).unwrap();
    }
    registry.set_compatibility(Some("s"), level);
    match registry.register("s", new.get()) {
        Ok(_) => true,
        Err(RegistryError::Incompatible { found, .. }) if !found.is_empty() => false,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_registry_takes_at_each_level_what_java_lets_pass() {
    let (cases, golden) = cases();
    for (case, golden, ..) in pairs(&cases, &golden) {
        let (backward, forward) = (compatible(&golden.backward), compatible(&golden.forward));
        for level in LEVELS {
            use Compatibility::*;
            let expected = match level {
                None => true,
                Backward | BackwardTransitive => backward,
                Forward | ForwardTransitive => forward,
                Full | FullTransitive => backward && forward,
            };
            assert_eq!(taken(level, std::slice::from_ref(&case.writer), &case.reader), expected, "{} at {level}", case.name);
        }
    }
    for (case, golden) in cases.histories.iter().zip(&golden.histories) {
        // A schema that is registered already is no new version: a registry takes it at any level.
        let (new, old) = case.versions.split_last().unwrap();
        if old.iter().any(|version| version.get() == new.get()) {
            assert!(LEVELS.into_iter().all(|level| taken(level, old, new)), "{}", case.name);
            continue;
        }
        for level in LEVELS {
            let expected = golden.levels.contains(&level.to_string());
            assert_eq!(taken(level, old, new), expected, "{} at {level}", case.name);
        }
    }
}

/// apache-avro's own check, on the same cases: the list of where it differs is in `tests/compat/goldens/apache_avro.md`.
#[test]
fn where_apache_avro_judges_otherwise_is_written_down() {
    use apache_avro::schema_compatibility::{Compatibility as Judged, SchemaCompatibility};
    if given() {
        return;
    }
    let (cases, golden) = cases();
    let mut differ = Vec::new();
    for (case, golden, writer, reader) in pairs(&cases, &golden) {
        for (direction, writer, reader, java) in
            [("backward", &writer, &reader, &golden.backward), ("forward", &reader, &writer, &golden.forward)]
        {
            let java = compatible(java);
            let theirs = SchemaCompatibility::can_read(writer.avro(), reader.avro());
            if java != matches!(theirs, Ok(Judged::Full)) {
                let java = if java { "compatible" } else { "not compatible" };
                let theirs = match theirs {
                    Ok(Judged::Full) => "compatible".to_owned(),
                    Ok(Judged::Partial) => "partly compatible".to_owned(),
                    Err(error) => error.to_string(),
                };
                differ.push(format!("| {} | {direction} | {java} | {} |", case.name, theirs.replace('|', "\\|")));
            }
        }
    }
    let head = "# Where apache-avro's own check differs\n\nOf the pairs in `../cases.json`; written by `schemas/tests/java_compatibility.rs` with `COMPAT_WRITE=1`.\n\n\
                | pair | direction | Java, and Concord | apache-avro |\n|---|---|---|---|\n";
    let text = format!("{head}{}\n", differ.join("\n"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/compat/goldens/apache_avro.md");
    if std::env::var_os("COMPAT_WRITE").is_some() {
        std::fs::write(path, &text).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap_or_default(),
        text,
        "apache-avro judges otherwise than it did: COMPAT_WRITE=1 writes the list anew"
    );
}
