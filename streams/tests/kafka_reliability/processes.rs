//! Processes that are killed, stand still, come and go.

use rand::Rng;

use crate::counting::Counting;
use crate::run::Run;

pub fn killed(run: &mut Run) {
    const NAMES: [&str; 3] = ["a", "b", "c"];
    let counting = Counting::begin("killed");
    let mut processes: Vec<_> = NAMES.iter().map(|name| counting.start(name)).collect();
    counting.await_news();
    while run.goes_on(4) {
        run.pause(400);
        let (first, also_next) = (run.rng.random_range(0..NAMES.len()), run.rng.random_ratio(1, 4));
        for victim in [first, (first + 1) % NAMES.len()].into_iter().take(1 + usize::from(also_next)) {
            processes.remove(victim).kill();
            processes.insert(victim, counting.start(NAMES[victim]));
        }
        run.survived(counting.await_news());
    }
    counting.finish(processes, run);
}

pub fn stopped_and_continued(run: &mut Run) {
    let counting = Counting::begin("stopped");
    let processes = ["a", "b"].map(|name| counting.start(name));
    counting.await_news();
    while run.goes_on(2) {
        // Sometimes while the last one comes back.
        run.pause(1_000);
        let zombie = &processes[run.rng.random_range(0..2)];
        zombie.signal("-STOP");
        // All its partitions are the other one's.
        run.survived(counting.await_news());
        zombie.signal("-CONT");
        counting.await_news();
    }
    counting.finish(processes, run);
}

pub fn added_and_removed(run: &mut Run) {
    const MOST: usize = 4;
    let counting = Counting::begin("members");
    let (mut processes, mut last) = (vec![counting.start("0")], 0);
    counting.await_news();
    while run.goes_on(4) {
        run.pause(400);
        let add = processes.len() == 1 || processes.len() < MOST && run.rng.random();
        if add {
            last += 1;
            processes.push(counting.start(&last.to_string()));
        } else {
            processes.remove(run.rng.random_range(0..processes.len())).end();
        }
        run.survived(counting.await_news());
    }
    counting.finish(processes, run);
}
