//! What only a stand-in has: its page, the edits that people make there, faults, clock and history, under `/_sandbox/`.

use super::{
    account::Call,
    api::Asked,
    faults::Rule,
    params::{self, Param},
    refusal::Refusal,
    state::{Answer, State},
};
use crate::Target;
use http::{Method, header};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Value, json};

/// The page, whole.
pub(crate) const PAGE: &str = include_str!("page.html");

/// Rules, one or many, bare or with a seed.
#[derive(Deserialize)]
#[serde(untagged)]
enum Orders {
    Seeded { seed: Option<u64>, rules: Vec<Rule> },
    Many(Vec<Rule>),
    One(Rule),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    skew_ms: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    rate_limit: Option<Option<u32>>,
    #[serde(default, deserialize_with = "given")]
    webhook: Option<Option<Target>>,
}

/// Tells `null` from absence.
fn given<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(d: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(d).map(Some)
}

pub(crate) fn answer(state: &State, asked: &Asked) -> Answer {
    match route(state, asked) {
        Ok(answer) => answer,
        Err(refusal) => Answer::refused(&refusal),
    }
}

fn route(state: &State, asked: &Asked) -> Result<Answer, Refusal> {
    let path = asked.uri.path();
    let none = || Refusal::no_route(asked.method.as_str(), path);
    let rest = path.strip_prefix("/_sandbox/").ok_or_else(none)?;
    let (what, id) = rest.trim_end_matches('/').split_once('/').unwrap_or((rest.trim_end_matches('/'), ""));
    let id = percent_decode_str(id).decode_utf8_lossy().into_owned();
    let by_hand = |call: Call, params: &Param| {
        state.by_hand(&call, params).map_err(|e| Refusal { status: 500, ..Refusal::unread(&format!("The state file: {e}")) })
    };
    match (what, &asked.method, id.is_empty()) {
        ("customers", &Method::GET, true) => by_hand(Call::List, &query(asked)?),
        ("customers", &Method::GET, false) => by_hand(Call::Retrieve(id), &Param::empty()),
        ("customers", &Method::POST, true) => by_hand(Call::Create, &Param::from_json(&object(asked)?)),
        ("customers", &Method::POST, false) => by_hand(Call::Update(id), &Param::from_json(&object(asked)?)),
        ("customers", &Method::DELETE, false) => by_hand(Call::Delete(id), &Param::empty()),
        ("events", &Method::GET, true) => by_hand(Call::Events, &query(asked)?),
        ("history", &Method::GET, true) => Ok(Answer::of(&history(state))),
        ("history", &Method::GET, false) => {
            let past = state.read(|account| account.history(&id)).ok_or_else(|| Refusal::missing("id", &id))?;
            Ok(Answer::of(&json!({ "id": id, "entries": past })))
        }
        ("faults", &Method::GET, true) => Ok(Answer::of(&json!({ "rules": state.faults.lock().rules() }))),
        ("faults", &Method::DELETE, true) => {
            state.faults.lock().clear();
            Ok(Answer::of(&json!({ "rules": [] })))
        }
        ("faults", &Method::POST, true) => {
            let (seed, rules) = match body(asked)? {
                Orders::Seeded { seed, rules } => (seed, rules),
                Orders::Many(rules) => (None, rules),
                Orders::One(rule) => (None, vec![rule]),
            };
            let mut faults = state.faults.lock();
            faults.add(rules, seed);
            Ok(Answer::of(&json!({ "rules": faults.rules() })))
        }
        ("settings", &Method::GET, true) => Ok(Answer::of(&settings(state))),
        ("settings", &Method::POST, true) => {
            let wanted: Settings = body(asked)?;
            if let Some(Some(target)) = &wanted.webhook {
                target.check().map_err(|e| Refusal::unread(&e.to_string()))?;
            }
            if let Some(target) = wanted.webhook {
                *state.target.lock() = target;
            }
            if let Some(limit) = wanted.rate_limit {
                state.set_rate_limit(limit);
            }
            if let Some(skew) = wanted.skew_ms {
                state.clock.set_skew(skew);
            }
            Ok(Answer::of(&settings(state)))
        }
        _ => Err(none()),
    }
}

fn query(asked: &Asked) -> Result<Param, Refusal> {
    params::tree(&params::pairs(asked.uri.query().unwrap_or_default().as_bytes())?)
}

/// A JSON body; only with its content type, which no other site's form can send.
fn body<T: serde::de::DeserializeOwned>(asked: &Asked) -> Result<T, Refusal> {
    let json = asked.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(|t| t.starts_with("application/json"));
    if !json {
        return Err(Refusal::unread("Send JSON, with content-type: application/json."));
    }
    serde_json::from_slice(&asked.body).map_err(|e| Refusal::unread(&format!("This JSON is not what belongs here: {e}")))
}

fn object(asked: &Asked) -> Result<Value, Refusal> {
    body(asked).and_then(|v: Value| if v.is_object() { Ok(v) } else { Err(Refusal::unread("A customer is a JSON object.")) })
}

fn history(state: &State) -> Value {
    state.read(|account| {
        let all: Vec<Value> = account.ids().map(|id| json!({ "id": id, "entries": account.history(id) })).collect();
        json!({ "customers": all })
    })
}

fn settings(state: &State) -> Value {
    json!({
        "skew_ms": state.clock.skew(),
        "now_ms": state.clock.now(),
        "webhook_url": state.target.lock().as_ref().map(|t| t.url.clone()),
        "pending_webhooks": state.read(|account| account.pending().len()),
        "requests": *state.requests.lock(),
        "livemode": state.options.livemode(),
        "events_api": state.options.events_api,
    })
}
