//! Who acts for Concord in a database, so that nobody takes what it works with away.

use sqlx::PgConnection;

/// The session's lock, of PostgreSQL's "Advisory Locks": `conc`, and a number.
const LOCK: (i32, i32) = (0x636f_6e63, 1);

/// A session of a process that acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Of its backend, as `pg_terminate_backend` takes it.
    pub pid: i32,
    /// From where it came.
    pub address: String,
}

/// Says that this session's process acts, as long as the session lasts. Several may; it waits while somebody takes all away.
pub async fn act(db: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_lock_shared($1, $2)").bind(LOCK.0).bind(LOCK.1).execute(db).await.map(drop)
}

/// Lets nobody begin to act as long as this session lasts; else, who acts.
pub async fn nobody_acts(db: &mut PgConnection) -> Result<Result<(), Vec<Session>>, sqlx::Error> {
    let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1, $2)").bind(LOCK.0).bind(LOCK.1).fetch_one(&mut *db).await?;
    if locked {
        return Ok(Ok(()));
    }
    let acting: Vec<(i32, String)> = sqlx::query_as(
        "SELECT a.pid, coalesce(host(a.client_addr), 'this machine') AS address FROM pg_catalog.pg_locks l \
         JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid JOIN pg_catalog.pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND l.granted AND d.datname = current_database() \
         AND l.classid::bigint = $1 AND l.objid::bigint = $2 AND l.objsubid = 2 ORDER BY a.pid",
    )
    .bind(i64::from(LOCK.0))
    .bind(i64::from(LOCK.1))
    .fetch_all(db)
    .await?;
    Ok(Err(acting.into_iter().map(|(pid, address)| Session { pid, address }).collect()))
}

/// The logs that the schema `concord` was made for, if it is there and says so.
pub async fn logs(db: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass('concord.products') IS NOT NULL").fetch_one(&mut *db).await?;
    if !there {
        return Ok(Vec::new());
    }
    sqlx::query_scalar("SELECT DISTINCT log::text FROM concord.products WHERE log IS NOT NULL ORDER BY 1").fetch_all(db).await
}
