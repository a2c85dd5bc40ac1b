//! The environment, and the secrets that come from it.

use clients::Secret;
use std::{collections::BTreeMap, path::Path};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

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

    /// What is logged, by `CONCORD_LOG`. A bare word is a level here, never a target: a slip would switch all logs off.
    pub fn log_filter(&self) -> Result<Option<EnvFilter>, String> {
        let Some(text) = self.var("CONCORD_LOG") else { return Ok(None) };
        let understood = text.split(',').map(str::trim).all(|part| part.contains('=') || part.parse::<LevelFilter>().is_ok());
        match EnvFilter::try_new(&text) {
            Ok(filter) if understood => Ok(Some(filter)),
            _ => Err(format!("CONCORD_LOG: {text:?} is no level (off, error, warn, info, debug, trace), nor a list like info,sqlx=debug")),
        }
    }

    /// A secret, from `NAME` or from the file that `NAME_FILE` names (its trailing line end is no part of it). One that is
    /// set to nothing is a mistake: what it protects would silently be left open.
    pub fn secret(&self, name: &str) -> Result<Option<Secret>, String> {
        let file = format!("{name}_FILE");
        if self.0.get(name).is_some_and(|text| text.trim().is_empty()) {
            return Err(format!("{name}: set, but empty; unset it or give it its value"));
        }
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
