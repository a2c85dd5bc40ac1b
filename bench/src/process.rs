//! What the operating system says of this process and its files.

use crate::broker;
use std::{fs, path::Path, sync::OnceLock, time::Duration};

/// Most resident memory of this process so far, in MB.
pub fn peak_resident_mb() -> f64 {
    peak_resident_mb_of("self")
}

/// The same of another process, by its id.
pub fn peak_resident_mb_of(process: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kb = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kb.unwrap_or(0.0) / 1024.0
}

/// User and system time of all threads of this process.
pub fn cpu_time() -> Duration {
    cpu_time_of("self")
}

/// The same of another process, by its id.
pub fn cpu_time_of(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Behind the command's closing bracket; utime and stime are the 12th and 13th from there, in hundredths of a second.
    let ticks: u64 =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// The same of the broker, where this process started it.
pub fn broker_cpu_time() -> Option<Duration> {
    static BROKER: OnceLock<Option<String>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| broker::given().is_none().then(|| broker::own_broker().process().to_string()));
    broker.as_deref().map(cpu_time_of)
}

/// Bytes of a folder's files and of those in folders below it, in MB.
pub fn folder_mb(folder: &Path) -> f64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_mb(&entry.path()),
            Ok(metadata) => metadata.len() as f64 / 1e6,
            Err(_) => 0.0,
        })
        .sum()
}
