//! The folders of running labs.
//!
//! Each lab has a folder with its nodes' files, sockets and logs, and holds a lock on a file in it. The kernel drops the
//! lock when the lab's process ends, however it ends: a folder whose lock is free is what a dead lab left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::geteuid;
use thiserror::Error;

const LOCK: &str = "lock";
const PID: &str = "pid";

/// Why there is no folder for a lab.
#[derive(Debug, Error)]
#[error("make the lab's folder {}: {source}", .path.display())]
pub(super) struct StateError {
    path: PathBuf,
    source: io::Error,
}

/// The folder of this process' lab; removed when dropped.
#[derive(Debug)]
pub(super) struct StateDir {
    name: String,
    path: PathBuf,
    _lock: Flock<File>,
}

/// Where the labs of this user are. To be asked before the process enters a user namespace, where everybody is root.
#[must_use]
pub(super) fn root() -> PathBuf {
    let uid = geteuid();
    if uid.is_root() {
        return PathBuf::from("/run/treecast/lab");
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) => Path::new(&dir).join("treecast/lab"),
        None => PathBuf::from(format!("/tmp/treecast-{uid}/lab")),
    }
}

impl StateDir {
    /// Takes a folder for a lab called `name`, or `name-2` and so on when that one runs.
    pub(super) fn claim(root: &Path, name: &str) -> Result<StateDir, StateError> {
        let mut number = 1;
        loop {
            let name = match number {
                1 => name.to_string(),
                _ => format!("{name}-{number}"),
            };
            let path = root.join(&name);
            let lock = take(&path).map_err(|source| StateError {
                path: path.clone(),
                source,
            })?;
            if let Some(_lock) = lock {
                return Ok(StateDir { name, path, _lock });
            }
            number += 1;
        }
    }

    /// The lab's name.
    #[must_use]
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // What can't be removed now is removed by the next lab or `lab down`.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The names of the labs that run.
#[must_use]
pub(super) fn running(root: &Path) -> Vec<String> {
    let mut names: Vec<String> = folders(root)
        .filter(|path| matches!(lock(path), Ok(None)))
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_string()))
        .collect();
    names.sort();
    names
}

/// Whether the lab called `name` runs.
#[must_use]
pub(super) fn is_running(root: &Path, name: &str) -> bool {
    matches!(lock(&root.join(name)), Ok(None))
}

/// The process of the lab called `name`.
#[must_use]
pub(super) fn pid(root: &Path, name: &str) -> Option<i32> {
    let text = fs::read_to_string(root.join(name).join(PID)).ok()?;
    text.trim().parse().ok()
}

/// Removes what dead labs left, and says whose it was.
pub(super) fn sweep(root: &Path) -> Vec<String> {
    let mut swept = Vec::new();
    for path in folders(root) {
        if let Ok(Some(_lock)) = lock(&path)
            && fs::remove_dir_all(&path).is_ok()
        {
            swept.extend(path.file_name().map(|name| name.display().to_string()));
        }
    }
    swept
}

fn folders(root: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.join(LOCK).exists())
}

/// Makes the folder empty and locked; `None` when a lab that runs has it.
fn take(path: &Path) -> io::Result<Option<Flock<File>>> {
    fs::create_dir_all(path)?;
    File::options()
        .create(true)
        .append(true)
        .open(path.join(LOCK))?;
    let Some(lock) = lock(path)? else {
        return Ok(None);
    };
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != LOCK {
            fs::remove_file(entry.path())?;
        }
    }
    fs::write(path.join(PID), std::process::id().to_string())?;
    Ok(Some(lock))
}

/// Locks a folder; `None` when it is locked.
fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = File::open(path.join(LOCK))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}
