//! See docs/design.md.
pub mod stripe;
