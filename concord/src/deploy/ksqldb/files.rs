//! The migrations of this build. They are in the binary: where it is deployed there is no checkout.

use super::statements::{Statement, statements};
use anyhow::Context;
use md5::{Digest, Md5};

/// `V<six digits>__<name>.sql`, as Confluent's tool wants them.
const FILES: [(&str, &str); 2] = [
    ("V000001__customers.sql", include_str!("../../../../ksql/migrations/V000001__customers.sql")),
    ("V000002__dead_letters.sql", include_str!("../../../../ksql/migrations/V000002__dead_letters.sql")),
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    pub version: u32,
    /// As the state names it: with spaces.
    pub name: String,
    /// MD5 of the file, in hex: that of Confluent's tool.
    pub checksum: String,
    pub statements: Vec<Statement>,
}

impl Migration {
    fn of(file: &str, text: &str) -> anyhow::Result<Migration> {
        let parts = || {
            let (version, name) = file.strip_prefix('V')?.strip_suffix(".sql")?.split_once("__")?;
            Some((version.parse().ok()?, name.replace('_', " ")))
        };
        let (version, name) = parts().with_context(|| format!("{file}: no name of a migration"))?;
        let checksum = Md5::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Migration { version, name, checksum, statements: statements(text).with_context(|| file.to_owned())? })
    }

    /// For people.
    pub fn title(&self) -> String {
        format!("V{:06} {}", self.version, self.name)
    }

    /// The topics that it asks for, with the partitions that they must have, if it says so.
    pub fn topics(&self) -> impl Iterator<Item = (&str, Option<i32>)> {
        self.statements.iter().filter_map(|statement| {
            let Statement::Run(text) = statement else { return None };
            let (topic, rest) = text.strip_prefix("ASSERT TOPIC '")?.split_once('\'')?;
            let partitions = rest.split_once("PARTITIONS = ").and_then(|(_, count)| {
                let end = count.find(|c: char| !c.is_ascii_digit()).unwrap_or(count.len());
                count[..end].parse().ok()
            });
            Some((topic, partitions))
        })
    }
}

/// In their order.
pub fn migrations() -> anyhow::Result<Vec<Migration>> {
    FILES.iter().map(|(file, text)| Migration::of(file, text)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_binary_has_every_file_of_the_folder_in_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ksql/migrations");
        let mut there: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        assert_eq!(there, FILES.map(|(file, _)| file.to_owned()));
        let migrations = migrations().unwrap();
        assert_eq!(migrations.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(migrations[1].title(), "V000002 dead letters");
    }

    #[test]
    fn the_checksum_is_that_of_the_file() {
        // What `md5sum` says of it.
        let migration = Migration::of("V000007__a_b.sql", "SET 'a' = 'b';\n").unwrap();
        assert_eq!((migration.version, migration.name.as_str()), (7, "a b"));
        assert_eq!(migration.checksum, "8b08ad5178331306fc54c12fcdc7f82a");
    }

    #[test]
    fn the_topics_that_it_needs_are_known_before_it_runs() {
        let migrations = migrations().unwrap();
        let of = |n: usize| migrations[n].topics().collect::<Vec<_>>();
        assert!(of(0).contains(&("customers.unified", Some(4))) && of(0).len() == 6);
        assert!(of(1).contains(&("requests.stripe.dlq", None)) && of(1).len() == 8);
    }
}
