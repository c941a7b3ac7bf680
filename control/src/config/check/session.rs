//! Sessions: their place in the tree, their flow, their clients.

use dataplane::{ClientConfig, NodeConfig, SessionConfig};

use super::network::{is_edge, is_host_address};
use super::{check_unique, is_on_link, tree};
use crate::config::findings::{Fault, Findings};
use crate::config::quantity::print_duration;

/// Checks the sessions.
pub(super) fn check_sessions(node: &NodeConfig, findings: &mut Findings) {
    let sessions = &node.sessions;
    let ids = indexed(sessions, "id", |session| session.id.0);
    check_unique(ids, findings, |id| format!("two sessions have the id {id}"));
    let names = indexed(sessions, "name", |session| session.name.as_str());
    check_unique(names, findings, |name| {
        format!("two sessions are named `{name}`")
    });
    let channels = indexed(sessions, "group", |session| (session.group, session.source));
    check_unique(channels, findings, |(group, source)| {
        format!("two sessions have the same tree ({source}, {group})")
    });
    for (i, session) in sessions.iter().enumerate() {
        let path = format!("session[{i}]");
        check_channel(&path, node, session, findings);
        check_role(&path, session, findings);
        tree::check_trees(&path, node, session, findings);
        check_flow(&path, session, findings);
        check_flow_is_its_own(i, sessions, findings);
        check_times(&path, session, findings);
        check_clients(&path, node, session, findings);
    }
}

/// The tree's (S,G).
fn check_channel(path: &str, node: &NodeConfig, session: &SessionConfig, findings: &mut Findings) {
    let (group, source) = (session.group, session.source);
    let (at_group, at_source) = (format!("{path}.group"), format!("{path}.source"));
    if !group.is_multicast() {
        let fault = Fault::new(format!("{group} is not a multicast address"));
        findings.error(
            &[(&at_group, "")],
            fault.hint("groups are 224.0.1.0 to 239.255.255.255; 232.0.0.0/8 and 239.0.0.0/8 are yours to use"),
        );
    } else if group.octets()[..3] == [224, 0, 0] {
        let fault = Fault::new(format!(
            "{group} is reserved for the link's own control traffic (224.0.0.0/24)"
        ));
        findings.error(
            &[(&at_group, "")],
            fault.hint("use one of 232.0.0.0/8 or 239.0.0.0/8"),
        );
    }
    if !is_host_address(source) {
        let fault = Fault::new(format!("{source} is not the address of a host"));
        findings.error(
            &[(&at_source, "")],
            fault.hint("`source` is the address of the session's ingress"),
        );
    } else if session.upstream.is_empty()
        && !node.ports.iter().any(|port| port.address == source)
        && !any_port_unread(node, findings)
    {
        let fault = Fault::new(format!("{source} is not an address of this node"));
        findings.warning(
            &[(&at_source, ""), (&format!("{path}.upstream"), "")],
            fault.hint(
                "at the ingress, `source` is usually the address of the port towards the tree",
            ),
        );
    }
}

/// An ingress has a match, every other node an upstream.
fn check_role(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let (at_match, at_upstream) = (format!("{path}.match"), format!("{path}.upstream"));
    let places = [(at_match.as_str(), ""), (at_upstream.as_str(), "")];
    let name = &session.name;
    match (session.flow, session.upstream.is_empty()) {
        (None, true) => {
            let fault = Fault::new(format!(
                "session `{name}` has neither `upstream` nor `match`"
            ));
            findings.error(
                &places,
                fault.hint("give it `match` if this node is the ingress, `upstream` otherwise"),
            );
        }
        (Some(_), false) => {
            let fault = Fault::new(format!("session `{name}` has both `match` and `upstream`"));
            findings.error(
                &places,
                fault.hint("`match` belongs to the ingress alone, and an ingress has no upstream"),
            );
        }
        _ => {}
    }
}

fn check_flow(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let Some(flow) = session.flow else {
        return;
    };
    if !is_host_address(flow.destination) {
        let fault = Fault::new(format!(
            "{} is not a unicast address, so no session matches it",
            flow.destination
        ));
        findings.error(&[(&format!("{path}.match.destination"), "")], fault);
    }
    if let Some(source) = flow.source.filter(|source| !is_host_address(*source)) {
        let fault = Fault::new(format!("{source} is not the address of a host"));
        findings.error(&[(&format!("{path}.match.source"), "")], fault);
    }
}

/// No two sessions match the same packets. One with a source and one for any source may share a destination: the
/// narrower goes first.
fn check_flow_is_its_own(index: usize, sessions: &[SessionConfig], findings: &mut Findings) {
    let session = &sessions[index];
    let Some(flow) = session.flow else {
        return;
    };
    for (i, other) in sessions.iter().enumerate().take(index) {
        let taken = other.flow.is_some_and(|other| {
            (other.destination, other.port, other.source)
                == (flow.destination, flow.port, flow.source)
        });
        if taken {
            let message = format!(
                "sessions `{}` and `{}` match the same packets",
                other.name, session.name
            );
            let (here, there) = (
                format!("session[{index}].match"),
                format!("session[{i}].match"),
            );
            findings.error(
                &[(&here, "again"), (&there, "first here")],
                Fault::new(message),
            );
        }
    }
}

fn check_times(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let at = |key: &str| format!("{path}.{key}");
    let (deadline, retention) = (session.deadline, session.retention);
    if deadline > retention {
        let message = format!(
            "a gap may wait {}, but packets are kept for {} only",
            print_duration(deadline),
            print_duration(retention)
        );
        let fault =
            Fault::new(message).hint("make retention at least the deadline; twice is usual");
        findings.warning(&[(&at("deadline"), ""), (&at("retention"), "")], fault);
    }
    if session.reorder_delay >= deadline {
        let message = format!(
            "gaps would be given up (after {}) before they are asked for (after {})",
            print_duration(deadline),
            print_duration(session.reorder_delay)
        );
        findings.error(
            &[(&at("reorder_delay"), ""), (&at("deadline"), "")],
            Fault::new(message).hint("make reorder_delay far shorter than the deadline"),
        );
    }
    let clients = session.clients.iter().enumerate();
    let clients =
        clients.map(|(i, client)| (at(&format!("client[{i}].catch_up")), client.catch_up));
    for (at_catch_up, span) in clients.chain([(at("catch_up"), session.catch_up)]) {
        if span > retention {
            let message = format!(
                "a history of {} is asked for, but packets are kept for {} only",
                print_duration(span),
                print_duration(retention)
            );
            let hint = "make catch_up at most the retention, or the retention longer";
            findings.error(
                &[(&at_catch_up, ""), (&at("retention"), "")],
                Fault::new(message).hint(hint),
            );
        }
    }
}

fn check_clients(path: &str, node: &NodeConfig, session: &SessionConfig, findings: &mut Findings) {
    let clients = &session.clients;
    let place = |i: usize, key: &str| format!("{path}.client[{i}].{key}");
    let names = clients.iter().enumerate();
    let names = names.map(|(i, client)| (place(i, "name"), client.name.as_str()));
    check_unique(names, findings, |name| {
        format!(
            "two clients of session `{}` are named `{name}`",
            session.name
        )
    });
    let addresses = clients.iter().enumerate();
    let addresses =
        addresses.map(|(i, client)| (place(i, "address"), (client.address, client.port)));
    check_unique(addresses, findings, |(address, port)| {
        format!(
            "two clients of session `{}` have the address {address}:{port}",
            session.name
        )
    });
    for (i, client) in clients.iter().enumerate() {
        check_client(&place(i, "address"), node, client, findings);
    }
}

fn check_client(at: &str, node: &NodeConfig, client: &ClientConfig, findings: &mut Findings) {
    let (name, address) = (&client.name, client.address);
    let on_link = node.ports.iter().find(|port| is_on_link(port, address));
    if !is_host_address(address) || on_link.is_some_and(|port| is_edge(port, address)) {
        let fault = Fault::new(format!("{address} is not the address of a host"));
        findings.error(&[(at, "")], fault);
    } else if node.ports.iter().any(|port| port.address == address) {
        let fault = Fault::new(format!("client `{name}` has this node's own address"));
        findings.error(&[(at, "")], fault);
    } else if on_link.is_none()
        && node.ports.iter().all(|port| port.gateway.is_none())
        && !any_port_unread(node, findings)
    {
        let message = format!("client `{name}` can't be reached: {address} is on no port's subnet");
        let fault = Fault::new(message).hint("or set `gateway` on the port that leads to it");
        findings.error(&[(at, "")], fault);
    }
}

/// Whether there is a port whose subnet or gateway could not be read.
fn any_port_unread(node: &NodeConfig, findings: &Findings) -> bool {
    (0..node.ports.len()).any(|i| {
        let broken = |key: &str| findings.is_broken(&format!("port[{i}].{key}"));
        broken("address") || broken("gateway")
    })
}

fn indexed<'s, T>(
    sessions: &'s [SessionConfig],
    key: &'static str,
    value: impl Fn(&'s SessionConfig) -> T,
) -> impl Iterator<Item = (String, T)> {
    sessions
        .iter()
        .enumerate()
        .map(move |(i, session)| (format!("session[{i}].{key}"), value(session)))
}
