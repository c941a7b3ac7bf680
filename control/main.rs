//! The `treecast` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    control::main()
}
