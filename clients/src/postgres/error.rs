//! What an error of the database means for the one who asked.

use super::{slot::Slot, table::Table};
use schemas::Field;
use sqlx::postgres::PgDatabaseError;

/// The SQLSTATE, if the database answered at all.
pub fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.code().to_string())
}

/// An error in the database's own words with its SQLSTATE; sqlx's text ends in a line number of Postgres's source code.
pub fn message(error: &sqlx::Error) -> String {
    match error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()) {
        Some(db) => format!("{} ({})", db.message(), db.code()),
        None if matches!(error, sqlx::Error::PoolTimedOut) => "Postgres does not answer, or lets nobody in for long".to_owned(),
        None => error.to_string(),
    }
}

/// What to do about an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// This row cannot have these values: a constraint, a type, a trigger of the owner's.
    Refused(Refusal),
    /// It goes away by itself: a deadlock, a lock not had in time, a serialization failure.
    Again,
    /// The database is away or full: again, after a pause.
    Away,
    /// Nothing will work until somebody changes something: a missing right, a dropped column.
    Broken,
}

/// A row refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The mapped fields that the database named, in order of column.
    pub fields: Vec<Field>,
    /// In the database's words.
    pub reason: String,
    /// A unique value that another row has.
    pub taken: bool,
}

/// Sorts an error.
pub fn classify(error: &sqlx::Error, table: &Table) -> Fault {
    let Some(db) = error.as_database_error().and_then(|e| e.try_downcast_ref::<PgDatabaseError>()) else {
        return match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => {
                Fault::Away
            }
            _ => Fault::Broken,
        };
    };
    let code = db.code();
    // An error raised inside of a function of the owner's concerns the row, whatever it is.
    let inside = db.r#where().is_some_and(|context| context.contains("PL/pgSQL function") && !context.contains("function concord."));
    match code {
        "40001" | "40P01" | "55P03" | "57014" | "25P03" => Fault::Again,
        _ => match &code[..code.len().min(2)] {
            "23" | "22" | "09" | "27" | "38" | "39" | "44" | "P0" => Fault::Refused(refusal(db, table)),
            _ if inside => Fault::Refused(refusal(db, table)),
            "08" | "53" | "57" | "58" | "40" | "55" => Fault::Away,
            _ => Fault::Broken,
        },
    }
}

fn refusal(db: &PgDatabaseError, table: &Table) -> Refusal {
    let ours = db.table().is_none_or(|t| t == table.name) && db.schema().is_none_or(|s| s == table.schema);
    let mut slots: Vec<&Slot> = Vec::new();
    if ours {
        slots.extend(db.constraint().map(|c| table.constraint_slots(c)).unwrap_or_default());
        slots.extend(db.column().and_then(|c| table.column(c)).map(|c| &c.slot));
    }
    let mut fields: Vec<Field> = slots.into_iter().filter_map(Slot::field).collect();
    fields.dedup();
    let reason = match db.detail() {
        Some(detail) => format!("{} ({}; {detail})", db.message(), db.code()),
        None => format!("{} ({})", db.message(), db.code()),
    };
    Refusal { fields, reason, taken: db.code() == "23505" }
}
