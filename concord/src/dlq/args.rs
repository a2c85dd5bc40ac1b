//! The command line of `concord dlq`.

use super::{letter::Place, wanted::Wanted};
use crate::{cli::Server, moment::Since};
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum DlqCommand {
    /// List dead letters that are not dealt with, by topic, partition and offset; never what is in them
    #[command(
        after_help = "Examples:\n  concord dlq list\n  concord dlq list --topic customers.crm --since 2h\n  concord dlq list --error CONCORD-T004 --limit 500 --json\n  concord dlq list --all\n\nThe key is shown but for customers.identify.dlq, where it is an e-mail address."
    )]
    List {
        #[command(flatten)]
        filter: Filter,
        /// How many at the most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// The page after this one: the id of its last dead letter
        #[arg(long, value_name = "ID")]
        after: Option<Place>,
        /// Those that were retried or discarded, too
        #[arg(long)]
        all: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one whole: error, where it was, headers, key and value. That is customers' data
    #[command(
        after_help = "Examples:\n  concord dlq show customers.crm.dlq/0/17\n  concord dlq show customers.crm.dlq/0/17 --json\n\nThe value is decoded where its schema is known, shown as text where it is text, else in hex."
    )]
    Show {
        /// As `concord dlq list` shows it
        id: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Publish the records to where they failed once more, as they were, and mark them as dealt with; never one of them twice
    #[command(
        after_help = "Examples:\n  concord dlq retry customers.crm.dlq/0/17 customers.crm.dlq/1/4\n  concord dlq retry --all --topic customers.crm --error CONCORD-T004 --dry-run\n  concord dlq retry --all\n\nFor when the cause is gone. A record that fails again is a new dead letter. It goes to the end of its topic: where something newer was\nseen since, it changes nothing. Exit code 1 if one could not be retried."
    )]
    Retry {
        #[command(flatten)]
        which: Which,
    },
    /// Mark dead letters as dealt with, without publishing them; they stay in `concord dlq list --all` until they expire
    #[command(
        after_help = "Examples:\n  concord dlq discard customers.crm.dlq/0/17 --reason \"a test of theirs\"\n  concord dlq discard --all --topic customers.crm --since 1d --reason \"published again in full\"\n\nExit code 1 if one could not be discarded."
    )]
    Discard {
        #[command(flatten)]
        which: Which,
        /// Why; kept with it (no customers' data, please)
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// What is meant.
#[derive(Debug, Args, Clone)]
pub struct Filter {
    /// Only of this topic: the one where it failed, or its .dlq
    #[arg(long)]
    pub topic: Option<String>,
    /// Only records of the last while (90s, 15m, 2h, 7d) or since a time (2026-01-02T03:04:05Z)
    #[arg(long, value_name = "WHEN", value_parser = Since::parse)]
    pub since: Option<Since>,
    /// Only with this in the error's class or message, in any case
    #[arg(long, value_name = "TEXT")]
    pub error: Option<String>,
}

impl Filter {
    pub fn wanted(self, now: i64) -> Wanted {
        let Filter { topic, since, error } = self;
        Wanted { topic, since: since.map(|since| since.before(now)), error, ..Wanted::default() }
    }
}

/// Which dead letters to deal with.
#[derive(Debug, Args)]
pub struct Which {
    /// Their ids, as `concord dlq list` shows them
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with_all = ["all", "topic", "since", "error"])]
    pub ids: Vec<Place>,
    /// All that are not dealt with and that the filters leave
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: Filter,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub server: Server,
}
