//! See docs/design.md.
pub mod golden;
pub mod product;
pub mod stripe;
