//! C programs of ours, compiled when a row needs them: what they use has no Rust interface, and no product needs it.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// A compiled program, which goes with this value.
pub(super) struct Program {
    dir: TempDir,
}

impl Program {
    /// Compiles `source` with the flags of a pkg-config package, if it needs one.
    pub(super) fn compile(source: &str, package: Option<&str>) -> Result<Program, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = dir.path().join("program.c");
        std::fs::write(&file, source).map_err(|error| error.to_string())?;
        let program = Program { dir };
        let flags = package.map_or(Ok(Vec::new()), flags)?;
        let mut compiler = Command::new("cc");
        compiler.arg("-O3").arg("-o").arg(program.path()).arg(&file);
        let compiled = compiler
            .args(flags)
            .output()
            .map_err(|error| format!("cc: {error} (`make bench` installs it)"))?;
        if !compiled.status.success() {
            let said = String::from_utf8_lossy(&compiled.stderr);
            return Err(format!("it does not compile: {}", said.trim_end()));
        }
        Ok(program)
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("program")
    }
}

fn flags(package: &str) -> Result<Vec<String>, String> {
    let asked = Command::new("pkg-config")
        .args(["--cflags", "--libs", package])
        .output()
        .map_err(|error| format!("pkg-config: {error} (`make bench` installs it)"))?;
    if !asked.status.success() {
        return Err(format!(
            "pkg-config knows no {package} (`make bench` installs it)"
        ));
    }
    let flags = String::from_utf8_lossy(&asked.stdout);
    Ok(flags.split_whitespace().map(String::from).collect())
}
