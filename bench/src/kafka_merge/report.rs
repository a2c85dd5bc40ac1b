//! What a run showed of each client: medians over the rounds, and beside each other the merge and the better of Kafka Streams.

use crate::kafka_clients::Role;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Rate,
    Cpu,
    Resident,
    OnDisk,
    Restore,
    P50,
    P99,
}

impl Figure {
    pub const ALL: [Figure; 7] = [Figure::Rate, Figure::Cpu, Figure::Resident, Figure::OnDisk, Figure::Restore, Figure::P50, Figure::P99];

    pub fn title(self) -> &'static str {
        match self {
            Figure::Rate => "records/s",
            Figure::Cpu => "CPU-s per million",
            Figure::Resident => "resident, MB",
            Figure::OnDisk => "state on disk, MB",
            Figure::Restore => "restoring, s",
            Figure::P50 => "latency p50, ms",
            Figure::P99 => "latency p99, ms",
        }
    }

    pub fn text(self, value: f64) -> String {
        let decimals = match self {
            Figure::Rate | Figure::Resident | Figure::OnDisk => 0,
            Figure::P50 | Figure::P99 => 1,
            Figure::Cpu | Figure::Restore => 2,
        };
        format!("{value:.decimals$}")
    }
}

#[derive(Debug, Default)]
pub struct Report {
    seen: Vec<(Role, Figure, f64)>,
}

impl Report {
    pub fn add(&mut self, role: Role, figure: Figure, value: f64) {
        self.seen.push((role, figure, value));
    }

    /// The clients, in the order in which they ran first.
    pub fn roles(&self) -> Vec<Role> {
        let mut roles = Vec::new();
        for (role, ..) in &self.seen {
            if !roles.contains(role) {
                roles.push(*role);
            }
        }
        roles
    }

    pub fn median(&self, role: Role, figure: Figure) -> Option<f64> {
        let mut values: Vec<f64> = self.seen.iter().filter(|seen| (seen.0, seen.1) == (role, figure)).map(|seen| seen.2).collect();
        values.sort_by(f64::total_cmp);
        let (below, above) = (values.len().checked_sub(1)? / 2, values.len() / 2);
        Some((values[below] + values[above]) / 2.0)
    }

    /// In Markdown: a row for each client, and the merge's share of Kafka Streams' figures where that ran.
    pub fn table(&self) -> String {
        let (ours, theirs) = (Role::Driver, Role::KafkaStreamsTuned);
        let cell = |text: Option<String>| text.unwrap_or_else(|| "–".into());
        let mut table = row("client", |figure| figure.title().into()) + &row("---", |_| "--:".into());
        for role in self.roles() {
            table += &row(role.title(), |figure| cell(self.median(role, figure).map(|value| figure.text(value))));
        }
        if self.roles().contains(&theirs) {
            let ratio = |figure| Some(self.median(ours, figure)? / self.median(theirs, figure)?);
            table +=
                &row(&format!("{} / {}", ours.title(), theirs.title()), |figure| cell(ratio(figure).map(|ratio| format!("{ratio:.2} ×"))));
        }
        table
    }
}

fn row(name: &str, cell: impl FnMut(Figure) -> String) -> String {
    format!("| {name} | {} |\n", Figure::ALL.map(cell).join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_each_client_and_their_ratios() {
        let mut report = Report::default();
        for (rate, cpu) in [(100.0, 6.0), (140.0, 8.0)] {
            report.add(Role::Bare, Figure::Rate, 10.0 * rate);
            report.add(Role::Driver, Figure::Rate, rate);
            report.add(Role::Driver, Figure::Cpu, cpu);
            report.add(Role::KafkaStreamsTuned, Figure::Rate, rate / 2.0);
            report.add(Role::KafkaStreamsTuned, Figure::Cpu, 3.0 * cpu);
        }
        report.add(Role::Driver, Figure::P50, 4.0);
        let expected = "\
| client | records/s | CPU-s per million | resident, MB | state on disk, MB | restoring, s | latency p50, ms | latency p99, ms |
| --- | --: | --: | --: | --: | --: | --: | --: |
| bare copy | 1200 | – | – | – | – | – | – |
| merge | 120 | 7.00 | – | – | – | 4.0 | – |
| Kafka Streams, tuned | 60 | 21.00 | – | – | – | – | – |
| merge / Kafka Streams, tuned | 2.00 × | 0.33 × | – | – | – | – | – |
";
        assert_eq!(report.table(), expected);
    }
}
