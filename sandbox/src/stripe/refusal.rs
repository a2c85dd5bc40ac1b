//! Errors in Stripe's shape.

use serde_json::{Value, json};

/// An error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub status: u16,
    pub kind: &'static str,
    pub code: Option<&'static str>,
    pub param: Option<String>,
    pub message: String,
    /// Found before the endpoint ran: not remembered for the idempotency key.
    pub early: bool,
}

impl Refusal {
    fn new(status: u16, kind: &'static str, code: Option<&'static str>, param: Option<&str>, message: String) -> Self {
        Refusal { status, kind, code, param: param.map(Into::into), message, early: false }
    }

    /// A request that could not be read.
    pub(crate) fn unread(message: &str) -> Self {
        Refusal { early: true, ..Self::new(400, "invalid_request_error", None, None, message.into()) }
    }

    /// A parameter of the wrong shape.
    pub(crate) fn shape(param: &str, message: &str) -> Self {
        Refusal { early: true, ..Self::new(400, "invalid_request_error", None, Some(param), format!("{message}: {param}")) }
    }

    pub(crate) fn unknown(param: &str) -> Self {
        let message = format!("Received unknown parameter: {param}");
        Refusal { early: true, ..Self::new(400, "invalid_request_error", Some("parameter_unknown"), Some(param), message) }
    }

    /// A value that the endpoint refuses; remembered for the key.
    pub(crate) fn value(param: &str, code: Option<&'static str>, message: String) -> Self {
        Self::new(400, "invalid_request_error", code, Some(param), message)
    }

    pub(crate) fn missing(param: &str, id: &str) -> Self {
        let status = if param == "id" { 404 } else { 400 };
        Self::new(status, "invalid_request_error", Some("resource_missing"), Some(param), format!("No such customer: '{id}'"))
    }

    pub(crate) fn missing_event(param: &str, id: &str) -> Self {
        let status = if param == "id" { 404 } else { 400 };
        Self::new(status, "invalid_request_error", Some("resource_missing"), Some(param), format!("No such event: '{id}'"))
    }

    pub(crate) fn no_key() -> Self {
        let message = "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').";
        Self::new(401, "invalid_request_error", None, None, message.into())
    }

    pub(crate) fn wrong_key(key: &str) -> Self {
        let tail: String = key.chars().rev().take(4).collect::<Vec<_>>().into_iter().rev().collect();
        Self::new(401, "invalid_request_error", None, None, format!("Invalid API Key provided: ****{tail}"))
    }

    pub(crate) fn not_permitted(what: &str) -> Self {
        let message = format!("The provided key does not have the required permissions for this endpoint: {what}.");
        Self::new(403, "invalid_request_error", Some("more_permissions_required"), None, message)
    }

    pub(crate) fn no_route(method: &str, path: &str) -> Self {
        Self::new(404, "invalid_request_error", None, None, format!("Unrecognized request URL ({method}: {path})."))
    }

    pub(crate) fn too_many() -> Self {
        let message = "Request rate limit exceeded. You made too many requests in one second.";
        Self::new(429, "invalid_request_error", Some("rate_limit"), None, message.into())
    }

    pub(crate) fn key_reused(key: &str) -> Self {
        let message = format!(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '{key}' if you meant to execute a different request."
        );
        Self::new(400, "idempotency_error", None, None, message)
    }

    pub(crate) fn key_in_use(key: &str) -> Self {
        let message = format!("There is currently another in-progress request using this Idempotent Key ('{key}').");
        Self::new(409, "idempotency_error", Some("idempotency_key_in_use"), None, message)
    }

    /// An error that was asked for.
    pub(crate) fn injected(status: u16, code: Option<&str>) -> Self {
        match status {
            429 if code != Some("lock_timeout") => Self::too_many(),
            409 if code != Some("lock_timeout") => Self::key_in_use("injected"),
            409 | 429 => {
                let message = "This object cannot be accessed right now because another API request is currently accessing it.";
                Self::new(status, "invalid_request_error", Some("lock_timeout"), None, message.into())
            }
            401 => Self::wrong_key("injected"),
            403 => Self::not_permitted("injected"),
            500.. => Self::new(status, "api_error", None, None, "An unknown error occurred".into()),
            _ => Self::new(status, "invalid_request_error", None, None, "This request was refused, as was asked for.".into()),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let mut error = json!({"type": self.kind, "message": self.message});
        if let Some(code) = self.code {
            error["code"] = code.into();
            error["doc_url"] = format!("https://stripe.com/docs/error-codes/{}", code.replace('_', "-")).into();
        }
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        json!({ "error": error })
    }
}
