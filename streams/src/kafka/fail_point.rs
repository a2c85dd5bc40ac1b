//! Places where tests let the process die, and rules that tests break, to see that it is noticed. Builds without debug assertions, which
//! is what is shipped, have none of it.

/// `<place>:<n>`: the process dies when it comes to this place for the n-th time.
#[cfg(debug_assertions)]
const DIES_AT: &str = "STREAMS_KAFKA_DIES_AT";
/// The rule that is broken.
#[cfg(debug_assertions)]
const BREAKS: &str = "STREAMS_KAFKA_BREAKS";

/// The process comes to this place.
#[cfg(debug_assertions)]
pub(super) fn reached(place: &str) {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static DEATH: LazyLock<Option<(String, AtomicU32)>> = LazyLock::new(|| {
        let setting = std::env::var(DIES_AT).ok()?;
        let (place, times) = setting.rsplit_once(':')?;
        Some((place.to_owned(), AtomicU32::new(times.parse().ok()?)))
    });
    if let Some((wanted, left)) = &*DEATH
        && wanted == place
        && left.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn reached(_place: &str) {}

/// Whether a test breaks this rule.
#[cfg(debug_assertions)]
pub(super) fn breaks(rule: &str) -> bool {
    use std::sync::LazyLock;

    static BROKEN: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(BREAKS).ok());
    BROKEN.as_deref() == Some(rule)
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub(super) fn breaks(_rule: &str) -> bool {
    false
}
