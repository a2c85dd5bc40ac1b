//! resolve: which customer is this record?
