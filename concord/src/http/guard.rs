//! Who may ask for what, decided before any route sees the request.
//!
//! A page of somebody else's in a person's browser reaches loopback, too: so a foreign `Host` (DNS rebinding) is refused
//! always, and a foreign `Origin` on a request that changes something.

use clients::Secret;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;

/// The webhook's path: it has its signature, and needs no token.
pub const WEBHOOK: &str = "/api/v1/myproduct/stripewebhook/";

/// What is asked of a request.
#[derive(Clone, Debug)]
pub struct Guard {
    listen: SocketAddr,
    token: Option<Secret>,
}

/// Why a request is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub status: StatusCode,
    pub detail: &'static str,
}

impl Guard {
    pub fn new(listen: SocketAddr, token: Option<Secret>) -> Self {
        Guard { listen, token }
    }

    /// Lets the request through, or says why not.
    pub fn check(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        if method == Method::CONNECT {
            return Err(Refusal { status: StatusCode::METHOD_NOT_ALLOWED, detail: "this is no proxy" });
        }
        if path.starts_with(WEBHOOK) {
            return Ok(());
        }
        // Behind a token anybody may be in front of us (a proxy, a name): the token is what is checked then.
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
        if self.token.is_none() && !is_own_name(host, self.listen) {
            return Err(Refusal { status: StatusCode::FORBIDDEN, detail: "foreign Host" });
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && is_foreign(headers.get(header::ORIGIN), host) {
            return Err(Refusal { status: StatusCode::FORBIDDEN, detail: "foreign Origin" });
        }
        let public = path == "/healthz" || path == "/readyz";
        if let Some(token) = &self.token
            && !public
        {
            let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
            let right = given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.reveal().as_bytes())));
            if !right {
                return Err(Refusal { status: StatusCode::UNAUTHORIZED, detail: "needs Authorization: Bearer <CONCORD_API_TOKEN>" });
            }
        }
        Ok(())
    }
}

/// Whether a `Host` is a name of this machine's own for what listens there.
pub fn is_own_name(host: &str, listen: SocketAddr) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && !host.ends_with(']') => (name, port.parse::<u16>().ok()),
        _ => (host, Some(80)),
    };
    let name = name.trim_matches(['[', ']']);
    let loopback = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    loopback && port == Some(listen.port())
}

/// Whether an `Origin` is another page's than those of this `Host`.
pub fn is_foreign(origin: Option<&HeaderValue>, host: &str) -> bool {
    origin.is_some_and(|origin| {
        let origin = origin.to_str().unwrap_or_default();
        let name = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        name.is_none_or(|name| name != host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    fn status(guard: &Guard, method: Method, path: &str, pairs: &[(&'static str, &str)]) -> u16 {
        guard.check(&method, path, &headers(pairs)).map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn only_this_machine_by_its_own_name() {
        let guard = Guard::new("127.0.0.1:8000".parse().unwrap(), None);
        for host in ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"] {
            assert_eq!(status(&guard, Method::GET, "/", &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example:8000", "127.0.0.1:9000", "127.0.0.1", "", "localhost.evil.example:8000"] {
            assert_eq!(status(&guard, Method::GET, "/", &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&guard, Method::GET, "/", &[]), 403, "no Host at all");
    }

    #[test]
    fn a_foreign_page_changes_nothing() {
        let guard = Guard::new("127.0.0.1:8000".parse().unwrap(), None);
        let at = |origin| [("host", "127.0.0.1:8000"), ("origin", origin)];
        assert_eq!(status(&guard, Method::POST, "/api/v1/myproduct/customers/", &at("http://127.0.0.1:8000")), 200);
        for origin in ["http://evil.example", "null", "http://127.0.0.1:8001", "http://127.0.0.1:8000.evil.example"] {
            assert_eq!(status(&guard, Method::POST, "/api/v1/myproduct/customers/", &at(origin)), 403, "{origin}");
        }
        assert_eq!(status(&guard, Method::CONNECT, "", &at("http://127.0.0.1:8000")), 405);
    }

    #[test]
    fn with_a_token_only_its_bearer_and_the_webhook_go_through() {
        let guard = Guard::new("0.0.0.0:8000".parse().unwrap(), Some(Secret::new("t0ken")));
        let host = ("host", "concord.example");
        assert_eq!(status(&guard, Method::GET, "/api/v1/customers", &[host, ("authorization", "Bearer t0ken")]), 200);
        for wrong in ["Bearer t0ke", "Bearer t0kenn", "Basic t0ken", "t0ken"] {
            assert_eq!(status(&guard, Method::GET, "/api/v1/customers", &[host, ("authorization", wrong)]), 401, "{wrong}");
        }
        assert_eq!(status(&guard, Method::GET, "/metrics", &[host]), 401);
        assert_eq!(status(&guard, Method::GET, "/healthz", &[host]), 200);
        assert_eq!(status(&guard, Method::POST, WEBHOOK, &[host]), 200);
    }
}
