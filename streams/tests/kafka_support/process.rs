//! The application in a process of its own, which can be killed, stopped and watched.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use streams::dead_letter_queue;
use streams::kafka::{KafkaStreams, KafkaStreamsConfig, ProcessingGuarantee};

use super::{bootstrap, config, eventually, word_count};

const PREFIX: &str = "STREAMS_KAFKA_TEST_PREFIX";
const STATE: &str = "STREAMS_KAFKA_TEST_STATE";
/// Milliseconds, in place of what [`config`] sets.
pub const SESSION_TIMEOUT: &str = "STREAMS_KAFKA_TEST_SESSION_TIMEOUT";
/// Keeps the place in the group for who comes back.
pub const GROUP_INSTANCE: &str = "STREAMS_KAFKA_TEST_GROUP_INSTANCE";
/// Set: the process counts at least once.
pub const AT_LEAST_ONCE: &str = "STREAMS_KAFKA_TEST_AT_LEAST_ONCE";
/// What the process logs on stderr, as `tracing`'s filters are written: `debug`, `streams=trace`.
const LOG: &str = "STREAMS_KAFKA_TEST_LOG";
/// Of the driver's own: where the process dies, and which rule is broken.
pub const DIES_AT: &str = "STREAMS_KAFKA_DIES_AT";
pub const BREAKS: &str = "STREAMS_KAFKA_BREAKS";
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Counts until standard input ends, if this process is one that [`Process::start`] made; whether it was. A test binary has this as its
/// test `child`, or as the first that it does.
pub fn run_child() -> bool {
    let (Ok(prefix), Ok(state)) = (std::env::var(PREFIX), std::env::var(STATE)) else { return false };
    if let Ok(level) = std::env::var(LOG) {
        // One that is there already is as good.
        let _ = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).with_ansi(false).try_init();
    }
    let mut config = config(&prefix, Path::new(&state));
    config.task.exception_handler = dead_letter_queue(|topic| format!("{topic}.dlq"));
    if let Ok(timeout) = std::env::var(SESSION_TIMEOUT) {
        config.consumer.insert("session.timeout.ms".into(), timeout);
    }
    if let Ok(instance) = std::env::var(GROUP_INSTANCE) {
        config.consumer.insert("group.instance.id".into(), instance);
    }
    if std::env::var_os(AT_LEAST_ONCE).is_some() {
        at_least_once(&mut config);
    }
    let streams = KafkaStreams::start(&word_count(&prefix), config).unwrap();
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    assert!(streams.close(ENDS_WITHIN), "it does not end");
    true
}

/// Sets it to that guarantee, with records that are given up as soon as a transaction would be.
pub fn at_least_once(config: &mut KafkaStreamsConfig) {
    config.processing_guarantee = ProcessingGuarantee::AtLeastOnce;
    config.producer.insert("message.timeout.ms".into(), config.producer["transaction.timeout.ms"].clone());
}

/// A process that is killed at the latest when this is dropped.
pub struct Process(Child);

impl Process {
    pub fn start(prefix: &str, state: &Path) -> Process {
        Process::start_with(prefix, state, &[])
    }

    /// With brokers elsewhere, and with a session timeout of Kafka's own default: who leaves the group without a word is missed for long.
    pub fn start_patient(prefix: &str, state: &Path, servers: &str) -> Process {
        Process::start_with(prefix, state, &[("KAFKA_BOOTSTRAP_SERVERS", servers), (SESSION_TIMEOUT, "45000")])
    }

    /// With settings in its environment.
    pub fn start_with(prefix: &str, state: &Path, settings: &[(&str, &str)]) -> Process {
        let state = state.to_str().unwrap();
        Process::run(&[&[(PREFIX, prefix), (STATE, state), ("KAFKA_BOOTSTRAP_SERVERS", bootstrap())], settings].concat())
    }

    /// The test `child` of this binary, in a process of its own with these settings.
    pub fn run(settings: &[(&str, &str)]) -> Process {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["on_kafka::child", "--exact", "--nocapture"])
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process(child)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap().success());
    }

    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Waits until it has died by itself.
    pub fn await_death(mut self, within: Duration) {
        eventually("the process dies", within, || self.0.try_wait().unwrap().is_some_and(|status| !status.success()));
    }

    /// Lets it end in order, without waiting.
    pub fn ask_to_end(&mut self) {
        drop(self.0.stdin.take());
    }

    /// Lets it end in order.
    pub fn end(mut self) {
        self.ask_to_end();
        assert!(self.0.wait().unwrap().success(), "it does not end in order");
    }

    /// Processor time that it has used.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).unwrap();
        // After the name, which may hold anything: utime and stime are the 12th and 13th, in hundredths of a second.
        let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
        Duration::from_millis(fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
    }

    /// Resident memory now, in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
