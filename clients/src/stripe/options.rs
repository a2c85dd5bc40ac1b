//! How to reach a Stripe account.

use super::Limits;
use crate::Secret;
use reqwest::Url;
use std::{net::IpAddr, time::Duration};

/// The API version that every call names, so that an account's default never changes what we parse.
pub const API_VERSION: &str = "2025-09-30.clover";

/// Where Stripe is, unless told otherwise.
pub const API_BASE: &str = "https://api.stripe.com";

/// A configuration that cannot work, found without any I/O.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    #[error("the Stripe API key is empty or holds characters that no key has")]
    Key,
    #[error("a publishable key (pk_…) cannot read or write customers: use a secret or restricted one (sk_…, rk_…)")]
    Publishable,
    #[error("the Stripe API base {0:?} is not scheme and host alone, such as https://api.stripe.com (without /v1)")]
    Base(String),
    #[error("the Stripe API base {0:?} is plain http to a host that is not this machine")]
    Plain(String),
    #[error("the HTTP client could not be made: {0}")]
    Http(String),
}

/// Everything that a [`super::Client`] is made of.
///
/// ```
/// use clients::{Secret, stripe::Options};
/// let options = Options::new(Secret::new("sk_test_123"), "https://api.stripe.com").unwrap();
/// assert!(!options.is_live());
/// assert!(Options::new(Secret::new("sk_test_123"), "http://example.com").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) key: Secret,
    pub(crate) base: Url,
    /// Value of the `Stripe-Version` header.
    pub version: String,
    pub connect_timeout: Duration,
    /// From the call (after its turn at the limiter) to the last byte of its answer.
    pub timeout: Duration,
    pub limits: Limits,
}

impl Options {
    /// `base`: scheme and host (and port), without `/v1`; plain http only to this machine.
    pub fn new(key: Secret, base: &str) -> Result<Self, SetupError> {
        let text = key.reveal();
        if text.is_empty() || !text.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_') {
            return Err(SetupError::Key);
        }
        if text.starts_with("pk_") {
            return Err(SetupError::Publishable);
        }
        let limits = if is_live(text) { Limits::live() } else { Limits::test() };
        Ok(Options {
            base: parse_base(base)?,
            version: API_VERSION.into(),
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            limits,
            key,
        })
    }

    /// Whether the key is a live one: anything that does not say that it is a test key.
    pub fn is_live(&self) -> bool {
        is_live(self.key.reveal())
    }

    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether the base is this machine (a stand-in).
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }
}

fn is_live(key: &str) -> bool {
    !["sk_test_", "rk_test_"].iter().any(|prefix| key.starts_with(prefix))
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

fn parse_base(text: &str) -> Result<Url, SetupError> {
    // Shown in the error, so a password in it must go first.
    let wrong = || SetupError::Base(text.rsplit('@').next().unwrap_or_default().chars().take(200).collect());
    let url = Url::parse(text).map_err(|_| wrong())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !bare || url.password().is_some() || url.host_str().is_none() {
        return Err(wrong());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => Err(SetupError::Plain(text.chars().take(200).collect())),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_scheme_and_host_and_plain_only_at_home() {
        for good in [
            "https://api.stripe.com",
            "https://api.stripe.com/",
            "http://127.0.0.1:12111",
            "http://localhost:1",
            "http://[::1]:9",
            "https://x:8443",
        ] {
            assert!(parse_base(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "api.stripe.com",
            "https://api.stripe.com/v1",
            "https://api.stripe.com/?a=b",
            "https://u:p@api.stripe.com",
            "ftp://x",
            "https://x/#y",
        ] {
            assert!(matches!(parse_base(bad), Err(SetupError::Base(_))), "{bad}");
        }
        for plain in ["http://api.stripe.com", "http://10.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com"] {
            assert!(matches!(parse_base(plain), Err(SetupError::Plain(_))), "{plain}");
        }
        assert!(!parse_base("https://u:hunter2@x/v1").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn a_key_tells_its_mode_and_is_never_shown() {
        let of = |key: &str| Options::new(Secret::new(key), API_BASE);
        assert!(!of("sk_test_1").unwrap().is_live() && !of("rk_test_1").unwrap().is_live());
        assert!(of("sk_live_1").unwrap().is_live() && of("rk_live_1").unwrap().is_live() && of("sk_1").unwrap().is_live());
        assert_eq!(of("sk_test_1").unwrap().limits, Limits::test());
        assert_eq!(of("sk_live_1").unwrap().limits, Limits::live());
        assert_eq!(of("pk_test_1").unwrap_err(), SetupError::Publishable);
        for bad in ["", "sk_test_1\n", "sk test", "sk_tést"] {
            assert_eq!(of(bad).unwrap_err(), SetupError::Key, "{bad:?}");
        }
        assert!(!format!("{:?}", of("sk_test_1hush").unwrap()).contains("hush"));
    }
}
