//! A history, made from a seed before it is played: the settings of the world and a list of things that people do and that go
//! wrong. Shrinking takes things away from the list.

use crate::{dice::Dice, values::Rendering};

/// The four places of the simulated world, by their number.
pub const PRODUCT: usize = 0;
pub const STRIPE: usize = 1;
pub const SALESFORCE: usize = 2;
/// Of kind `topic`: publishes snapshots, is never written to.
pub const CRM: usize = 3;
pub const NAMES: [&str; 4] = ["product", "stripe", "salesforce", "crm"];

/// How often things go wrong, per thousand.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub fail_before: u32,
    pub fail_after: u32,
    pub late: u32,
    pub stored_5xx: u32,
    pub notice_lost: u32,
    pub notice_twice: u32,
    pub notice_late: u32,
    /// A lost notice that the events list does not bring either.
    pub never: u32,
    pub task_abort: u32,
    pub outbox_twice: u32,
    pub answer_slow: u32,
    pub deferred: u32,
}

/// How one system behaves.
#[derive(Clone, Debug)]
pub struct SystemSettings {
    /// Its clock, against the true time, in ms.
    pub clock: i64,
    pub writable: bool,
    pub propagate: bool,
    /// By field, in the order of [`crate::values::fields`].
    pub mapped: [bool; 5],
    pub rendering: [Rendering; 5],
    /// Refuses an e-mail that another live record has.
    pub unique_email: bool,
    /// Refuses to have no name.
    pub name_required: bool,
    /// Refuses phones with an odd number.
    pub picky_phone: bool,
    /// Sends events; else changes are only found by its polls.
    pub events: bool,
    /// The earlier in the list the greater, for ties.
    pub present: bool,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub systems: [SystemSettings; 4],
    pub unify_clock: i64,
    /// Per field: the systems of record, if that is its rule.
    pub of_record: [Option<Vec<usize>>; 5],
    pub priority: Vec<usize>,
    pub partitions: usize,
    pub people: usize,
    pub updated_at_mapped: bool,
    pub faults: Faults,
    /// Typical time of one call, in ms.
    pub latency: i64,
    /// Typical time until a task runs, in ms.
    pub task_delay: i64,
    /// How often Salesforce is asked for changes where it sends no events, in ms.
    pub poll: i64,
    /// Notices may be lost for good, and sweeps find what nobody told of. Else every change is told of in the end, and no
    /// sweep helps.
    pub sweeps: bool,
    /// Stripe finds an e-mail only as it is spelt.
    pub exact_email: bool,
    /// A runner that was replaced can still publish: a log without transactions, which neither of Concord's is. Then a look may
    /// be published after a newer one, and counts as an edit until the next: `--unfenced` shows it.
    pub unfenced: bool,
}

/// What a person types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    New,
    Spaced,
    Clear,
    /// What the field showed before its last change.
    Back,
    /// The same with other capitals.
    Recase,
    /// The pool e-mail of that person.
    Email(usize),
}

/// When an ambush strikes: at the next call of ours that changes a record of the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    JustBefore,
    JustAfter,
}

#[derive(Clone, Debug)]
pub enum Act {
    Create {
        system: usize,
        person: usize,
        fields: [bool; 5],
        cased: bool,
    },
    Edit {
        system: usize,
        pick: usize,
        field: usize,
        typing: Typing,
        second: Option<usize>,
    },
    Delete {
        system: usize,
        pick: usize,
    },
    /// A row under an old key, an undelete.
    Revive {
        system: usize,
        pick: usize,
        person: usize,
    },
    SwapEmails {
        system: usize,
        pick: usize,
        other: usize,
    },
    Ambush {
        system: usize,
        field: usize,
        typing: Typing,
        moment: Moment,
        delete: bool,
    },
    CrashRunner {
        system: usize,
        partition: usize,
        zombie: i64,
    },
    CrashSource {
        zombie: i64,
    },
    /// All of Concord stands still for so long, then starts again; with a log that begins anew, if it was reset meanwhile.
    Stop {
        lasts: i64,
        reset: bool,
    },
    /// Results published before, once more.
    Replay {
        system: usize,
        count: usize,
    },
    /// No call of the system succeeds.
    Outage {
        system: usize,
        lasts: i64,
    },
    /// The next call's answer (the product: the sink's next step after it has read requests) takes so much longer.
    Slow {
        system: usize,
        by: i64,
    },
    /// A notice from nowhere, in the system's topic.
    Rumour {
        system: usize,
        pick: usize,
    },
    Sweep {
        system: usize,
    },
    /// From now on, what we write into this field there is rewritten, so many times.
    Automation {
        system: usize,
        field: usize,
        times: u32,
    },
}

#[derive(Clone, Debug)]
pub struct Step {
    /// True time, ms from the start.
    pub at: i64,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub settings: Settings,
    /// In order of time; what lies before 0 is there when Concord starts.
    pub steps: Vec<Step>,
}

fn settings(dice: &mut Dice) -> Settings {
    let rough = dice.pick(&[0u32, 1, 1, 2]);
    let mut rate = |most: usize| rough * dice.below(most + 1) as u32;
    let faults = Faults {
        fail_before: rate(60),
        fail_after: rate(80),
        late: rate(60),
        stored_5xx: rate(40),
        notice_lost: rate(100),
        notice_twice: rate(100),
        notice_late: rate(150),
        never: rate(50),
        task_abort: rate(60),
        outbox_twice: rate(80),
        answer_slow: rate(100),
        deferred: rate(20),
    };
    let system = |dice: &mut Dice, number: usize| {
        let mut rendering = [Rendering::Exact; 5];
        for (field, shown) in rendering.iter_mut().enumerate() {
            if dice.chance(250) {
                *shown = match (field, dice.below(5)) {
                    (1, 0 | 1) => Rendering::LowerCased,
                    (1, _) => Rendering::Exact,
                    (_, 0) => Rendering::LowerCased,
                    (_, 1) => Rendering::UpperCased,
                    (_, 2) => Rendering::CutOff(8),
                    (_, 3) => Rendering::Collapsed,
                    _ => Rendering::Trimmed,
                };
            }
        }
        let mut mapped = [true; 5];
        for (field, mapped) in mapped.iter_mut().enumerate() {
            *mapped = field <= 1 || !dice.chance(120);
        }
        SystemSettings {
            clock: if dice.chance(400) { 0 } else { dice.between(-4_000, 4_000) },
            writable: number != CRM && !dice.chance(60),
            propagate: number != CRM && dice.chance(700),
            mapped,
            rendering,
            unique_email: number != STRIPE && number != CRM && dice.chance(500),
            name_required: number == SALESFORCE && dice.chance(300),
            picky_phone: number != CRM && dice.chance(200),
            events: number != SALESFORCE || dice.chance(600),
            present: match number {
                CRM => dice.chance(150),
                SALESFORCE => dice.chance(800),
                _ => true,
            },
        }
    };
    let systems = [system(dice, PRODUCT), system(dice, STRIPE), system(dice, SALESFORCE), system(dice, CRM)];
    let mut priority = vec![PRODUCT, STRIPE, SALESFORCE, CRM];
    for i in (1..4).rev() {
        priority.swap(i, dice.below(i + 1));
    }
    priority.truncate(3);
    let mut of_record: [Option<Vec<usize>>; 5] = Default::default();
    for rule in &mut of_record {
        if dice.chance(120) {
            *rule = Some(vec![dice.below(3), dice.below(3)]);
            rule.as_mut().into_iter().for_each(|list: &mut Vec<usize>| list.dedup());
        }
    }
    Settings {
        systems,
        unify_clock: if dice.chance(500) { 0 } else { dice.between(-4_000, 4_000) },
        of_record,
        priority,
        partitions: dice.pick(&[1, 2, 3]),
        people: dice.between(2, 5) as usize,
        updated_at_mapped: dice.chance(500),
        faults,
        latency: dice.pick(&[20, 100, 300, 300]),
        task_delay: dice.pick(&[2, 10, 50]),
        poll: dice.pick(&[1_000, 5_000, 20_000]),
        sweeps: dice.chance(500),
        exact_email: false,
        unfenced: false,
    }
}

fn typing(dice: &mut Dice, field: usize, people: usize) -> Typing {
    if field == 1 {
        return match dice.weighted(&[40, 20, 25, 8, 7]) {
            0 => Typing::Email(dice.below(people)),
            1 => Typing::New,
            2 => Typing::Back,
            3 => Typing::Clear,
            _ => Typing::Recase,
        };
    }
    match dice.weighted(&[60, 15, 10, 10, 5]) {
        0 => Typing::New,
        1 => Typing::Spaced,
        2 => Typing::Clear,
        3 => Typing::Back,
        _ => Typing::Recase,
    }
}

fn field(dice: &mut Dice) -> usize {
    dice.weighted(&[40, 20, 15, 10, 15])
}

/// The history of a seed.
pub fn plan(seed: u64) -> Plan {
    let mut dice = Dice::new(seed, "plan");
    let mut settings = settings(&mut dice);
    let people = settings.people;
    let systems: Vec<usize> = (0..4).filter(|s| settings.systems[*s].present).collect();
    let vendors: Vec<usize> = systems.iter().copied().filter(|s| *s != CRM).collect();
    let mut steps = Vec::new();
    let create = |dice: &mut Dice, system, person| {
        let mut fields = [true, true, false, false, false];
        fields[0] = dice.chance(850);
        fields[1] = dice.chance(900);
        fields[2] = dice.chance(300);
        fields[3] = dice.chance(200);
        fields[4] = dice.chance(300);
        Act::Create { system, person, fields, cased: dice.chance(150) }
    };
    // What is there before the start.
    if dice.chance(600) {
        for person in 0..people {
            for system in &systems {
                if dice.chance(350) {
                    let act = create(&mut dice, *system, person);
                    steps.push(Step { at: -dice.between(1, 100_000), act });
                }
            }
        }
        steps.sort_by_key(|step: &Step| step.at);
    }
    let before = steps.len();
    let count = dice.between(10, 40);
    let mut at = dice.between(0, 4_000);
    let start_with_creates = before == 0 || dice.chance(300);
    for n in 0..count {
        at += match dice.weighted(&[40, 30, 20, 8]) {
            0 => dice.between(0, 40),
            1 => dice.between(0, 1_000),
            2 => dice.between(500, 6_000),
            _ => dice.between(5_000, 60_000),
        };
        let system = dice.pick(&systems);
        let vendor = dice.pick(&vendors);
        let pick = dice.below(people);
        let kind = if start_with_creates && n < 3 { 1 } else { dice.weighted(&[560, 110, 28, 30, 30, 130, 50, 15, 25, 12, 8, 8, 12, 15]) };
        let act = match kind {
            0 => {
                let field = field(&mut dice);
                let typing = typing(&mut dice, field, people);
                Act::Edit { system, pick, field, typing, second: dice.chance(150).then(|| dice.below(5)) }
            }
            1 => create(&mut dice, system, pick),
            2 => Act::Delete { system, pick },
            3 => Act::Revive { system: dice.pick(&vendors), pick, person: dice.below(people) },
            4 => Act::SwapEmails { system, pick, other: dice.below(people) },
            5 => {
                let field = field(&mut dice);
                let typing = typing(&mut dice, field, people);
                let moment = if dice.chance(600) { Moment::JustBefore } else { Moment::JustAfter };
                Act::Ambush { system: vendor, field, typing, moment, delete: dice.chance(50) }
            }
            6 => {
                let zombie = if dice.chance(500) { 0 } else { dice.between(200, 30_000) };
                Act::CrashRunner { system: vendor, partition: dice.below(3), zombie }
            }
            7 => Act::CrashSource { zombie: dice.between(0, 10_000) },
            8 => Act::Replay { system: vendor, count: dice.between(1, 8) as usize },
            9 => {
                let lasts = if dice.chance(150) { dice.between(82_000_000, 95_000_000) } else { dice.between(500, 60_000) };
                Act::Outage { system: vendor, lasts }
            }
            10 => Act::Rumour { system: vendor, pick },
            11 => Act::Sweep { system: vendor },
            13 => Act::Slow { system: vendor, by: dice.between(500, 8_000) },
            _ => Act::Automation { system: vendor, field: field(&mut dice), times: dice.between(1, 12) as u32 },
        };
        steps.push(Step { at, act });
        // The same person made in several systems at once; edited in several at once.
        let follow = match &steps[steps.len() - 1].act {
            Act::Create { person, .. } if dice.chance(450) => Some(create(&mut dice, systems[(system + 1) % systems.len()], *person)),
            Act::Edit { pick, field, .. } if dice.chance(250) => {
                let typing = typing(&mut dice, *field, people);
                Some(Act::Edit { system: dice.pick(&systems), pick: *pick, field: *field, typing, second: None })
            }
            _ => None,
        };
        if let Some(act) = follow {
            at += if dice.chance(500) { dice.between(0, 50) } else { dice.between(0, 1500) };
            steps.push(Step { at, act });
        }
    }
    // What came later draws from its own dice: histories from before stay as they were.
    let mut dice = Dice::new(seed, "stops");
    settings.exact_email = dice.chance(500);
    if dice.chance(300) {
        stop(&mut dice, people, &mut steps);
    }
    let mut dice = Dice::new(seed, "resets");
    if dice.chance(150) {
        let at = dice.between(1_000, steps.last().map_or(1_000, |step| step.at.max(1_000)) + 20_000);
        steps.push(Step { at, act: Act::Stop { lasts: dice.between(500, 60_000), reset: true } });
        steps.sort_by_key(|step| step.at);
    }
    Plan { seed, settings, steps }
}

/// Concord stops, people are added on both sides, and it starts again.
fn stop(dice: &mut Dice, people: usize, steps: &mut Vec<Step>) {
    let at = dice.between(1_000, steps.last().map_or(1_000, |step| step.at.max(1_000)) + 20_000);
    let lasts = dice.between(500, 60_000);
    steps.push(Step { at, act: Act::Stop { lasts, reset: false } });
    for n in 0..dice.between(1, 3) as usize {
        // Somebody new, or somebody of the pool.
        let person = if dice.chance(700) { people + n } else { dice.below(people) };
        let cased = dice.chance(500);
        for (system, cased) in [(STRIPE, cased), (PRODUCT, !cased)] {
            let act = Act::Create { system, person, fields: [true, true, false, false, false], cased };
            steps.push(Step { at: at + dice.between(1, lasts), act });
        }
    }
    steps.sort_by_key(|step| step.at);
}
