//! The loop that reads the whole table: the first backfill, and sweeps where changes may have gone unnoticed.

use super::{
    Backfill, Source, Trouble, outbox,
    sweep::{self, Sweep},
};
use clients::postgres::Attached;
use sqlx::{PgConnection, PgPool};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Results that a backfill may be ahead of the topology: live edits wait behind them.
const AHEAD: i64 = 2_000;
/// How often what is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// When rows that somebody has locked are tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// How often a wish for a sweep is looked for.
const IDLE: Duration = Duration::from_secs(1);
/// How often everything is read in any case: triggers can be switched off by a session, and nothing tells.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);

/// What the backfill's cursor says once it is through.
pub const THROUGH: &str = "through";

impl Source {
    pub(super) async fn survey(&self, pool: &PgPool, attached: &Attached, shutdown: &CancellationToken) -> Result<(), Trouble> {
        let mut db = pool.acquire().await?;
        if self.cursors.get(&self.names.backfill).as_deref() == Some(THROUGH) {
            self.backfill.send_replace(Backfill::Through);
        } else if !self.first(&mut db, attached, shutdown).await? {
            return Ok(());
        }
        let mut next = Instant::now() + SWEEP_EVERY;
        while !shutdown.is_cancelled() {
            let truncated = self.number(&self.names.truncated);
            let another = self.cursors.get(&self.names.table).as_deref() != Some(&attached.identity);
            if truncated > self.number(&self.names.swept) || another || Instant::now() >= next {
                tracing::info!(system = %self.options.system, "Sweeping the product's table.");
                next = Instant::now() + SWEEP_EVERY;
                let mut sweep = Sweep::new(&self.options.system, attached, None);
                if !self.walk(&mut db, &mut sweep, false, shutdown).await? {
                    return Ok(());
                }
                self.cursors.set(&self.names.swept, &truncated.to_string()).await?;
                self.cursors.set(&self.names.table, &attached.identity).await?;
            }
            tokio::select! {
                () = tokio::time::sleep(IDLE) => {}
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    /// The first backfill, from where it had come to. `false`: the shutdown came first.
    async fn first(&self, db: &mut PgConnection, attached: &Attached, shutdown: &CancellationToken) -> Result<bool, Trouble> {
        self.backfill.send_replace(Backfill::Running { rows: 0 });
        let stored = self.cursors.get(&self.names.backfill);
        let after = stored.as_deref().and_then(|s| s.strip_prefix("after ")).map(str::to_owned);
        let truncated = self.number(&self.names.truncated);
        let mut sweep = Sweep::new(&self.options.system, attached, after);
        if !self.walk(db, &mut sweep, true, shutdown).await? {
            return Ok(false);
        }
        self.cursors.set(&self.names.table, &attached.identity).await?;
        self.cursors.set(&self.names.swept, &truncated.to_string()).await?;
        self.cursors.set(&self.names.backfill, THROUGH).await?;
        tracing::info!(system = %self.options.system, "The product's table is read.");
        self.backfill.send_replace(Backfill::Through);
        Ok(true)
    }

    /// Walks through the table until every row is read and published. `false`: the shutdown came first.
    async fn walk(&self, db: &mut PgConnection, sweep: &mut Sweep, first: bool, shutdown: &CancellationToken) -> Result<bool, Trouble> {
        let mut rows = 0;
        while !sweep.at_end() {
            if shutdown.is_cancelled() {
                return Ok(false);
            }
            rows += sweep.next(db).await? as u64;
            if first {
                self.backfill.send_replace(Backfill::Running { rows });
            }
            metrics::gauge!("concord_survey_rows", "system" => self.options.system.to_string()).set(rows as f64);
            if !self.published(db, shutdown).await? {
                return Ok(false);
            }
            // Published, so that the position need not be behind it.
            if let (true, Some(position)) = (first, sweep.position()) {
                self.cursors.set(&self.names.backfill, &format!("after {position}")).await?;
            }
        }
        sweep.missing(db).await?;
        let mut told = false;
        while sweep.busy() > 0 {
            if !std::mem::replace(&mut told, true) {
                tracing::info!(system = %self.options.system, rows = sweep.busy(), "Waiting for rows that somebody has locked.");
            }
            tokio::select! {
                () = tokio::time::sleep(BUSY_PAUSE) => {}
                () = shutdown.cancelled() => return Ok(false),
            }
            sweep.again(db).await?;
        }
        self.published(db, shutdown).await
    }

    /// Waits until what was read so far is in the log, and the topology not far behind.
    async fn published(&self, db: &mut PgConnection, shutdown: &CancellationToken) -> Result<bool, Trouble> {
        let up_to = outbox::last_number(db).await?;
        while !outbox::reads_taken(db, self.options.system.as_str(), up_to).await? || self.ahead().await? > AHEAD {
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = shutdown.cancelled() => return Ok(false),
            }
        }
        Ok(true)
    }

    /// How many results the topology has not taken in yet; 0 while none is known to read them.
    async fn ahead(&self) -> Result<i64, Trouble> {
        let mut ahead = 0;
        for tp in &self.partitions {
            if let Some(committed) = self.log.committed(&self.options.application_id, tp).await? {
                ahead += self.log.end_offset(tp).await? - committed;
            }
        }
        Ok(ahead)
    }
}

const _: () = assert!(sweep::BATCH < AHEAD);
