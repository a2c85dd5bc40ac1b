//! A text that is never printed.

use std::fmt;

/// A key or a password. `Debug` and `Display` show that there is one, and nothing of it.
///
/// ```
/// let key = clients::Secret::new("sk_test_abc");
/// assert_eq!(format!("{key} {key:?}"), "(secret) (secret)");
/// assert_eq!(key.reveal(), "sk_test_abc");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(text: impl AsRef<str>) -> Self {
        Secret(text.as_ref().into())
    }

    /// The text itself: for the header that carries it, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` without any trace of this secret, for messages that came from elsewhere.
    pub fn scrub(&self, text: &str) -> String {
        if self.0.is_empty() { text.to_owned() } else { text.replace(&*self.0, "(secret)") }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
