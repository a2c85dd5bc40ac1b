//! An application of several processes that counts under load, and what it must have written in the end.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::kafka_support::*;
use crate::run::Run;

/// Longer than a recovery may take.
pub const WITHIN: Duration = Duration::from_secs(60);
/// So many processes have something to do.
const PARTITIONS: i32 = 4;

fn topics(name: &str, settings: &[(&str, &str)]) -> String {
    let prefix = unique(name);
    let topic = |name: &str| format!("{prefix}-{name}");
    create_topics_with(&[(&topic("lines"), PARTITIONS), (&topic("words"), PARTITIONS), (&topic("counts"), 1)], settings);
    prefix
}

pub struct Counting {
    pub prefix: String,
    pub tail: Tail,
    pub load: Load,
    folder: TempDir,
}

impl Counting {
    /// Lines are written from now on.
    pub fn begin(name: &str) -> Counting {
        let prefix = topics(name, &[]);
        Counting::of(Load::start(&prefix), prefix)
    }

    /// So many lines a second; what was written is not kept for long.
    pub fn begin_at(name: &str, lines_a_second: u64) -> Counting {
        let prefix = topics(name, &[("retention.ms", "180000"), ("segment.ms", "60000"), ("segment.bytes", "67108864")]);
        Counting::of(Load::at(&prefix, lines_a_second), prefix)
    }

    fn of(load: Load, prefix: String) -> Counting {
        Counting { tail: Tail::from_the_beginning(&prefix), prefix, load, folder: tempfile::tempdir().unwrap() }
    }

    /// The state directory of a process, which has a name.
    pub fn state(&self, process: &str) -> PathBuf {
        self.folder.path().join(process)
    }

    pub fn start(&self, process: &str) -> Process {
        self.start_with(process, &[])
    }

    pub fn start_with(&self, process: &str, settings: &[(&str, &str)]) -> Process {
        Process::start_with(&self.prefix, &self.state(process), settings)
    }

    /// Waits until lines of all partitions that are written from now on are counted.
    pub fn await_news(&self) -> Duration {
        self.tail.await_news(WITHIN)
    }

    /// Counts that are visible now, at least.
    pub fn counted(&self) -> i64 {
        counts_so_far(&self.prefix)
    }

    /// Stops the load, waits until all is counted, and ends the processes in order; what was found then.
    pub fn verdict(self, processes: impl IntoIterator<Item = Process>) -> Verdict {
        self.tail.await_counted(self.load.stop());
        processes.into_iter().for_each(Process::end);
        verdict(&self.prefix)
    }

    /// The same where a line may be counted more than once.
    pub fn verdict_at_least_once(self, processes: impl IntoIterator<Item = Process>) -> Verdict {
        self.load.stop();
        await_processed(&self.prefix);
        processes.into_iter().for_each(Process::end);
        verdict(&self.prefix)
    }

    /// Stops the load, and checks the counts as they were read.
    pub fn finish_by_reading(self, processes: impl IntoIterator<Item = Process>, run: &mut Run) {
        let lines = self.load.stop();
        self.tail.await_counted(lines);
        processes.into_iter().for_each(Process::end);
        let verdict = self.tail.verdict(lines);
        run.found(verdict);
        assert!(verdict.is_right(), "{verdict:?}");
    }

    /// The same, and nothing may be lost or twice.
    pub fn finish(self, processes: impl IntoIterator<Item = Process>, run: &mut Run) {
        let verdict = self.verdict(processes);
        run.found(verdict);
        assert!(verdict.is_right(), "{verdict:?}");
    }
}
