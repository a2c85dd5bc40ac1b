//! A schema's text, without a parser's help: the one form in which it is kept ([`canonical`]), the one in which small differences are
//! gone ([`normal`]), and the one that needs no other schema ([`whole`]).
//!
//! [`canonical`] is what Java Avro's `Schema.toString()` writes, so a schema that comes from a registry of Confluent's, or goes there,
//! is the same text in both, and has one id. [`normal`] is the form that they keep with `normalize=true`.

mod names;
mod node;
mod normal;
mod whole;
mod write;

pub use node::Node;
pub use normal::normal;
pub use whole::whole;
pub use write::canonical;
