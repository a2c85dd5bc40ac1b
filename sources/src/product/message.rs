//! A row of the outbox as a message of `customers.<product>`: pure.

use clients::postgres::{Shape, slot::differences};
use schemas::{Answer, CustomerFields, Field, Millis, Notice, Outcome, SourceCustomer, WriteId};

/// A row of the outbox, as the database gives it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxRow {
    pub number: i64,
    /// Which one it is of several that have the number together.
    pub place: Option<usize>,
    /// By the database's clock.
    pub at: Millis,
    pub kind: char,
    pub incarnation: i64,
    pub external_id: Option<String>,
    pub shape: Option<i32>,
    /// The row's own time of change.
    pub stamp: Option<Millis>,
    pub fields: Option<Vec<Option<String>>>,
    pub previous: Option<Vec<Option<String>>>,
    pub write_id: Option<String>,
    pub outcome: Option<char>,
    pub refused_field: Option<String>,
    pub reason: Option<String>,
    pub taken: bool,
    pub notices: Option<String>,
}

/// What a row is to the topic.
#[derive(Debug, Clone, PartialEq)]
pub enum Published {
    Result {
        key: String,
        result: Box<SourceCustomer>,
    },
    /// The table was truncated: it must be swept.
    Sweep,
}

/// A row that says nothing: written by hand, or by something newer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("outbox row {number}: {what}")]
pub struct StrangeRow {
    pub number: i64,
    pub what: &'static str,
}

/// The message that a row is. `shape`: that of its arrays.
pub fn publish(row: OutboxRow, shape: Option<&Shape>) -> Result<Published, StrangeRow> {
    let strange = |what| StrangeRow { number: row.number, what };
    if row.kind == 's' {
        return Ok(Published::Sweep);
    }
    let fields = match (&row.fields, shape) {
        (None, _) => None,
        (Some(values), Some(shape)) if values.len() == shape.slots.len() => Some(shape.snapshot(values)),
        (Some(_), _) => return Err(strange("its columns are unknown")),
    };
    let answer = match row.kind {
        'a' => Some(answer(&row, fields.as_ref()).ok_or_else(|| strange("its answer cannot be read"))?),
        'i' | 'u' | 'd' | 'r' => None,
        _ => return Err(strange("its kind is unknown")),
    };
    let made = answer.as_ref().filter(|a| a.write_id.is_create() && a.outcome == Outcome::Done);
    let concord_id = made.map(|a| a.write_id.customer.to_string());
    let key = match (&row.external_id, &answer) {
        (Some(id), _) => id.clone(),
        (None, Some(answer)) => answer.write_id.customer.to_string(),
        (None, None) => return Err(strange("it has no key")),
    };
    let result = SourceCustomer {
        order: Some(row.number),
        incarnation: Some(row.incarnation),
        look: row.at,
        concord_id,
        mark: None,
        created: row.stamp.filter(|_| fields.is_some()).unwrap_or(0),
        stamp: None,
        settled: true,
        notices: notices(&row, shape, fields.as_ref()),
        fields,
        answer,
    };
    Ok(Published::Result { key, result: Box::new(result) })
}

/// Who, when and what: of somebody's change; of a read, what asked for it. Our own writes need none.
fn notices(row: &OutboxRow, shape: Option<&Shape>, fields: Option<&CustomerFields>) -> Vec<Notice> {
    let changes = match (row.kind, shape, fields) {
        ('u', Some(shape), Some(_)) => {
            let (previous, now) = (row.previous.as_deref().unwrap_or_default(), row.fields.as_deref().unwrap_or_default());
            shape.changes(previous, now)
        }
        ('i', _, Some(fields)) => differences(&CustomerFields::default(), fields),
        ('d', ..) => Vec::new(),
        ('r', ..) => return row.notices.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default(),
        _ => return Vec::new(),
    };
    let event_id = match row.place {
        Some(place) => format!("outbox:{}:{place}", row.number),
        None => format!("outbox:{}", row.number),
    };
    vec![Notice { event_id, write_id: None, time: row.at, changes }]
}

fn answer(row: &OutboxRow, fields: Option<&CustomerFields>) -> Option<Answer> {
    let write_id: WriteId = row.write_id.as_deref()?.parse().ok()?;
    let outcome = match row.outcome? {
        'd' => Outcome::Done,
        'm' => Outcome::MovedOn,
        'r' => Outcome::Refused,
        'g' => Outcome::Gone,
        'h' => Outcome::Held,
        _ => return None,
    };
    Some(Answer {
        write_id,
        outcome,
        refused_field: row.refused_field.as_deref().and_then(|f| f.parse::<Field>().ok()),
        reason: row.reason.clone(),
        taken: row.taken,
        left: fields.filter(|_| outcome == Outcome::Done).cloned(),
        unseen: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::{CustomerId, Previous, System};

    fn shape() -> Shape {
        Shape { slots: ["name", "email"].map(|s| s.parse().unwrap()).into() }
    }

    fn values(of: [&str; 2]) -> Option<Vec<Option<String>>> {
        Some(of.map(|v| (v != "-").then(|| v.to_string())).into())
    }

    fn row(kind: char) -> OutboxRow {
        OutboxRow { number: 7, at: 1_000, kind, incarnation: 2, external_id: Some("1".into()), shape: Some(1), ..OutboxRow::default() }
    }

    fn published(row: OutboxRow) -> (String, SourceCustomer) {
        match publish(row, Some(&shape())).unwrap() {
            Published::Result { key, result } => (key, *result),
            Published::Sweep => panic!("a result"),
        }
    }

    #[test]
    fn somebodys_update_says_who_when_and_what_it_was() {
        let row = OutboxRow { fields: values(["Ada", "-"]), previous: values(["Bob", "-"]), stamp: Some(900), ..row('u') };
        let (key, result) = published(row);
        assert_eq!((key.as_str(), result.order, result.incarnation, result.look, result.created), ("1", Some(7), Some(2), 1_000, 900));
        let change = &result.notices[0].changes;
        assert_eq!((result.notices[0].event_id.as_str(), change.len()), ("outbox:7", 1));
        assert_eq!(change[0].previous, Some(Previous { value: "Bob".into() }));
        assert_eq!(change[0].new, "Ada".into());
        assert_eq!(result.answer, None);
    }

    #[test]
    fn rows_that_share_a_number_are_told_apart_by_their_place() {
        let (_, result) = published(OutboxRow { place: Some(3), fields: values(["Ada", "-"]), previous: values(["Bob", "-"]), ..row('u') });
        assert_eq!((result.order, result.notices[0].event_id.as_str()), (Some(7), "outbox:7:3"));
    }

    #[test]
    fn a_delete_has_no_fields_and_an_insert_changed_all_of_them() {
        assert_eq!(published(row('d')).1.fields, None);
        let (_, result) = published(OutboxRow { fields: values(["Ada", "a@x"]), ..row('i') });
        assert_eq!(result.notices[0].changes.len(), 2);
    }

    #[test]
    fn an_answer_carries_its_write_and_what_it_left() {
        let customer = CustomerId::from_uuid(uuid::Uuid::from_u128(5));
        let system = System::new("product").unwrap();
        let write = WriteId::write(customer, &system, 3);
        let answered = OutboxRow { write_id: Some(write.to_string()), outcome: Some('d'), fields: values(["Ada", "-"]), ..row('a') };
        let (key, result) = published(answered.clone());
        let answer = result.answer.unwrap();
        assert_eq!((key.as_str(), answer.outcome, answer.left.is_some(), result.concord_id), ("1", Outcome::Done, true, None));

        let create = WriteId::create(customer, &system, 0, 0);
        let made = OutboxRow { write_id: Some(create.to_string()), ..answered };
        assert_eq!(published(made.clone()).1.concord_id, Some(customer.to_string()));
        let held = OutboxRow { outcome: Some('h'), fields: None, external_id: None, ..made };
        let (key, result) = published(held);
        assert_eq!((key, result.concord_id, result.fields), (customer.to_string(), None, None));
    }

    #[test]
    fn a_strange_row_is_said_to_be() {
        assert!(publish(row('x'), Some(&shape())).is_err());
        assert!(publish(OutboxRow { fields: Some(vec![None]), ..row('u') }, Some(&shape())).is_err());
        assert!(publish(OutboxRow { write_id: Some("no".into()), outcome: Some('d'), ..row('a') }, None).is_err());
        assert_eq!(publish(row('s'), None), Ok(Published::Sweep));
    }
}
