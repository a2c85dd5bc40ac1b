//! `sandbox stripe`: the stand-in for Stripe as a program.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use sandbox::{Options, Rule, Sandbox, Target};
use std::{io::IsTerminal, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};
use tracing_subscriber::EnvFilter;

/// Stand-ins for vendors, on this machine, for people without an account and for tests.
#[derive(Parser)]
#[command(name = "sandbox", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    vendor: Vendor,
}

#[derive(Subcommand)]
enum Vendor {
    /// A stand-in for Stripe: its API under /v1, a page to edit customers at /, controls under /_sandbox/.
    Stripe(Box<Stripe>),
}

// Lines of at most 90 characters: a terminal that wraps them would break what is copied.
const EXAMPLES: &str = "\
Examples:
  sandbox stripe
  sandbox stripe --state stripe.jsonl --webhook-secret whsec_sandbox \\
    --webhook-url http://127.0.0.1:8000/api/v1/myproduct/stripewebhook/

  curl http://127.0.0.1:12111/v1/customers -u sk_test_sandbox: -d name=Ann

Misbehaviour (GET shows the rules in force, DELETE ends them):
  curl http://127.0.0.1:12111/_sandbox/faults -H 'content-type: application/json' \\
    -d '{\"fault\": \"status_before\", \"status\": 429, \"next\": 3}'
  curl http://127.0.0.1:12111/_sandbox/faults -H 'content-type: application/json' \\
    -d '{\"seed\": 7, \"rules\": [
          {\"fault\": \"reset_after\", \"on\": \"writes\", \"probability\": 0.1},
          {\"fault\": \"webhook_double\", \"probability\": 0.2}]}'
  faults  status_before and status_after (status), reset_before, reset_after,
          slow_before and slow_after (ms), webhook_drop, webhook_double,
          webhook_delay and webhook_reorder (ms)
  on      any, create, retrieve, update, delete, list, events, writes

Every customer, each change and who made it:
  curl http://127.0.0.1:12111/_sandbox/history
A clock that is a minute and a half slow:
  curl http://127.0.0.1:12111/_sandbox/settings -H 'content-type: application/json' \\
    -d '{\"skew_ms\": -90000}'";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
struct Stripe {
    /// Address to listen on: this machine only
    #[arg(long, default_value = "127.0.0.1:12111", env = "SANDBOX_STRIPE_LISTEN")]
    listen: SocketAddr,
    /// Listen on other addresses, too: in a container, whose port is published on 127.0.0.1
    #[arg(long)]
    in_container: bool,
    /// The API key that is taken; sk_live_… makes it a live account
    #[arg(long, default_value = "sk_test_sandbox", env = "SANDBOX_STRIPE_KEY", hide_env_values = true)]
    key: String,
    /// Where webhooks go: this machine only
    #[arg(long, env = "SANDBOX_STRIPE_WEBHOOK_URL")]
    webhook_url: Option<String>,
    /// What signs them
    #[arg(long, default_value = "whsec_sandbox", env = "SANDBOX_STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: String,
    /// File that keeps the account over restarts
    #[arg(long)]
    state: Option<PathBuf>,
    /// API calls per second, 0 for any number; by default Stripe's: 25 for a test key, 100 for a live one
    #[arg(long)]
    rate_limit: Option<u32>,
    /// Refuse the Events API, as for a restricted key
    #[arg(long)]
    no_events_api: bool,
    /// How far its clock is from this machine's, in milliseconds
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    clock_skew_ms: i64,
    /// Misbehaviour from the start: rules in JSON
    #[arg(long)]
    faults: Option<String>,
    /// Seed of the chance in faults
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Stripe {
    fn options(&self) -> Options {
        let test = ["sk_test_", "rk_test_"].iter().any(|prefix| self.key.starts_with(prefix));
        let rate = self.rate_limit.unwrap_or(if test { 25 } else { 100 });
        Options {
            listen: self.listen,
            in_container: self.in_container,
            key: self.key.clone(),
            webhook: self.webhook_url.as_ref().map(|url| Target::new(url, &self.webhook_secret)),
            state: self.state.clone(),
            rate_limit: (rate > 0).then_some(rate),
            events_api: !self.no_events_api,
            seed: self.seed,
            clock_skew_ms: self.clock_skew_ms,
            webhook_retry: Duration::from_millis(500),
            webhook_retry_most: Duration::from_secs(10),
            ..Options::default()
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    let Vendor::Stripe(stripe) = Cli::parse().vendor;
    match run(&stripe).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(stripe: &Stripe) -> anyhow::Result<()> {
    let rules: Vec<Rule> = match &stripe.faults {
        Some(text) => serde_json::from_str(text).context("--faults is not a JSON array of rules")?,
        None => Vec::new(),
    };
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let sandbox = Sandbox::start(stripe.options()).await?;
    sandbox.faults(rules, stripe.seed);
    // The one line of data: where it is, for scripts that asked for port 0.
    println!("{}", sandbox.base());
    tracing::info!(address = sandbox.base(), "The stand-in for Stripe is up.");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    sandbox.shutdown().await;
    tracing::info!("The stand-in for Stripe has ended.");
    Ok(())
}
