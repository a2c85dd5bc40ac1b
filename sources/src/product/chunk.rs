//! Several changed rows that share a row of the outbox: pure.

use super::message::OutboxRow;
use schemas::Millis;

/// What the outbox row has an array of, beside the columns: an element for each changed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    pub ids: Vec<String>,
    pub incarnations: Vec<i64>,
    pub stamps: Vec<Option<Millis>>,
}

impl Chunk {
    /// An outbox row for each changed row. `row` has the columns of all of them, one after the other.
    pub fn apart(self, row: OutboxRow) -> Vec<OutboxRow> {
        let all = self.ids.len();
        let mut fields = pieces(row.fields, all);
        let mut previous = pieces(row.previous, all);
        let rest = self.incarnations.into_iter().zip(self.stamps);
        let each = self.ids.into_iter().zip(rest).enumerate().map(|(place, (id, (incarnation, stamp)))| OutboxRow {
            place: Some(place),
            external_id: Some(id),
            incarnation,
            stamp,
            fields: Some(fields()),
            previous: Some(previous()),
            number: row.number,
            at: row.at,
            kind: row.kind,
            shape: row.shape,
            ..OutboxRow::default()
        });
        each.collect()
    }
}

/// Gives `count` pieces of the same length, one after the other; empty ones where there is nothing.
fn pieces(values: Option<Vec<Option<String>>>, count: usize) -> impl FnMut() -> Vec<Option<String>> {
    let values = values.unwrap_or_default();
    let length = values.len().checked_div(count).unwrap_or(0);
    let mut values = values.into_iter();
    move || values.by_ref().take(length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(of: &[&str]) -> Option<Vec<Option<String>>> {
        Some(of.iter().map(|v| (*v != "-").then(|| v.to_string())).collect())
    }

    #[test]
    fn each_row_of_a_chunk_has_its_own_columns_and_a_place() {
        let row = OutboxRow {
            number: 7,
            at: 1_000,
            kind: 'u',
            shape: Some(1),
            fields: values(&["Ada", "a@x", "Bob", "-"]),
            previous: values(&["-", "a@y", "Rob", "-"]),
            ..OutboxRow::default()
        };
        let chunk = Chunk { ids: vec!["1".into(), "2".into()], incarnations: vec![0, 3], stamps: vec![Some(900), None] };
        let common = OutboxRow { number: 7, at: 1_000, kind: 'u', shape: Some(1), ..OutboxRow::default() };
        let first = OutboxRow {
            place: Some(0),
            external_id: Some("1".into()),
            stamp: Some(900),
            fields: values(&["Ada", "a@x"]),
            previous: values(&["-", "a@y"]),
            ..common.clone()
        };
        let second = OutboxRow {
            place: Some(1),
            external_id: Some("2".into()),
            incarnation: 3,
            fields: values(&["Bob", "-"]),
            previous: values(&["Rob", "-"]),
            ..common
        };
        assert_eq!(chunk.apart(row), [first, second]);
    }

    #[test]
    fn a_chunk_without_columns_is_of_no_deleted_rows() {
        let chunk = Chunk { ids: vec!["1".into()], incarnations: vec![0], stamps: vec![None] };
        let rows = chunk.apart(OutboxRow { kind: 'u', ..OutboxRow::default() });
        assert_eq!(rows[0].fields, Some(vec![]), "no columns are not those of its shape: a strange row");
    }
}
