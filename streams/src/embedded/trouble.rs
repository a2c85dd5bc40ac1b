//! A disk that is full or fails: appends are refused until the cause is gone, which is looked at now and then.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{LogError, free_space};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Why the log takes no appends, and when to look again.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) error: LogError,
    pub(super) look_again: Instant,
    pause: Duration,
}

impl Trouble {
    /// New trouble; after trouble that has just passed, the pause doubles, so that a disk that fails again at once is not hammered.
    pub(super) fn new(error: LogError, before: Option<Duration>) -> Trouble {
        let pause = before.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        Trouble { error, look_again: Instant::now() + pause, pause }
    }

    pub(super) fn pause(&self) -> Duration {
        self.pause
    }

    /// The cause is still there.
    pub(super) fn goes_on(&mut self) {
        self.look_again = Instant::now() + self.pause;
    }
}

/// Whether the disk has the room that the log wants to see.
pub(super) fn check_room(folder: &Path, min_free_bytes: u64) -> Result<(), LogError> {
    if min_free_bytes == 0 {
        return Ok(());
    }
    let free =
        free_space::free_bytes(folder).map_err(|error| LogError::io(format!("looking for free space in {}", folder.display()), error))?;
    if free < min_free_bytes {
        let reason = format!("{} MiB free in {}, at least {} MiB are wanted", free >> 20, folder.display(), min_free_bytes >> 20);
        return Err(LogError::DiskFull { reason });
    }
    Ok(())
}
