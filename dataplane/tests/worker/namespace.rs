//! A place for devices of a test's own.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};

/// A network namespace of the test's own; for an ordinary user in a user namespace where he is root. Says whether this
/// is the machine's root.
pub(crate) fn enter_namespace() -> bool {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    if uid.is_root() {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        return true;
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .expect("this test needs root or unprivileged user namespaces");
    std::fs::write("/proc/self/setgroups", "deny").unwrap();
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
    false
}

/// Runs a program that must succeed.
pub(crate) fn run(program: &str, arguments: &str) {
    let status = Command::new(program)
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "{program} {arguments}: {status}");
}
