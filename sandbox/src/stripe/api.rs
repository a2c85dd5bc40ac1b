//! Stripe's API: who asks, what is asked, and what goes wrong on request.

use super::{
    account::Call,
    faults::{Fault, On},
    params::{self, Param},
    refusal::Refusal,
    state::{Answer, Disguise, Keyed, State, request_id},
};
use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

/// A request, read whole.
pub(crate) struct Asked {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// The answer to one request, with the id that its `Request-Id` names.
pub(crate) struct Told {
    pub answer: Answer,
    pub request_id: String,
    pub key: Option<String>,
}

/// The connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is broken off, as was asked for")]
pub(crate) struct Reset;

pub(crate) async fn answer(state: &Arc<State>, asked: Asked) -> Result<Told, Reset> {
    let request_id = request_id();
    let key = (asked.method == Method::POST)
        .then(|| asked.headers.get("idempotency-key"))
        .flatten()
        .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let answer = match read(state, &asked, key.as_deref()) {
        Ok(request) => run(state, request, &request_id).await?,
        Err(refusal) => Answer::refused(&refusal),
    };
    Ok(Told { answer, request_id, key })
}

/// A request that may run.
struct Request {
    call: Call,
    params: Param,
    keyed: Option<Keyed>,
}

fn read(state: &State, asked: &Asked, key: Option<&str>) -> Result<Request, Refusal> {
    let given = api_key(&asked.headers).ok_or_else(Refusal::no_key)?;
    if given != state.options.key {
        return Err(Refusal::wrong_key(&given));
    }
    let call = route(asked)?;
    state.count(kind(&call));
    if !state.admit() {
        return Err(Refusal::too_many());
    }
    if matches!(call, Call::Events | Call::Event(_)) && !state.options.events_api {
        return Err(Refusal::not_permitted("rak_event_read"));
    }
    if let Some(version) = asked.headers.get("stripe-version")
        && !version.to_str().is_ok_and(is_version)
    {
        return Err(Refusal::unread(&format!("Invalid Stripe API version: {}", String::from_utf8_lossy(version.as_bytes()))));
    }
    let mut pairs = params::pairs(asked.uri.query().unwrap_or_default().as_bytes())?;
    if asked.method == Method::POST && !asked.body.is_empty() {
        let form = asked.headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        if !form.is_some_and(|t| t.starts_with("application/x-www-form-urlencoded")) {
            return Err(Refusal::unread("Invalid request: the body must be form-encoded (application/x-www-form-urlencoded)."));
        }
        pairs.extend(params::pairs(&asked.body)?);
    }
    let keyed = key.map(|key| keyed(key, asked, &pairs)).transpose()?;
    Ok(Request { params: params::tree(&pairs)?, call, keyed })
}

/// `Bearer <key>`, or the key as the user of basic authentication.
fn api_key(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    if let Some(key) = value.strip_prefix("Bearer ") {
        return Some(key.trim().to_owned());
    }
    let bytes = base64(value.strip_prefix("Basic ")?.trim())?;
    String::from_utf8(bytes).ok()?.split(':').next().map(str::to_owned)
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            // The top eight of the bits held.
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

/// `2025-09-30`, or with a release's name after a dot.
fn is_version(text: &str) -> bool {
    let (date, name) = text.split_once('.').unwrap_or((text, "x"));
    let date_fits =
        date.len() == 10 && date.bytes().enumerate().all(|(at, c)| if at == 4 || at == 7 { c == b'-' } else { c.is_ascii_digit() });
    date_fits && !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric())
}

fn route(asked: &Asked) -> Result<Call, Refusal> {
    let path = asked.uri.path();
    let none = || Refusal::no_route(asked.method.as_str(), path);
    let mut parts = path.trim_end_matches('/').split('/').skip(1);
    let (version, what, id) = (parts.next(), parts.next(), parts.next());
    let id = id.map(|id| percent_decode_str(id).decode_utf8_lossy().into_owned());
    if version != Some("v1") || parts.next().is_some() {
        return Err(none());
    }
    match (what, &asked.method, id) {
        (Some("customers"), &Method::POST, None) => Ok(Call::Create),
        (Some("customers"), &Method::GET, None) => Ok(Call::List),
        (Some("customers"), &Method::GET, Some(id)) => Ok(Call::Retrieve(id)),
        (Some("customers"), &Method::POST, Some(id)) => Ok(Call::Update(id)),
        (Some("customers"), &Method::DELETE, Some(id)) => Ok(Call::Delete(id)),
        (Some("events"), &Method::GET, None) => Ok(Call::Events),
        (Some("events"), &Method::GET, Some(id)) => Ok(Call::Event(id)),
        _ => Err(none()),
    }
}

fn on(call: &Call) -> On {
    match call {
        Call::Create => On::Create,
        Call::Retrieve(_) => On::Retrieve,
        Call::Update(_) => On::Update,
        Call::Delete(_) => On::Delete,
        Call::List => On::List,
        Call::Event(_) | Call::Events => On::Events,
    }
}

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Create => "create",
        Call::Retrieve(_) => "retrieve",
        Call::Update(_) => "update",
        Call::Delete(_) => "delete",
        Call::List => "list",
        Call::Event(_) | Call::Events => "events",
    }
}

fn keyed(key: &str, asked: &Asked, pairs: &[(String, String)]) -> Result<Keyed, Refusal> {
    if key.is_empty() || key.chars().count() > 255 {
        return Err(Refusal::unread("Idempotency keys have 1 to 255 characters."));
    }
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort();
    let mut hash = Sha256::new();
    for text in [asked.method.as_str(), asked.uri.path()].into_iter().chain(sorted.iter().flat_map(|(k, v)| [k.as_str(), v.as_str()])) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    Ok(Keyed { key: key.to_owned(), fingerprint: hex::encode(hash.finalize()) })
}

async fn run(state: &Arc<State>, request: Request, request_id: &str) -> Result<Answer, Reset> {
    let faults = state.faults.lock().of_call(on(&request.call));
    if faults.is_empty() {
        return execute(state, &request, request_id, None);
    }
    // On a task of its own: a client that hangs up does not stop what is under way.
    let (state, request_id) = (state.clone(), request_id.to_owned());
    tokio::spawn(async move { misbehave(&state, &request, &request_id, faults).await }).await.map_err(|_| Reset)?
}

async fn misbehave(state: &State, request: &Request, request_id: &str, faults: Vec<Fault>) -> Result<Answer, Reset> {
    if let Some(keyed) = &request.keyed
        && let Some(answer) = state.begin(keyed)
    {
        return Ok(answer);
    }
    let end = |stored: Option<&Answer>| match &request.keyed {
        Some(keyed) => state.end(keyed, stored.map(|answer| (answer, request_id))).map_err(broken),
        None => Ok(()),
    };
    let (mut disguise, mut late, mut reset) = (None, Duration::ZERO, false);
    for fault in faults {
        match fault {
            Fault::SlowBefore { ms } => tokio::time::sleep(Duration::from_millis(ms)).await,
            Fault::SlowAfter { ms } => late += Duration::from_millis(ms),
            Fault::ResetBefore => {
                end(None)?;
                return Err(Reset);
            }
            Fault::ResetAfter => reset = true,
            Fault::StatusBefore { status, code, stored, retry_after } => {
                let mut answer = Answer::refused(&Refusal::injected(status, code.as_deref()));
                answer.retry_after = retry_after;
                answer.should_retry = (status >= 500).then_some(!stored);
                end(stored.then_some(&answer))?;
                return Ok(answer);
            }
            Fault::StatusAfter { status, stored } => disguise = Some(Disguise { refusal: Refusal::injected(status, None), stored }),
            Fault::WebhookDrop | Fault::WebhookDouble | Fault::WebhookDelay { .. } | Fault::WebhookReorder { .. } => {}
        }
    }
    let answer = state.perform(&request.call, &request.params, request_id, request.keyed.as_ref(), disguise.as_ref()).map_err(broken)?;
    if !late.is_zero() {
        tokio::time::sleep(late).await;
    }
    if reset { Err(Reset) } else { Ok(answer) }
}

fn execute(state: &State, request: &Request, request_id: &str, disguise: Option<&Disguise>) -> Result<Answer, Reset> {
    if let Some(keyed) = &request.keyed
        && let Some(answer) = state.begin(keyed)
    {
        return Ok(answer);
    }
    state.perform(&request.call, &request.params, request_id, request.keyed.as_ref(), disguise).map_err(broken)
}

fn broken(error: std::io::Error) -> Reset {
    tracing::error!(%error, "The state file cannot be written; the call did not happen.");
    Reset
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_as_bearer_or_as_basic_user() {
        let of = |value: &str| api_key(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]));
        assert_eq!(of("Bearer sk_test_1").as_deref(), Some("sk_test_1"));
        assert_eq!(of("Basic c2tfdGVzdF8xOg==").as_deref(), Some("sk_test_1"));
        assert_eq!(of("Digest x"), None);
    }

    #[test]
    fn versions_are_dates() {
        for good in ["2025-09-30.clover", "2024-06-20"] {
            assert!(is_version(good));
        }
        for bad in ["", "latest", "2024-6-20", "2024-06-20.", "2024/06/20"] {
            assert!(!is_version(bad), "{bad}");
        }
    }
}
