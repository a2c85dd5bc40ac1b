//! Connecting to the product's database.

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::time::Duration;

/// How long a connection may take; the database is away then.
const PATIENCE: Duration = Duration::from_secs(3);

/// A pool of at most so many connections, each made when it is needed. An error shows nothing of the address.
pub fn pool(database_url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    // The parser's own message would repeat the address, password and all.
    let wrong = |_| sqlx::Error::Configuration("DATABASE_URL is not a postgres:// address".into());
    let connect: PgConnectOptions = database_url.parse().map_err(wrong)?;
    Ok(PgPoolOptions::new().max_connections(connections).acquire_timeout(PATIENCE).connect_lazy_with(connect))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_wrong_address_is_not_repeated() {
        let error = super::pool("postgres://user:secret@host:port/", 1).unwrap_err().to_string();
        assert!(error.contains("DATABASE_URL") && !error.contains("secret"), "{error}");
    }
}
