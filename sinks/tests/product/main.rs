//! The product's sink on a real server: an existing table with other column names, an owner's triggers and constraints.

mod circle;
mod fixture;
mod others;
mod writes;
