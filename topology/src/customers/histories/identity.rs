//! Histories of who is who.

use super::{
    ensure,
    hub::{Hub, PRODUCT, STRIPE, system},
};
use crate::customers::{Effect, identify::Claimants};
use schemas::{By, Claim, ConflictKind, CustomerId, ExternalId, IdentifyBody, Question, Release, UnifyBody};

type Story = Result<(), String>;

fn question(hub: &mut Hub, at: &str, id: &str, by: By, email: &str) -> Question {
    let (external_id, first) = (ExternalId::new(id), hub.snapshot(at, id));
    let minted = CustomerId::minted(&system(at), &external_id, 0);
    let email = Some(email.to_owned());
    Question { system: system(at), external_id, incarnation: 0, by, email, minted, ours: false, duplicate_of: None, bounces: 0, first }
}

/// One person was entered twice in Stripe.
pub fn two_records_of_one_person_in_one_system() -> Story {
    let mut hub = Hub::before_import();
    hub.makes(STRIPE, "cus_1", &[("email", "ada@example.com")]);
    hub.makes(STRIPE, "cus_2", &[("email", "Ada@example.com")]);
    hub.settle();
    ensure!(hub.customers.len(), 2, "customers");
    ensure!(hub.wrong_claims(), Vec::<String>::new(), "wrong claims");
    ensure!(hub.conflicts_of(ConflictKind::DuplicateCandidate), 1, "duplicate candidates on record");
    let told: Vec<_> = hub.conflicts.iter().map(|c| (c.external_id.as_ref().map(ExternalId::as_str), c.detail.as_deref())).collect();
    ensure!(told, vec![(Some("cus_2"), Some("perhaps the same as stripe:cus_1"))], "both records are named");
    ensure!(hub.customer_of(STRIPE, "cus_2").is_some_and(|c| c.contested), true, "the second is contested");
    Ok(())
}

/// One customer gives an e-mail up, another takes it; they are different tasks, so the claim comes before the release.
pub fn a_claim_and_a_release_cross() -> Story {
    let mut claimants = Claimants::default();
    let [elder, other] = ["1", "2"].map(|id| CustomerId::minted(&system(PRODUCT), &ExternalId::new(id), 0));
    claimants.on_message("ada@example.com", IdentifyBody::Claim(Claim { customer: elder }));
    claimants.on_message("ada@example.com", IdentifyBody::Claim(Claim { customer: other }));
    let told = claimants.on_message("ada@example.com", IdentifyBody::Release(Release { customer: elder }));
    ensure!(claimants.customers, vec![other], "claimants");
    let is_told = told.iter().any(|e| matches!(e, Effect::Unify { customer, body: UnifyBody::Status(s) } if *customer == other && s.first));
    ensure!(is_told, true, "the new first claimant is told");
    Ok(())
}

/// A row is deleted, and its key is used again for somebody else, before anybody looked in between.
pub fn a_key_is_used_again() -> Story {
    let mut hub = Hub::before_import();
    let row = |hub: &mut Hub, incarnation: i64, name: &str| {
        hub.makes_row("1", incarnation, &[("name", name)]);
    };
    row(&mut hub, 0, "Ada");
    row(&mut hub, 1, "Bea");
    hub.settle();
    ensure!(hub.golden(PRODUCT, "1", "name"), "Bea", "golden of the row");
    ensure!(hub.customers.values().filter(|c| c.deleted).count(), 1, "deleted customers");
    ensure!(hub.customers.len(), 2, "customers");
    Ok(())
}

/// `identify` still sends a question to a customer whose e-mail changes at this moment.
pub fn an_email_changes_while_somebody_asks_by_it() -> Story {
    let mut hub = Hub::before_import();
    hub.makes(PRODUCT, "1", &[("name", "Ada"), ("email", "shared@example.com")]);
    let ada = hub.customer_of(PRODUCT, "1").map(|c| c.id).ok_or("no customer")?;
    hub.edits(PRODUCT, "1", "email", "ada@example.com");
    hub.makes_unseen(STRIPE, "cus_1", &[("name", "Bea"), ("email", "shared@example.com")]);
    let late = question(&mut hub, STRIPE, "cus_1", By::Email, "shared@example.com");
    hub.tell(ada, UnifyBody::Question(late));
    hub.settle();
    ensure!(hub.customer_of(STRIPE, "cus_1").is_some_and(|c| c.id != ada), true, "Bea is somebody else");
    ensure!(hub.golden(PRODUCT, "1", "name"), "Ada", "golden");
    ensure!(hub.wrong_claims(), Vec::<String>::new(), "wrong claims");
    Ok(())
}

/// What comes late for a deleted customer: a question by its old e-mail, and a record that our create made.
pub fn a_record_comes_late_for_a_deleted_customer() -> Story {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com")]);
    let ada = hub.customer_of(PRODUCT, "1").map(|c| c.id).ok_or("no customer")?;
    let create = hub.create(STRIPE).ok_or("no create was asked for")?;
    hub.deletes(PRODUCT, "1");
    hub.makes_unseen(STRIPE, "cus_1", &[("email", "ada@example.com")]);
    let late = question(&mut hub, STRIPE, "cus_1", By::Email, "ada@example.com");
    hub.tell(ada, UnifyBody::Question(late));
    hub.made(STRIPE, "cus_2", &create);
    hub.look(STRIPE, "cus_2");
    ensure!(hub.customers.get(&ada).map(|c| c.deleted), Some(true), "the first customer is deleted");
    ensure!(
        matches!(hub.request(STRIPE), Some((id, schemas::Action::Delete(_))) if id == "cus_2"),
        true,
        "the delete of our record is wanted"
    );
    ensure!(hub.customer_of(STRIPE, "cus_1").is_some_and(|c| c.id != ada && !c.deleted), true, "the late record's customer is another");
    ensure!(hub.wrong_claims(), Vec::<String>::new(), "wrong claims");
    Ok(())
}

/// The same person twice in the product: only the elder one is made in Stripe.
pub fn a_contested_customer_is_made_nowhere() -> Story {
    let mut hub = Hub::new();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com")]);
    hub.makes(PRODUCT, "2", &[("email", "ada@example.com")]);
    hub.settle();
    ensure!(hub.shown.keys().filter(|(s, _)| s.as_str() == STRIPE).count(), 1, "records in Stripe");
    // Once the elder one gives the e-mail up, the other is made, too.
    hub.edits(PRODUCT, "1", "email", "bea@example.com");
    hub.settle();
    ensure!(hub.shown.keys().filter(|(s, _)| s.as_str() == STRIPE).count(), 2, "records in Stripe");
    Ok(())
}

/// The e-mail of a record that was found by it is no edit, whatever its spelling.
pub fn a_record_spells_its_email_in_capitals() -> Story {
    let mut hub = Hub::before_import();
    hub.makes(PRODUCT, "1", &[("email", "ada@example.com")]);
    hub.now += 5_000;
    hub.makes(STRIPE, "cus_1", &[("email", "ADA@EXAMPLE.COM")]);
    hub.settle();
    ensure!(hub.customers.len(), 1, "customers");
    ensure!(hub.conflicts.len(), 0, "conflicts");
    ensure!(hub.shows(PRODUCT, "1", "email"), "ada@example.com", "the product shows");
    Ok(())
}
