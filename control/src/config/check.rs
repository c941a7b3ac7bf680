//! What a node's values have to hold together, over and above each being legal by itself.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use dataplane::NodeConfig;

use super::findings::{Fault, Findings};
use super::quantity::print_duration;

mod address;
mod memory;
mod network;
mod session;
#[cfg(test)]
mod tests;
mod tree;

pub(super) use network::hardware;

/// Checks a whole node.
pub(super) fn check(node: &NodeConfig, findings: &mut Findings) {
    check_node(node, findings);
    network::check_ports(node, findings);
    network::check_neighbors(node, findings);
    session::check_sessions(node, findings);
    tree::check_copies(node, findings);
    memory::check_pool(node, findings);
}

fn check_node(node: &NodeConfig, findings: &mut Findings) {
    check_workers(node, findings);
    if node.tree_port == node.overlay_port {
        let fault = Fault::new("the tree and the overlay can't share a UDP port");
        let places = [
            ("node.overlay_port", "the overlay"),
            ("node.tree_port", "the tree"),
        ];
        findings.error(&places, fault);
    }
    // A minute: beyond it a dead neighbor outlasts every retention.
    let detect = node.hello_interval * u32::from(node.detect_mult);
    if detect > Duration::from_secs(60) {
        let message = format!(
            "a dead neighbor would be noticed after {} (hello times detect_mult)",
            print_duration(detect)
        );
        findings.error(
            &[("node.detect_mult", ""), ("node.hello", "")],
            Fault::new(message).hint("keep the product within 60s"),
        );
    }
    if node.detect_mult == 1 {
        let fault = Fault::new("with detect_mult 1 a single lost hello takes a neighbor down");
        findings.warning(&[("node.detect_mult", "")], fault.hint("3 is usual"));
    }
    if node.max_sessions < node.sessions.len() {
        let message = format!(
            "max_sessions is {}, but there are {} sessions",
            node.max_sessions,
            node.sessions.len()
        );
        findings.error(&[("node.max_sessions", "")], Fault::new(message));
    }
}

/// One CPU for each worker, or none at all, and sessions on workers that there are.
fn check_workers(node: &NodeConfig, findings: &mut Findings) {
    let (workers, cpus) = (node.workers, node.cpus.len());
    if cpus > 0 && cpus != workers {
        let message = format!("workers = {workers}, and a CPU for {cpus} of them");
        let fault = Fault::new(message).hint("`cpus` names one CPU for each worker");
        let places = [("node.cpus", ""), ("node.cpu", ""), ("node.workers", "")];
        findings.error(&places, fault);
    }
    for (i, session) in node.sessions.iter().enumerate() {
        if let Some(worker) = session.worker.filter(|&worker| worker >= workers) {
            let message = format!("there is no worker {worker}");
            let fault = Fault::new(message).hint(format!("workers = {workers}, counted from 0"));
            findings.error(&[(&format!("session[{i}].worker"), "")], fault);
        }
    }
}

/// Reports every value that has been there before; each comes with the path where it stands.
fn check_unique<T: Hash + Eq>(
    items: impl Iterator<Item = (String, T)>,
    findings: &mut Findings,
    message: impl Fn(&T) -> String,
) {
    let mut seen: HashMap<T, String> = HashMap::new();
    for (path, value) in items {
        match seen.get(&value) {
            Some(first) => {
                let fault = Fault::new(message(&value));
                findings.error(&[(&path, "again"), (first, "first here")], fault);
            }
            None if findings.is_broken(&path) => {}
            None => {
                seen.insert(value, path);
            }
        }
    }
}
