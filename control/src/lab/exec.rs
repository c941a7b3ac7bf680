//! Entering the namespaces of a lab.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};
use serde::Deserialize;

/// How to enter the namespace of a router or host.
#[derive(Debug, Deserialize)]
pub(super) struct Space {
    /// The lab's process.
    pub pid: i32,
    /// Its thread in the namespace.
    pub tid: i32,
    /// The node's API socket, at a router.
    pub api: Option<String>,
}

/// Takes an ordinary user into a user namespace in which it is root, and may make network namespaces. Root stays where
/// it is. The process must have a single thread.
pub(super) fn become_lab_root() -> Result<(), String> {
    if geteuid().is_root() {
        return Ok(());
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| {
        format!(
            "make a user namespace: {error}; this system forbids them to ordinary users \
             (see sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, \
             kernel.apparmor_restrict_unprivileged_userns), so run the lab as root"
        )
    })?;
    let maps = [
        ("setgroups", "deny".to_string()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ];
    for (file, text) in maps {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error| format!("write /proc/self/{file}: {error}"))?;
    }
    Ok(())
}

/// Becomes `command` in a lab's namespace; returns only when that fails. The process must have a single thread.
#[must_use]
pub(super) fn exec(space: &Space, command: &[String]) -> String {
    if let Err(error) = enter(space) {
        return format!("enter the lab's namespaces: {error}");
    }
    let Some((program, args)) = command.split_first() else {
        return "there is no command to run".to_string();
    };
    let mut command = Command::new(program);
    command.args(args);
    if let Some(api) = &space.api {
        command.env("TREECAST_API", api);
    }
    format!("run {program}: {}", command.exec())
}

fn enter(space: &Space) -> io::Result<()> {
    let thread = format!("/proc/{}/task/{}/ns", space.pid, space.tid);
    // Entering the user namespace that one is in already is an error.
    if fs::read_link(format!("{thread}/user"))? != fs::read_link("/proc/self/ns/user")? {
        setns(
            File::open(format!("{thread}/user"))?,
            CloneFlags::CLONE_NEWUSER,
        )?;
    }
    setns(
        File::open(format!("{thread}/net"))?,
        CloneFlags::CLONE_NEWNET,
    )?;
    Ok(())
}
