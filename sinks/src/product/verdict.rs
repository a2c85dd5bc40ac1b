//! What becomes of a request, given how its record stands: protocol rules 6 to 8, pure.

use clients::postgres::Incarnation;
use schemas::Field;

/// How the record of a request stands, under its lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The row is there, and locked by us. `shows`: it shows everything that the request expects.
    Row { incarnation: i64, shows: bool },
    /// No row, and nobody can insert one now.
    Absent(Incarnation),
    /// Somebody else is busy with it.
    Busy,
}

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Write { incarnation: i64 },
    Delete { incarnation: i64 },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not now; nothing is decided.
    Later,
    /// Decided before, or about a row of another incarnation: what is to be told is in the outbox already.
    Nothing,
    /// Tell that the record is deleted: nobody did.
    TellDeleted,
    /// It no longer shows what was expected.
    MovedOn,
    Update,
    Delete,
}

/// Decides a write or a delete. `fenced`: its id is in the fence.
pub fn decide(wish: Wish, fenced: bool, found: Found) -> Verdict {
    if fenced {
        return Verdict::Nothing;
    }
    match (found, wish) {
        (Found::Busy, _) => Verdict::Later,
        (Found::Absent(Incarnation { live, .. }), _) => {
            if live {
                Verdict::TellDeleted
            } else {
                Verdict::Nothing
            }
        }
        (Found::Row { incarnation, .. }, Wish::Write { incarnation: asked } | Wish::Delete { incarnation: asked })
            if incarnation != asked =>
        {
            Verdict::Nothing
        }
        (Found::Row { shows: false, .. }, Wish::Write { .. }) => Verdict::MovedOn,
        (Found::Row { .. }, Wish::Write { .. }) => Verdict::Update,
        (Found::Row { .. }, Wish::Delete { .. }) => Verdict::Delete,
    }
}

/// What is told about a decided request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Done,
    MovedOn,
    Gone,
    Refused { field: Option<Field>, reason: String, taken: bool },
    Held { reason: String },
}

impl Told {
    /// The letter of it in the outbox.
    pub fn letter(&self) -> &'static str {
        match self {
            Told::Done => "d",
            Told::MovedOn => "m",
            Told::Gone => "g",
            Told::Refused { .. } => "r",
            Told::Held { .. } => "h",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Wish = Wish::Write { incarnation: 2 };
    const DELETE: Wish = Wish::Delete { incarnation: 2 };

    fn row(incarnation: i64, shows: bool) -> Found {
        Found::Row { incarnation, shows }
    }

    fn absent(live: bool) -> Found {
        Found::Absent(Incarnation { number: 2, live })
    }

    #[test]
    fn a_write_is_made_once_and_only_on_what_it_was_decided_upon() {
        assert_eq!(decide(WRITE, false, row(2, true)), Verdict::Update);
        assert_eq!(decide(WRITE, false, row(2, false)), Verdict::MovedOn);
        assert_eq!(decide(WRITE, true, row(2, true)), Verdict::Nothing);
    }

    #[test]
    fn a_row_of_another_incarnation_is_nobodys_we_know() {
        for wish in [WRITE, DELETE] {
            assert_eq!(decide(wish, false, row(3, true)), Verdict::Nothing);
            assert_eq!(decide(wish, false, row(1, true)), Verdict::Nothing);
        }
    }

    #[test]
    fn a_delete_does_not_ask_what_the_row_shows() {
        assert_eq!(decide(DELETE, false, row(2, false)), Verdict::Delete);
        assert_eq!(decide(DELETE, true, row(2, false)), Verdict::Nothing);
    }

    #[test]
    fn an_absent_row_is_told_of_unless_its_delete_was() {
        for wish in [WRITE, DELETE] {
            assert_eq!(decide(wish, false, absent(true)), Verdict::TellDeleted);
            assert_eq!(decide(wish, false, absent(false)), Verdict::Nothing);
            assert_eq!(decide(wish, false, Found::Busy), Verdict::Later);
        }
    }
}
