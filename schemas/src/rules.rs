//! The protocol's rules that were learnt the hard way, each by name, so that a test can break one and watch what happens.
//!
//! The code that decides asks [`holds`] at the one place where the rule is decided. It is a constant `true`, unless the
//! cargo feature `breakable` is on, which only the simulation turns on.

use std::{fmt, str::FromStr};

macro_rules! rules {
    ($($(#[doc = $doc:literal])+ $rule:ident = $name:literal,)*) => {
        /// A rule of docs/protocol.md, section 7: what went wrong without it is in its documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $($(#[doc = $doc])+ $rule,)*
        }

        impl Rule {
            /// Every rule, in the order of the protocol's table.
            pub const ALL: &'static [Rule] = &[$(Rule::$rule,)*];

            /// Its name in kebab-case, e.g. `look-before-post`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Rule::$rule => $name,)*
                }
            }

            /// What it says, in one sentence.
            pub const fn says(self) -> &'static str {
                match self {
                    $(Rule::$rule => concat!($($doc),+).trim_ascii_start(),)*
                }
            }
        }
    };
}

rules! {
    /// (15) A duplicate's question goes on `by = minted`; else it bounces for ever, and e-mails are claimed by nobody.
    DuplicateGoesOnMinted = "duplicate-goes-on-minted",
    /// (`derived`, `rendered`) A system's own spelling of what we sent is a rendering; else it comes back as an edit, for ever.
    Renderings = "renderings",
    /// (`derived`) Trimming counts as a rendering, too.
    RenderingsTrimmed = "renderings-trimmed",
    /// (14) An e-mail's claimants are a set; else claim and release cross, and an e-mail is owned by nobody.
    ClaimantsAreASet = "claimants-are-a-set",
    /// (10) A result that is not newer than the last is dropped; else a zombie's or a replayed old snapshot is taken for an edit.
    Order = "order",
    /// (15, 17) A twin that our create made is a spare; else it becomes a second customer.
    Spares = "spares",
    /// (10) An external id that came back is another incarnation; else the new row is taken for the old customer.
    Incarnations = "incarnations",
    /// (4) A Stripe write looks before it posts; else a write decided before somebody's edit overwrites it.
    LookBeforePost = "look-before-post",
    /// (7) A create's answer is outside the order; else it arrives after newer looks and sets values back.
    CreateAnswersOutsideTheOrder = "create-answers-outside-the-order",
    /// (`note`) An event of ours with an unexpected previous value tells of an edit that our write covered; else it is lost.
    CoveredEdits = "covered-edits",
    /// (5) A stamped write waits until the stamp's second is over; else two changes within one second are one.
    StampSecond = "stamp-second",
    /// A write has landed where the record carries its mark, also late; else a call that landed after its time-out looks like somebody's edit.
    LandingByMark = "landing-by-mark",
    /// (21) While a write may still land, the next one looks first; else it covers the late one's mark before anybody saw that.
    LookAfterDoubt = "look-after-doubt",
    /// (7) A create goes by a unique id, never by upsert; else a repeated create overwrites an edit made in between.
    UniqueIdNeverUpsert = "unique-id-never-upsert",
    /// (6, 7) A product create leaves a fence row only with its insert; else a held create is never made.
    FenceOnlyWithInsert = "fence-only-with-insert",
    /// (1) Only reads taken before the call is sent share its answer; else the last change is never seen.
    ReadsJoinedBeforeTheCall = "reads-joined-before-the-call",
    /// (1, marks) `concord_id` is written by creates only; else a twin holds the unique id, and every write is refused.
    ConcordIdOnCreatesOnly = "concord-id-on-creates-only",
    /// (7) The same create key until refused, even with a new body; else two records are made.
    SameCreateKey = "same-create-key",
    /// (24) Notices are noted when the record is gone; else a covered edit is lost.
    NoticesNotedWhenGone = "notices-noted-when-gone",
    /// (`accept`) A create's attempts are kept in the ring; else our own rendering becomes golden.
    AttemptsKept = "attempts-kept",
    /// (6) The product's fence drops a write that ran before; else A-B-A by our own writes.
    Fence = "fence",
    /// (`on_result`) `expected` counts as shown just before the landing; else an edit set back before our write is missed.
    ExpectedShownAtLanding = "expected-shown-at-landing",
    /// (`shows`) An edit is on top only of the golden version that base shows; else an old edit counts as made on the new value.
    GoldenVersion = "golden-version",
    /// (`their_edit`) The last look is an edit's lower bound in time; else an edit without a notice loses to older ones.
    LastLookAsBound = "last-look-as-bound",
    /// (`their_edit`) An edit on top is later than what it replaced; else it loses a later conflict to it.
    GoldenTimePlusOne = "golden-time-plus-one",
    /// (7) Stripe's create answer gives fields where nothing was seen yet.
    CreateAnswerGivesFields = "create-answer-gives-fields",
    /// (15) A question by e-mail bounces when the customer's e-mail changed; else a wrong person.
    BounceOnChangedEmail = "bounce-on-changed-email",
    /// (15, 24) A deleted customer accepts nothing; else something late revives it.
    DeletedAcceptNothing = "deleted-accept-nothing",
    /// (18) A contested customer is created nowhere; else duplicates.
    ContestedMakeNothing = "contested-make-nothing",
    /// (`accept`) The e-mail of a record found by e-mail is no edit.
    FoundByEmailIsNoEdit = "found-by-email-is-no-edit",
    /// (7) A create looks for somebody's live record with the e-mail first; else a duplicate.
    LookBeforeCreate = "look-before-create",
    /// (7) A create waits until what changed at the system before the start is known; else whoever was added on both sides is made twice.
    CatchUpBeforeCreate = "catch-up-before-create",
    /// (`accept`) Both empty at the first contact counts as shown; else the first phone number typed in is a conflict.
    BothEmptyCountsAsShown = "both-empty-counts-as-shown",
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such rule: {0:?}")]
pub struct RuleError(String);

impl FromStr for Rule {
    type Err = RuleError;

    fn from_str(text: &str) -> Result<Self, RuleError> {
        Rule::ALL.iter().copied().find(|rule| rule.name() == text).ok_or_else(|| RuleError(text.to_owned()))
    }
}

/// Whether the rule is to be kept: always, in every build but the simulation's.
#[cfg(not(feature = "breakable"))]
#[inline(always)]
pub const fn holds(_rule: Rule) -> bool {
    true
}

#[cfg(feature = "breakable")]
pub use breakable::{break_rule, holds, mend_rules};

#[cfg(feature = "breakable")]
mod breakable {
    use super::Rule;
    use std::cell::Cell;

    thread_local! {
        static BROKEN: Cell<u64> = const { Cell::new(0) };
    }
    const _: () = assert!(Rule::ALL.len() <= 64, "one bit for each rule");

    /// Whether the rule is to be kept on this thread.
    #[inline]
    pub fn holds(rule: Rule) -> bool {
        BROKEN.get() & (1 << rule as u64) == 0
    }

    /// Breaks a rule on this thread, until [`mend_rules`].
    pub fn break_rule(rule: Rule) {
        BROKEN.set(BROKEN.get() | (1 << rule as u64));
    }

    /// Every rule holds again on this thread.
    pub fn mend_rules() {
        BROKEN.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for rule in Rule::ALL {
            assert_eq!(rule.to_string().parse::<Rule>().unwrap(), *rule);
        }
        assert_eq!(Rule::ALL.len(), Rule::ALL.iter().map(|r| r.name()).collect::<std::collections::BTreeSet<_>>().len());
        assert!("nothing".parse::<Rule>().is_err());
        assert!(holds(Rule::Order));
    }

    #[cfg(feature = "breakable")]
    #[test]
    fn a_rule_breaks_on_its_own_thread_only() {
        break_rule(Rule::Fence);
        assert!(!holds(Rule::Fence) && holds(Rule::Order));
        std::thread::spawn(|| assert!(holds(Rule::Fence))).join().unwrap();
        mend_rules();
        assert!(holds(Rule::Fence));
    }
}
