//! Catalogs of what Concord keeps in step. Each folder is one catalog's topology: pure decisions and thin processors around
//! them, with no Kafka, SQL or HTTP in sight.
//!
//! - [`customers`]: one record per customer, everywhere

pub mod customers;
