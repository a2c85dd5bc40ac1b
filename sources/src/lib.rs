//! See docs/design.md.

pub mod stripe;
pub mod webhook;
