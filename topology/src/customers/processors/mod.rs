//! The processors: they load, let the pure stages decide, store, and forward.

mod identify;
mod outlets;
mod resolve;
mod unify;

pub(super) use identify::Identify;
pub(super) use outlets::{Outlets, child};
pub(super) use resolve::{Incoming, Resolve, Results};
pub(super) use unify::Unify;

use super::{Error, Severity};
use streams::ProcessorError;

impl From<Error> for ProcessorError {
    fn from(error: Error) -> Self {
        match error.severity() {
            Severity::Permanent => ProcessorError::new(error.code(), error.to_string()),
            Severity::Fatal => ProcessorError::fatal(error.code(), error.to_string()),
        }
    }
}
