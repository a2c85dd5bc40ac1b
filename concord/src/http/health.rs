//! `/healthz`, `/readyz` and the parts that they tell of.

use super::answer;
use http::StatusCode;
use serde_json::{Map, Value as Json, json};
use std::sync::Arc;
use warp::reply::Response;

/// How one part of this process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Ok(String),
    /// It goes on, with failures that are being retried: this process still does its work.
    Degraded(String),
    /// This process cannot do its work.
    Down(String),
}

/// A part's name, and a look at it.
pub type Look = Arc<dyn Fn() -> Part + Send + Sync>;

/// The parts of this process, in the order they are shown.
#[derive(Clone, Default)]
pub struct Parts(Vec<(String, Look)>);

impl Parts {
    pub fn add(&mut self, name: impl Into<String>, look: impl Fn() -> Part + Send + Sync + 'static) {
        self.push(name, Arc::new(look));
    }

    pub fn push(&mut self, name: impl Into<String>, look: Look) {
        self.0.push((name.into(), look));
    }

    /// 503 while any part is down; a degraded one is told of with 200.
    pub fn ready(&self) -> (StatusCode, Json) {
        let mut worst = "ok";
        let mut status = StatusCode::OK;
        let mut components = Map::new();
        for (name, look) in &self.0 {
            let (word, detail) = match look() {
                Part::Ok(detail) => ("ok", detail),
                Part::Degraded(detail) => {
                    worst = if worst == "ok" { "degraded" } else { worst };
                    ("degraded", detail)
                }
                Part::Down(detail) => {
                    (worst, status) = ("unavailable", StatusCode::SERVICE_UNAVAILABLE);
                    ("unavailable", detail)
                }
            };
            components.insert(name.clone(), json!({"status": word, "detail": if detail.is_empty() { Json::Null } else { detail.into() }}));
        }
        (status, json!({"status": worst, "components": components}))
    }
}

pub fn readyz(parts: &Parts) -> Response {
    let (status, body) = parts.ready();
    answer::json(status, &body)
}

pub fn healthz() -> Response {
    answer::json(StatusCode::OK, &json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_outage_leaves_us_in_service_and_a_full_disk_does_not() {
        let mut parts = Parts::default();
        parts.add("log", || Part::Ok(String::new()));
        parts.add("stripe", || Part::Degraded("no answer".into()));
        let (status, body) = parts.ready();
        assert_eq!((status.as_u16(), &body["status"]), (200, &json!("degraded")));
        parts.add("postgres", || Part::Down("connection refused".into()));
        let (status, body) = parts.ready();
        assert_eq!((status.as_u16(), &body["status"]), (503, &json!("unavailable")));
        assert_eq!(body["components"]["postgres"]["detail"], "connection refused");
    }
}
