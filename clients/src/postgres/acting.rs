//! Who acts for Concord in a database: several processes with one log, never two logs, and nobody while all is taken away.

use sqlx::{Connection, PgConnection};

/// Locks of sessions, of PostgreSQL's "Advisory Locks": whoever acts has the first of them, and one of its log.
const ACTING: i32 = 0x636f_6e63;
const LOGS: i32 = 0x636f_6e64;

/// A session of a process that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of its backend, as `pg_terminate_backend` takes it.
    pub pid: i32,
    /// From where it came.
    pub address: String,
}

/// Why a process may not act.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error(
        "another Concord, with another log, works with this database ({}): both would make each customer. Stop one of them, or give it another \
         database", told(.0)
    )]
    Another(Vec<Session>),
    #[error("{}", super::error::message(.0))]
    Sql(#[from] sqlx::Error),
}

/// Sessions, for people.
pub fn told(sessions: &[Session]) -> String {
    let told = sessions.iter().map(|it| format!("Postgres' backend {}, connected from {}", it.pid, it.address));
    told.collect::<Vec<_>>().join("; ")
}

/// Says that this session's process acts for a log, as long as the session lasts. It waits while somebody takes all away.
pub async fn act(db: &mut PgConnection, log: &str) -> Result<(), ActError> {
    sqlx::query("SELECT pg_advisory_lock_shared($1, 0)").bind(ACTING).execute(&mut *db).await?;
    // One after the other, so that of two that begin at once one does.
    let mut one = db.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('concord'))").execute(&mut *one).await?;
    let others = others(&mut one, log).await?;
    if !others.is_empty() {
        return Err(ActError::Another(others));
    }
    sqlx::query("SELECT pg_advisory_lock_shared($1, hashtext($2))").bind(LOGS).bind(log).execute(&mut *one).await?;
    Ok(one.commit().await?)
}

/// Who acts for other logs.
pub async fn others(db: &mut PgConnection, log: &str) -> Result<Vec<Session>, sqlx::Error> {
    holders(db, LOGS, Some(log)).await
}

/// Lets nobody begin to act as long as this session lasts; else, who acts.
pub async fn nobody_acts(db: &mut PgConnection) -> Result<Result<(), Vec<Session>>, sqlx::Error> {
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, 0)").bind(ACTING).fetch_one(&mut *db).await?;
    Ok(if locked { Ok(()) } else { Err(holders(db, ACTING, None).await?) })
}

/// Who has a lock of a kind, but for that of one log.
async fn holders(db: &mut PgConnection, kind: i32, but: Option<&str>) -> Result<Vec<Session>, sqlx::Error> {
    let sessions: Vec<(i32, String)> = sqlx::query_as(
        "SELECT a.pid, coalesce(host(a.client_addr), 'this machine') AS address FROM pg_catalog.pg_locks l \
         JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid JOIN pg_catalog.pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database() AND l.objsubid = 2 \
         AND l.classid::bigint = $1 AND l.objid::bigint IS DISTINCT FROM hashtext($2)::bigint & 4294967295 ORDER BY a.pid",
    )
    .bind(i64::from(kind))
    .bind(but)
    .fetch_all(db)
    .await?;
    Ok(sessions.into_iter().map(|(pid, address)| Session { pid, address }).collect())
}

/// The logs that the schema `concord` was made for, if it is there and says so.
pub async fn logs(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('concord.products') IS NOT NULL").fetch_one(&mut *db).await?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT DISTINCT log::text FROM concord.products WHERE log IS NOT NULL ORDER BY 1").fetch_all(db).await
}
