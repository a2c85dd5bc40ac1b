//! What the command line prints for people. Scripts take `--json`.

use serde_json::Value as Json;
use std::fmt::Write;

/// A value as one line.
pub fn value(value: &Json) -> String {
    match value {
        Json::Null => "-".into(),
        Json::String(text) => text.clone(),
        Json::Object(map) => {
            let lines = ["line1", "line2", "city", "state", "postal_code", "country"];
            lines.iter().filter_map(|line| map.get(*line)?.as_str()).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// How long ago, in one unit, cut off.
pub fn age(millis: i64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0 => format!("{millis} ms"),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// How a record stands, in a word or two.
fn standing(record: &Json) -> String {
    if record["deleted"] == true {
        return "deleted".into();
    }
    let mut words = Vec::new();
    for refused in record["refused"].as_array().into_iter().flatten() {
        words.push(format!("refused {} ({})", value(&refused["field"]), value(&refused["reason"])));
    }
    for field in record["held"].as_array().into_iter().flatten() {
        words.push(format!("held {}", value(field)));
    }
    if let Some(write) = record["pending"].as_str() {
        words.push(format!("write {write} under way"));
    } else if record["in_step"] == true && words.is_empty() {
        words.push("in step".into());
    } else if record["in_step"] != true {
        words.push("not in step".into());
    }
    words.join(", ")
}

/// What a cell is cut to at the least.
const NARROWEST: usize = 8;

/// The columns that are never cut: their ids are there to be copied.
const WHOLE: [&str; 2] = ["CUSTOMER", "ID"];

/// How wide the terminal is, if stdout is one.
pub fn width() -> Option<usize> {
    terminal_size::terminal_size_of(std::io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Takes from the widest columns until a row is no wider than `most`.
fn fit(head: &[&str], widths: &mut [usize], most: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > most {
        let cuttable = widths.iter_mut().zip(head).filter(|(width, head)| !WHOLE.contains(head) && **width > NARROWEST);
        let Some((widest, _)) = cuttable.max_by_key(|(width, _)| **width) else { return };
        *widest -= 1;
    }
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_string();
    }
    cell.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Columns, each as wide as its widest cell, or as all of them fit into `most`.
pub fn table(head: &[&str], rows: &[Vec<String>], most: Option<usize>) -> String {
    let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(most) = most {
        fit(head, &mut widths, most);
    }
    let mut out = String::new();
    let head: Vec<String> = head.iter().map(|h| h.to_string()).collect();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = cut(cell, *width);
            let pad = width - cell.chars().count();
            line.push_str(&cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A line a customer.
pub fn customers(list: &[Json], width: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|c| {
            let records = c["records"].as_object().into_iter().flatten();
            let systems: Vec<String> =
                records.map(|(system, r)| format!("{system}={} ({})", value(&r["external_id"]), standing(r))).collect();
            let contested = (c["contested"] == true).then(|| "contested".to_owned());
            let records = if c["deleted"] == true {
                "deleted".to_string()
            } else {
                contested.into_iter().chain(systems).collect::<Vec<_>>().join("  ")
            };
            vec![value(&c["customer_id"]), value(&c["fields"]["name"]["value"]), value(&c["fields"]["email"]["value"]), records]
        })
        .collect();
    table(&["CUSTOMER", "NAME", "E-MAIL", "RECORDS"], &rows, width)
}

/// All of one customer: golden values with provenance, and what every system shows.
pub fn customer(c: &Json, width: Option<usize>) -> String {
    let mut out = String::new();
    let state = if c["deleted"] == true { ", deleted" } else { "" };
    let _ = writeln!(out, "customer {} (version {}{state}, updated {})", value(&c["customer_id"]), c["version"], value(&c["updated_at"]));
    if c["contested"] == true {
        let _ = writeln!(out, "contested: an elder customer has this e-mail address, so it is created nowhere");
    }
    let fields: Vec<Vec<String>> = c["fields"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(field, of)| {
            let from = format!("{} {}", value(&of["system"]), value(&of["external_id"]));
            vec![format!("  {field}"), value(&of["value"]), from, value(&of["edited_at"]), value(&of["rule"]), value(&of["event_id"])]
        })
        .collect();
    let _ = write!(out, "\n{}", table(&["  FIELD", "VALUE", "FROM", "EDITED", "CHOSEN BY", "EVENT"], &fields, width));
    for (system, record) in c["records"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "\n{system} {} - {}", value(&record["external_id"]), standing(record));
        let shows: Vec<Vec<String>> =
            record["shows"].as_object().into_iter().flatten().map(|(field, v)| vec![format!("  {field}"), value(v)]).collect();
        if !shows.is_empty() {
            let _ = write!(out, "{}", table(&["  FIELD", "SHOWS"], &shows, width));
        }
    }
    for spare in c["spares"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "\nspare: {} {}", value(&spare["system"]), value(&spare["external_id"]));
    }
    out
}

/// The record that a conflict concerns, as `customers show` takes it; only its system where none was made.
fn record_of(conflict: &Json) -> String {
    match conflict["external_id"].as_str() {
        Some(id) => format!("{}:{id}", value(&conflict["system"])),
        None => value(&conflict["system"]),
    }
}

/// A line a conflict, newest first.
pub fn conflicts(list: &[Json], width: Option<usize>) -> String {
    let side = |s: &Json| if s.is_null() { "-".to_string() } else { format!("{} ({})", value(&s["value"]), value(&s["system"])) };
    let rows: Vec<Vec<String>> = list
        .iter()
        .map(|c| {
            vec![
                value(&c["at"]),
                value(&c["kind"]),
                record_of(c),
                value(&c["field"]),
                side(&c["winner"]),
                side(&c["loser"]),
                value(&c["detail"]),
                value(&c["customer_id"]),
            ]
        })
        .collect();
    table(&["AT", "KIND", "RECORD", "FIELD", "WINNER", "LOSER", "DETAIL", "CUSTOMER"], &rows, width)
}

/// The parts of a running process. Nothing is cut: a detail is what to read here.
pub fn status(body: &Json) -> String {
    let rows: Vec<Vec<String>> = body["components"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, part)| vec![name.clone(), value(&part["status"]), value(&part["detail"])])
        .collect();
    format!("{}\n\n{}", value(&body["status"]), table(&["PART", "STATUS", "DETAIL"], &rows, None))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_customer_reads_well() {
        let customer = json!({
            "customer_id": "0b0f6c2e-0000-5000-8000-000000000000", "version": 3, "deleted": false, "contested": false, "updated_at": "2026-01-02T03:04:05.000Z",
            "fields": {"name": {"value": "Ada", "system": "stripe", "external_id": "cus_1", "event_id": "evt_1", "edited_at": "2026-01-02T03:04:04.000Z", "rule": "edit"}},
            "records": {
                "product": {"external_id": "p1", "deleted": false, "in_step": false, "shows": {"name": "Eda"}, "pending": "0b0f:product:1", "refused": [], "held": []},
                "stripe": {"external_id": "cus_1", "deleted": false, "in_step": true, "shows": {"name": "Ada", "address": {"line1": "1 Main St", "line2": "", "city": "London"}}, "pending": null,
                    "refused": [{"field": "email", "value": "x", "reason": "not an e-mail"}], "held": ["phone"]},
            },
            "spares": [{"system": "stripe", "external_id": "cus_2"}],
        });
        insta::assert_snapshot!(super::customer(&customer, None), @r"
        customer 0b0f6c2e-0000-5000-8000-000000000000 (version 3, updated 2026-01-02T03:04:05.000Z)

          FIELD  VALUE  FROM          EDITED                    CHOSEN BY  EVENT
          name   Ada    stripe cus_1  2026-01-02T03:04:04.000Z  edit       evt_1

        product p1 - write 0b0f:product:1 under way
          FIELD  SHOWS
          name   Eda

        stripe cus_1 - refused email (not an e-mail), held phone
          FIELD    SHOWS
          address  1 Main St, London
          name     Ada

        spare: stripe cus_2
        ");
    }
    #[test]
    fn an_age_is_told_in_one_unit() {
        let told = [0, 999, 1_000, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000].map(super::age);
        assert_eq!(told, ["0 ms", "999 ms", "1 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days"]);
    }

    #[test]
    fn a_duplicate_candidate_shows_both_records() {
        let conflicts = [json!({
            "id": "0b0f6c2e-0000-5000-8000-000000000000:1", "kind": "duplicate_candidate", "customer_id": "0b0f6c2e-0000-5000-8000-000000000000",
            "system": "stripe", "external_id": "cus_2", "field": null, "at": "2026-01-02T03:04:05.000Z", "rule": null, "winner": null,
            "loser": null, "detail": "perhaps the same as stripe:cus_1",
        })];
        insta::assert_snapshot!(super::conflicts(&conflicts, None), @r"
        AT                        KIND                 RECORD        FIELD  WINNER  LOSER  DETAIL                            CUSTOMER
        2026-01-02T03:04:05.000Z  duplicate_candidate  stripe:cus_2  -      -       -      perhaps the same as stripe:cus_1  0b0f6c2e-0000-5000-8000-000000000000
        ");
    }

    #[test]
    fn a_table_fits_its_terminal_and_leaves_ids_whole() {
        let id = "0b0f6c2e-0000-5000-8000-000000000000";
        let rows = [vec![id.to_string(), "Ada".into(), "é".repeat(100), "x".repeat(30)]];
        let table = |most| super::table(&["CUSTOMER", "NAME", "E-MAIL", "RECORDS"], &rows, most);
        for most in [100, 80, 70] {
            let table = table(Some(most));
            let row = table.lines().nth(1).unwrap();
            assert_eq!(row.chars().count(), most, "{row}");
            assert!(row.starts_with(id) && row.contains("  Ada  ") && row.contains("é…  ") && row.ends_with('…'), "{row}");
        }
        assert!(table(None).contains(&"é".repeat(100)), "nothing is cut where there is no terminal");
        assert!(table(Some(10)).contains("é…"), "too narrow a terminal is not an error");
    }
}
