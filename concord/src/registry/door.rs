//! Who may ask the registry: as with the API, a foreign page in a person's browser may not, and off loopback nobody without credentials.

use crate::{config::RegistryConfig, http::guard};
use clients::Secret;
use http::{HeaderMap, Method, header};
use schemas::registry::Refusal;
use std::net::SocketAddr;
use subtle::ConstantTimeEq;

/// What is asked of a request.
pub struct Door {
    listen: SocketAddr,
    /// Any of these values of the header `Authorization`. None: whoever is on this machine.
    keys: Vec<Secret>,
}

impl Door {
    pub fn new(listen: SocketAddr, config: &RegistryConfig) -> Self {
        let bearer = config.token.iter().map(|token| Secret::new(format!("Bearer {}", token.reveal())));
        let basic = config.basic.iter().map(|user| Secret::new(format!("Basic {}", base64(user.reveal().as_bytes()))));
        Door { listen, keys: bearer.chain(basic).collect() }
    }

    /// Lets the request through, or says why not.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Refusal> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if self.keys.is_empty() {
            if !guard::is_own_name(host, self.listen) {
                return Err(Refusal::new(403, "foreign Host: without credentials this registry is for this machine"));
            }
        } else {
            let given = headers.get(header::AUTHORIZATION).map(|given| given.as_bytes()).unwrap_or_default();
            // All of them, so that time does not tell which.
            let right = self.keys.iter().filter(|key| bool::from(key.reveal().as_bytes().ct_eq(given))).count();
            if right == 0 {
                return Err(Refusal::new(
                    401,
                    "needs Authorization: CONCORD_REGISTRY_BASIC_AUTH or CONCORD_REGISTRY_TOKEN has what is right",
                ));
            }
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && guard::is_foreign(headers.get(header::ORIGIN), host) {
            return Err(Refusal::new(403, "foreign Origin"));
        }
        Ok(())
    }
}

/// RFC 4648, padded.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place)) as usize & 63];
            out.push(if place <= chunk.len() { digit as char } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), v.parse().unwrap())).collect()
    }

    #[test]
    fn base64_is_rfc_4648s() {
        for (text, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{ff}\u{fe}", "w7/Dvg==")]
        {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn this_machine_by_its_own_name_or_whoever_has_credentials() {
        let at: SocketAddr = "127.0.0.1:8081".parse().unwrap();
        let open = Door::new(at, &RegistryConfig::default());
        let check =
            |door: &Door, method, pairs: &[(&'static str, &str)]| door.check(&method, &headers(pairs)).map_err(|refusal| refusal.code);
        assert_eq!(check(&open, Method::GET, &[("host", "localhost:8081")]), Ok(()));
        assert_eq!(check(&open, Method::GET, &[("host", "evil.example:8081")]), Err(403));
        let own = ("host", "127.0.0.1:8081");
        assert_eq!(check(&open, Method::POST, &[own, ("origin", "http://evil.example")]), Err(403));
        assert_eq!(check(&open, Method::POST, &[own, ("origin", "http://127.0.0.1:8081")]), Ok(()));

        let config = RegistryConfig { listen: None, token: Some(Secret::new("t0ken")), basic: vec![Secret::new("ada:secret")] };
        let locked = Door::new(at, &config);
        let host = ("host", "registry.example");
        assert_eq!(check(&locked, Method::GET, &[host]), Err(401));
        for right in ["Bearer t0ken", "Basic YWRhOnNlY3JldA=="] {
            assert_eq!(check(&locked, Method::PUT, &[host, ("authorization", right)]), Ok(()), "{right}");
        }
        for wrong in ["Bearer t0kens", "Basic YWRhOnNlY3JldB==", "t0ken", "Basic ada:secret"] {
            assert_eq!(check(&locked, Method::GET, &[host, ("authorization", wrong)]), Err(401), "{wrong}");
        }
    }
}
