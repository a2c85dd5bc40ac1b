//! Processes that could act for a name: the one that owns it answers each request once.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use streams::embedded::{Append, LogError};
use streams::kafka::{KafkaLogError, Log, LogConfig, Owner};
use streams::{ConsumerRecord, ProducerRecord, TopicPartition};
use tempfile::TempDir;

use super::{Process, bootstrap, create_topics, eventually, read_all, unique};

const PREFIX: &str = "STREAMS_KAFKA_TEST_ACTOR";
const FOLDER: &str = "STREAMS_KAFKA_TEST_ACTOR_FOLDER";
const GROUP: &str = "answering";
const NAME: &str = "system";
const SESSION: Duration = Duration::from_millis(1_500);
const WITHIN: Duration = Duration::from_secs(30);
/// Requests in one append of the load.
const BATCH: u64 = 10;
/// So much pause after each: the load is steady, and small enough to be checked in the end.
const PACE: Duration = Duration::from_millis(10);

/// Settings with which a member that is gone is soon missed.
pub fn log_config(application: &str) -> LogConfig {
    let mut config = LogConfig::new(application, bootstrap());
    config.session_timeout = SESSION;
    config
}

/// Another owner is there, or may be.
pub fn is_lost(error: &LogError) -> bool {
    matches!(error, LogError::Kafka(KafkaLogError::Lost { .. }))
}

/// Acts for the name until standard input ends, if this process is one of [`Actors`]. The test binary has this as its test `child`.
pub fn run_actor() {
    let (Ok(prefix), Ok(folder)) = (std::env::var(PREFIX), std::env::var(FOLDER)) else { return };
    let (end, mut ended) = tokio::sync::watch::channel(());
    std::thread::spawn(move || {
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        drop(end);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let log = Log::connect(log_config(&prefix)).await.unwrap();
        loop {
            let owner = tokio::select! {
                owner = log.own(NAME) => owner.unwrap(),
                _ = ended.changed() => return,
            };
            fs::write(Path::new(&folder).join("owner"), std::process::id().to_string()).unwrap();
            let acted = tokio::select! {
                acted = answer(&owner, &prefix, Path::new(&folder)) => acted,
                () = owner.lost.cancelled() => Ok(()),
                _ = ended.changed() => return owner.release().await,
            };
            let reason = match acted {
                Ok(()) => owner.why_lost().unwrap_or_default().to_owned(),
                Err(error) if error.is_retriable() || is_lost(&error) => error.to_string(),
                Err(error) => panic!("{error}"),
            };
            note(Path::new(&folder), "lost", &format!("{} {reason}\n", std::process::id()));
        }
    });
}

/// Each request gets an answer, in one transaction with the group's offset; notes which answer got which offset.
async fn answer(owner: &Owner, prefix: &str, folder: &Path) -> Result<(), LogError> {
    let (log, requests, answers) = (&owner.log, TopicPartition::new(format!("{prefix}-requests"), 0), format!("{prefix}-answers"));
    let from = log.committed(GROUP, &requests).await?.unwrap_or(0);
    let mut follow = log.follow(vec![(requests.clone(), from)]).await?;
    loop {
        follow.ready(|_| true).await?;
        let asked = follow.take(0, 25, 1 << 20)?;
        // In halves, which may be written together.
        let (first, second) = asked.split_at(asked.len() / 2);
        let append = |half: &[ConsumerRecord]| {
            let answer = |request: &ConsumerRecord| {
                ProducerRecord::new(answers.as_str(), request.key.clone().unwrap(), std::process::id().to_string())
            };
            let append = Append::of(half.iter().map(answer));
            match half.last() {
                Some(last) => append.with_offset(GROUP, requests.clone(), last.offset + 1),
                None => append,
            }
        };
        let outcomes = tokio::join!(log.append(append(first)), log.append(append(second)));
        let mut notes = String::new();
        for (half, outcome) in [(first, outcomes.0), (second, outcomes.1)] {
            for (request, offset) in half.iter().zip(outcome?) {
                notes += &format!("{} {offset}\n", String::from_utf8_lossy(request.key.as_ref().unwrap()));
            }
        }
        note(folder, "answered", &notes);
    }
}

/// One write, so that a process that is killed leaves whole lines.
fn note(folder: &Path, file: &str, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(folder.join(file)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Processes that take turns, under load.
pub struct Actors {
    prefix: String,
    folder: TempDir,
    processes: Vec<Process>,
    load: std::thread::JoinHandle<u64>,
    stop: std::sync::mpsc::Sender<()>,
}

impl Actors {
    pub fn start(name: &str, processes: usize) -> Actors {
        let (prefix, folder) = (unique(name), tempfile::tempdir().unwrap());
        create_topics(&[(&format!("{prefix}-requests"), 1), (&format!("{prefix}-answers"), 1)]);
        let (stop, stopped) = std::sync::mpsc::channel();
        let topic = format!("{prefix}-requests");
        let config = log_config(&prefix);
        let load = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let log = Log::connect(config).await.unwrap();
                let mut count = 0;
                while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
                    let ids = count..count + BATCH;
                    log.append(Append::of(ids.map(|id| ProducerRecord::new(topic.as_str(), id.to_string(), "")))).await.unwrap();
                    count += BATCH;
                    tokio::time::sleep(PACE).await;
                }
                count
            })
        });
        let mut actors = Actors { prefix, folder, processes: Vec::new(), load, stop };
        for _ in 0..processes {
            actors.add();
        }
        eventually("a first answer", WITHIN, || !actors.answered().is_empty());
        actors
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn add(&mut self) {
        self.processes.push(Process::run(&[
            (PREFIX, &self.prefix),
            (FOLDER, self.folder.path().to_str().unwrap()),
            ("KAFKA_BOOTSTRAP_SERVERS", bootstrap()),
        ]));
    }

    /// Lines of all processes: which request, and the offset of its answer.
    pub fn answered(&self) -> Vec<(String, i64)> {
        let text = fs::read_to_string(self.file("answered")).unwrap_or_default();
        // The last one may be on its way.
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        whole.lines().map(|line| line.split_once(' ').map(|(id, offset)| (id.to_owned(), offset.parse().unwrap())).unwrap()).collect()
    }

    /// Processes that said why they no longer own the name.
    pub fn lost(&self) -> Vec<(u32, String)> {
        let text = fs::read_to_string(self.file("lost")).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once(' ')).map(|(id, why)| (id.parse().unwrap(), why.to_owned())).collect()
    }

    fn owner(&self) -> u32 {
        fs::read_to_string(self.file("owner")).unwrap().parse().unwrap()
    }

    /// Takes the process that owns the name out of the list.
    pub fn take_owner(&mut self) -> Process {
        let id = self.owner();
        let place = self.processes.iter().position(|process| process.id() == id).unwrap();
        self.processes.remove(place)
    }

    pub fn put(&mut self, process: Process) {
        self.processes.push(process);
    }

    /// Waits until another process has answered something; how long that took.
    pub fn await_hand_over(&self, from: u32) -> Duration {
        let started = Instant::now();
        eventually("another owner", WITHIN, || {
            fs::read_to_string(self.file("owner")).is_ok_and(|id| !id.is_empty() && id != from.to_string())
        });
        let before = self.answered().len();
        eventually("an answer of the next owner", WITHIN, || self.answered().len() > before);
        started.elapsed()
    }

    /// Stops the load, waits for all answers, and ends the processes; every request must have one answer, where its process said.
    pub fn finish(self, what: &str) {
        self.stop.send(()).unwrap();
        let Actors { prefix, folder, processes, load, .. } = self;
        let asked = load.join().unwrap();
        let answers = || read_all(&format!("{prefix}-answers"));
        let mut seen = answers();
        eventually("all is answered", WITHIN, || {
            seen = answers();
            seen.len() as u64 >= asked
        });
        processes.into_iter().for_each(Process::end);
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for answer in &seen {
            *times.entry(&answer.key).or_default() += 1;
        }
        let (twice, lost) = (times.values().filter(|times| **times > 1).count(), asked as usize - times.len());
        println!("{what}: {asked} requests, answered twice {twice}, lost {lost}");
        assert_eq!((twice, lost), (0, 0));
        let keys: BTreeMap<i64, &str> = seen.iter().map(|answer| (answer.offset, answer.key.as_str())).collect();
        let noted = fs::read_to_string(folder.path().join("answered")).unwrap();
        for (id, offset) in noted.lines().filter_map(|line| line.split_once(' ')) {
            assert_eq!(keys.get(&offset.parse().unwrap()), Some(&id), "what was said to be appended is there");
        }
    }
}
