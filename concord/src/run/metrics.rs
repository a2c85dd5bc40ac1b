//! What each metric means, as `/metrics` says it. Those of the engine are told by [`streams::describe_metrics`].

use metrics::{describe_counter, describe_gauge, describe_histogram};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}
use Kind::{Counter, Gauge, Histogram};

const METRICS: &[(Kind, &str, &str)] = &[
    (
        Histogram,
        "concord_propagation_seconds",
        "From the record of an edit in one system until its write to this system was answered, for customers that were edited lately.",
    ),
    (Gauge, "concord_system_health", "The conversation with a system: 1 well, 0.5 degraded, 0 paused."),
    (Gauge, "concord_requests_backlog", "Requests to a system that are not answered yet."),
    (Counter, "concord_requests_total", "Requests that the topology made, by system and action."),
    (Counter, "concord_conflicts_total", "Conflicts, by kind."),
    (
        Counter,
        "concord_topology_dead_letters_total",
        "Records of a topic that the topology could not process and set aside in the topic's .dlq.",
    ),
    (Counter, "concord_dead_letters_total", "Records that a connector could not process and set aside, by system."),
    (Gauge, "concord_dead_letters_open", "Dead letters of a queue that nobody has dealt with yet."),
    (Gauge, "concord_calls_inflight", "Calls to a system that are under way."),
    (Counter, "concord_calls_total", "Calls to a system that were answered, by call and outcome."),
    (Histogram, "concord_call_seconds", "How long a call to a system took."),
    (Counter, "concord_call_retries_total", "Calls whose outcome was unknown, or that were put off, and that are made again."),
    (Counter, "concord_rate_limit_waits_total", "Calls that the configured rate made wait."),
    (Histogram, "concord_rate_limit_wait_seconds", "How long the configured rate made a call wait."),
    (Gauge, "concord_backfill_reads_unanswered", "Reads of a backfill that are not answered yet."),
    (Gauge, "concord_client_rate_limit", "Calls a second that the vendor's client allows itself."),
    (Counter, "concord_client_requests_total", "HTTP requests to a vendor, by operation and outcome."),
    (Histogram, "concord_client_request_seconds", "How long an HTTP request to a vendor took."),
    (Histogram, "concord_client_wait_seconds", "How long an HTTP request waited for the vendor's rate limit."),
    (Counter, "concord_webhook_requests_total", "Webhooks, by answer."),
    (Counter, "concord_events_caught_up_total", "A vendor's events that were read after a stop."),
    (Counter, "concord_listed_records_total", "Records that a list of a vendor's showed."),
    (Counter, "concord_outbox_rows_total", "Changes of the product's table that were published."),
    (Histogram, "concord_outbox_lag_seconds", "From the commit in the product's database until the change was published."),
    (Gauge, "concord_survey_rows", "Rows of the product's table that a survey has seen."),
    (Counter, "concord_product_source_errors_total", "Failures of reading the product's database."),
    (Counter, "concord_product_sink_errors_total", "Failures of writing the product's database."),
    (Counter, "concord_product_requests_total", "Requests to the product that are finished."),
    (Counter, "concord_product_requests_busy_total", "Requests to the product that met a locked row, and are made again."),
    (Histogram, "concord_product_batch_seconds", "How long a batch of requests to the product took."),
    (Counter, "concord_golden_customers_total", "Customers that were written to the golden tables."),
    (Counter, "concord_golden_refused_total", "Records that the golden tables refused, and that were passed over."),
    (Counter, "concord_golden_undecodable_total", "Records for the golden tables that could not be read, and were passed over."),
    (Counter, "concord_registry_requests_total", "Requests to the schema registry, by status."),
    (Counter, "concord_schema_registry_retries_total", "Questions to another schema registry that are asked again."),
    (Gauge, "concord_http_connections", "Open HTTP connections."),
    (Counter, "concord_http_connections_evicted_total", "HTTP connections that were closed to make room for others."),
    (Counter, "concord_task_failures_total", "Failures of a task of this process, which was started again."),
];

/// Tells the recorder, once it is there.
pub fn describe() {
    streams::describe_metrics();
    for (kind, name, help) in METRICS {
        match kind {
            Counter => describe_counter!(*name, *help),
            Gauge => describe_gauge!(*name, *help),
            Histogram => describe_histogram!(*name, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, path::Path};

    fn sources(folder: &Path) -> String {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let text = |path: std::path::PathBuf| match path.is_dir() {
            true => sources(&path),
            false => std::fs::read_to_string(path).unwrap(),
        };
        entries.map(text).collect()
    }

    #[test]
    fn every_metric_that_is_told_is_explained_and_no_other() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let crates = ["concord", "connect", "clients", "sources", "sinks", "topology"];
        let text: String = crates.map(|name| sources(&root.join(name).join("src"))).concat();
        let told = |kind: &str| -> BTreeSet<String> {
            let before = format!("{kind}!(\"concord_");
            text.split(&before).skip(1).filter_map(|rest| Some(format!("concord_{}", rest.split_once('"')?.0))).collect()
        };
        for (kind, name) in [(Counter, "counter"), (Gauge, "gauge"), (Histogram, "histogram")] {
            let explained = METRICS.iter().filter(|(of, ..)| *of == kind).map(|(_, name, _)| (*name).to_owned()).collect();
            assert_eq!(told(name), explained, "{name}s");
        }
    }
}
