//! Brokers that are killed, stand still or stay away, and commits whose answer is lost, under load: every line is counted once, every
//! count is shown once, and the counting goes on within seconds.
//!
//! `STREAMS_KAFKA_LONG_OUTAGES=1` makes the outages longer, and more of them.

mod kafka_support;

mod on_kafka {
    use std::path::Path;
    use std::sync::{Mutex, MutexGuard};
    use std::time::{Duration, Instant};

    use tempfile::TempDir;

    use super::kafka_support::*;

    /// Longer than a recovery may take.
    const WITHIN: Duration = Duration::from_secs(15);

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

    fn topics(name: &str) -> String {
        let prefix = unique(name);
        create_topics(&[(&format!("{prefix}-lines"), 2), (&format!("{prefix}-words"), 2), (&format!("{prefix}-counts"), 1)]);
        prefix
    }

    #[test]
    fn child() {
        run_child();
    }

    /// The application under load, of which the first counts were seen.
    struct Counting {
        prefix: String,
        load: Load,
        application: Process,
        tail: Tail,
        _folder: TempDir,
        _alone: MutexGuard<'static, ()>,
    }

    impl Counting {
        /// `start`: an application on these topics and this folder.
        fn begin(name: &str, start: impl FnOnce(&str, &Path) -> Process) -> Counting {
            let (_alone, _folder, prefix) = (alone(), tempfile::tempdir().unwrap(), topics(name));
            let (load, application) = (Load::start(&prefix), start(&prefix, _folder.path()));
            let tail = Tail::of(&prefix);
            tail.await_news(WITHIN);
            Counting { prefix, load, application, tail, _folder, _alone }
        }

        /// Stops the load, and checks everything once it is counted.
        fn finish(self, what: &str) {
            await_counted(&self.prefix, self.load.stop());
            self.application.end();
            assert_each_counted_once(&self.prefix, what);
        }

        /// The same where a line may be counted more than once.
        fn finish_at_least_once(self, what: &str) {
            self.load.stop();
            await_processed(&self.prefix);
            self.application.end();
            let verdict = verdict(&self.prefix);
            println!("{what}: {verdict:?}");
            assert!(verdict.is_complete(), "{what}: {verdict:?}");
        }

        /// All brokers are away for so long; and meanwhile the application does not spin, and does not grow.
        fn without_brokers(&self, outage: Duration) {
            let (application, broker) = (&self.application, own_broker());
            let (memory, cpu, started) = (application.memory(), application.cpu_time(), Instant::now());
            broker.kill();
            std::thread::sleep(outage);
            let (cpu, grown) = (application.cpu_time() - cpu, application.memory().saturating_sub(memory) >> 20);
            broker.start();
            let gone = started.elapsed();
            let recovery = self.tail.await_news(WITHIN);
            println!("all brokers gone for {gone:?}: recovery {recovery:?}; in {outage:?} {cpu:?} of processor time, {grown} MB more");
            assert!(cpu < outage / 20, "it spins: {cpu:?}");
            assert!(grown < 64, "it grows: {grown} MB");
        }
    }

    fn patient(prefix: &str, folder: &Path) -> Process {
        Process::start_patient(prefix, folder, bootstrap())
    }

    fn print_recoveries(what: &str, mut recoveries: Vec<Duration>) {
        recoveries.sort();
        let (count, longest) = (recoveries.len(), recoveries[recoveries.len() - 1]);
        println!(
            "{what}: {count}; recovery p50 {:?}, p99 {:?}, longest {longest:?}",
            recoveries[count / 2],
            recoveries[(count * 99).div_ceil(100) - 1]
        );
    }

    #[test]
    fn broker_killed_at_random() {
        let (counting, broker) = (Counting::begin("killed", patient), own_broker());
        let mut recoveries = Vec::new();
        for _ in 0..if is_long() { 20 } else { 2 } {
            // Anywhere in the work that goes on.
            std::thread::sleep(Duration::from_millis(rand::random_range(0..300)));
            broker.kill();
            std::thread::sleep(BROKER_MISSED);
            broker.start();
            recoveries.push(counting.tail.await_news(WITHIN));
        }
        print_recoveries("kill -9 of the broker survived", recoveries);
        counting.finish("broker killed");
    }

    #[test]
    fn broker_stands_still_past_every_timeout() {
        let (counting, broker) = (Counting::begin("still", Process::start), own_broker());
        let mut recoveries = Vec::new();
        for _ in 0..if is_long() { 10 } else { 2 } {
            std::thread::sleep(Duration::from_millis(rand::random_range(0..300)));
            broker.stop();
            // Transactions may take 3 s, and members be silent for 1.5 s.
            std::thread::sleep(Duration::from_secs(4));
            broker.go_on();
            recoveries.push(counting.tail.await_news(WITHIN));
        }
        print_recoveries("SIGSTOP and SIGCONT of the broker survived", recoveries);
        counting.finish("broker stood still");
    }

    #[test]
    fn all_brokers_gone_for_a_while() {
        let counting = Counting::begin("gone", patient);
        counting.without_brokers(Duration::from_secs(if is_long() { 60 } else { 12 }));
        counting.finish("all brokers gone");
    }

    /// Four times a session of 1.5 s: the application takes its partitions for lost, while nobody can give it others.
    fn longer_than_a_session() -> Duration {
        Duration::from_secs(if is_long() { 60 } else { 6 })
    }

    #[test]
    fn all_brokers_gone_for_longer_than_a_session() {
        let counting = Counting::begin("gone-long", Process::start);
        counting.without_brokers(longer_than_a_session());
        counting.finish("all brokers gone for longer than a session");
    }

    #[test]
    fn all_brokers_gone_for_longer_than_a_session_at_least_once() {
        let start = |prefix: &str, folder: &Path| Process::start_with(prefix, folder, &[(AT_LEAST_ONCE, "")]);
        let counting = Counting::begin("gone-alo", start);
        counting.without_brokers(longer_than_a_session());
        counting.finish_at_least_once("all brokers gone, at least once");
    }

    /// The application is behind a proxy that brings commits into trouble; the error codes that the broker gave to them.
    fn commits_in_trouble(name: &str, trouble: Trouble) -> Vec<i16> {
        let counting = Counting::begin(name, |prefix, folder| Process::start_patient(prefix, folder, &proxy().address()));
        let (mut recoveries, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..if is_long() { 30 } else { 5 } {
            let started = Instant::now();
            answers.push(proxy().make(trouble, WITHIN));
            counting.tail.await_news(WITHIN);
            recoveries.push(started.elapsed());
        }
        print_recoveries(name, recoveries);
        counting.finish(name);
        answers
    }

    #[test]
    fn answer_to_a_commit_is_lost() {
        let answers = commits_in_trouble("answer-lost", Trouble::AnswerLost);
        assert!(answers.iter().all(|answer| *answer == 0), "each commit was done, although nobody heard of it: {answers:?}");
    }

    #[test]
    fn commit_arrives_after_the_next_transaction_began() {
        /// PRODUCER_FENCED, INVALID_PRODUCER_EPOCH.
        const FENCED: [i16; 2] = [90, 47];
        let answers = commits_in_trouble("late-commit", Trouble::Late);
        assert!(answers.iter().all(|answer| FENCED.contains(answer)), "no late commit is taken: {answers:?}");
    }
}
