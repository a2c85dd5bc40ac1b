//! HTTP that faces other people's networks: a server whose time-outs and caps hold whatever a client sends, and bodies that are read
//! only so far and so long.

mod body;
mod connections;
mod serve;

pub use body::{BodyError, read_body};
pub use serve::{Limits, RequestBody, serve};
