//! What holds in any order.

use super::histories::hub::{Hub, PRODUCT, STRIPE, field};
use proptest::prelude::*;
use schemas::ConflictKind;

#[derive(Clone, Debug)]
enum Step {
    /// Somebody edits, with an event of this time (if any), and it is looked at or not yet.
    Edit {
        at: &'static str,
        field: &'static str,
        value: &'static str,
        event: Option<i64>,
        seen: bool,
    },
    Look {
        at: &'static str,
    },
    /// The system answers one request.
    Serve {
        at: &'static str,
    },
    Wait,
}

const SYSTEMS: [&str; 2] = [PRODUCT, STRIPE];

fn step() -> impl Strategy<Value = Step> {
    let at = || prop::sample::select(&SYSTEMS[..]);
    let field = prop::sample::select(&["name", "phone", "attributes.plan"][..]);
    let value = prop::sample::select(&["", "a", "b", "c", "B", " a"][..]);
    let edit = (at(), field, value, prop::option::of(0..20_000i64), any::<bool>());
    prop_oneof![
        4 => edit.prop_map(|(at, field, value, event, seen)| Step::Edit { at, field, value, event, seen }),
        1 => at().prop_map(|at| Step::Look { at }),
        3 => at().prop_map(|at| Step::Serve { at }),
        1 => Just(Step::Wait),
    ]
}

/// One customer, with a record in both systems.
fn linked() -> (Hub, String) {
    let mut hub = Hub::new();
    hub.makes(STRIPE, "cus_1", &[("name", "Ada"), ("email", "ada@example.com")]);
    hub.settle();
    let row = hub.shown.keys().find(|(s, _)| s.as_str() == PRODUCT).map(|(_, id)| id.to_string()).unwrap();
    (hub, row)
}

fn take(hub: &mut Hub, row: &str, step: &Step) {
    let id = |at: &str| if at == STRIPE { "cus_1".to_owned() } else { row.to_owned() };
    match step {
        Step::Edit { at, field, value, event, seen } => match (seen, event) {
            (true, Some(time)) => hub.edits_with_event(at, &id(at), field, value, *time),
            (true, None) => hub.edits(at, &id(at), field, value),
            (false, _) => hub.edits_unseen(at, &id(at), field, value),
        },
        Step::Look { at } => hub.look(at, &id(at)),
        Step::Serve { at } => hub.serve_one(at),
        Step::Wait => hub.wait(100),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Any interleaving of what people and systems do ends with one value everywhere, and then there is silence.
    #[test]
    fn any_interleaving_settles_to_values_that_agree(steps in prop::collection::vec(step(), 1..40)) {
        let (mut hub, row) = linked();
        steps.iter().for_each(|step| take(&mut hub, &row, step));
        for (at, id) in [(STRIPE, "cus_1"), (PRODUCT, row.as_str())] {
            hub.look(at, id);
        }
        hub.settle();
        let asked = hub.asked;
        let customer = hub.customer_of(STRIPE, "cus_1").unwrap();
        for name in ["name", "email", "phone", "attributes.plan"].into_iter().filter(|f| !customer.held.contains(&field(f))) {
            let golden = hub.golden(STRIPE, "cus_1", name);
            prop_assert_eq!(&hub.shows(STRIPE, "cus_1", name), &golden, "{} in Stripe", name);
            prop_assert_eq!(&hub.shows(PRODUCT, &row, name), &golden, "{} in the product", name);
        }
        for (at, id) in [(STRIPE, "cus_1"), (PRODUCT, row.as_str())] {
            hub.look(at, id);
        }
        hub.settle();
        prop_assert_eq!(hub.asked, asked, "requests at rest");
    }

    /// Where each edit is made on what everybody shows, the last one stands, whatever the clocks say, and nothing is a conflict.
    #[test]
    fn no_clock_matters_where_there_is_no_conflict(
        edits in prop::collection::vec((prop::sample::select(&SYSTEMS[..]), "[a-z]{0,3}", prop::option::of(any::<i32>())), 1..12),
    ) {
        let (mut hub, row) = linked();
        for (at, value, event) in &edits {
            hub.now += 61_000; // not so quick that the flap guard holds it
            let id = if *at == STRIPE { "cus_1" } else { row.as_str() };
            let event = event.map(i64::from);
            take(&mut hub, &row, &Step::Edit { at, field: "name", value: "", event: None, seen: false });
            match event {
                Some(time) => hub.edits_with_event(at, id, "name", value, time),
                None => hub.edits(at, id, "name", value),
            }
            hub.settle();
            prop_assert_eq!(&hub.golden(STRIPE, "cus_1", "name"), value);
            prop_assert_eq!(&hub.shows(PRODUCT, &row, "name"), value);
            prop_assert_eq!(&hub.shows(STRIPE, "cus_1", "name"), value);
        }
        prop_assert_eq!(hub.conflicts_of(ConflictKind::Edits), 0);
    }

    /// A replayed input changes nothing: the same results twice, in the order of their conversations, are the results once.
    #[test]
    fn results_that_come_twice_count_once(steps in prop::collection::vec(step(), 1..20), twice in any::<u64>()) {
        let (mut once, row) = linked();
        let (mut again, _) = linked();
        for (n, step) in steps.iter().enumerate() {
            take(&mut once, &row, step);
            take(&mut again, &row, step);
            if twice >> (n % 64) & 1 == 1 {
                again.replay();
            }
        }
        let state = |hub: &Hub| format!("{:#?}", hub.customers);
        prop_assert_eq!(state(&once), state(&again));
        prop_assert_eq!(once.conflicts, again.conflicts);
    }
}
