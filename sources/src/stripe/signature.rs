//! The `Stripe-Signature` header ("Verify webhook signatures" in Stripe's documentation): `t=<seconds>,v1=<hex>[,v1=<hex>…]`, each `v1`
//! the HMAC-SHA256 of `<t>.<body>` under one of the endpoint's secrets.

use clients::Secret;
use hmac::{Hmac, KeyInit, Mac};
use schemas::Millis;
use sha2::Sha256;

/// How far `t` may be from our clock, either way.
pub const TOLERANCE: Millis = 300_000;

/// Why a body is not taken for Stripe's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("no Stripe-Signature header")]
    Missing,
    #[error("the Stripe-Signature header has no single time (t=)")]
    Time,
    #[error("the Stripe-Signature header has no v1 signature")]
    NoV1,
    #[error("no signature matches the body and a secret of this endpoint")]
    Mismatch,
    #[error("the signature is too old, or the clocks differ by more than 5 minutes")]
    Old,
    #[error("the signature is from the future: the clocks differ by more than 5 minutes")]
    Future,
}

/// Checks the header against the raw body: any `v1` under any secret will do. Takes as long whichever it is, and if none is.
pub fn verify(header: Option<&str>, body: &[u8], secrets: &[Secret], now: Millis) -> Result<(), SignatureError> {
    let header = header.ok_or(SignatureError::Missing)?;
    let mut times = Vec::new();
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=') {
            Some(("t", time)) => times.push(time),
            Some(("v1", signature)) => signatures.push(hex::decode(signature).unwrap_or_default()),
            // Other schemes (v0 is for tests) prove nothing.
            _ => {}
        }
    }
    // The time as it was written is what was signed.
    let [text] = times[..] else { return Err(SignatureError::Time) };
    let time: Millis = text.parse().map_err(|_| SignatureError::Time)?;
    if signatures.is_empty() {
        return Err(SignatureError::NoV1);
    }
    let mut matches = false;
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else { continue };
        mac.update(text.as_bytes());
        mac.update(b".");
        mac.update(body);
        for signature in &signatures {
            matches |= mac.clone().verify_slice(signature).is_ok();
        }
    }
    let age = now.saturating_sub(time.saturating_mul(1000));
    match matches {
        false => Err(SignatureError::Mismatch),
        true if age > TOLERANCE => Err(SignatureError::Old),
        true if age < -TOLERANCE => Err(SignatureError::Future),
        true => Ok(()),
    }
}
