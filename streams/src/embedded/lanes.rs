//! Threads that tasks run on at once while there is a backlog, as Kafka Streams' `num.stream.threads`: each with a connection of its
//! own to the committed stores. What the tasks produce is taken in their order afterwards, on the writer's thread.

use std::path::Path;

use parking_lot::Mutex;
use rayon::ThreadPool;
use rusqlite::Connection;

use super::driver::World;
use super::running::Running;
use super::snapshot::Snapshot;
use super::{LogError, database};
use crate::TaskError;

/// What became of a task's turn: how many records it processed.
pub(super) type Turn = Result<usize, TaskError>;

/// The threads beside the writer's own.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    pool: Option<ThreadPool>,
    reads: Vec<Connection>,
}

impl Lanes {
    /// For `threads` in all.
    pub(super) fn open(folder: &Path, threads: usize) -> Result<Lanes, LogError> {
        let others = threads.saturating_sub(1);
        if others == 0 {
            return Ok(Lanes::default());
        }
        let reads = (0..others).map(|_| database::open_reader(folder)).collect::<Result<_, _>>()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(others).thread_name(|n| format!("stream-thread-{}", n + 2)).build();
        let pool = pool.map_err(|error| LogError::io("starting the stream threads", std::io::Error::other(error)))?;
        Ok(Lanes { pool: Some(pool), reads })
    }

    /// Whether there is a thread beside the writer's.
    pub(super) fn are_several(&self) -> bool {
        self.pool.is_some()
    }

    /// Gives each of these tasks a turn, on whichever thread is free; what became of each, in their order.
    pub(super) fn run(
        &mut self,
        tasks: Vec<(usize, &mut Running)>,
        world: World<'_>,
        turn: impl Fn(&mut Running, World<'_>) -> Turn + Sync,
    ) -> Result<Vec<(usize, Turn)>, LogError> {
        let World { catalog, clock, journal, .. } = world;
        let todo = Mutex::new(tasks);
        let turns = Mutex::new(Vec::new());
        let lane = |connection: &Connection| {
            loop {
                // The lock is not held during the turn.
                let next = todo.lock().pop();
                let Some((index, running)) = next else { return };
                let outcome = turn(running, World { connection, catalog, clock, journal });
                turns.lock().push((index, outcome));
            }
        };
        let failure = Mutex::new(None);
        match &self.pool {
            None => lane(world.connection),
            Some(pool) => pool.in_place_scope(|scope| {
                for connection in &mut self.reads {
                    let (lane, failure) = (&lane, &failure);
                    scope.spawn(move |_| match Snapshot::begin(connection) {
                        Ok(_snapshot) => lane(connection),
                        Err(error) => *failure.lock() = Some(error),
                    });
                }
                lane(world.connection);
            }),
        }
        if let Some(error) = failure.into_inner() {
            return Err(error);
        }
        let mut turns = turns.into_inner();
        turns.sort_by_key(|(index, _)| *index);
        Ok(turns)
    }
}
