//! `concord lag`: how far every consumer group is behind.

use crate::{
    config::{Config, Env, Need, Overrides},
    moment::now,
    reader::Reader,
    show, stdout,
};
use schemas::json::time;
use serde_json::{Value as Json, json};
use std::{collections::BTreeMap, io::IsTerminal, time::Duration};
use streams::{PartitionLag, TopicPartition};

/// What `concord lag` takes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this group
    #[arg(long, value_name = "NAME")]
    pub group: Option<String>,
    /// Show it again and again, every 2 seconds or as often as is said, until Ctrl-C
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,
    /// Print JSON; with --watch an object a line
    #[arg(long)]
    pub json: bool,
}

/// Prints it once, or with `--watch` until interrupted.
pub async fn run(args: Args, overrides: &Overrides, env: &Env) -> anyhow::Result<()> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let reader = Reader::open(&config).await?;
    // A terminal is drawn anew; a file or a pipe gets one after the other.
    let clear = if std::io::stdout().is_terminal() { "\x1b[H\x1b[2J" } else { "" };
    loop {
        let mut lags = reader.lag(&config).await?;
        if let Some(group) = &args.group {
            anyhow::ensure!(lags.iter().any(|of| of.group == *group), "there is no group {group}; these are: {}", names(&lags));
            lags.retain(|of| of.group == *group);
        }
        let now = now();
        match (args.json, args.watch) {
            (true, None) => stdout::print(format_args!("{:#}\n", in_json(&lags, now)))?,
            (true, Some(_)) => stdout::print(format_args!("{}\n", in_json(&lags, now)))?,
            (false, None) => stdout::print(text(&lags, now, show::width()))?,
            (false, Some(_)) => {
                stdout::print(format_args!("{clear}{}\n{}\n", show::value(&time(now)), text(&lags, now, show::width())))?;
            }
        }
        let Some(seconds) = args.watch else { return Ok(()) };
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(seconds)) => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
    }
}

fn names(lags: &[PartitionLag]) -> String {
    let mut names: Vec<&str> = lags.iter().map(|of| &*of.group).collect();
    names.dedup();
    if names.is_empty() { "none yet".into() } else { names.join(", ") }
}

/// A group in all its partitions.
#[derive(Default)]
struct Total<'a> {
    lag: u64,
    oldest: Option<i64>,
    partitions: Vec<&'a PartitionLag>,
}

/// By name.
fn groups(lags: &[PartitionLag]) -> BTreeMap<&str, Total<'_>> {
    let mut groups: BTreeMap<&str, Total<'_>> = BTreeMap::new();
    for of in lags {
        let group = groups.entry(&of.group).or_default();
        group.lag += of.lag;
        group.oldest = [group.oldest, of.oldest].into_iter().flatten().min();
        group.partitions.push(of);
    }
    groups
}

/// Milliseconds from a record's timestamp until now; a clock that is ahead makes nothing younger than new.
fn age(oldest: Option<i64>, now: i64) -> Option<i64> {
    oldest.map(|oldest| (now - oldest).max(0))
}

fn in_json(lags: &[PartitionLag], now: i64) -> Json {
    let seconds = |oldest| age(oldest, now).map(|ms| ms as f64 / 1_000.0);
    let groups = groups(lags);
    let total: u64 = groups.values().map(|group| group.lag).sum();
    let oldest = groups.values().filter_map(|group| group.oldest).min();
    let partition = |of: &&PartitionLag| {
        json!({
            "topic": &*of.partition.topic, "partition": of.partition.partition, "committed": of.committed, "end": of.end, "lag": of.lag,
            "oldest": of.oldest.map(time), "oldest_age_seconds": seconds(of.oldest),
        })
    };
    let groups: Vec<Json> = groups
        .iter()
        .map(|(name, group)| {
            json!({
                "group": name, "lag": group.lag, "oldest_age_seconds": seconds(group.oldest),
                "partitions": group.partitions.iter().map(partition).collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({"at": time(now), "lag": total, "oldest_age_seconds": seconds(oldest), "groups": groups})
}

/// A line a partition, then a line a group.
fn text(lags: &[PartitionLag], now: i64, width: Option<usize>) -> String {
    let shown = |oldest| age(oldest, now).map_or_else(|| "-".into(), show::age);
    let rows: Vec<Vec<String>> = lags
        .iter()
        .map(|of| {
            let committed = of.committed.map_or_else(|| "-".into(), |offset| offset.to_string());
            let TopicPartition { topic, partition } = &of.partition;
            vec![
                of.group.clone(),
                topic.to_string(),
                partition.to_string(),
                committed,
                of.end.to_string(),
                of.lag.to_string(),
                shown(of.oldest),
            ]
        })
        .collect();
    let partitions = show::table(&["GROUP", "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "OLDEST"], &rows, width);
    let groups = groups(lags);
    let mut rows: Vec<Vec<String>> =
        groups.iter().map(|(name, group)| vec![name.to_string(), group.lag.to_string(), shown(group.oldest)]).collect();
    let oldest = groups.values().filter_map(|group| group.oldest).min();
    rows.push(vec!["all".into(), groups.values().map(|group| group.lag).sum::<u64>().to_string(), shown(oldest)]);
    format!("{partitions}\n{}", show::table(&["GROUP", "LAG", "OLDEST"], &rows, width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(group: &str, topic: &str, partition: i32, committed: Option<i64>, end: i64, lag: u64, oldest: Option<i64>) -> PartitionLag {
        PartitionLag { group: group.into(), partition: TopicPartition::new(topic, partition), committed, end, lag, oldest }
    }

    fn lags() -> [PartitionLag; 4] {
        [
            of("concord", "customers.stripe", 0, Some(7), 9, 2, Some(1_700_000_000_000)),
            of("concord", "customers.stripe", 1, None, 0, 0, None),
            of("concord", "customers.unify", 0, Some(3), 4, 1, Some(1_700_000_060_000)),
            of("concord-runner-stripe", "requests.stripe", 0, Some(5), 6, 0, None),
        ]
    }

    #[test]
    fn people_see_every_partition_and_the_totals() {
        insta::assert_snapshot!(text(&lags(), 1_700_000_090_500, None), @r"
        GROUP                  TOPIC             PARTITION  COMMITTED  END  LAG  OLDEST
        concord                customers.stripe  0          7          9    2    90 s
        concord                customers.stripe  1          -          0    0    -
        concord                customers.unify   0          3          4    1    30 s
        concord-runner-stripe  requests.stripe   0          5          6    0    -

        GROUP                  LAG  OLDEST
        concord                3    90 s
        concord-runner-stripe  0    -
        all                    3    90 s
        ");
    }

    #[test]
    fn scripts_get_the_same_in_json() {
        let json = in_json(&lags(), 1_700_000_090_500);
        assert_eq!((&json["lag"], &json["oldest_age_seconds"], &json["at"]), (&json!(3), &json!(90.5), &json!("2023-11-14T22:14:50.500Z")));
        let groups = json["groups"].as_array().unwrap();
        assert_eq!(groups.iter().map(|group| &group["lag"]).collect::<Vec<_>>(), [3, 0]);
        let first = json!({
            "topic": "customers.stripe", "partition": 0, "committed": 7, "end": 9, "lag": 2, "oldest": "2023-11-14T22:13:20.000Z",
            "oldest_age_seconds": 90.5,
        });
        assert_eq!(groups[0]["partitions"][0], first);
        assert_eq!(groups[0]["partitions"][1]["committed"], Json::Null);
    }

    #[test]
    fn a_record_from_the_future_is_new() {
        assert_eq!(age(Some(2_000), 1_000), Some(0));
    }
}
