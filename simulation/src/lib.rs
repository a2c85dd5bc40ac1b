//! The simulation: random histories of people, systems and faults around the real topology and the real conversation machine.
//!
//! | module | what |
//! |---|---|
//! | [`plan`] | a history before it is played: settings, actions, faults; made from a seed |
//! | [`world`] | virtual time: one queue of events |
//! | [`systems`] | models of the product, Stripe, Salesforce, a system of kind `topic`; what people do in them |
//! | [`runners`] | the conversation machine of `connect`, over calls that fail, are slow or land late |
//! | [`stops`] | Concord stops and starts again; a Stripe source catches up |
//! | [`resets`] | a log begins anew, from what is known of each customer |
//! | [`tasks`] | the tasks of `topology`, each on its own, over the simulated [`log`] |
//! | [`history`] | what really happened |
//! | [`oracle`] | what must hold when everything is at rest |
//! | [`hunt`] | many seeds, shrinking |
//! | [`directed`] | hand-written histories with exact timing |

pub mod brief;
pub mod counts;
pub mod dice;
pub mod directed;
pub mod history;
pub mod hunt;
pub mod log;
pub mod oracle;
pub mod plan;
pub mod resets;
pub mod runners;
pub mod stops;
pub mod systems;
pub mod tasks;
pub mod values;
pub mod world;

pub use counts::Counts;
pub use plan::{Plan, plan};
pub use world::{Shared, World};

use std::sync::Arc;

/// What came of a history.
#[derive(Debug)]
pub struct Verdict {
    /// What does not hold; empty if all is well.
    pub failures: Vec<String>,
    pub counts: Counts,
    pub trace: Vec<String>,
}

/// Plays a history and judges it.
pub fn play(shared: &Arc<Shared>, plan: Plan, tracing: bool) -> anyhow::Result<Verdict> {
    let (world, failures) = finish(shared, plan, tracing)?;
    Ok(Verdict { failures, counts: world.counts, trace: world.lines })
}

/// The world at the end of a history, and what does not hold in it.
pub fn finish(shared: &Arc<Shared>, plan: Plan, tracing: bool) -> anyhow::Result<(World, Vec<String>)> {
    let mut world = World::new(shared.clone(), plan, tracing)?;
    let rested = world.run();
    let mut failures = std::mem::take(&mut world.breaches);
    if !rested {
        failures.push("nothing stuck: it never comes to rest".into());
    }
    if failures.is_empty() {
        failures = oracle::judge(&mut world);
    }
    Ok((world, failures))
}
