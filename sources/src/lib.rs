//! See docs/design.md.

pub mod product;
pub mod stripe;
pub mod webhook;
