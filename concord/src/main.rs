//! `concord`: one binary that runs everything, and the commands that people use with it.
//!
//! - [`cli`]: the command line; [`config`]: flags over environment over file
//! - [`run`]: what `concord run` starts, watches and stops; [`http`]: what it serves
//! - [`registry`]: the schema registry over HTTP
//! - [`topics`], [`publish`], [`consume`]: records as JSON; [`commands`], [`client`], [`show`]: questions to a running process
//! - [`deploy`]: what must be there before it runs; [`reset`]: a log that begins anew
//! - [`schemas`]: Avro schemas, and what may become of them
//! - [`stdout`]: where data goes; [`exit`]: how a command ends
//! - [`lag`]: how far consumer groups are behind; [`dlq`]: what could not be processed
//! - [`reader`]: the log beside its processes; [`target`]: the running process or its log; [`moment`]: times as people type them

mod allocator;
mod cli;
mod client;
mod commands;
mod config;
mod consume;
mod deploy;
mod dlq;
mod exit;
mod http;
mod lag;
mod moment;
mod publish;
mod reader;
mod registry;
mod reset;
mod run;
mod schemas;
mod shape;
mod show;
mod stdout;
mod target;
mod topics;
mod topology_command;
mod validate;

use clap::Parser;
use cli::{Cli, Command, CustomersCommand};
use client::Client;
use config::Env;
use std::{io::IsTerminal, process::ExitCode};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    allocator::give_back_soon();
    let cli = Cli::parse();
    // Text for people, JSON for everything else; always on stderr, since stdout is for data.
    let env = Env::of_process();
    // A wrong CONCORD_LOG is a mistake in the configuration: whoever reads that tells of it.
    let filter = env.log_filter().ok().flatten().unwrap_or_else(|| EnvFilter::new("info,sqlx=warn,hyper=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.with_target(false).init()
    } else {
        logs.json().init()
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was there already");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(command(cli, env));
    // A blocking read of standard input may never end.
    runtime.shutdown_background();
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // What a shell says of a command that SIGPIPE ended.
        Err(error) if error.is::<stdout::NobodyReads>() => ExitCode::from(141),
        Err(error) => {
            let exit = error.downcast_ref::<exit::Exit>();
            if exit.is_none_or(|exit| !exit.says.is_empty()) {
                eprintln!("error: {error:#}");
            }
            exit.map_or(ExitCode::FAILURE, |exit| ExitCode::from(exit.code))
        }
    }
}

/// Whether all went well.
async fn command(cli: Cli, env: Env) -> anyhow::Result<bool> {
    let overrides = cli.settings.overrides();
    let client = |server: &cli::Server| Client::new(server, &overrides, &env);
    match cli.command {
        Command::Run { roles } => run::run(&roles, &overrides, &env).await?,
        Command::Registry => registry::command(&overrides, &env).await?,
        Command::Validate { offline, json } => return validate::run(&overrides, &env, offline, json).await,
        Command::Topology(which) => topology_command::run(&which, &overrides, &env)?,
        Command::Deploy(args) => return deploy::run(args, &overrides, &env).await,
        Command::Reset(args) => return reset::run(args, &overrides, &env).await,
        Command::Schemas(which) => return schemas::run(which, &overrides, &env).await,
        Command::Publish(args) => return publish::run(args, &overrides, &env).await,
        Command::Consume(args) => consume::run(args, &overrides, &env).await?,
        Command::Customers(CustomersCommand::List { server, email, system, external_id, limit, after, json }) => {
            let asked = commands::ListCustomers { email, system, external_id, limit, after };
            commands::list_customers(&client(&server)?, asked, json).await?;
        }
        Command::Customers(CustomersCommand::Show { server, id, external_id, json }) => {
            commands::show_customer(&client(&server)?, id, external_id, json).await?;
        }
        Command::Conflicts { server, customer_id, kind, limit, after, json } => {
            let asked = commands::ListConflicts { customer_id, kind, limit, after };
            commands::conflicts(&client(&server)?, asked, json).await?;
        }
        Command::Dlq(which) => return dlq::run(which, &overrides, &env).await,
        Command::Lag(args) => lag::run(args, &overrides, &env).await?,
        Command::Status { server, json } => return commands::status(&client(&server)?, json).await,
        Command::Healthcheck { server } => return Ok(commands::healthcheck(&server, &overrides, &env).await),
    }
    Ok(true)
}
