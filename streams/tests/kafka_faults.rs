//! Processes that are killed, stopped, added and removed under load: every line is counted once, and every count is shown once.

mod kafka_support;

mod on_kafka {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use rand::Rng;
    use streams::kafka::{KafkaStreams, State};

    use super::kafka_support::*;

    const KILLS: usize = 12;
    const WITHIN: Duration = Duration::from_secs(60);

    fn topics(name: &str) -> String {
        let prefix = unique(name);
        create_topics(&[(&format!("{prefix}-lines"), 2), (&format!("{prefix}-words"), 2), (&format!("{prefix}-counts"), 1)]);
        prefix
    }

    fn start(prefix: &str, state: &Path) -> KafkaStreams {
        KafkaStreams::start(&word_count(prefix), config(prefix, state)).unwrap()
    }

    /// Run by the tests in a process of its own.
    #[test]
    fn child() {
        run_child();
    }

    /// Waits until more counts are visible; how long that took.
    fn await_progress(prefix: &str, more: i64) -> Duration {
        let (from, started) = (counts_so_far(prefix), Instant::now());
        eventually("the counting goes on", WITHIN, || counts_so_far(prefix) >= from + more);
        started.elapsed()
    }

    /// Stops the load, lets the application finish, and checks everything.
    fn finish(load: Load, prefix: &str, state: &Path, what: &str) {
        let lines = load.stop();
        let streams = start(prefix, state);
        await_counted(prefix, lines);
        assert!(streams.close(WITHIN), "it does not end");
        assert_each_counted_once(prefix, what);
    }

    #[test]
    fn killed_at_random_under_load() {
        let (prefix, folder) = (topics("kill"), tempfile::tempdir().unwrap());
        let load = Load::start(&prefix);
        let mut recoveries = Vec::new();
        for _ in 0..KILLS {
            let process = Process::start(&prefix, folder.path());
            recoveries.push(await_progress(&prefix, 1));
            // Anywhere in the life that follows.
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..250)));
            process.kill();
        }
        recoveries.sort();
        println!("kill -9 survived: {KILLS}; recovery p50 {:?}, longest {:?}", recoveries[KILLS / 2], recoveries[KILLS - 1]);
        finish(load, &prefix, folder.path(), "kill -9");
    }

    #[test]
    fn members_come_and_go_under_load() {
        let (prefix, first, second) = (topics("members"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let load = Load::start(&prefix);
        let mut steady = start(&prefix, first.path());
        await_progress(&prefix, 1);
        let mut changes = 0;
        for round in 0..3 {
            let guest = start(&prefix, second.path());
            eventually("the guest runs", WITHIN, || guest.state() == State::Running);
            await_progress(&prefix, 300);
            if round == 1 {
                // The other one leaves, and comes back.
                assert!(steady.close(WITHIN));
                await_progress(&prefix, 300);
                steady = start(&prefix, first.path());
                changes += 2;
            }
            assert!(guest.close(WITHIN));
            await_progress(&prefix, 300);
            changes += 2;
        }
        assert!(steady.close(WITHIN));
        println!("members added and removed: {changes}");
        finish(load, &prefix, first.path(), "members come and go");
    }

    #[test]
    fn stopped_past_the_session_timeout_and_continued() {
        let (prefix, first, second) = (topics("zombie"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let load = Load::start(&prefix);
        let zombie = Process::start(&prefix, first.path());
        await_progress(&prefix, 100);
        let mut takeovers = Vec::new();
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..100)));
            zombie.signal("-STOP");
            let other = start(&prefix, second.path());
            takeovers.push(await_progress(&prefix, 300));
            zombie.signal("-CONT");
            // Both at work, the zombie as a new member.
            await_progress(&prefix, 1_000);
            assert!(other.close(WITHIN));
            await_progress(&prefix, 300);
        }
        println!("zombies survived: {}; takeovers {takeovers:?}", takeovers.len());
        zombie.kill();
        finish(load, &prefix, second.path(), "SIGSTOP, takeover, SIGCONT");
    }
}
