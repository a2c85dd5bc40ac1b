//! Tasks that are started again when they fail, with a pause that doubles, until they are told to stop.

use crate::http::Part;
use parking_lot::Mutex;
use std::{
    fmt::Display,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// First and longest pause before a failed task is started again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A task that ran this long has recovered: the next failure starts with the first pause again.
const RECOVERED: Duration = Duration::from_secs(30);

/// What a task last failed of, while it is not well again.
#[derive(Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    pub fn set(&self, reason: impl Into<String>) {
        *self.0.lock() = Some(reason.into());
    }

    pub fn clear(&self) {
        *self.0.lock() = None;
    }

    pub fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }

    /// This trouble as a part's state: `Down` where the process cannot do its work without the task.
    pub fn part(&self, down: impl Fn(String) -> Part) -> Part {
        self.get().map_or_else(|| Part::Ok(String::new()), down)
    }
}

/// Runs a task until `stop`, starting it again when it fails. `task` is told to stop by the same token, and ends then.
pub fn keep<T, F, E>(name: String, stop: CancellationToken, trouble: Trouble, mut task: T) -> JoinHandle<()>
where
    T: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Display + Send + 'static,
{
    tokio::spawn(async move {
        let mut pause = PAUSES.0;
        // Told from the start: an increase is only seen of what was there before.
        let failures = metrics::counter!("concord_task_failures_total", "task" => name.clone());
        while !stop.is_cancelled() {
            let started = Instant::now();
            // Its own task, so that a panic is a failure like any other.
            let failure = match tokio::spawn(task()).await {
                Ok(Ok(())) if stop.is_cancelled() => break,
                Ok(Ok(())) => "it ended".to_string(),
                // With all its causes.
                Ok(Err(error)) => format!("{error:#}"),
                Err(panic) => format!("it panicked: {panic}"),
            };
            if stop.is_cancelled() {
                break;
            }
            if started.elapsed() >= RECOVERED {
                pause = PAUSES.0;
            }
            failures.increment(1);
            tracing::warn!(
                task = name,
                error = failure,
                pause_ms = pause.as_millis() as u64,
                "A task failed; it is started again after a pause."
            );
            trouble.set(failure);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => break,
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    })
}

/// Waits for tasks to end.
pub async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        // `keep` catches its task's panics; it has none of its own.
        let _ = task.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test]
    async fn a_task_is_started_again_until_it_is_stopped() {
        let runs = Arc::new(AtomicU32::new(0));
        let (stop, trouble) = (CancellationToken::new(), Trouble::default());
        let counted = runs.clone();
        let kept = keep("t".into(), stop.clone(), trouble.clone(), move || {
            let n = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                assert!(n != 1, "the second run panics");
                Err::<(), _>(format!("failure {n}"))
            }
        });
        let deadline = Instant::now() + Duration::from_secs(30);
        while runs.load(Ordering::Relaxed) < 3 {
            assert!(Instant::now() < deadline, "it is not started again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(trouble.get().is_some());
        stop.cancel();
        kept.await.unwrap();
    }
}
