//! Histories of values.

use super::{
    ensure,
    hub::{Hub, PRODUCT, STRIPE, notice},
};
use schemas::{ConflictKind, Outcome};

type Story = Result<(), String>;

/// One customer in both systems, at rest.
fn linked(values: &[(&str, &str)]) -> (Hub, String) {
    let mut hub = Hub::new();
    hub.makes(STRIPE, "cus_1", values);
    hub.settle();
    let id = hub.shown.keys().find(|(s, _)| s.as_str() == PRODUCT).map(|(_, id)| id.as_str().to_owned());
    (hub, id.unwrap_or_default())
}

/// The product's owner has a trigger that writes names in capitals. It must stay the product's own spelling.
pub fn a_system_that_writes_names_in_capitals() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(STRIPE, "cus_1", "name", "Bea");
    let Some((_, write)) = hub.write(PRODUCT) else { return Err("no write".into()) };
    hub.lands(PRODUCT, &row, &write.id, &write.set);
    hub.edits_unseen(PRODUCT, &row, "name", "BEA");
    hub.answer(PRODUCT, &row, &write.id, Outcome::Done, None);
    hub.settle();
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Bea", "golden");
    ensure!(hub.shows(STRIPE, "cus_1", "name"), "Bea", "Stripe shows");
    ensure!(hub.requests.len(), 0, "requests");
    Ok(())
}

pub fn a_system_that_trims_a_leading_space() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(STRIPE, "cus_1", "name", " Bea");
    let Some((_, write)) = hub.write(PRODUCT) else { return Err("no write".into()) };
    hub.lands(PRODUCT, &row, &write.id, &write.set);
    hub.edits_unseen(PRODUCT, &row, "name", "Bea");
    hub.answer(PRODUCT, &row, &write.id, Outcome::Done, None);
    hub.settle();
    ensure!(hub.golden(STRIPE, "cus_1", "name"), " Bea", "golden");
    Ok(())
}

/// A zombie publishes what it read a while ago.
pub fn an_old_snapshot_comes_again() -> Story {
    let (mut hub, _) = linked(&[("name", "Ada")]);
    let old = hub.snapshot(STRIPE, "cus_1");
    hub.edits(STRIPE, "cus_1", "name", "Bea");
    hub.publish(STRIPE, "cus_1", old);
    hub.settle();
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Bea", "golden");
    Ok(())
}

/// Stripe has no compare-and-set: between our look and our POST somebody edits, and nobody sees it but our own event.
pub fn our_write_covers_an_edit_that_nobody_saw() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(PRODUCT, &row, "name", "Bea");
    let Some((_, write)) = hub.write(STRIPE) else { return Err("no write".into()) };
    hub.edits_unseen(STRIPE, "cus_1", "name", "Cleo");
    hub.lands(STRIPE, "cus_1", &write.id, &write.set);
    let left = hub.snapshot(STRIPE, "cus_1").fields;
    hub.answer(STRIPE, "cus_1", &write.id, Outcome::Done, left);
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Bea", "golden, before our event");
    let (later, event) = (hub.now + 50, Some(&write.id));
    hub.look_with(
        STRIPE,
        "cus_1",
        vec![
            notice("evt_theirs", None, later, "name", Some("Ada"), "Cleo"),
            notice("evt_ours", event, later + 10, "name", Some("Cleo"), "Bea"),
        ],
    );
    hub.settle();
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden");
    ensure!(hub.shows(PRODUCT, &row, "name"), "Cleo", "the product shows");
    ensure!(hub.conflicts_of(ConflictKind::Covered), 1, "conflicts");
    Ok(())
}

/// The same, and the record was deleted before anybody looked: its customer lives on elsewhere.
pub fn a_covered_edit_is_told_with_the_delete() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.config.systems.iter_mut().for_each(|s| s.deletes = crate::customers::Deletes::Keep);
    hub.edits(PRODUCT, &row, "name", "Bea");
    let Some((_, write)) = hub.write(STRIPE) else { return Err("no write".into()) };
    hub.edits_unseen(STRIPE, "cus_1", "name", "Cleo");
    hub.lands(STRIPE, "cus_1", &write.id, &write.set);
    let later = hub.now + 50;
    let theirs = notice("evt_theirs", None, later, "name", Some("Ada"), "Cleo");
    let ours = notice("evt_ours", Some(&write.id), later + 10, "name", Some("Cleo"), "Bea");
    hub.deletes_with(STRIPE, "cus_1", vec![theirs, ours]);
    hub.settle();
    ensure!(hub.shows(PRODUCT, &row, "name"), "Cleo", "the product shows");
    ensure!(hub.conflicts_of(ConflictKind::Covered), 1, "conflicts");
    Ok(())
}

/// A write to Stripe times out and is found not to have landed; its value is no longer golden since.
fn a_write_given_up() -> Result<(Hub, schemas::Write), String> {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(PRODUCT, &row, "name", "Bea");
    let Some((_, late)) = hub.write(STRIPE) else { return Err("no write".into()) };
    // Somebody edits another field, so the record has moved on, and the write is decided anew.
    hub.edits_unseen(STRIPE, "cus_1", "phone", "1");
    hub.answer(STRIPE, "cus_1", &late.id, Outcome::MovedOn, None);
    hub.edits(PRODUCT, &row, "name", "Cleo");
    Ok((hub, late))
}

/// A write that was given up lands all the same, seconds later.
pub fn a_write_lands_after_it_was_given_up() -> Story {
    let (mut hub, late) = a_write_given_up()?;
    // Now the first one lands.
    hub.lands(STRIPE, "cus_1", &late.id, &late.set);
    hub.look(STRIPE, "cus_1");
    ensure!(hub.conflicts_of(ConflictKind::Edits), 0, "conflicts");
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden");
    Ok(())
}

/// The same, and the next write of ours comes before anybody saw that it landed: that write looks first.
pub fn the_next_write_looks_for_one_that_was_given_up() -> Story {
    let (mut hub, _) = a_write_given_up()?;
    let Some((_, write)) = hub.write(STRIPE) else { return Err("no second write".into()) };
    ensure!(write.after, 0, "goes by no look that was there before");
    Ok(())
}

/// Somebody edits, it is seen while our write is on its way, and is set back before our write comes: the record shows exactly
/// what we expected, we write, and what was edited on top of it since is on top.
pub fn an_edit_is_set_back_before_our_write() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(PRODUCT, &row, "name", "Bea");
    let Some((_, write)) = hub.write(STRIPE) else { return Err("no write".into()) };
    let later = hub.now + 1_000;
    hub.edits_with_event(STRIPE, "cus_1", "name", "Cleo", later); // later than Bea: golden
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden, after the edit");
    hub.edits_unseen(STRIPE, "cus_1", "name", "Ada"); // set back, and nobody looks
    hub.lands(STRIPE, "cus_1", &write.id, &write.set);
    let left = hub.snapshot(STRIPE, "cus_1").fields;
    hub.answer(STRIPE, "cus_1", &write.id, Outcome::Done, left);
    hub.settle();
    // What was typed last is Ada, on top of Cleo.
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Ada", "golden");
    Ok(())
}

/// Golden goes from A to B and to A again; Stripe still shows the first A when somebody edits it there.
pub fn an_edit_is_made_on_an_old_value_that_is_golden_again() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    hub.edits(PRODUCT, &row, "name", "Bea");
    hub.edits(PRODUCT, &row, "name", "Ada"); // Stripe showed neither
    hub.now += 1;
    let old = hub.now - 5_000;
    hub.edits_with_event(STRIPE, "cus_1", "name", "Cleo", old); // typed long before, on the old Ada
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Ada", "golden");
    ensure!(hub.conflicts_of(ConflictKind::Edits), 1, "conflicts");
    Ok(())
}

/// Stripe's edit came without a notice; the product's, older, with one. The last look at Stripe is later than that.
pub fn an_edit_without_a_notice_meets_an_older_one() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    let old = hub.now - 1_000;
    hub.look(STRIPE, "cus_1");
    hub.edits_with_event(PRODUCT, &row, "name", "Bea", old);
    hub.edits(STRIPE, "cus_1", "name", "Cleo");
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden");
    Ok(())
}

/// Stripe's clock is slow: its edit on top of the product's carries an earlier time, and must not lose to it later.
pub fn an_edit_on_top_by_a_slow_clock_meets_what_it_replaced() -> Story {
    let (mut hub, row) = linked(&[("name", "Ada")]);
    let bea = hub.now + 5_000;
    hub.edits_with_event(PRODUCT, &row, "name", "Bea", bea);
    hub.settle();
    // Seen in Stripe, then edited there on top of it, an hour slow; the product's write of it is on its way ...
    hub.edits_with_event(STRIPE, "cus_1", "name", "Cleo", bea - 3_600_000);
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden, on top");
    // ... when the product's row goes to Dora and back to Bea, typed before Cleo was known there.
    hub.edits_with_event(PRODUCT, &row, "name", "Dora", bea - 1);
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Cleo", "golden");
    Ok(())
}

/// Both have no phone number (it was cleared once) when Stripe's record comes. The first one typed there is an edit on top.
pub fn a_first_phone_number_is_typed_in() -> Story {
    let mut hub = Hub::before_import();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com"), ("phone", "0")]);
    hub.edits(PRODUCT, "1", "phone", "");
    hub.makes(STRIPE, "cus_1", &[("email", "ada@example.com")]);
    hub.settle();
    hub.edits(STRIPE, "cus_1", "phone", "1");
    hub.settle();
    ensure!(hub.shows(PRODUCT, "1", "phone"), "1", "the product shows");
    ensure!(hub.conflicts_of(ConflictKind::Edits), 0, "conflicts");
    Ok(())
}
