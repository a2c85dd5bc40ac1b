//! The loop that publishes the outbox.

use super::{
    Source, Trouble,
    message::{OutboxRow, Published, publish},
    outbox::{self, Shapes},
};
use clients::postgres::CHANNEL;
use sqlx::{PgConnection, PgPool, postgres::PgListener};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use streams::{ProducerRecord, embedded::Append};
use tokio_util::sync::CancellationToken;

/// How often the outbox is looked at without being woken.
const POLL: Duration = Duration::from_secs(1);

impl Source {
    pub(super) async fn take(&self, pool: &PgPool, db: &mut PgConnection, shutdown: &CancellationToken) -> Result<(), Trouble> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(CHANNEL).await?;
        let mut shapes = Shapes::default();
        while !shutdown.is_cancelled() {
            let taken = self.take_some(db, &mut shapes).await?;
            // What is there already is told of more than once.
            while listener.next_buffered().is_some() {}
            if taken >= usize::try_from(outbox::BATCH).unwrap_or(usize::MAX) {
                continue;
            }
            tokio::select! {
                woken = tokio::time::timeout(POLL, listener.recv()) => {
                    if let Ok(woken) = woken {
                        woken?;
                    }
                }
                () = shutdown.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Publishes what is there, then removes it, and says how many results that were. A crash in between publishes them again:
    /// their numbers say that they were seen.
    async fn take_some(&self, db: &mut PgConnection, shapes: &mut Shapes) -> Result<usize, Trouble> {
        let rows = outbox::rows(db, self.options.system.as_str()).await?;
        let Some(last) = rows.last() else { return Ok(0) };
        let (count, last) = (rows.len(), last.number);
        shapes.learn(db, &rows).await?;
        let mut numbers: Vec<i64> = rows.iter().map(|row| row.number).collect();
        numbers.dedup();
        let (oldest, mut truncated) = (rows.iter().map(|r| r.at).min().unwrap_or(0), None);
        let mut records = Vec::with_capacity(count + 2);
        for row in rows {
            let (number, at) = (row.number, row.at);
            match self.record(row, shapes) {
                Some(Ok(record)) => records.push(record.with_timestamp(at.max(0))),
                Some(Err(())) => truncated = Some(number),
                None => {}
            }
        }
        let published = self.number(&self.names.published).max(last).to_string();
        records.push(self.cursors.record(&self.names.published, &published));
        if let Some(number) = truncated {
            records.push(self.cursors.record(&self.names.truncated, &number.to_string()));
        }
        self.log.append(Append::of(records)).await?;
        self.cursors.appended(&self.names.published, &published);
        if let Some(number) = truncated {
            self.cursors.appended(&self.names.truncated, &number.to_string());
        }
        outbox::remove(db, &numbers).await?;
        self.tell(count, oldest);
        Ok(count)
    }

    /// The record of a row; an error: it asks for a sweep; nothing: it says nothing.
    fn record(&self, row: OutboxRow, shapes: &Shapes) -> Option<Result<ProducerRecord, ()>> {
        let (number, shape) = (row.number, shapes.get(row.shape));
        let strange = |error: &dyn std::fmt::Display| {
            metrics::counter!("concord_dead_letters_total", "system" => self.options.system.to_string()).increment(1);
            tracing::error!(system = %self.options.system, number, %error, "An outbox row says nothing, and is dropped.");
        };
        match publish(row, shape) {
            Ok(Published::Sweep) => Some(Err(())),
            Ok(Published::Result { key, result }) => match self.codec.encode(&result) {
                Ok(value) => Some(Ok(ProducerRecord::new(self.topic.as_str(), key, value))),
                Err(error) => {
                    strange(&error);
                    None
                }
            },
            Err(error) => {
                strange(&error);
                None
            }
        }
    }

    fn tell(&self, count: usize, oldest: i64) {
        let system = self.options.system.to_string();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        let lag = Duration::from_millis((now - oldest).max(0).unsigned_abs());
        metrics::counter!("concord_outbox_rows_total", "system" => system.clone()).increment(count as u64);
        metrics::histogram!("concord_outbox_lag_seconds", "system" => system).record(lag.as_secs_f64());
    }
}
