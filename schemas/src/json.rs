//! The unified customer and conflicts as the HTTP API and the golden table show them: plain JSON for people and scripts.
//!
//! Times are RFC 3339 in UTC with milliseconds; "no value" is `null`.

use crate::{Contender, CustomerConflict, LinkedRecord, Millis, UnifiedCustomer, Value, Values};
use serde_json::{Map, Value as Json, json};
use time::{OffsetDateTime, macros::format_description};

/// `2026-01-02T03:04:05.678Z`; `null` for a time that is not known (0) or beyond the calendar.
pub fn time(millis: Millis) -> Json {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    match OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis) * 1_000_000) {
        Ok(time) if millis != 0 => time.format(&format).map_or(Json::Null, Json::String),
        _ => Json::Null,
    }
}

/// A field's value.
pub fn value(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::Text(text) => Json::String(text.to_string()),
        Value::Address(a) => json!({
            "line1": a.line1, "line2": a.line2, "city": a.city, "state": a.state, "postal_code": a.postal_code, "country": a.country,
        }),
    }
}

fn values(of: &Values) -> Json {
    Json::Object(of.iter().map(|(field, v)| (field.to_string(), value(v))).collect())
}

fn record(r: &LinkedRecord) -> Json {
    json!({
        "external_id": r.external_id,
        "deleted": r.deleted,
        "in_step": r.in_step,
        "shows": values(&r.shows),
        "pending": r.in_flight,
        "refused": r.refused.iter().map(|x| json!({"field": x.field, "value": value(&x.value), "reason": x.reason})).collect::<Vec<_>>(),
        "held": r.held,
    })
}

/// One customer. `records` has one record for each system; further ones of the same system stand in `spares`.
pub fn unified(customer: &UnifiedCustomer) -> Json {
    let mut fields = Map::new();
    for f in &customer.fields {
        fields.insert(
            f.field.to_string(),
            json!({
                "value": value(&f.value), "system": f.system, "external_id": f.external_id, "event_id": f.event_id,
                "edited_at": time(f.edited_at), "rule": f.rule,
            }),
        );
    }
    let records: Map<_, _> = customer.records.iter().filter(|r| !r.spare).map(|r| (r.system.to_string(), record(r))).collect();
    let spares: Vec<_> =
        customer.records.iter().filter(|r| r.spare).map(|r| json!({"system": r.system, "external_id": r.external_id})).collect();
    json!({
        "customer_id": customer.customer_id,
        "version": customer.version,
        "deleted": customer.deleted,
        "contested": customer.contested,
        "updated_at": time(customer.updated_at),
        "fields": fields,
        "records": records,
        "spares": spares,
    })
}

fn contender(side: &Contender) -> Json {
    json!({"value": value(&side.value), "system": side.system, "edited_at": time(side.edited_at), "event_id": side.event_id})
}

/// One conflict.
pub fn conflict(c: &CustomerConflict) -> Json {
    json!({
        "id": c.id,
        "kind": c.kind,
        "customer_id": c.customer_id,
        "system": c.system,
        "external_id": c.external_id,
        "field": c.field,
        "at": time(c.at),
        "rule": c.rule,
        "winner": c.winner.as_ref().map(contender),
        "loser": c.loser.as_ref().map(contender),
        "detail": c.detail,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_as_people_write_it() {
        assert_eq!(time(1_767_323_045_678), "2026-01-02T03:04:05.678Z");
        assert_eq!(time(0), Json::Null);
        assert_eq!(time(i64::MAX), Json::Null);
    }
}
