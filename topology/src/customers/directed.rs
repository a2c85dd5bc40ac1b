//! A directed test for each rule from 12 on that no history tells already.

use super::{
    Deletes, FieldPattern, MergeRule,
    histories::hub::{Hub, PRODUCT, STRIPE, answer, field, fields, system},
};
use schemas::*;

/// One customer with a record in Stripe, and one that was made in the product.
fn linked(values: &[(&str, &str)]) -> (Hub, String) {
    let mut hub = Hub::new();
    hub.makes(STRIPE, "cus_1", values);
    hub.settle();
    let row = hub.shown.keys().find(|(s, _)| s.as_str() == PRODUCT).map(|(_, id)| id.to_string()).unwrap();
    (hub, row)
}

fn keep(hub: &mut Hub) {
    hub.config.systems.iter_mut().for_each(|s| s.deletes = Deletes::Keep);
}

#[test]
fn rule_12_a_link_for_an_older_incarnation_tells_the_customer_that_its_record_is_gone() {
    let mut hub = Hub::before_import();
    hub.makes_row("1", 0, &[("name", "Ada")]);
    let ada = hub.customer_of(PRODUCT, "1").unwrap().id;
    hub.makes_row("1", 1, &[("name", "Bea")]);
    assert!(hub.customers[&ada].deleted, "nobody saw the delete, but the key came back");
    assert_eq!(hub.golden(PRODUCT, "1", "name"), "Bea");
}

#[test]
fn rule_15_an_undeleted_record_lives_again_with_what_it_knew() {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    keep(&mut hub);
    let (id, ada) = (ExternalId::new("cus_1"), hub.customer_of(STRIPE, "cus_1").unwrap().id);
    let mut before = hub.shown[&(system(STRIPE), id.clone())].clone();
    before.concord_id = Some(ada.to_string());
    hub.deletes(STRIPE, "cus_1");
    hub.edits(PRODUCT, &row, "name", "Bea");
    hub.shown.insert((system(STRIPE), id), before);
    hub.look(STRIPE, "cus_1");
    hub.settle();
    let replica = &hub.customers[&ada].replicas[&system(STRIPE)];
    assert_eq!((replica.deleted, replica.incarnation), (false, 1));
    assert_eq!(hub.shows(STRIPE, "cus_1", "name"), "Bea", "what it shows is no edit: base knew it");
    assert!(hub.conflicts.is_empty());
}

#[test]
fn rule_15_a_product_row_that_comes_back_under_its_key_is_another_customers() {
    let mut hub = Hub::before_import();
    hub.makes_row("1", 0, &[("name", "Ada")]);
    hub.deletes(PRODUCT, "1");
    hub.makes_row("1", 1, &[("name", "Ada")]);
    assert_eq!(hub.customers.len(), 2);
}

#[test]
fn rule_16_a_question_by_email_that_is_not_kept_leaves_no_claim_behind() {
    // The first record of a customer by e-mail turns out to have been deleted: the e-mail is free again.
    let mut hub = Hub::before_import();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com")]);
    hub.deletes(PRODUCT, "1");
    assert_eq!(hub.wrong_claims(), [] as [String; 0]);
    assert!(hub.emails.is_empty());
}

#[test]
fn rule_18_swapped_emails_are_both_claimed_by_whom_they_are_golden_of() {
    let mut hub = Hub::before_import();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com")]);
    hub.makes(PRODUCT, "2", &[("email", "bea@example.com")]);
    hub.edits(PRODUCT, "1", "email", "bea@example.com");
    assert!(hub.customer_of(PRODUCT, "1").unwrap().contested, "the elder claimant still has it");
    hub.edits(PRODUCT, "2", "email", "ada@example.com");
    assert_eq!(hub.wrong_claims(), [] as [String; 0]);
    assert!(hub.customers.values().all(|c| !c.contested));
}

#[test]
fn rule_19_a_write_carries_what_is_expected_and_the_next_one_waits_for_its_outcome() {
    let (mut hub, row) = linked(&[("name", "Ada"), ("phone", "1")]);
    hub.edits(PRODUCT, &row, "name", "Bea");
    hub.edits(PRODUCT, &row, "phone", "");
    assert_eq!(hub.requests.len(), 1);
    let (_, write) = hub.write(STRIPE).unwrap();
    assert_eq!((&write.set, &write.expected), (&Values::from([(Field::Name, "Bea".into())]), &Values::from([(Field::Name, "Ada".into())])));
    hub.lands(STRIPE, "cus_1", &write.id, &write.set);
    hub.answer(STRIPE, "cus_1", &write.id, Outcome::Done, None);
    let (_, next) = hub.write(STRIPE).unwrap();
    assert_eq!(next.set, Values::from([(Field::Phone, Value::Empty)]), "a field is cleared explicitly");
    assert_eq!(next.mark, Some(write.id.to_string()));
}

#[test]
fn rule_19_a_refused_delete_is_a_conflict_and_is_tried_again_after_a_pause() {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.deletes(PRODUCT, &row);
    let Some((key, Action::Delete(delete))) = hub.request(STRIPE) else { panic!("no delete") };
    hub.answer(STRIPE, &key, &delete.id, Outcome::Refused, None);
    assert_eq!((hub.requests.len(), hub.conflicts_of(ConflictKind::DeleteRefused)), (0, 1));
    hub.wait(1_000);
    hub.settle();
    assert_eq!(hub.shown[&(system(STRIPE), ExternalId::new("cus_1"))].fields, None);
}

#[test]
fn rule_20_a_refused_create_goes_again_without_the_field() {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("name", "Ada"), ("phone", "x")]);
    let first = hub.create(STRIPE).unwrap();
    hub.made_nothing(STRIPE, Answer { refused_field: Some(Field::Phone), ..answer(&first.id, Outcome::Refused) });
    let second = hub.create(STRIPE).unwrap();
    assert_eq!(second.set, Values::from([(Field::Name, "Ada".into())]));
    assert_ne!(second.key, first.key);
    hub.made(STRIPE, "cus_1", &second);
    hub.look(STRIPE, "cus_1");
    assert!(hub.requests.is_empty(), "the phone number was refused, and is not asked for again");
    hub.edits(PRODUCT, "1", "phone", "1");
    assert_eq!(hub.write(STRIPE).unwrap().1.set, Values::from([(Field::Phone, "1".into())]));
}

#[test]
fn rule_20_a_create_refused_as_a_whole_waits_until_golden_changes() {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("name", "Ada")]);
    let first = hub.create(STRIPE).unwrap();
    hub.made_nothing(STRIPE, answer(&first.id, Outcome::Refused));
    hub.wait(1_000_000);
    assert!(hub.requests.is_empty());
    hub.edits(PRODUCT, "1", "name", "Bea");
    assert_eq!(hub.create(STRIPE).unwrap().set, Values::from([(Field::Name, "Bea".into())]));
}

#[test]
fn rule_21_a_system_that_is_only_read_gets_nothing_and_still_counts_as_another() {
    let mut hub = Hub::new();
    hub.config.systems[1].writable = false;
    hub.makes(STRIPE, "cus_1", &[("name", "Ada")]);
    hub.settle();
    let row = hub.shown.keys().find(|(s, _)| s.as_str() == PRODUCT).map(|(_, id)| id.to_string()).unwrap();
    hub.edits(PRODUCT, &row, "name", "Bea");
    hub.deletes(PRODUCT, &row);
    assert!(hub.requests.is_empty());
    assert!(!hub.customer_of(STRIPE, "cus_1").unwrap().deleted, "it lives on in Stripe");
}

#[test]
fn rule_22_a_refused_value_is_asked_for_again_when_golden_changes_and_if_taken_after_a_pause() {
    let (mut hub, row) = linked(&[("email", "ada@example.com")]);
    let refused = |hub: &mut Hub, taken: bool| {
        let (key, write) = hub.write(STRIPE).unwrap();
        let answer = Answer { refused_field: Some(Field::Email), taken, ..answer(&write.id, Outcome::Refused) };
        let result = SourceCustomer { answer: Some(answer), ..hub.snapshot(STRIPE, &key) };
        hub.publish(STRIPE, &key, result);
    };
    hub.edits(PRODUCT, &row, "email", "not an e-mail");
    refused(&mut hub, false);
    hub.wait(1_000_000);
    assert!(hub.requests.is_empty(), "refused for good");
    hub.edits(PRODUCT, &row, "email", "bea@example.com");
    refused(&mut hub, true);
    assert!(hub.requests.is_empty());
    hub.wait(1_000);
    refused(&mut hub, true);
    hub.wait(1_000);
    assert!(hub.requests.is_empty(), "the pause doubles");
    hub.wait(1_000);
    hub.settle();
    assert_eq!(hub.shows(STRIPE, "cus_1", "email"), "bea@example.com");
    assert_eq!(hub.conflicts_of(ConflictKind::Refused), 2, "each value once");
}

#[test]
fn rule_23_a_field_that_automations_set_back_and_forth_is_held_until_somebody_types() {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    for _ in 0..6 {
        hub.edits(STRIPE, "cus_1", "name", "ADA INC");
        hub.settle();
        hub.edits(PRODUCT, &row, "name", "Ada");
        hub.settle();
    }
    assert_eq!(hub.conflicts_of(ConflictKind::Flapping), 1);
    let asked = hub.asked;
    assert!(hub.customer_of(STRIPE, "cus_1").unwrap().held.contains(&Field::Name));
    hub.edits(PRODUCT, &row, "phone", "1");
    hub.settle();
    assert_eq!((hub.asked, hub.shows(STRIPE, "cus_1", "phone")), (asked + 1, "1".into()), "other fields go on");
    hub.edits(PRODUCT, &row, "name", "Bea");
    hub.settle();
    assert_eq!(hub.shows(STRIPE, "cus_1", "name"), "Bea");
}

#[test]
fn rule_24_a_delete_reaches_where_it_is_propagated_and_nothing_of_the_customer_stays() {
    let (mut hub, row) = linked(&[("name", "Ada"), ("email", "ada@example.com")]);
    hub.deletes(STRIPE, "cus_1");
    hub.settle();
    assert_eq!(hub.shown[&(system(PRODUCT), ExternalId::new(&row))].fields, None);
    let customer = hub.customers.values().next().unwrap();
    assert!(customer.deleted && customer.golden.is_empty() && customer.delete_wanted.is_empty());
    assert!(!format!("{customer:?}").contains("Ada") && !format!("{customer:?}").contains("ada@"), "{customer:#?}");
    assert!(hub.emails.is_empty());
}

#[test]
fn rule_24_where_deletes_are_kept_the_customer_lives_on_and_is_not_made_there_again() {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    keep(&mut hub);
    hub.deletes(STRIPE, "cus_1");
    hub.edits(PRODUCT, &row, "name", "Bea");
    assert!(hub.requests.is_empty());
    assert!(!hub.customers.values().next().unwrap().deleted);
    hub.deletes(PRODUCT, &row);
    assert!(hub.customers.values().next().unwrap().deleted, "nobody is left");
}

#[test]
fn a_conflict_is_decided_by_the_fields_rule_and_keeps_both_values() {
    let (mut hub, row) = linked(&[("name", "Ada"), ("phone", "0")]);
    let of_record = MergeRule::SystemOfRecord(vec![system(PRODUCT)]);
    hub.config.rules.insert(FieldPattern::Field(Field::Phone), of_record);
    for name in ["name", "phone"] {
        hub.edits_with_event(PRODUCT, &row, name, "1", 20_000);
        hub.edits_with_event(STRIPE, "cus_1", name, "2", 20_001);
    }
    assert_eq!(hub.golden(STRIPE, "cus_1", "name"), "2", "the later edit");
    assert_eq!(hub.golden(STRIPE, "cus_1", "phone"), "1", "the system of record");
    let conflict = &hub.conflicts[0];
    let (winner, loser) = (conflict.winner.clone().unwrap(), conflict.loser.clone().unwrap());
    assert_eq!((winner.value, winner.system, winner.event_id), ("2".into(), system(STRIPE), Some("evt_20001".into())));
    assert_eq!((loser.value, loser.edited_at, conflict.rule.as_deref()), ("1".into(), 20_000, Some("last-writer-wins")));
    assert_eq!(hub.conflicts[1].rule.as_deref(), Some("system-of-record"));
}

#[test]
fn a_tie_of_time_goes_to_the_greater_priority_whoever_came_first() {
    for (first, second) in [(PRODUCT, STRIPE), (STRIPE, PRODUCT)] {
        let (mut hub, row) = linked(&[("name", "Ada")]);
        for at in [first, second] {
            let (id, value) = if at == STRIPE { ("cus_1", "s") } else { (row.as_str(), "p") };
            hub.edits_with_event(at, id, "name", value, 20_000);
        }
        hub.settle();
        assert_eq!(hub.golden(STRIPE, "cus_1", "name"), "p");
        assert_eq!(hub.shows(STRIPE, "cus_1", "name"), "p");
    }
}

#[test]
fn a_field_that_a_system_does_not_map_is_neither_compared_nor_written() {
    let mut hub = Hub::new();
    hub.config.systems[1].mapping.phone = false;
    hub.makes(PRODUCT, "1", &[("name", "Ada"), ("phone", "1")]);
    let create = hub.create(STRIPE).unwrap();
    assert_eq!(CustomerFields::from(&create.set), fields(&[("name", "Ada")]));
    hub.made(STRIPE, "cus_1", &create);
    hub.edits_unseen(STRIPE, "cus_1", "phone", "2");
    hub.look(STRIPE, "cus_1");
    hub.settle();
    assert_eq!(hub.golden(PRODUCT, "1", "phone"), "1");
    assert!(!hub.customer_of(PRODUCT, "1").unwrap().replicas[&system(STRIPE)].base.contains_key(&field("phone")));
}

#[test]
fn a_create_that_nobody_looked_at_links_and_its_next_look_is_a_landing() {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("name", "Ada")]);
    let create = hub.create(STRIPE).unwrap();
    let done = Answer { unseen: true, ..answer(&create.id, Outcome::Done) };
    let sent = Some(CustomerFields::from(&create.set));
    hub.publish(STRIPE, "cus_1", SourceCustomer { order: Some(0), fields: sent, answer: Some(done), ..Default::default() });
    hub.made(STRIPE, "cus_1", &create);
    hub.edits_unseen(STRIPE, "cus_1", "name", "Bea");
    hub.look(STRIPE, "cus_1");
    hub.settle();
    assert_eq!(hub.shows(PRODUCT, "1", "name"), "Bea", "edited on top of what we made");
    assert!(hub.conflicts.is_empty());
}

#[test]
fn a_create_that_was_deleted_before_its_answer_came_is_seen_as_deleted() {
    let mut hub = Hub::new();
    keep(&mut hub);
    hub.makes(PRODUCT, "1", &[("name", "Ada")]);
    let create = hub.create(STRIPE).unwrap();
    hub.made(STRIPE, "cus_1", &create);
    let late = hub.create_answer(STRIPE, "cus_1", &create);
    hub.deletes(STRIPE, "cus_1"); // the tombstone says nothing of whose it was
    hub.publish(STRIPE, "cus_1", late);
    hub.settle();
    let customer = hub.customer_of(PRODUCT, "1").unwrap();
    assert!(customer.replicas[&system(STRIPE)].deleted && !customer.deleted);
    assert!(hub.requests.is_empty(), "it is not made again");
}
