//! The schema registry, as its clients see it: the real binary, over HTTP.

#[allow(dead_code, reason = "the tests share it")]
#[path = "../../../streams/tests/kafka_support/broker.rs"]
mod broker;
mod clients;
mod commands;
mod conformance;
mod crashes;
mod door;
mod moving_in;
mod on_kafka;
mod server;
