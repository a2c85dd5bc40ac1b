//! `concord schemas`: Avro schemas before and after they are in a registry.
//!
//! - [`args`]: the command line; [`place`]: where schemas are (files, a folder of releases, a git revision, a registry); [`registry`]: its REST API
//! - [`lint`]: is it a good schema; [`fields`], [`diff`]: what changed; [`check`]: may it change so; [`evolve`]: is what was written still read
//! - [`publish`]: registering, listing, getting, levels; [`elsewhere`]: what another registry would say to it

mod args;
mod check;
mod diff;
mod elsewhere;
mod evolve;
mod fields;
mod lint;
mod place;
mod publish;
mod registry;

pub use args::SchemasCommand;
pub use elsewhere::{Found, plan};

use crate::{
    config::{Config, Env, Need, Overrides},
    exit::Exit,
    shape, stdout,
};
use anyhow::Context;
use place::Entry;
use schemas::Registry;
use serde_json::Value as Json;
use topology::customers;

/// Whether all is well. What could not even be judged is exit code 2.
pub async fn run(command: SchemasCommand, overrides: &Overrides, env: &Env) -> anyhow::Result<bool> {
    let done = match command {
        SchemasCommand::Lint(args) => lint::run(&args),
        SchemasCommand::Check(args) => check::run(args, overrides, env).await,
        SchemasCommand::Diff(args) => diff::run(args, env).await,
        SchemasCommand::EvolveTest(args) => evolve::run(args, overrides, env).await,
        SchemasCommand::Register(args) => publish::register(args, overrides, env).await,
        SchemasCommand::List(args) => publish::list(args, env).await,
        SchemasCommand::Get(args) => publish::get(args, env).await,
        SchemasCommand::Config(args) => publish::config(args, env).await,
    };
    done.map_err(Exit::unusable)
}

/// The schemas that this build writes with, by subject, for the systems that are configured.
fn built_in(overrides: &Overrides, env: &Env) -> anyhow::Result<Vec<Entry>> {
    let config = Config::load(overrides, env, Need::Shape)?;
    let registry = Registry::new();
    customers::build(&shape::customers_config(&config), &registry)?;
    let entry = |subject: String| {
        let (_, schema) = registry.latest(&subject)?;
        Some(Entry::new(subject, "this build", schema))
    };
    Ok(registry.subjects().into_iter().filter_map(entry).collect())
}

/// The schemas of the given files and folders; without any those of this build.
fn present(paths: &[std::path::PathBuf], overrides: &Overrides, env: &Env) -> anyhow::Result<Vec<Entry>> {
    if paths.is_empty() {
        return built_in(overrides, env);
    }
    let mut entries = Vec::new();
    for path in paths {
        entries.extend(place::files(path).with_context(|| format!("{}", path.display()))?);
    }
    anyhow::ensure!(!entries.is_empty(), "no .avsc file is there");
    Ok(entries)
}

fn print(as_json: bool, json: impl FnOnce() -> Json, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    if as_json { stdout::print(format_args!("{:#}\n", json())) } else { stdout::print(text()) }
}
