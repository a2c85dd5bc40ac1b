//! What a failed call means. The classes are Stripe's own ("Error handling", "Idempotent requests", "Rate limits" in its
//! documentation); what to do about them is the caller's policy.

use schemas::Millis;
use serde::Deserialize;
use std::{fmt, time::Duration};

/// What is known after a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// 400, 402, 404 and the like: refused for good, nothing happened. `param` names what, where Stripe does.
    Refused,
    /// There is no such customer (any more); nothing happened.
    Missing,
    /// The idempotency key was used before with other parameters; nothing happened now.
    KeyReused,
    /// 401, 403: this key may not. Nothing happened.
    Credentials,
    /// 409 or `lock_timeout`: the object, or the key, is in use right now. To be repeated with the same key.
    Busy,
    /// 429: too many calls. Nothing happened.
    Limited,
    /// 5xx that Stripe stored for this key and will replay: a known answer, of unknown effect. Repeating is of no use.
    Stored,
    /// 5xx that may go better next time, of unknown effect. To be repeated with the same key.
    Unavailable,
    /// No answer, or not all of it: the outcome is unknown. To be repeated with the same key.
    Lost,
    /// No connection was made: nothing happened.
    Unreachable,
    /// An answer that is not Stripe's (a redirect, a proxy's page): the outcome is unknown.
    Foreign,
}

impl Class {
    /// Whether the same call, repeated, may succeed.
    pub fn is_retriable(self) -> bool {
        use Class::*;
        match self {
            Busy | Limited | Unavailable | Lost | Unreachable | Foreign | Credentials => true,
            Refused | Missing | KeyReused | Stored => false,
        }
    }

    /// Whether it is certain that this call changed nothing.
    pub fn is_without_effect(self) -> bool {
        use Class::*;
        match self {
            Refused | Missing | KeyReused | Credentials | Limited | Unreachable => true,
            // Busy may be the key's own first call, still running.
            Busy | Stored | Unavailable | Lost | Foreign => false,
        }
    }

    /// The word for logs and metrics.
    pub fn name(self) -> &'static str {
        use Class::*;
        match self {
            Refused => "refused",
            Missing => "missing",
            KeyReused => "key_reused",
            Credentials => "credentials",
            Busy => "busy",
            Limited => "limited",
            Stored => "stored",
            Unavailable => "unavailable",
            Lost => "lost",
            Unreachable => "unreachable",
            Foreign => "foreign",
        }
    }
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub class: Class,
    /// `create`, `update`, …
    pub operation: &'static str,
    pub status: Option<u16>,
    /// Stripe's `error.code`, e.g. `email_invalid`.
    pub code: Option<Box<str>>,
    /// Stripe's `error.param`, e.g. `address[country]`.
    pub param: Option<Box<str>>,
    /// In Stripe's words (or the transport's); without secrets.
    pub message: Box<str>,
    /// For Stripe's support and its request log.
    pub request_id: Option<Box<str>>,
    /// Stripe's `Retry-After`.
    pub retry_after: Option<Duration>,
    /// Stripe's clock, where there was an answer.
    pub look: Option<Millis>,
    /// A stored answer, given again (`Idempotent-Replayed`).
    pub replayed: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stripe, {}: {}", self.operation, self.class.name())?;
        if let Some(status) = self.status {
            write!(f, ", HTTP {status}")?;
        }
        for (label, text) in [("", &self.code), ("param ", &self.param), ("request ", &self.request_id)] {
            if let Some(text) = text {
                write!(f, ", {label}{text}")?;
            }
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Error {}

/// Stripe's error body.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Body {
    #[serde(rename = "type")]
    pub kind: String,
    pub code: Option<Box<str>>,
    pub param: Option<Box<str>>,
    pub message: Option<Box<str>>,
}

/// The parts of an answer that decide its class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signs<'a> {
    pub status: u16,
    /// Stripe's error body; absent where the answer is not Stripe's.
    pub body: Option<&'a Body>,
    /// `Stripe-Should-Retry`, where sent.
    pub should_retry: Option<bool>,
    pub replayed: bool,
    /// Whether the call carried an idempotency key.
    pub keyed: bool,
}

pub(crate) fn classify(signs: Signs<'_>) -> Class {
    let kind = signs.body.map_or("", |b| b.kind.as_str());
    let code = signs.body.and_then(|b| b.code.as_deref()).unwrap_or("");
    let param = signs.body.and_then(|b| b.param.as_deref());
    match signs.status {
        500..=599 => {
            // Only a call with a key has a stored answer; without one, another try is another call.
            let stored = signs.keyed && (signs.replayed || signs.should_retry == Some(false));
            if stored { Class::Stored } else { Class::Unavailable }
        }
        429 if code == "lock_timeout" => Class::Busy,
        429 => Class::Limited,
        _ if signs.body.is_none() => Class::Foreign,
        401 | 403 => Class::Credentials,
        409 => Class::Busy,
        _ if code == "lock_timeout" || code == "idempotency_key_in_use" => Class::Busy,
        _ if code == "rate_limit" => Class::Limited,
        _ if kind == "idempotency_error" => Class::KeyReused,
        404 if code == "resource_missing" && matches!(param, None | Some("id" | "customer")) => Class::Missing,
        // The server knows better than the table below.
        400..=499 if signs.should_retry == Some(true) => Class::Busy,
        400..=499 => Class::Refused,
        _ => Class::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(kind: &str, code: &str, param: Option<&str>) -> Body {
        Body { kind: kind.into(), code: (!code.is_empty()).then(|| code.into()), param: param.map(Into::into), message: None }
    }

    #[test]
    fn each_answer_has_one_meaning() {
        let invalid = |code: &str, param: Option<&str>| Some(body("invalid_request_error", code, param));
        let api = || Some(body("api_error", "", None));
        type Case = (u16, Option<Body>, Option<bool>, bool, bool, Class);
        let cases: Vec<Case> = vec![
            (400, invalid("email_invalid", Some("email")), None, false, true, Class::Refused),
            (400, invalid("email_invalid", Some("email")), None, true, true, Class::Refused),
            (402, Some(body("card_error", "", None)), None, false, true, Class::Refused),
            (404, invalid("resource_missing", Some("id")), None, false, true, Class::Missing),
            (404, invalid("resource_missing", Some("customer")), None, false, false, Class::Missing),
            (404, invalid("resource_missing", Some("default_source")), None, false, true, Class::Refused),
            (404, invalid("", None), None, false, false, Class::Refused),
            (404, None, None, false, false, Class::Foreign),
            (400, Some(body("idempotency_error", "", None)), None, false, true, Class::KeyReused),
            (401, invalid("", None), None, false, false, Class::Credentials),
            (403, invalid("", None), None, false, false, Class::Credentials),
            (403, None, None, false, false, Class::Foreign),
            (409, Some(body("idempotency_error", "idempotency_key_in_use", None)), None, false, true, Class::Busy),
            (409, invalid("", None), Some(false), false, true, Class::Busy),
            (400, invalid("lock_timeout", None), None, false, true, Class::Busy),
            (429, invalid("lock_timeout", None), None, false, true, Class::Busy),
            (429, invalid("rate_limit", None), None, false, true, Class::Limited),
            (429, None, None, false, true, Class::Limited),
            (400, invalid("", None), Some(true), false, true, Class::Busy),
            (500, api(), None, false, true, Class::Unavailable),
            (500, api(), Some(true), false, true, Class::Unavailable),
            (500, api(), Some(false), false, true, Class::Stored),
            (500, api(), None, true, true, Class::Stored),
            (500, api(), Some(false), false, false, Class::Unavailable),
            (502, None, None, false, true, Class::Unavailable),
            (503, None, Some(false), false, true, Class::Stored),
            (301, None, None, false, true, Class::Foreign),
            (200, None, None, false, true, Class::Foreign),
        ];
        for (status, body, should_retry, replayed, keyed, class) in cases {
            let signs = Signs { status, body: body.as_ref(), should_retry, replayed, keyed };
            assert_eq!(classify(signs), class, "{signs:?}");
        }
    }
}
