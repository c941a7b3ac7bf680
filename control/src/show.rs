//! `treecast show`: what a node says of itself, as tables or as the API's JSON.

pub(crate) mod format;
pub(crate) mod table;
mod view;

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::api::{Client, ClientError, Endpoint, EndpointError};
use crate::cli::Failure;
use view::View;

/// How often `--watch` shows anew.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Moves a terminal's cursor to the top left and erases the screen.
const CLEAR_SCREEN: &str = "\x1b[H\x1b[2J";

/// Show a running node's state.
///
/// Talks to the only node on this machine unless --api names one. Exit status: 0 shown; 1 the node refused; 2 wrong
/// usage; 3 no node answers.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to show.
    #[command(subcommand)]
    what: View,
    /// Print the API's JSON; with --watch one document a line.
    #[arg(long, global = true)]
    json: bool,
    /// Show anew each second, until interrupted.
    #[arg(long, global = true)]
    watch: bool,
    /// The node to ask: the path of its socket, or http://ADDRESS:PORT.
    #[arg(long, global = true, env = "TREECAST_API", value_name = "ENDPOINT")]
    api: Option<Endpoint>,
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
enum ShowError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

impl ShowError {
    fn status(&self) -> u8 {
        match self {
            ShowError::Endpoint(EndpointError::None(_)) => 3,
            ShowError::Endpoint(_) => 2,
            ShowError::Client(error) if error.is_no_answer() => 3,
            ShowError::Client(_) | ShowError::Write(_) => 1,
        }
    }
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let failure = |status, message| Failure {
        status,
        message,
        json: args.json,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failure(1, format!("cannot start: {error}")))?;
    match runtime.block_on(show(&args)) {
        // Whoever read the output has seen enough.
        Err(ShowError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => shown.map_err(|error| failure(error.status(), error.to_string())),
    }
}

async fn show(args: &Args) -> Result<(), ShowError> {
    let endpoint = match &args.api {
        Some(endpoint) => endpoint.clone(),
        None => Endpoint::discover()?,
    };
    let client = Client::new(endpoint);
    let mut ticks = tokio::time::interval(WATCH_INTERVAL);
    loop {
        ticks.tick().await;
        let answer = client.get(args.what.path()).await?;
        print(args, &answer)?;
        if !args.watch {
            return Ok(());
        }
    }
}

fn print(args: &Args, answer: &Value) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match (args.json, args.watch) {
        (true, true) => writeln!(out, "{answer}")?,
        (true, false) => writeln!(out, "{answer:#}")?,
        (false, watch) => {
            let table = args.what.table(answer, unix_ms());
            match watch {
                true if out.is_terminal() => write!(out, "{CLEAR_SCREEN}{table}")?,
                true => writeln!(out, "{table}")?,
                false => write!(out, "{table}")?,
            }
        }
    }
    out.flush()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
