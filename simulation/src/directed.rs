//! Directed histories in the simulated world, for rules that only show with exact timing across a system, its runner and the
//! merge. Those of rules that are decided in the topology alone are told there (`topology::customers::histories`).

use crate::{
    Plan, Shared, World, finish,
    history::Record,
    plan::{Act, CRM, Faults, Moment, PRODUCT, SALESFORCE, STRIPE, Settings, Step, SystemSettings, Typing},
    values::Rendering,
};
use schemas::rules::{Rule, break_rule, mend_rules};
use std::sync::Arc;

/// One story: what is done when, and what must be true at its end besides all that the oracle asks.
struct Directed {
    rule: Rule,
    settings: fn(&mut Settings),
    steps: fn() -> Vec<Step>,
    check: fn(&World) -> Result<(), String>,
}

const STORIES: &[Directed] = &[
    // An edit is made, and told of, between a look and its answer.
    Directed {
        rule: Rule::ReadsJoinedBeforeTheCall,
        settings: |_| {},
        steps: || {
            vec![
                create(1_000, STRIPE),
                at(10_000, Act::Slow { system: STRIPE, by: 3_000 }),
                edit(10_001, STRIPE, Typing::New),
                edit(11_500, STRIPE, Typing::New),
            ]
        },
        check: all_show_the_same_name,
    },
    // A sink hangs with a write in its hands; its successor makes it, then one that sets the old value again; the first goes on.
    Directed {
        rule: Rule::Fence,
        settings: |_| {},
        steps: || {
            vec![
                create(1_000, STRIPE),
                at(10_000, Act::Slow { system: PRODUCT, by: 5_000 }),
                edit(10_001, STRIPE, Typing::New),
                at(13_000, Act::CrashRunner { system: PRODUCT, partition: 0, zombie: 20_000 }),
                edit(15_000, STRIPE, Typing::Back),
            ]
        },
        check: |world| {
            let name = world.history.live(STRIPE).map(|(_, r)| r.values[0].clone()).next();
            let first = world.history.changes.iter().find(|c| c.field == 0).map(|c| c.after.clone());
            if name == first { Ok(()) } else { Err(format!("the name is {name:?}, set back to {first:?} last")) }
        },
    },
    // The same person is made in the product and in Stripe, and Stripe's notice is late.
    Directed {
        rule: Rule::LookBeforeCreate,
        settings: |settings| settings.faults.notice_late = 1000,
        steps: || vec![create(5_000, STRIPE), create(5_001, PRODUCT)],
        check: |world| match world.history.live(STRIPE).count() {
            1 => Ok(()),
            count => Err(format!("{count} records of one person in Stripe")),
        },
    },
    // Somebody is added on both sides while Concord is stopped, and Stripe finds the e-mail only as it is spelt there.
    Directed {
        rule: Rule::CatchUpBeforeCreate,
        settings: |settings| settings.exact_email = true,
        steps: || {
            let fields = [true, true, false, false, false];
            vec![
                at(10_000, Act::Stop { lasts: 10_000, reset: false }),
                at(12_000, Act::Create { system: STRIPE, person: 0, fields, cased: true }),
                create(13_000, PRODUCT),
            ]
        },
        check: |world| match world.history.live(STRIPE).count() {
            1 => Ok(()),
            count => Err(format!("{count} records of one person in Stripe")),
        },
    },
    // Somebody re-cases a name in Stripe just after our create made it: not our own spelling, since the answer had shown that.
    Directed {
        rule: Rule::CreateAnswerGivesFields,
        settings: |_| {},
        steps: || {
            let recase = Act::Ambush { system: STRIPE, field: 0, typing: Typing::Recase, moment: Moment::JustAfter, delete: false };
            vec![at(5_000, recase), create(5_001, PRODUCT)]
        },
        check: all_show_the_same_name,
    },
];

fn at(at: i64, act: Act) -> Step {
    Step { at, act }
}

fn create(when: i64, system: usize) -> Step {
    at(when, Act::Create { system, person: 0, fields: [true, true, false, false, false], cased: false })
}

fn edit(when: i64, system: usize, typing: Typing) -> Step {
    at(when, Act::Edit { system, pick: 0, field: 0, typing, second: None })
}

fn all_show_the_same_name(world: &World) -> Result<(), String> {
    let names: Vec<_> = world.history.records.iter().filter(|r| r.live()).map(|r: &Record| r.values[0].clone()).collect();
    let same = names.windows(2).all(|pair| pair[0] == pair[1]);
    let typed = world.history.changes.iter().rfind(|c| c.field == 0 && !c.who.ours()).map(|c| c.after.clone());
    if same && names.first().cloned() == typed { Ok(()) } else { Err(format!("the last name typed is {typed:?}, shown are {names:?}")) }
}

/// A world in which nothing goes wrong by chance.
fn calm() -> Settings {
    let system = |number: usize| SystemSettings {
        clock: 0,
        writable: number != CRM,
        propagate: number != CRM,
        mapped: [true; 5],
        rendering: [Rendering::Exact; 5],
        unique_email: false,
        name_required: false,
        picky_phone: false,
        events: true,
        present: number == PRODUCT || number == STRIPE,
    };
    Settings {
        systems: [system(PRODUCT), system(STRIPE), system(SALESFORCE), system(CRM)],
        unify_clock: 0,
        of_record: Default::default(),
        priority: vec![PRODUCT, STRIPE],
        partitions: 1,
        people: 2,
        updated_at_mapped: true,
        faults: Faults::default(),
        latency: 20,
        task_delay: 2,
        poll: 1_000,
        sweeps: false,
        exact_email: false,
        unfenced: false,
    }
}

/// What is wrong at the end of a story.
fn wrong(shared: &Arc<Shared>, story: &Directed) -> Option<String> {
    let mut settings = calm();
    (story.settings)(&mut settings);
    let plan = Plan { seed: 1, settings, steps: (story.steps)() };
    match finish(shared, plan, false) {
        Err(error) => Some(format!("{error:#}")),
        Ok((world, failures)) => failures.into_iter().next().or_else(|| (story.check)(&world).err()),
    }
}

/// Whether the rule's story here, else the one in the topology, goes wrong without it. None: it has none. With the rule it must
/// not, which is an error.
pub fn fails_without(shared: &Arc<Shared>, rule: Rule) -> Option<Result<bool, String>> {
    let Some(story) = STORIES.iter().find(|s| s.rule == rule) else {
        return topology::customers::histories::fails_without(rule);
    };
    mend_rules();
    if let Some(wrong) = wrong(shared, story) {
        return Some(Err(wrong));
    }
    break_rule(rule);
    let fails = wrong(shared, story).is_some();
    mend_rules();
    Some(Ok(fails))
}
