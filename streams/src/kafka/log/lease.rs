//! Who may begin to act for a name.

use std::time::Duration;

use super::brokers::Brokers;
use super::member::Member;
use crate::embedded::LogError;

/// How a name is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wanted {
    /// When nobody has it any more.
    InTurn,
    /// Now, from whoever has it.
    AtOnce,
}

/// Whose turn it is.
pub(super) enum Lease {
    /// The group's member that has the partition; the others wait.
    Group(Member),
    /// Whoever came last. Who came before hears of it from the brokers, when it writes.
    Last,
}

impl Lease {
    pub(super) fn ask(wanted: Wanted, brokers: &Brokers, name: &str) -> Result<Lease, LogError> {
        match wanted {
            Wanted::InTurn => Member::join(brokers, name).map(Lease::Group),
            Wanted::AtOnce => Ok(Lease::Last),
        }
    }

    /// Hears whose turn it is.
    pub(super) fn serve(&self, wait: Duration) -> Result<(), LogError> {
        match self {
            Lease::Group(member) => member.serve(wait),
            Lease::Last => Ok(()),
        }
    }

    /// Which turn of this process it is; none: it is another one's.
    pub(super) fn turn(&self) -> Option<u64> {
        match self {
            Lease::Group(member) => member.turn(),
            Lease::Last => Some(0),
        }
    }

    pub(super) fn leave(self) {
        if let Lease::Group(member) = self {
            member.leave();
        }
    }
}
