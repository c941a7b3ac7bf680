//! Configuration files: read, checked and compared, with every error of a file in one run.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dataplane::{ClientConfig, Impairment, NodeConfig, SessionConfig};
use overlay::SessionId;
use toml::de::DeTable;

use crate::cli::Failure;

mod changes;
mod check;
mod device;
mod field;
mod findings;
mod node_file;
mod problem;
pub mod quantity;
mod repair_rate;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod value;

pub use changes::{Changes, NeedsRestart};
pub use problem::{ConfigErrors, Problem};

use findings::Findings;
use source::Source;
use table::{Table, read_table};
use value::{Kind, Value};

/// A node's configuration, read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// What the dataplane is told.
    pub node: NodeConfig,
    /// Where the API listens.
    pub api: ApiConfig,
    /// Neighbors whose repair rate is not written, but sized from the sessions.
    pub sized: Vec<String>,
    /// What looks wrong but may be meant so, one line each.
    pub warnings: Vec<String>,
}

/// Where the API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The TCP address; `None` for none.
    pub listen: Option<SocketAddr>,
}

/// Reads and checks a node's file.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&name, &text),
        Err(error) => Err(ConfigErrors::whole(
            &name,
            format!("can't read {name}: {error}"),
        )),
    }
}

/// Reads and checks the text of a node's file; `name` is what errors call it.
pub fn parse(name: &str, text: &str) -> Result<Config, ConfigErrors> {
    let (document, syntax_errors) = DeTable::parse_recoverable(text);
    let source = Source {
        name: name.to_owned(),
        text: text.to_owned(),
    };
    let mut findings = Findings::default();
    for error in &syntax_errors {
        let span = error.span().unwrap_or(0..0);
        findings.syntax_error(error.message(), span, &source);
    }
    let entries = value::entries(document.get_ref());
    let mut table = Table::root(&entries, &mut findings);
    let (node, api) = node_file::node_file(&mut table);
    table.finish();
    let sized = repair_rate::unset(&node);
    finish(source, findings, node, (api, sized))
}

impl Config {
    /// This configuration with one more session, given as JSON with the keys of a `[[session]]`.
    pub fn with_session(&self, json: &serde_json::Value) -> Result<Config, ConfigErrors> {
        let mut findings = Findings::default();
        let mut node = self.node.clone();
        let path = format!("session[{}]", node.sessions.len());
        let session: SessionConfig = read_json(json, path, &mut findings, node_file::session)?;
        node.sessions.push(session);
        finish(
            Source::without_text(REQUEST),
            findings,
            node,
            (self.api.clone(), self.sized.clone()),
        )
    }

    /// This configuration with one more client of a session, given as JSON with the keys of a `[[session.client]]`.
    pub fn with_client(
        &self,
        session: SessionId,
        json: &serde_json::Value,
    ) -> Result<Config, ConfigErrors> {
        let mut findings = Findings::default();
        let mut node = self.node.clone();
        let index = node.sessions.iter().position(|s| s.id == session);
        let Some(index) = index else {
            let message = format!("there is no session {}", session.0);
            return Err(ConfigErrors::whole(REQUEST, message));
        };
        let clients = &mut node.sessions[index].clients;
        let path = format!("session[{index}].client[{}]", clients.len());
        let client: ClientConfig = read_json(json, path, &mut findings, node_file::client)?;
        clients.push(client);
        let mut config = finish(
            Source::without_text(REQUEST),
            findings,
            node,
            (self.api.clone(), self.sized.clone()),
        )?;
        // No session has changed its rate.
        config.keep_repair_rates(self);
        Ok(config)
    }
}

/// Reads an impairment given as JSON with the keys of `impair`.
pub fn parse_impairment(json: &serde_json::Value) -> Result<Impairment, ConfigErrors> {
    let mut findings = Findings::default();
    let path = "impair".to_owned();
    let impairment = read_json(json, path, &mut findings, node_file::impairment)?;
    if findings.problems.is_empty() {
        Ok(impairment)
    } else {
        Err(ConfigErrors::new(
            Source::without_text(REQUEST),
            findings.problems,
        ))
    }
}

/// What errors call a request to the API.
const REQUEST: &str = "request";

fn read_json<T>(
    json: &serde_json::Value,
    path: String,
    findings: &mut Findings,
    read: impl Fn(&mut Table<'_>) -> T,
) -> Result<T, ConfigErrors> {
    let value = Value::from_json(json);
    match &value.kind {
        Kind::Table(entries) => Ok(read_table(path, entries, findings, read)),
        _ => Err(ConfigErrors::whole(
            REQUEST,
            format!("the body is {}, not a JSON object", value.kind_name()),
        )),
    }
}

/// Checks what was read, and gives it or all that is wrong with it.
fn finish(
    source: Source,
    mut findings: Findings,
    mut node: NodeConfig,
    (api, sized): (ApiConfig, Vec<String>),
) -> Result<Config, ConfigErrors> {
    repair_rate::size(&mut node, &sized);
    check::check(&node, &mut findings);
    let errors = ConfigErrors::new(source, findings.problems);
    if errors.error_count() > 0 {
        return Err(errors);
    }
    Ok(Config {
        node,
        api,
        sized,
        warnings: errors.lines(),
    })
}

/// Work with configuration files.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Check node files: every error with its place, its reason and a hint.
    Check {
        /// The files.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print the verdicts as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs `treecast config`.
pub fn run(args: Args) -> Result<(), Failure> {
    let Command::Check { files, json } = args.command;
    let verdicts: Vec<_> = files.iter().map(|file| (file, load(file))).collect();
    let wrong = verdicts.iter().filter(|(_, read)| read.is_err()).count();
    if json {
        let verdicts = verdicts.iter().map(|(file, read)| verdict_json(file, read));
        say(serde_json::Value::Array(verdicts.collect()));
    } else {
        for (file, read) in &verdicts {
            match read {
                Ok(config) => say(summary(file, config)),
                Err(errors) => eprintln!("{}\n", errors.report()),
            }
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(Failure {
        status: 2,
        message: format!("{wrong} of {} files can't be used", files.len()),
        json,
    })
}

fn say(line: impl std::fmt::Display) {
    // A reader that has gone away wants no more of it.
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn summary(file: &Path, config: &Config) -> String {
    let node = &config.node;
    let ok = format!(
        "{}: ok ({}, {}, {}, {})",
        file.display(),
        count(node.ports.len(), "port"),
        count(node.neighbors.len(), "neighbor"),
        count(node.sessions.len(), "session"),
        count(
            node.sessions.iter().map(|s| s.clients.len()).sum(),
            "client"
        ),
    );
    let warnings = config
        .warnings
        .iter()
        .map(|line| format!("\nwarning: {line}"));
    ok + &warnings.collect::<String>()
}

fn verdict_json(file: &Path, read: &Result<Config, ConfigErrors>) -> serde_json::Value {
    let file = file.display().to_string();
    match read {
        Ok(config) => serde_json::json!({
            "file": file, "ok": true, "warnings": config.warnings, "errors": [],
        }),
        Err(errors) => serde_json::json!({
            "file": file, "ok": false, "warnings": [], "errors": errors.to_json(),
        }),
    }
}

/// `1 port`, `2 ports`.
fn count(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
