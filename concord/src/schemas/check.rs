//! `concord schemas check`: may these schemas follow those that are there?

use super::{
    args::Check,
    place::{Entry, Place, Version},
    present, print,
};
use crate::config::{Env, Overrides};
use schemas::{Compatibility, Incompatibility, Schema, compatibility::unreadable};
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Every level that a registry knows but NONE, which always holds.
pub const LEVELS: [Compatibility; 6] = [
    Compatibility::Backward,
    Compatibility::BackwardTransitive,
    Compatibility::Forward,
    Compatibility::ForwardTransitive,
    Compatibility::Full,
    Compatibility::FullTransitive,
];

/// One older version against the new schema, both ways.
pub struct Step {
    pub label: String,
    /// What the new schema cannot read of what the old one wrote.
    pub backward: Vec<Incompatibility>,
    /// What the old schema cannot read of what the new one writes.
    pub forward: Vec<Incompatibility>,
}

/// One schema, judged.
pub struct Verdict {
    pub name: String,
    /// What it was compared with: its name there.
    pub with: Option<String>,
    pub level: Compatibility,
    /// The oldest version first.
    pub steps: Vec<Step>,
    /// It was there, and is not here any more.
    pub gone: bool,
}

impl Step {
    pub fn of(old: &Version, new: &Schema) -> Step {
        Step { label: old.label.clone(), backward: unreadable(&old.schema, new), forward: unreadable(new, &old.schema) }
    }
}

impl Verdict {
    pub fn of(old: &Entry, new: &Entry, level: Option<Compatibility>) -> Verdict {
        let level = level.or(old.level).unwrap_or_default();
        let steps = old.versions.iter().map(|version| Step::of(version, new.schema())).collect();
        Verdict { name: new.name.clone(), with: Some(old.name.clone()), level, steps, gone: false }
    }

    pub fn holds(&self, level: Compatibility) -> bool {
        use Compatibility::*;
        let latest = self.steps.len().saturating_sub(1);
        let steps = match level {
            None => return true,
            Backward | Forward | Full => &self.steps[latest..],
            _ => &self.steps[..],
        };
        let backward = steps.iter().all(|step| step.backward.is_empty());
        let forward = steps.iter().all(|step| step.forward.is_empty());
        match level {
            Backward | BackwardTransitive => backward,
            Forward | ForwardTransitive => forward,
            _ => backward && forward,
        }
    }

    pub fn ok(&self) -> bool {
        !self.gone && self.holds(self.level)
    }

    fn held(&self) -> Vec<Compatibility> {
        LEVELS.into_iter().filter(|level| self.holds(*level)).collect()
    }

    /// The first version that it does not fit, and why.
    pub fn why(&self) -> String {
        let list = |found: &[Incompatibility]| found.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let broken = self.steps.iter().rev().find_map(|step| {
            let found = match self.level {
                Compatibility::Backward | Compatibility::BackwardTransitive => list(&step.backward),
                Compatibility::Forward | Compatibility::ForwardTransitive => list(&step.forward),
                _ => list(if step.backward.is_empty() { &step.forward } else { &step.backward }),
            };
            (!found.is_empty()).then(|| format!("not {} compatible with {}: {found}", self.level, step.label))
        });
        broken.unwrap_or_else(|| format!("not {} compatible", self.level))
    }

    pub fn json(&self) -> Json {
        let told = |found: &[Incompatibility]| -> Vec<Json> {
            found
                .iter()
                .map(|it| json!({"path": it.path, "pointer": it.pointer, "kind": it.kind.to_string(), "reason": it.reason}))
                .collect()
        };
        let steps = self.steps.iter().map(|s| json!({"version": s.label, "backward": told(&s.backward), "forward": told(&s.forward)}));
        json!({
            "name": self.name, "against": self.with, "level": self.level.to_string(), "compatible": self.ok(), "gone": self.gone,
            "levels": LEVELS.iter().map(|level| (level.to_string(), Json::Bool(self.holds(*level)))).collect::<serde_json::Map<_, _>>(),
            "versions": steps.collect::<Vec<_>>(),
        })
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        let word = if self.ok() { "ok    " } else { "BROKEN" };
        let with = self.with.as_ref().filter(|with| **with != self.name).map(|with| format!(" (there: {with})")).unwrap_or_default();
        let _ = write!(out, "{word}  {}{with}: ", self.name);
        if self.gone {
            let _ = writeln!(out, "it is gone, and nothing here reads what was written with it");
            return out;
        }
        if self.steps.is_empty() {
            let _ = writeln!(out, "new");
            return out;
        }
        let held = self.held();
        if held.len() == LEVELS.len() {
            let _ = writeln!(out, "every level holds");
            return out;
        }
        let name = |levels: &[Compatibility]| levels.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let word = if self.ok() { "holds" } else { "does not hold" };
        let _ = writeln!(out, "{} {word}; of all levels: {}", self.level, if held.is_empty() { "none".into() } else { name(&held) });
        for step in self.steps.iter().rev() {
            for (found, what) in [(&step.backward, "what it wrote cannot be read"), (&step.forward, "it cannot read what is written now")] {
                if !found.is_empty() {
                    let _ = writeln!(out, "  {}: {what}", step.label);
                    for it in found {
                        let _ = writeln!(out, "    {it}");
                    }
                }
            }
        }
        out
    }
}

/// Each present schema beside what it follows; and what is there and has no follower.
pub fn pairs<'a>(old: &'a [Entry], new: &'a [Entry]) -> (Vec<(&'a Entry, Vec<&'a Entry>)>, Vec<&'a Entry>) {
    let mut followed = vec![false; old.len()];
    let mut paired = Vec::new();
    for entry in new {
        let named: Vec<usize> = (0..old.len()).filter(|n| old[*n].name == entry.name).collect();
        let same_record = |n: &usize| old[*n].full_name().is_some_and(|name| Some(name) == entry.full_name());
        // By its name there; else every subject that carries this record.
        let found = if named.is_empty() { (0..old.len()).filter(same_record).collect() } else { named };
        found.iter().for_each(|n| followed[*n] = true);
        paired.push((entry, found.into_iter().map(|n| &old[n]).collect()));
    }
    let gone = old.iter().zip(followed).filter(|(_, followed)| !followed).map(|(entry, _)| entry).collect();
    (paired, gone)
}

pub async fn judge(old: &Place, new: &[Entry], like: &[std::path::PathBuf], level: Option<Compatibility>) -> anyhow::Result<Vec<Verdict>> {
    let there = old.entries(like).await?;
    let (paired, gone) = pairs(&there, new);
    let none = |name: &str, gone| Verdict { name: name.to_owned(), with: None, level: level.unwrap_or_default(), steps: Vec::new(), gone };
    let mut verdicts = Vec::new();
    for (entry, found) in paired {
        if found.is_empty() {
            verdicts.push(none(&entry.name, false));
        }
        verdicts.extend(found.into_iter().map(|old| Verdict::of(old, entry, level)));
    }
    if old.is_whole() {
        verdicts.extend(gone.into_iter().map(|entry| none(&entry.name, true)));
    }
    Ok(verdicts)
}

pub async fn run(args: Check, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let new = present(&args.paths, overrides, env)?;
    let verdicts = judge(&Place::of(&args.against, env)?, &new, &args.paths, args.level).await?;
    let ok = verdicts.iter().all(Verdict::ok);
    let json = || json!({"compatible": ok, "against": args.against, "schemas": verdicts.iter().map(Verdict::json).collect::<Vec<_>>()});
    print(args.json, json, || verdicts.iter().map(Verdict::text).collect())?;
    Ok(ok)
}
