//! The environment, and the secrets that come from it.

use clients::Secret;
use std::{collections::BTreeMap, path::Path};

/// The environment, as a value: tests give their own.
#[derive(Clone, Default)]
pub struct Env(BTreeMap<String, String>);

impl Env {
    pub fn of_process() -> Self {
        Env(std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect())
    }

    /// The variable, unless unset or empty.
    pub fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// A secret, from `NAME` or from the file that `NAME_FILE` names (its trailing line end is no part of it).
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, String> {
        let file = format!("{name}_FILE");
        match (self.var(name), self.var(&file)) {
            (Some(_), Some(_)) => Err(format!("{name}: set, and {file} too; keep one")),
            (Some(text), None) => Ok(Some(Secret::new(text))),
            (None, Some(path)) => match std::fs::read_to_string(Path::new(&path)) {
                Ok(text) => {
                    let text = text.trim_end_matches(['\r', '\n']);
                    if text.is_empty() { Err(format!("{file}: {path} is empty")) } else { Ok(Some(Secret::new(text))) }
                }
                Err(e) => Err(format!("{file}: cannot read {path}: {e}")),
            },
            (None, None) => Ok(None),
        }
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Env {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Env(vars.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}
