//! The schema registry, as its clients see it: the real binary, over HTTP.

mod clients;
mod conformance;
mod crashes;
mod door;
mod moving_in;
mod server;
