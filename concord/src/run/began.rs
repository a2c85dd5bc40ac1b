//! When a log began: the number from which its writes and creates are numbered. The systems remember what was written to them, also for
//! a log that is gone.

use connect::{ConnectError, Cursors};
use std::time::{SystemTime, UNIX_EPOCH};
use streams::Log;

/// What is kept, in milliseconds since 1970: no customer is written to so often that its numbers reach those of the next log.
pub const BEGAN: &str = "log.began";

/// The log's number; a log that has none gets one.
pub async fn number(log: &Log) -> anyhow::Result<i64> {
    loop {
        if let Some(began) = Cursors::open(log).await?.get(BEGAN) {
            return Ok(began.parse()?);
        }
        // Several processes may begin at once on Kafka: the last who takes the name decides, and the others hear of it.
        let owner = log.take_over(BEGAN).await?;
        let cursors = Cursors::open(&owner.log()).await?;
        if cursors.get(BEGAN).is_none() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis().to_string();
            match cursors.set(BEGAN, &now).await {
                Err(ConnectError::Log { .. }) if owner.is_lost() => {}
                set => set?,
            }
        }
        owner.release().await;
    }
}
