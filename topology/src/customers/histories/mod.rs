//! Directed histories: for each rule that is decided here and was learnt the hard way, the story that goes wrong without it.
//!
//! Each is told with a [`Hub`] and says what is wrong at its end. They run as tests, and the simulation prints them as a table.

mod creates;
pub mod hub;
mod identity;
mod merge;

pub use hub::Hub;

use schemas::Rule;

/// A story: what is wrong at its end, or nothing.
pub type History = fn() -> Result<(), String>;

/// Every rule that is decided in this crate, with its story.
pub const HISTORIES: &[(Rule, History)] = &[
    (Rule::DuplicateGoesOnMinted, identity::two_records_of_one_person_in_one_system),
    (Rule::Renderings, merge::a_system_that_writes_names_in_capitals),
    (Rule::RenderingsTrimmed, merge::a_system_that_trims_a_leading_space),
    (Rule::ClaimantsAreASet, identity::a_claim_and_a_release_cross),
    (Rule::Order, merge::an_old_snapshot_comes_again),
    (Rule::Spares, creates::our_create_lands_twice),
    (Rule::Incarnations, identity::a_key_is_used_again),
    (Rule::CreateAnswersOutsideTheOrder, creates::the_answer_to_a_create_comes_after_newer_looks),
    (Rule::CoveredEdits, merge::our_write_covers_an_edit_that_nobody_saw),
    (Rule::LandingByMark, merge::a_write_lands_after_it_was_given_up),
    (Rule::LookAfterDoubt, merge::the_next_write_looks_for_one_that_was_given_up),
    (Rule::SameCreateKey, creates::a_held_create_goes_again_with_a_new_body),
    (Rule::NoticesNotedWhenGone, merge::a_covered_edit_is_told_with_the_delete),
    (Rule::AttemptsKept, creates::an_earlier_body_landed),
    (Rule::ExpectedShownAtLanding, merge::an_edit_is_set_back_before_our_write),
    (Rule::GoldenVersion, merge::an_edit_is_made_on_an_old_value_that_is_golden_again),
    (Rule::LastLookAsBound, merge::an_edit_without_a_notice_meets_an_older_one),
    (Rule::GoldenTimePlusOne, merge::an_edit_on_top_by_a_slow_clock_meets_what_it_replaced),
    (Rule::BounceOnChangedEmail, identity::an_email_changes_while_somebody_asks_by_it),
    (Rule::DeletedAcceptNothing, identity::a_record_comes_late_for_a_deleted_customer),
    (Rule::ContestedMakeNothing, identity::a_contested_customer_is_made_nowhere),
    (Rule::FoundByEmailIsNoEdit, identity::a_record_spells_its_email_in_capitals),
    (Rule::BothEmptyCountsAsShown, merge::a_first_phone_number_is_typed_in),
];

/// Whether the rule's history goes wrong without it; `None` where this crate has none. With the rule it must not, which is an
/// error that says what went wrong.
pub fn fails_without(rule: Rule) -> Option<Result<bool, String>> {
    let (_, history) = HISTORIES.iter().find(|(r, _)| *r == rule)?;
    schemas::rules::mend_rules();
    if let Err(wrong) = history() {
        return Some(Err(wrong));
    }
    schemas::rules::break_rule(rule);
    let fails = history().is_err();
    schemas::rules::mend_rules();
    Some(Ok(fails))
}

/// An error that says what was expected, and what is.
macro_rules! ensure {
    ($left:expr, $right:expr, $what:literal) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            return Err(format!("{}: {left:?}, expected {right:?}", $what));
        }
    }};
}
pub(crate) use ensure;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_has_a_history_that_fails_without_it() {
        let verdicts = HISTORIES.iter().map(|(rule, _)| (rule.name(), fails_without(*rule)));
        let wrong: Vec<_> = verdicts.filter(|(_, verdict)| *verdict != Some(Ok(true))).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
