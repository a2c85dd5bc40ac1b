//! A state directory on a disk that fills up: nothing is lost, and the counting goes on when there is room.
//!
//! The disk is a small tmpfs, which only root can mount; without it the scenario says so and passes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::counting::{Counting, WITHIN};
use crate::kafka_support::eventually;
use crate::run::Run;

const BYTES: usize = 1 << 20;
const STANDS_STILL: Duration = Duration::from_secs(2);

pub fn full(run: &mut Run) {
    let counting = Counting::begin("disk");
    let Some(disk) = SmallDisk::mount(&counting.state("a")) else { return };
    let process = counting.start("a");
    counting.await_news();
    while run.goes_on(1) {
        disk.fill();
        // No transaction can be written to the local stores any more.
        let (mut last, mut since) = (counting.counted(), Instant::now());
        eventually("the counting stands still", WITHIN, || {
            let now = counting.counted();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            since.elapsed() > STANDS_STILL
        });
        disk.make_room();
        let recovery = counting.await_news();
        println!("room on the disk again: recovery {recovery:?}");
        run.survived(recovery);
    }
    counting.finish([process], run);
}

/// A file system of one MiB, and a file on it that takes what is left.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(folder: &Path) -> Option<SmallDisk> {
        fs::create_dir_all(folder).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={BYTES}"), "tmpfs"]).arg(folder).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("skipped: no right to mount a tmpfs (root is needed)");
            return None;
        }
        Some(SmallDisk(folder.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Until nothing more can be written.
    fn fill(&self) {
        use std::io::Write;
        let mut ballast = fs::File::create(self.ballast()).unwrap();
        while ballast.write_all(&[1; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
