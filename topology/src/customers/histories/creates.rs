//! Histories of records that we make.

use super::{
    ensure,
    hub::{Hub, PRODUCT, STRIPE, answer},
};
use schemas::{ConflictKind, Outcome};

type Story = Result<(), String>;

/// The product's customer, with the create for Stripe that it asks for.
fn asked() -> Result<(Hub, schemas::Create), String> {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("name", "Ada"), ("email", "ada@example.com")]);
    let create = hub.create(STRIPE).ok_or("no create was asked for")?;
    Ok((hub, create))
}

/// A create whose answer was lost is sent again, and both land.
pub fn our_create_lands_twice() -> Story {
    let (mut hub, create) = asked()?;
    for id in ["cus_1", "cus_2"] {
        hub.made(STRIPE, id, &create);
        hub.look(STRIPE, id);
    }
    hub.settle();
    ensure!(hub.customers.len(), 1, "customers");
    ensure!(hub.conflicts_of(ConflictKind::Spare), 1, "spares on record");
    Ok(())
}

/// Stripe replays the stored answer of a create, which shows the record as it was before somebody's edit.
pub fn the_answer_to_a_create_comes_after_newer_looks() -> Story {
    let (mut hub, create) = asked()?;
    hub.made(STRIPE, "cus_1", &create);
    let old = hub.create_answer(STRIPE, "cus_1", &create);
    hub.look(STRIPE, "cus_1");
    hub.edits(STRIPE, "cus_1", "name", "Bea");
    hub.settle();
    hub.publish(STRIPE, "cus_1", old);
    hub.settle();
    ensure!(hub.shows(PRODUCT, "1", "name"), "Bea", "the product shows");
    ensure!(hub.golden(STRIPE, "cus_1", "name"), "Bea", "golden");
    Ok(())
}

/// A create is held, the customer changes, and it goes again: under the same key, or two records are made.
pub fn a_held_create_goes_again_with_a_new_body() -> Story {
    let (mut hub, first) = asked()?;
    hub.made_nothing(STRIPE, answer(&first.id, Outcome::Held));
    ensure!(hub.requests.len(), 0, "requests in the pause");
    hub.edits(PRODUCT, "1", "name", "Bea");
    hub.wait(2_000);
    let second = hub.create(STRIPE).ok_or("no second create was asked for")?;
    ensure!(second.set == first.set, false, "the body is the same");
    ensure!(second.key, first.key, "its key");
    ensure!(second.id == first.id, false, "the id is the same");
    Ok(())
}

/// A create was held, a second body sent; the record turns out to be the first one's, re-cased by the system.
pub fn an_earlier_body_landed() -> Story {
    let (mut hub, first) = asked()?;
    hub.made_nothing(STRIPE, answer(&first.id, Outcome::Held));
    hub.edits(PRODUCT, "1", "phone", "1");
    hub.wait(2_000);
    hub.create(STRIPE).ok_or("no second create was asked for")?;
    hub.made(STRIPE, "cus_1", &first);
    hub.edits_unseen(STRIPE, "cus_1", "name", "ADA");
    hub.look(STRIPE, "cus_1");
    hub.settle();
    ensure!(hub.golden(PRODUCT, "1", "name"), "Ada", "golden");
    ensure!(hub.conflicts.len(), 0, "conflicts");
    ensure!(hub.shows(STRIPE, "cus_1", "phone"), "1", "Stripe shows");
    Ok(())
}
