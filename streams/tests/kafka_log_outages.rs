//! The log of connectors while brokers are killed and answers to commits are lost.
//!
//! `STREAMS_KAFKA_LONG_OUTAGES=1` makes them more.

mod kafka_support;

mod on_kafka {
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard};
    use std::time::{Duration, Instant};

    use streams::embedded::{Append, TopicConfig};
    use streams::kafka::Log;
    use streams::{ProducerRecord, TopicPartition};
    use tokio::task::JoinHandle;
    use tokio_util::sync::CancellationToken;

    use super::kafka_support::*;

    const WITHIN: Duration = Duration::from_secs(40);

    /// The tests share a broker, and what one does to it is not for the others.
    fn alone() -> MutexGuard<'static, ()> {
        static ONE: Mutex<()> = Mutex::new(());
        let one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        assert_eq!(bootstrap(), own_broker().address(), "these tests kill brokers: unset KAFKA_BOOTSTRAP_SERVERS");
        one
    }

    fn is_long() -> bool {
        std::env::var_os("STREAMS_KAFKA_LONG_OUTAGES").is_some()
    }

    /// What was said of the appends so far.
    #[derive(Default)]
    struct Said {
        appended: AtomicUsize,
        /// Values that were appended at an offset, and those that were answered with an error.
        outcomes: Mutex<(BTreeMap<u64, i64>, Vec<u64>)>,
        lost: AtomicUsize,
    }

    /// An owner that appends, one after the other, and begins anew whenever it is lost.
    struct Appending {
        said: Arc<Said>,
        topic: String,
        log: Log,
        task: JoinHandle<()>,
        stop: CancellationToken,
    }

    impl Appending {
        async fn begin(name: &str, servers: &str) -> Appending {
            let topic = unique(name);
            let mut config = log_config(&topic);
            config.bootstrap_servers = servers.to_owned();
            let log = Log::connect(config).await.unwrap();
            log.create_topic(TopicConfig::delete(topic.as_str(), 1, Duration::from_secs(3600))).await.unwrap();
            let (said, stop) = (Arc::new(Said::default()), CancellationToken::new());
            let task = tokio::spawn(append(log.clone(), topic.clone(), said.clone(), stop.clone()));
            let appending = Appending { said, topic, log, task, stop };
            appending.await_more().await;
            appending
        }

        /// How long it takes until something more is appended.
        async fn await_more(&self) -> Duration {
            let (started, before) = (Instant::now(), self.said.appended.load(Ordering::SeqCst));
            tokio::time::timeout(WITHIN, async {
                while self.said.appended.load(Ordering::SeqCst) <= before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await
            .expect("it goes on");
            started.elapsed()
        }

        /// What was said to be appended is there, once; what was answered with an error is there once or not.
        async fn finish(self, what: &str) {
            self.stop.cancel();
            self.task.await.unwrap();
            let mut found: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
            for record in self.log.read_all(&self.topic).await.unwrap() {
                let value = String::from_utf8_lossy(record.value.as_ref().unwrap()).parse().unwrap();
                found.entry(value).or_default().push(record.offset);
            }
            let (appended, failed) = self.said.outcomes.lock().unwrap().clone();
            let twice = found.values().filter(|offsets| offsets.len() > 1).count();
            let missing = appended.iter().filter(|(value, offset)| found.get(value) != Some(&vec![**offset])).count();
            let made_up = found.keys().filter(|value| !appended.contains_key(value) && !failed.contains(value)).count();
            let lost = self.said.lost.load(Ordering::SeqCst);
            println!(
                "{what}: {} appended, {} answered with an error, ownership lost {lost} times; twice {twice}, missing {missing}",
                appended.len(),
                failed.len()
            );
            assert_eq!((twice, missing, made_up), (0, 0, 0));
        }
    }

    async fn append(log: Log, topic: String, said: Arc<Said>, stop: CancellationToken) {
        let mut value = 0;
        while !stop.is_cancelled() {
            let owner = match log.own("system").await {
                Ok(owner) => owner,
                Err(error) => {
                    assert!(error.is_retriable(), "{error}");
                    continue;
                }
            };
            while !stop.is_cancelled() && !owner.lost.is_cancelled() {
                value += 1;
                let record = ProducerRecord::new(topic.as_str(), "key", value.to_string());
                let append =
                    Append::of([record]).with_offset("group", TopicPartition::new(topic.as_str(), 0), i64::try_from(value).unwrap());
                match owner.log.append(append).await {
                    Ok(offsets) => {
                        said.outcomes.lock().unwrap().0.insert(value, offsets[0]);
                        said.appended.fetch_add(1, Ordering::SeqCst);
                    }
                    Err(error) => {
                        assert!(error.is_retriable() || is_lost(&error), "{error}");
                        said.outcomes.lock().unwrap().1.push(value);
                    }
                }
            }
            if owner.lost.is_cancelled() {
                said.lost.fetch_add(1, Ordering::SeqCst);
                println!("lost: {}", owner.why_lost().unwrap_or_default());
                drop(owner);
            } else {
                owner.release().await;
            }
        }
    }

    fn print_times(what: &str, mut times: Vec<Duration>) {
        times.sort();
        println!("{what}: {}; p50 {:?}, longest {:?}", times.len(), times[times.len() / 2], times[times.len() - 1]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    #[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
    async fn broker_killed_at_random() {
        let (_alone, broker) = (alone(), own_broker());
        let appending = Appending::begin("broker-killed", bootstrap()).await;
        let mut trouble = appending.log.watch_trouble();
        let mut times = Vec::new();
        for _ in 0..if is_long() { 15 } else { 2 } {
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..300))).await;
            broker.kill();
            let told = tokio::time::timeout(WITHIN, trouble.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
            assert!(told.unwrap().contains(bootstrap()));
            tokio::time::sleep(BROKER_MISSED).await;
            broker.start();
            times.push(appending.await_more().await);
            tokio::time::timeout(WITHIN, trouble.wait_for(Option::is_none)).await.unwrap().unwrap();
        }
        print_times("kill -9 of the broker: appends go on after", times);
        appending.finish("broker killed").await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    #[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
    async fn broker_stands_still() {
        let (_alone, broker) = (alone(), own_broker());
        let appending = Appending::begin("broker-still", bootstrap()).await;
        let mut times = Vec::new();
        for _ in 0..if is_long() { 10 } else { 1 } {
            broker.stop();
            tokio::time::sleep(Duration::from_secs(4)).await;
            broker.go_on();
            times.push(appending.await_more().await);
        }
        print_times("SIGSTOP of the broker for 4 s: appends go on after", times);
        appending.finish("broker stood still").await;
    }

    async fn commits_in_trouble(name: &str, trouble: Trouble) {
        let appending = Appending::begin(name, &proxy().address()).await;
        let mut times = Vec::new();
        for _ in 0..if is_long() { 30 } else { 2 } {
            let started = Instant::now();
            tokio::task::block_in_place(|| proxy().make(trouble, WITHIN));
            appending.await_more().await;
            times.push(started.elapsed());
        }
        print_times(&format!("{trouble:?}: appends go on after"), times);
        appending.finish(name).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
    async fn answer_to_a_commit_is_lost() {
        let _alone = alone();
        own_broker();
        commits_in_trouble("answer-lost", Trouble::AnswerLost).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[allow(clippy::await_holding_lock, reason = "each test has a runtime of its own")]
    async fn commit_arrives_late() {
        let _alone = alone();
        own_broker();
        commits_in_trouble("late-commit", Trouble::Late).await;
    }
}
