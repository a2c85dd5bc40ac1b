//! `concord schemas evolve-test`: values written with each older version, read with the present one; and back where the level says so.

use super::{args::EvolveTest, check::pairs, place::Place, present, print};
use crate::config::{Env, Overrides};
use schemas::{Compatibility, Schema, generic, resolve::resolve, samples};
use serde_json::{Value as Json, json};

/// What came of one version.
struct Trial {
    name: String,
    version: String,
    /// Written by the older, read by the newer; or the other way.
    forward: bool,
    read: u32,
    /// The first value that was not read, and why.
    failed: Option<String>,
}

/// Writes with one schema, reads with the other, and sees that the outcome is a value of the other: how many, and the first that was not.
fn through(writer: &Schema, reader: &Schema, values: u32) -> (u32, Option<String>) {
    for n in 0..values {
        let one = || -> Result<(), String> {
            let bytes = samples::datum(writer, n.into()).map_err(|e| e.to_string())?;
            let written = generic::decode(&bytes, writer).map_err(|e| e.to_string())?;
            let shown = generic::to_json(&written, writer);
            let read = resolve(written, writer, reader).map_err(|e| format!("{e}; the value: {shown}"))?;
            let bytes = generic::encode(&read, reader).map_err(|e| format!("{e}; the value: {shown}"))?;
            let again = generic::decode(&bytes, reader).map_err(|e| format!("{e}; the value: {shown}"))?;
            if again == read { Ok(()) } else { Err(format!("it reads back otherwise; the value: {shown}")) }
        };
        if let Err(why) = one() {
            return (n, Some(why));
        }
    }
    (values, None)
}

pub async fn run(args: EvolveTest, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    use Compatibility::*;
    let new = present(&args.paths, overrides, env)?;
    let old = Place::of(&args.against, env)?.entries(&args.paths).await?;
    let (paired, _) = pairs(&old, &new);
    let mut trials = Vec::new();
    for (entry, found) in paired {
        for there in found {
            let level = args.level.or(there.level).unwrap_or(BackwardTransitive);
            let backward = !matches!(level, None | Forward | ForwardTransitive);
            let forward = matches!(level, Forward | ForwardTransitive | Full | FullTransitive);
            let latest = there.versions.len() - 1;
            for (n, version) in there.versions.iter().enumerate() {
                let mut trial = |forward: bool, writer: &Schema, reader: &Schema| {
                    let (read, failed) = through(writer, reader, args.values);
                    let (name, version) = (entry.name.clone(), version.label.clone());
                    trials.push(Trial { name, version, forward, read, failed });
                };
                if backward {
                    trial(false, &version.schema, entry.schema());
                }
                // Only with _TRANSITIVE are readers older than the latest meant.
                if forward && (n == latest || matches!(level, ForwardTransitive | FullTransitive)) {
                    trial(true, entry.schema(), &version.schema);
                }
            }
        }
    }
    let ok = trials.iter().all(|trial| trial.failed.is_none());
    print(args.json, || json!({"ok": ok, "trials": trials.iter().map(Trial::json).collect::<Vec<_>>()}), || text(&trials))?;
    Ok(ok)
}

impl Trial {
    fn json(&self) -> Json {
        let (writer, reader) = if self.forward { ("present", self.version.as_str()) } else { (self.version.as_str(), "present") };
        json!({"name": self.name, "writer": writer, "reader": reader, "read": self.read, "failed": self.failed})
    }

    fn text(&self) -> String {
        let (writer, reader) =
            if self.forward { ("the present one", self.version.as_str()) } else { (self.version.as_str(), "the present one") };
        let Trial { name, read, .. } = self;
        match &self.failed {
            None => format!("ok      {name}: {read} values of {writer}, read by {reader}\n"),
            Some(why) => format!("FAILED  {name}: value {read} of {writer} is not read by {reader}: {why}\n"),
        }
    }
}

fn text(trials: &[Trial]) -> String {
    if trials.is_empty() { "nothing older is there\n".into() } else { trials.iter().map(Trial::text).collect() }
}
