//! The whole of Concord against a real Postgres, a strict stand-in for Stripe, and a real browser.

mod both_ways;
mod browser;
mod command_line;
mod crashes;
mod dead_letters;
mod deploy;
mod metrics;
mod operators;
mod outages;
mod product_api;
mod reset;
mod schema_registry;
mod world;
