//! What is counted: faults that happened, and the limits of docs/protocol.md, section 8.

use std::{fmt, ops::AddAssign};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Sums over histories.
        #[derive(Clone, Debug, Default)]
        pub struct Counts {
            /// Calls that changed something, or tried to, by system.
            pub calls: [u64; 4],
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl AddAssign<&Counts> for Counts {
            fn add_assign(&mut self, other: &Counts) {
                for (sum, more) in self.calls.iter_mut().zip(other.calls) {
                    *sum += more;
                }
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Counts {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let width = 78;
                writeln!(f, "{:>12}  calls that change something (product {}, Stripe {}, Salesforce {})",
                    self.calls.iter().sum::<u64>(), self.calls[0], self.calls[1], self.calls[2])?;
                $(
                    let text = concat!($($doc),+).trim();
                    writeln!(f, "{:>12}  {:.width$}", self.$name, text)?;
                )*
                Ok(())
            }
        }
    };
}

counts! {
    /// invariants checked
    checked,
    /// edits by people and automations
    edits,
    /// effective writes of ours
    writes,
    /// conflicts recorded: two edits at once
    conflicts,
    /// conflicts recorded: an edit that our write covered
    conflicts_covered,
    /// conflicts recorded: duplicate candidates, spares
    conflicts_duplicates,
    /// conflicts recorded: refused values and deletes
    conflicts_refused,
    /// conflicts recorded: automations that flap
    conflicts_flapping,
    /// logs that began anew
    resets,
    /// calls that failed before they did anything
    calls_failed,
    /// calls whose answer was lost
    calls_unknown,
    /// calls that landed after their time-out
    calls_late,
    /// failures that Stripe stored under the key
    stored_5xx,
    /// notices lost (the events list, or a sweep, brings them)
    notices_lost,
    /// notices lost for good
    notices_never,
    /// aborted transactions of the topology
    aborts,
    /// batches of replaced runners that the log refused
    fenced,
    /// sweeps
    sweeps,
    /// limit: edits that a Stripe write of ours covered before anybody read them
    covered,
    /// limit: of these, told by no event, hence lost
    covered_lost,
    /// limit: changed back between two looks
    changed_back,
    /// limit: edited, then deleted before any look
    deleted_unseen,
    /// limit: an empty value at the first contact
    empty_at_first,
    /// limit: edits on spares
    on_spares,
    /// limit: edits on deleted customers
    on_deleted,
    /// limit: a person's value taken for our rendering
    taken_for_rendering,
    /// limit: an older value was written after all had shown the newest, by a write that covered an edit
    flap_by_covering,
    /// limit: a create in flight when the person deleted came back
    created_after_delete,
    /// limit: spares left by a late create or an undelete
    spares_left,
}
