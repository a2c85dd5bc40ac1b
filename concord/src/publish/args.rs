//! The command line of `concord publish`.

use crate::{cli::Server, moment::moment, topics::Named};
use anyhow::{Context, bail};
use schemas::SchemaId;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topic of a system of kind topic: customers.<system>
    pub topic: String,
    /// File of JSON lines; - for standard input
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
    /// One key for every record
    #[arg(long, conflicts_with = "key_field")]
    pub key: Option<String>,
    /// The field of each line that is its key (it is taken out of the value)
    #[arg(long, value_name = "NAME")]
    pub key_field: Option<String>,
    /// The field of each line that is its value [default: the whole line]
    #[arg(long, value_name = "NAME")]
    pub value_field: Option<String>,
    /// A header of every record; may be given again
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// The field of each line that has its own headers, an object of texts (it is taken out of the value)
    #[arg(long, value_name = "NAME")]
    pub headers_field: Option<String>,
    /// Every record's timestamp: milliseconds since 1970, or a time (2026-01-02T03:04:05Z) [default: now]
    #[arg(long, value_name = "WHEN", value_parser = timestamp, conflicts_with = "timestamp_field")]
    pub timestamp: Option<i64>,
    /// The field of each line that is its timestamp (it is taken out of the value)
    #[arg(long, value_name = "NAME")]
    pub timestamp_field: Option<String>,
    /// Every record's partition [default: that of its key, where Concord looks for it]
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<i32>,
    /// The schema: a file with its text, which must be registered, or a version of a subject
    #[arg(long, value_name = "FILE|SUBJECT@VERSION", conflicts_with = "schema_id")]
    pub schema: Option<String>,
    /// The schema, by its id
    #[arg(long, value_name = "ID")]
    pub schema_id: Option<SchemaId>,
    /// Check every line, and publish none
    #[arg(long)]
    pub validate_only: bool,
    /// Write refused lines to this file instead of stderr, as JSON lines: line (its number), error, text (the line itself)
    #[arg(long, value_name = "FILE")]
    pub errors: Option<PathBuf>,
    #[command(flatten)]
    pub server: Server,
}

impl Args {
    /// The schema that is named.
    pub fn named(&self) -> anyhow::Result<Option<Named>> {
        let Some(schema) = &self.schema else { return Ok(self.schema_id.map(Named::Id)) };
        // A file may have any name.
        let file = std::fs::read_to_string(schema);
        match (file, schema.rsplit_once('@')) {
            (Ok(text), _) => Ok(Some(Named::Text(text))),
            (Err(_), Some((subject, version))) => {
                let version = match version {
                    "latest" => None,
                    number => match number.parse() {
                        Ok(number) => Some(number),
                        Err(_) => bail!("--schema {schema}: a version is a number, or `latest`"),
                    },
                };
                Ok(Some(Named::Version { subject: subject.to_owned(), version }))
            }
            (Err(error), None) => Err(error).with_context(|| format!("--schema {schema}: no SUBJECT@VERSION, and no file to read")),
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("write NAME=VALUE".into()),
    }
}

/// Milliseconds since the Unix epoch, of the number or of the time.
pub fn timestamp(text: &str) -> Result<i64, String> {
    let time = || moment(text).map_err(|_| format!("{text:?} is no time; write milliseconds since 1970, or 2026-01-02T03:04:05Z"));
    text.parse().or_else(|_| time())
}
