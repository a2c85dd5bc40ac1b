//! Why a registry says no, by the numbers that its clients know.

use std::fmt;

/// A refusal: a code of Confluent's REST API, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u32,
    pub message: String,
}

impl Refusal {
    pub fn new(code: u32, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into() }
    }

    /// The status that goes with the code: its first three digits.
    pub fn status(&self) -> u16 {
        let status = if self.code >= 10_000 { self.code / 100 } else { self.code };
        u16::try_from(status).unwrap_or(500)
    }

    pub fn no_subject(subject: &str) -> Self {
        Refusal::new(40401, format!("Subject '{subject}' not found."))
    }

    pub fn no_version(version: i32) -> Self {
        Refusal::new(40402, format!("Version {version} not found."))
    }

    pub fn no_schema(id: Option<u32>) -> Self {
        Refusal::new(40403, id.map_or_else(|| "Schema not found".into(), |id| format!("Schema {id} not found")))
    }

    pub fn subject_soft_deleted(subject: &str) -> Self {
        Refusal::new(40404, format!("Subject '{subject}' is soft-deleted already; permanent=true deletes it for good."))
    }

    pub fn subject_not_soft_deleted(subject: &str) -> Self {
        Refusal::new(40405, format!("Subject '{subject}' must be soft-deleted (without permanent=true) before it is deleted for good."))
    }

    pub fn version_soft_deleted(subject: &str, version: i32) -> Self {
        Refusal::new(
            40406,
            format!("Version {version} of subject '{subject}' is soft-deleted already; permanent=true deletes it for good."),
        )
    }

    pub fn version_not_soft_deleted(subject: &str, version: i32) -> Self {
        let message = format!(
            "Version {version} of subject '{subject}' must be soft-deleted (without permanent=true) before it is deleted for good."
        );
        Refusal::new(40407, message)
    }

    pub fn no_level(subject: &str) -> Self {
        Refusal::new(
            40408,
            format!("Subject '{subject}' has no compatibility level of its own; defaultToGlobal=true shows the one that holds."),
        )
    }

    pub fn no_mode(subject: &str) -> Self {
        Refusal::new(40409, format!("Subject '{subject}' has no mode of its own; defaultToGlobal=true shows the one that holds."))
    }

    pub fn incompatible(subject: &str, messages: &[String]) -> Self {
        let message = format!("The schema is incompatible with an earlier one of subject '{subject}': {}", messages.join("; "));
        Refusal::new(40901, message)
    }

    pub fn invalid_schema(reason: impl fmt::Display) -> Self {
        Refusal::new(42201, format!("Invalid schema: {reason}"))
    }

    pub fn invalid_version(version: &str) -> Self {
        Refusal::new(42202, format!("'{version}' is no version: give a number from 1 to 2^31-1, -1, or \"latest\"."))
    }

    pub fn invalid_level() -> Self {
        let message = "No such compatibility level; there are NONE, BACKWARD, FORWARD, FULL, BACKWARD_TRANSITIVE, FORWARD_TRANSITIVE and \
                       FULL_TRANSITIVE.";
        Refusal::new(42203, message)
    }

    pub fn invalid_mode() -> Self {
        Refusal::new(42204, "No such mode; there are READWRITE, READONLY, READONLY_OVERRIDE and IMPORT.")
    }

    pub fn not_permitted(reason: impl Into<String>) -> Self {
        Refusal::new(42205, reason)
    }

    pub fn referenced(subject: &str, version: i32) -> Self {
        Refusal::new(42206, format!("Version {version} of subject '{subject}' is referenced by other schemas; delete those first."))
    }

    pub fn invalid_subject(subject: &str) -> Self {
        let message = format!("'{subject}' is no subject: it is not empty, and the only context is the default one.");
        Refusal::new(42208, message)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Refusal {}
