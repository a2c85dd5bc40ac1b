//! A client's process, watched from outside.

use super::{Inputs, Role, Settings};
use crate::process;
use anyhow::Context;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

/// Nothing that is waited for stands still for longer.
const PATIENCE: Duration = Duration::from_secs(120);
const CALL: Duration = Duration::from_secs(20);
const ASK_EVERY: Duration = Duration::from_millis(10);

/// A client, killed at the latest when this is dropped. It ends when its standard input does.
pub struct Client {
    child: Child,
    /// What it says, line by line, and when.
    said: mpsc::Receiver<(String, Instant)>,
}

impl Client {
    pub fn start(role: Role, inputs: &Inputs, settings: Settings, name: &str, state: &Path) -> anyhow::Result<Client> {
        let mut child = role
            .program()?
            .args(["--servers", &inputs.servers, "--name", name])
            .args(["--threads", &settings.threads.to_string()])
            .args(settings.commit.iter().flat_map(|commit| ["--commit".to_owned(), commit.to_string()]))
            .args(inputs.topics.iter().flat_map(|input| ["--input", input]))
            .arg("--state")
            .arg(state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("its output")?;
        Ok(Client { child, said: lines(stdout) })
    }

    fn id(&self) -> String {
        self.child.id().to_string()
    }

    pub fn cpu_time(&self) -> Duration {
        process::cpu_time_of(&self.id())
    }

    pub fn peak_resident_mb(&self) -> f64 {
        process::peak_resident_mb_of(&self.id())
    }

    /// Waits until its state is complete and it works; how long after it last said that it begins: as soon as it is there, and again
    /// when it begins to restore.
    pub fn wait_until_running(&self) -> anyhow::Result<Duration> {
        let mut began = None;
        loop {
            let (said, at) = self.said.recv_timeout(PATIENCE).context("the client does not say that it runs")?;
            match (said.as_str(), began) {
                ("starting", _) => began = Some(at),
                ("running", Some(began)) => return Ok(at - began),
                _ => {}
            }
        }
    }

    /// Ends it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the client ended with {status}");
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stdout: ChildStdout) -> mpsc::Receiver<(String, Instant)> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send((line, Instant::now())).is_err() {
                return;
            }
        }
    });
    receiver
}

/// From the first commit that was seen to the last.
pub struct Pace {
    pub records: usize,
    pub time: Duration,
    /// The client's.
    pub cpu: Duration,
    /// The broker's, if it is this process's.
    pub broker_cpu: Option<Duration>,
}

impl Pace {
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.time.as_secs_f64()
    }

    pub fn cpu_per_million(&self) -> f64 {
        self.per_million(self.cpu)
    }

    fn per_million(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e6 / self.records as f64
    }

    /// The same in words, with the client's memory.
    pub fn print(&self, what: &str, memory: f64) {
        println!("  {what}");
        println!("    records/s        {:>9.0}   ({} in {:.1} s)", self.rate(), self.records, self.time.as_secs_f64());
        println!("    client CPU       {:>9.2} s per million records", self.cpu_per_million());
        if let Some(cpu) = self.broker_cpu {
            println!("    broker CPU       {:>9.2} s per million records", self.per_million(cpu));
        }
        println!("    peak resident    {memory:>9.0} MB");
    }
}

/// Watches a new client until it has committed all inputs.
pub fn pace(client: &Client, inputs: &Inputs, group: &str) -> anyhow::Result<Pace> {
    let mut progress = Progress::new(inputs, group)?;
    let mut first = None;
    loop {
        let (done, now, cpu, broker) = (progress.committed()?, Instant::now(), client.cpu_time(), process::broker_cpu_time());
        if done > 0 && first.is_none() {
            first = Some((done, now, cpu, broker));
        }
        if let Some((at_first, began, cpu_then, broker_then)) = first
            && done >= progress.end
        {
            let broker_cpu = broker.zip(broker_then).map(|(cpu, then)| cpu - then);
            return Ok(Pace { records: usize::try_from(done - at_first)?, time: now - began, cpu: cpu - cpu_then, broker_cpu });
        }
        std::thread::sleep(ASK_EVERY);
    }
}

/// Waits until a client has committed all inputs.
pub fn until_committed(inputs: &Inputs, group: &str) -> anyhow::Result<()> {
    let mut progress = Progress::new(inputs, group)?;
    while progress.committed()? < progress.end {
        std::thread::sleep(ASK_EVERY);
    }
    Ok(())
}

/// How far a group is in the inputs.
struct Progress {
    consumer: BaseConsumer,
    inputs: TopicPartitionList,
    /// Records of all inputs together.
    end: i64,
    /// How many were committed, and since when it is so.
    last: (i64, Instant),
}

impl Progress {
    fn new(of: &Inputs, group: &str) -> anyhow::Result<Progress> {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &of.servers).set("group.id", group).create()?;
        let (mut inputs, mut end) = (TopicPartitionList::new(), 0);
        for topic in &of.topics {
            for partition in 0..of.partitions {
                inputs.add_partition(topic, partition);
                end += consumer.fetch_watermarks(topic, partition, CALL)?.1;
            }
        }
        Ok(Progress { consumer, inputs, end, last: (0, Instant::now()) })
    }

    /// Records that are committed; an error if they have been the same for too long.
    fn committed(&mut self) -> anyhow::Result<i64> {
        let offset = |offset| match offset {
            Offset::Offset(next) => next,
            _ => 0,
        };
        let answer = self.consumer.committed_offsets(self.inputs.clone(), CALL);
        let committed = answer.map_or(0, |answer| answer.elements().iter().map(|element| offset(element.offset())).sum());
        if committed > self.last.0 {
            self.last = (committed, Instant::now());
        }
        anyhow::ensure!(self.last.1.elapsed() < PATIENCE, "the client stands still at {committed} of {} records", self.end);
        Ok(committed)
    }
}
