//! See docs/design.md.
pub mod postgres;
