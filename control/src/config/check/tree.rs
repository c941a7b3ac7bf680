//! The neighbors of a session's trees, and what they are sent.

use dataplane::{NodeConfig, SessionConfig};
use overlay::Mode;

use super::check_unique;
use super::network::unknown;
use crate::config::findings::{Fault, Findings};
use crate::config::quantity::print_packet_rate;

/// A session's children are a bitmap of 64 bits in the worker.
const DOWNSTREAM_MAX: usize = 64;

/// Checks the neighbors above and below, of both trees.
pub(super) fn check_trees(
    path: &str,
    node: &NodeConfig,
    session: &SessionConfig,
    findings: &mut Findings,
) {
    let first = [
        ("upstream", &session.upstream),
        ("downstream", &session.downstream),
    ];
    let second = [
        ("second_upstream", &session.second_upstream),
        ("second_downstream", &session.second_downstream),
    ];
    check_tree(path, node, ("tree", first), findings);
    check_tree(path, node, ("second tree", second), findings);
    check_children(path, session, findings);
    check_second_tree(path, session, findings);
}

/// One tree: neighbors that exist, each once.
fn check_tree(
    path: &str,
    node: &NodeConfig,
    (tree, keys): (&str, [(&str, &Vec<String>); 2]),
    findings: &mut Findings,
) {
    let named = |(key, names): (&str, &Vec<String>)| -> Vec<(String, String)> {
        let names = names.iter().enumerate();
        names
            .map(|(i, name)| (format!("{path}.{key}[{i}]"), name.clone()))
            .collect()
    };
    let both: Vec<_> = keys.into_iter().flat_map(named).collect();
    for (at, name) in &both {
        let known = node.neighbors.iter().map(|neighbor| neighbor.name.as_str());
        if !known.clone().any(|known| known == name) {
            unknown("neighbor", name, known, at, findings);
        }
    }
    check_unique(both.into_iter(), findings, |name| {
        format!("neighbor `{name}` is in this session's {tree} twice")
    });
}

fn check_children(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let second = session.second_downstream.iter();
    let more = second.filter(|name| !session.downstream.contains(name));
    let children = session.downstream.len() + more.count();
    if children > DOWNSTREAM_MAX {
        let message = format!(
            "{children} downstream neighbors are too many: {DOWNSTREAM_MAX} at most for one session on one node"
        );
        let at = format!("{path}.downstream");
        findings.error(
            &[(&at, "")],
            Fault::new(message).hint("put a transit node between"),
        );
    }
}

/// What is above and below in the second tree fits the node's place.
fn check_second_tree(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let at = |key: &str| format!("{path}.{key}");
    let name = &session.name;
    let (above, below) = (&session.second_upstream, &session.second_downstream);
    let (at_above, at_below) = (at("second_upstream"), at("second_downstream"));
    match (session.upstream.is_empty(), above.first()) {
        (true, Some(_)) => {
            let message = format!("session `{name}` has no upstream, but a second one");
            let hint = "an ingress sends both trees: give it `second_downstream` alone";
            findings.error(
                &[(&at_above, ""), (&at("upstream"), "")],
                Fault::new(message).hint(hint),
            );
        }
        (false, None) if !below.is_empty() => {
            let message =
                format!("session `{name}` passes on a second tree that comes from nowhere");
            let hint = "add `second_upstream`, or leave `second_downstream` out";
            findings.error(
                &[(&at_below, ""), (&at_above, "")],
                Fault::new(message).hint(hint),
            );
        }
        (false, Some(parent))
            if session.upstream.first() == Some(parent) && !session.clients.is_empty() =>
        {
            let message = format!("both trees of session `{name}` come from `{parent}`");
            let hint = "one loss on that link is a loss on both; take the second from elsewhere";
            findings.warning(
                &[(&at_above, ""), (&at("upstream"), "")],
                Fault::new(message).hint(hint),
            );
        }
        _ => {}
    }
}

/// Checks that copies fit into the repair rates that are written. Those that are not are sized to it.
pub(super) fn check_copies(node: &NodeConfig, findings: &mut Findings) {
    for (i, neighbor) in node.neighbors.iter().enumerate() {
        let copied = node.sessions.iter().enumerate().filter(|(_, session)| {
            let mut below = session.downstream.iter().chain(&session.second_downstream);
            session.mode != Mode::Pull && below.any(|name| *name == neighbor.name)
        });
        let copied: Vec<_> = copied.collect();
        let sum: u64 = copied
            .iter()
            .map(|(_, at)| u64::from(at.max_rate_pps))
            .sum();
        let Some((first, _)) = copied.first() else {
            continue;
        };
        if u64::from(neighbor.repair_rate_pps) < sum {
            let message = format!(
                "neighbor `{}` may have {} repairs, but the copies of its sessions need {}",
                neighbor.name,
                print_packet_rate(neighbor.repair_rate_pps.into()),
                print_packet_rate(sum)
            );
            let hint = format!(
                "write at least \"{}\", or leave repair_rate out: it is then sized from the sessions",
                print_packet_rate(2 * sum)
            );
            let at_rate = format!("neighbor[{i}].repair_rate");
            let at_session = format!("session[{first}].overlay");
            findings.error(
                &[(&at_rate, ""), (&at_session, "copies")],
                Fault::new(message).hint(hint),
            );
        }
    }
}
