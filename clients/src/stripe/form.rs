//! Request bodies: form encoding with Stripe's brackets for nested values.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;

/// Letters, digits and the four marks that never need escaping.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters, in the order given. An empty value clears a parameter.
///
/// ```
/// let mut form = clients::stripe::Form::default();
/// form.set("email", "a@b.c").set_in("address", "line1", "1 Main St").clear("phone");
/// assert_eq!(form.encode(), "email=a%40b.c&address%5Bline1%5D=1%20Main%20St&phone=");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Form(Vec<(String, String)>);

impl Form {
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// `name[key]`.
    pub fn set_in(&mut self, name: &str, key: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((format!("{name}[{key}]"), value.into()));
        self
    }

    pub fn clear(&mut self, name: &str) -> &mut Self {
        self.set(name, "")
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// `application/x-www-form-urlencoded`; also good as a query.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            let gap = if text.is_empty() { "" } else { "&" };
            // Writing to a String cannot fail.
            let _ = write!(text, "{gap}{}={}", utf8_percent_encode(name, ESCAPED), utf8_percent_encode(value, ESCAPED));
        }
        text
    }
}
