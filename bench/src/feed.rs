//! Appends to the log with a few batches under way, as a producer has them: nobody waits for the disk before reading on.

use std::collections::VecDeque;

use streams::{
    Log,
    embedded::{Append, LogError},
};
use tokio::{runtime::Handle, task::JoinHandle};

/// Appends that may wait for their commit.
const UNDER_WAY: usize = 4;

pub struct Feed {
    log: Log,
    /// Of one worker, so that appends are queued in the order in which they were sent.
    runtime: Handle,
    under_way: VecDeque<JoinHandle<Result<Vec<i64>, LogError>>>,
}

impl Feed {
    pub fn new(log: impl Into<Log>, runtime: Handle) -> Feed {
        Feed { log: log.into(), runtime, under_way: VecDeque::new() }
    }

    /// Queues an append; waits while enough are under way.
    pub fn send(&mut self, append: Append) -> anyhow::Result<()> {
        let log = self.log.clone();
        self.under_way.push_back(self.runtime.spawn(async move { log.append(append).await }));
        self.wait_for(UNDER_WAY)
    }

    /// Waits until all appends are durable.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        self.wait_for(0)
    }

    fn wait_for(&mut self, left: usize) -> anyhow::Result<()> {
        while self.under_way.len() > left
            && let Some(first) = self.under_way.pop_front()
        {
            self.runtime.block_on(first)??;
        }
        Ok(())
    }
}

/// The runtime of a feed.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build()?)
}
