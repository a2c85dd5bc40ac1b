//! A log is about one table: the customers of another one would be taken for all that there are, and the rest for deleted.

use clients::postgres::{ConfigError, TableConfig};
use connect::{ConnectError, Cursors};
use schemas::System;

/// Why a table cannot be the product of this log.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "[systems.{system}] this data folder's customers are those of {known}, not of {wanted}: whoever is missing there would be taken for deleted, and deleted elsewhere. \
         For another table choose an empty CONCORD_DATA_DIR, or go back to the old table"
    )]
    Another { system: System, known: String, wanted: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Cursors(#[from] ConnectError),
}

/// Remembers which table the product is, from the first row that is read of it, and refuses any other afterwards.
pub async fn keep_place(cursors: &Cursors, system: &System, table: &TableConfig) -> Result<(), PlaceError> {
    let mapped = table.check()?;
    let wanted = format!("{}.{} by its column {}", mapped.schema, mapped.table, table.key);
    let name = format!("{system}.place");
    match cursors.get(&name) {
        Some(known) if known == wanted => Ok(()),
        Some(known) if cursors.get(&super::backfill_cursor(system)).is_some() => {
            Err(PlaceError::Another { system: system.clone(), known, wanted })
        }
        Some(_) | None => Ok(cursors.set(&name, &wanted).await?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streams::embedded::{Log, Options};

    #[tokio::test]
    async fn another_table_is_refused_once_the_first_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let log = Log::open(folder.path(), Options { min_free_bytes: 0, ..Options::default() }).unwrap();
        let cursors = Cursors::open(&log.clone().into()).await.unwrap();
        let system = System::new("product").unwrap();
        let own = TableConfig::owned();
        let other = TableConfig { table: "public.accounts".into(), ..own.clone() };
        keep_place(&cursors, &system, &other).await.unwrap();
        keep_place(&cursors, &system, &own).await.expect("nothing was read of the other one");
        cursors.set(&super::super::backfill_cursor(&system), "after 7").await.unwrap();
        keep_place(&cursors, &system, &own).await.unwrap();
        let refused = keep_place(&Cursors::open(&log.clone().into()).await.unwrap(), &system, &other).await.unwrap_err().to_string();
        assert!(refused.contains("public.customers by its column id, not of public.accounts"), "{refused}");
        let by_email = TableConfig { key: "email".into(), columns: [("name".to_owned(), "name".to_owned())].into(), ..own };
        assert!(keep_place(&cursors, &system, &by_email).await.is_err());
    }
}
