//! The customer topology that a configuration makes.

use crate::config::{Config, Deletes, Kind, MergeConfig, Mode, Rule, SystemConfig};
use clients::postgres::TableConfig;
use schemas::{Field, System};
use topology::customers::{self, Attributes, FieldPattern, Mapping, MergeRule};

/// The topology's own configuration, but for the numbers of the log that it runs on.
pub fn customers_config(config: &Config) -> customers::Config {
    let systems = config.systems.iter().map(|(name, system)| system_config(name, system)).collect();
    let MergeConfig { priority, rules } = &config.merge;
    let rules = rules.iter().map(|(field, rule)| {
        let rule = match rule {
            Rule::LastWriterWins => MergeRule::LastWriterWins,
            Rule::SystemOfRecord(systems) => MergeRule::SystemOfRecord(systems.clone()),
        };
        (FieldPattern::Field(field.clone()), rule)
    });
    customers::Config {
        application_id: config.application_id.clone(),
        systems,
        priority: priority.clone(),
        rules: rules.collect(),
        partitions: config.partitions,
        first_number: 0,
    }
}

fn system_config(name: &System, system: &SystemConfig) -> customers::SystemConfig {
    let deletes = match system.deletes {
        Deletes::Propagate => customers::Deletes::Propagate,
        Deletes::Keep => customers::Deletes::Keep,
    };
    let (kind, mapping) = match &system.kind {
        Kind::Postgres(table) => (customers::Kind::Connector, mapping(table)),
        Kind::Stripe(_) => (customers::Kind::Connector, Mapping::all()),
        Kind::Topic => (customers::Kind::Topic, Mapping::all()),
    };
    customers::SystemConfig { name: name.clone(), kind, mapping, writable: system.mode == Mode::Sync, deletes }
}

/// The fields that a table's columns hold.
fn mapping(table: &TableConfig) -> Mapping {
    let has = |field: Field| table.maps(&field);
    let attributes = table.attributes().map_or(Attributes::All, Attributes::Keys);
    Mapping { name: has(Field::Name), email: has(Field::Email), phone: has(Field::Phone), address: has(Field::Address), attributes }
}
