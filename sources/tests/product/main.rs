//! The product's source on a real server and a real log.

mod attaching;
mod fixture;
mod following;
