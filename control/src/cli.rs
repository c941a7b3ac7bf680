//! The command line: one subcommand a module, errors on stderr, documented exit codes.

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use nix::sys::signal::Signal;

use crate::{bench, config, lab, node, probe, show, sim};

/// Reliable multicast over a redundant unicast overlay, on DPDK.
///
/// Exit status: 0 done; 1 it ran and failed, or a verdict is not clean; 2 wrong usage or configuration; 3 the node or
/// lab does not answer.
#[derive(Debug, Parser)]
#[command(name = "treecast", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Node(node::Args),
    Config(config::Args),
    Lab(lab::Args),
    Sim(sim::Args),
    Show(show::Args),
    Send(probe::SendArgs),
    Recv(probe::RecvArgs),
    Bench(bench::Args),
    /// Print a shell's completion script.
    Completions {
        /// The shell to print it for.
        shell: Shell,
    },
}

/// A command's failure: what goes to stderr, and the exit status.
#[derive(Debug)]
pub struct Failure {
    /// Exit status: 1, 2 or 3, as documented at [`Cli`].
    pub status: u8,
    /// What is said on stderr.
    pub message: String,
    /// Say it as `{"error": "…"}`.
    pub json: bool,
}

/// Has the kernel kill this process when the thread that started it ends.
pub(crate) fn die_with_parent() -> Result<(), Failure> {
    let failure = |message| Failure {
        status: 1,
        message,
        json: false,
    };
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| failure(format!("cannot ask to die with the parent: {error}")))?;
    // A parent that ended before the line above sends nothing any more; its orphans belong to process 1.
    if nix::unistd::getppid().as_raw() == 1 {
        return Err(failure("the process that started this one is gone".into()));
    }
    Ok(())
}

/// Runs the command line and returns the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Node(args) => node::run(args),
        Command::Config(args) => config::run(args),
        Command::Lab(args) => lab::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Show(args) => show::run(args),
        Command::Send(args) => probe::send(args),
        Command::Recv(args) => probe::recv(args),
        Command::Bench(args) => bench::run(args),
        Command::Completions { shell } => {
            print_completions(shell);
            Ok(())
        }
    }
}

/// Says what is wrong with the command line, or the help that was asked for.
fn explain(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args().any(|arg| arg == "--json") {
        return fail(&Failure {
            status: 2,
            message: error.to_string().trim_end().to_owned(),
            json: true,
        });
    }
    // A reader that has gone away wants no more of it.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { 2 } else { 0 })
}

fn fail(failure: &Failure) -> ExitCode {
    if failure.json {
        eprintln!("{}", serde_json::json!({ "error": failure.message }));
    } else {
        eprintln!("treecast: {}", failure.message);
    }
    ExitCode::from(failure.status)
}

fn print_completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "treecast", &mut script);
    // A reader that has gone away wants no more of it.
    let _ = std::io::stdout().write_all(&script);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_does() {
        fn undescribed(command: &clap::Command, path: &str, found: &mut Vec<String>) {
            let path = format!("{path} {}", command.get_name());
            if command.get_about().is_none() {
                found.push(path.clone());
            }
            let arguments = command.get_arguments();
            for argument in arguments.filter(|a| a.get_help().is_none()) {
                found.push(format!("{path}: {}", argument.get_id()));
            }
            for below in command.get_subcommands() {
                undescribed(below, &path, found);
            }
        }
        let mut found = Vec::new();
        undescribed(&Cli::command(), "", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn completions_know_the_subcommands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "treecast", &mut script);
            let script = String::from_utf8(script).unwrap();
            for word in ["node", "sim", "show", "neighbors", "watch"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
