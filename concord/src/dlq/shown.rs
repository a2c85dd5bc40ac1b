//! What `concord dlq` prints. Only [`whole`] has customers' data in it.

use super::{
    deal::{Dealing, Dealt},
    letter::Letter,
    marks::Mark,
};
use crate::{
    show::{self, value},
    topics,
};
use schemas::{Registry, json::time};
use serde_json::{Value as Json, json};
use std::fmt::Write;
use topology::customers::topics::IDENTIFY;

/// A dead letter in a list.
pub fn item(letter: &Letter, mark: Option<&Mark>, now: i64) -> Json {
    let record = &letter.0;
    let from = letter.origin().map(|(tp, offset)| json!({"topic": &*tp.topic, "partition": tp.partition, "offset": offset}));
    // There a key is an e-mail address.
    let personal = from.as_ref().is_some_and(|from| from["topic"] == IDENTIFY);
    json!({
        "id": letter.place(), "topic": &*record.topic, "partition": record.partition, "offset": record.offset, "time": time(record.timestamp),
        "age_seconds": (record.timestamp > 0).then(|| (now - record.timestamp).max(0) / 1_000),
        "key": record.key.as_deref().filter(|_| !personal).map(topics::text), "error": letter.class(), "message": letter.message(), "from": from,
        "state": mark.map_or_else(|| "open".into(), |mark| mark.outcome.to_string()), "dealt_with_at": mark.map(|mark| time(mark.at)),
        "reason": mark.and_then(|mark| mark.reason.as_ref()),
    })
}

/// A line a dead letter.
pub fn list(items: &[Json], dealt_with: bool, width: Option<usize>) -> String {
    let row = |item: &Json| {
        let age = item["age_seconds"].as_i64().map_or_else(|| "-".into(), |seconds| show::age(seconds * 1_000));
        let mut row =
            vec![value(&item["id"]), value(&item["time"]), age, value(&item["key"]), value(&item["error"]), value(&item["message"])];
        if dealt_with {
            row.extend([value(&item["state"]), value(&item["reason"])]);
        }
        row
    };
    let mut head = vec!["ID", "TIME", "AGE", "KEY", "ERROR", "MESSAGE"];
    if dealt_with {
        head.extend(["STATE", "REASON"]);
    }
    show::table(&head, &items.iter().map(row).collect::<Vec<_>>(), width)
}

/// All of a dead letter: customers' data.
pub fn whole(letter: &Letter, mark: Option<&Mark>, registry: &Registry, now: i64) -> Json {
    let mut whole = item(letter, mark, now);
    let topic = letter.origin().map_or_else(|| letter.0.topic.clone(), |(tp, _)| tp.topic);
    let record = topics::shown(registry, &topic, &letter.0);
    for part in ["key", "value", "headers"] {
        whole[part] = record[part].clone();
    }
    whole
}

/// [`whole`] for people.
pub fn letter(whole: &Json) -> String {
    let from = &whole["from"];
    let from = if from.is_null() { "-".into() } else { format!("{}/{}/{}", value(&from["topic"]), from["partition"], from["offset"]) };
    let age = whole["age_seconds"].as_i64().map_or_else(String::new, |seconds| format!(" ({} ago)", show::age(seconds * 1_000)));
    let mut rows = vec![
        ("error", value(&whole["error"])),
        ("message", value(&whole["message"])),
        ("from", from),
        ("time", value(&whole["time"]) + &age),
        ("state", value(&whole["state"])),
    ];
    if whole["state"] != "open" {
        rows.extend([("since", value(&whole["dealt_with_at"])), ("reason", value(&whole["reason"]))]);
    }
    rows.push(("key", value(&whole["key"])));
    let mut out = format!("{}\n", value(&whole["id"]));
    for (name, text) in rows {
        let _ = writeln!(out, "  {name:<8} {text}");
    }
    out.push_str("\nheaders\n");
    for (name, text) in whole["headers"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "  {name}: {}", value(text));
    }
    let body = match &whole["value"] {
        Json::String(text) => text.clone(),
        body => format!("{body:#}"),
    };
    let _ = writeln!(out, "\nvalue\n{body}");
    out
}

/// What would become of one.
pub fn planned(letter: &Letter, mark: Option<&Mark>, dealing: &Dealing) -> Json {
    let to = letter.origin().filter(|_| *dealing == Dealing::Retry).map(|(tp, _)| json!({"topic": &*tp.topic, "partition": tp.partition}));
    let refused = match (mark, dealing, &to) {
        (Some(mark), ..) => Some(format!("it was {} already", mark.outcome)),
        (None, Dealing::Retry, None) => Some("it does not say which topic it came from".to_string()),
        _ => None,
    };
    json!({"id": letter.place(), "error": letter.class(), "to": to, "refused": refused})
}

pub fn plan(items: &[Json], dealing: &Dealing, width: Option<usize>) -> String {
    let verb = match dealing {
        Dealing::Retry => "publish to",
        Dealing::Discard { .. } => "discard",
    };
    let row = |item: &Json| {
        let to = &item["to"];
        let what = match (item["refused"].as_str(), to.is_null()) {
            (Some(why), _) => format!("not possible: {why}"),
            (None, true) => verb.to_string(),
            (None, false) => format!("{verb} {}/{}", value(&to["topic"]), to["partition"]),
        };
        vec![value(&item["id"]), value(&item["error"]), what]
    };
    show::table(&["ID", "ERROR", "WOULD"], &items.iter().map(row).collect::<Vec<_>>(), width)
}

/// A line each of what was done.
pub fn dealt(dealt: &Dealt, dealing: &Dealing) -> String {
    let mut out = String::new();
    for done in &dealt.done {
        let _ = match (&done.to, dealing) {
            (Some(to), _) => writeln!(out, "{} retried: {}/{}/{}", done.id, to.topic, to.partition, to.offset),
            (None, Dealing::Retry) => writeln!(out, "{} retried", done.id),
            (None, Dealing::Discard { .. }) => writeln!(out, "{} discarded", done.id),
        };
    }
    if dealt.done.is_empty() && dealt.refused.is_empty() {
        out.push_str("there is nothing to deal with\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dlq::{letter::tests::letter, marks::Outcome};
    use streams::dlq_headers;

    #[test]
    fn a_list_tells_what_failed_and_nothing_of_whom() {
        let now = 1_700_000_090_000;
        let poison = letter(1, 17, 1_700_000_000_000, "CONCORD-T004", "customers.crm: no value");
        let mark = Mark { outcome: Outcome::Discarded, at: now, reason: Some("a test of theirs".into()) };
        let mut email = letter(0, 3, 1_700_000_080_000, "CONCORD-T001", "sent around");
        email.0.headers.add(dlq_headers::TOPIC, IDENTIFY);
        let items = [item(&email, None, now), item(&poison, Some(&mark), now)];
        insta::assert_snapshot!(list(&items, true, None), @r"
        ID                      TIME                      AGE   KEY  ERROR         MESSAGE                  STATE      REASON
        customers.crm.dlq/0/3   2023-11-14T22:14:40.000Z  10 s  -    CONCORD-T001  sent around              open       -
        customers.crm.dlq/1/17  2023-11-14T22:13:20.000Z  90 s  ada  CONCORD-T004  customers.crm: no value  discarded  a test of theirs
        ");
        for item in items {
            assert!(!item.to_string().contains("junk"), "{item}");
        }
    }

    #[test]
    fn one_is_shown_whole() {
        let poison = letter(1, 17, 1_700_000_000_000, "CONCORD-T004", "customers.crm: no value");
        let whole = whole(&poison, None, &Registry::new(), 1_700_000_090_000);
        insta::assert_snapshot!(super::letter(&whole), @r"
        customers.crm.dlq/1/17
          error    CONCORD-T004
          message  customers.crm: no value
          from     customers.crm/1/117
          time     2023-11-14T22:13:20.000Z (90 s ago)
          state    open
          key      ada

        headers
          __streams.errors.exception: CONCORD-T004
          __streams.errors.message: customers.crm: no value
          __streams.errors.offset: 117
          __streams.errors.partition: 1
          __streams.errors.topic: customers.crm
          trace: 8

        value
        junk
        ");
    }

    #[test]
    fn a_plan_says_where_to_and_what_is_not_possible() {
        let mut lost = letter(0, 3, 0, "X", "");
        lost.0.headers.remove(dlq_headers::TOPIC);
        let mark = Mark { outcome: Outcome::Retried, at: 1, reason: None };
        let poison = letter(1, 17, 0, "CONCORD-T004", "");
        let items = [
            planned(&poison, None, &Dealing::Retry),
            planned(&poison, Some(&mark), &Dealing::Retry),
            planned(&lost, None, &Dealing::Retry),
        ];
        insta::assert_snapshot!(plan(&items, &Dealing::Retry, None), @r"
        ID                      ERROR         WOULD
        customers.crm.dlq/1/17  CONCORD-T004  publish to customers.crm/1
        customers.crm.dlq/1/17  CONCORD-T004  not possible: it was retried already
        customers.crm.dlq/0/3   X             not possible: it does not say which topic it came from
        ");
        let discard = Dealing::Discard { reason: "x".into() };
        assert!(planned(&lost, None, &discard)["refused"].is_null());
    }
}
