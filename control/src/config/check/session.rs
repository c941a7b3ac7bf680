//! Sessions: their place in the tree, their flow, their clients.

use std::net::{IpAddr, SocketAddr};

use dataplane::{
    ClientConfig, NodeConfig, PortConfig, SessionConfig, inner_max, is_link_local, overhead,
};

use super::address::{family, is_edge, is_host_address, packet_min};
use super::{check_unique, tree};
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
        check_flow(&path, node, session, findings);
        check_flow_is_its_own(i, sessions, findings);
        check_times(&path, session, findings);
        check_clients(&path, node, session, findings);
    }
}

/// The tree's (S,G).
fn check_channel(path: &str, node: &NodeConfig, session: &SessionConfig, findings: &mut Findings) {
    let (group, source) = (session.group, session.source);
    let (at_group, at_source) = (format!("{path}.group"), format!("{path}.source"));
    if let Some(fault) = group_fault(group) {
        findings.error(&[(&at_group, "")], fault);
    }
    if group.is_ipv4() != source.is_ipv4()
        && !findings.is_broken(&at_group)
        && !findings.is_broken(&at_source)
    {
        let message = format!(
            "the group is an {} address, the source {source} an {} one",
            family(group),
            family(source)
        );
        let hint = "both are of the packets of the tree, whatever those of the source are";
        let places = [(at_source.as_str(), ""), (&at_group, "the group")];
        findings.error(&places, Fault::new(message).hint(hint));
    }
    if !is_host_address(source) {
        let fault = Fault::new(format!("{source} is not the address of a host"));
        findings.error(
            &[(&at_source, "")],
            fault.hint("`source` is the address of the session's ingress"),
        );
    } else if session.upstream.is_empty()
        && !is_own(node, source)
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

/// Why a tree can't have that group.
fn group_fault(group: IpAddr) -> Option<Fault> {
    let hint = match group {
        IpAddr::V4(_) => "use one of 232.0.0.0/8 or 239.0.0.0/8",
        IpAddr::V6(_) => "use one of ff3e::8000:0/97 or ff35::8000:0/97 (RFC 4607)",
    };
    match group {
        IpAddr::V4(group) if group.octets()[..3] == [224, 0, 0] => Some(
            Fault::new(format!(
                "{group} is reserved for the link's own control traffic (224.0.0.0/24)"
            ))
            .hint(hint),
        ),
        IpAddr::V4(group) if !group.is_multicast() => Some(
            Fault::new(format!("{group} is not a multicast address"))
                .hint("groups are 224.0.1.0 to 239.255.255.255; 232.0.0.0/8 and 239.0.0.0/8 are yours to use"),
        ),
        IpAddr::V6(group) if !group.is_multicast() => {
            Some(Fault::new(format!("{group} is not a multicast address")).hint(hint))
        }
        // Interface, link, and what is reserved at both ends (RFC 7346 §2).
        IpAddr::V6(group) if matches!(group.octets()[1] & 0x0f, 0..=2 | 15) => Some(
            Fault::new(format!("{group} has a scope that no router passes on")).hint(hint),
        ),
        _ => None,
    }
}

/// Whether the address is one of the node's.
fn is_own(node: &NodeConfig, address: IpAddr) -> bool {
    let mut own = node.ports.iter().flat_map(|port| &port.addresses);
    own.any(|own| own.address == address)
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

fn check_flow(path: &str, node: &NodeConfig, session: &SessionConfig, findings: &mut Findings) {
    let Some(flow) = session.flow else {
        return;
    };
    let (at_destination, at_source) = (
        format!("{path}.match.destination"),
        format!("{path}.match.source"),
    );
    if is_link_local(flow.destination) {
        let message = format!(
            "{} is good on one link alone, and packets to it are not forwarded",
            flow.destination
        );
        findings.error(&[(&at_destination, "")], Fault::new(message));
    } else if !is_host_address(flow.destination) {
        let fault = Fault::new(format!(
            "{} is not a unicast address, so no session matches it",
            flow.destination
        ));
        findings.error(&[(&at_destination, "")], fault);
    }
    if let Some(source) = flow.source {
        if !is_host_address(source) || is_link_local(source) {
            let fault = Fault::new(format!("{source} is not the address of a host"));
            findings.error(&[(&at_source, "")], fault);
        } else if source.is_ipv4() != flow.destination.is_ipv4()
            && !findings.is_broken(&at_destination)
        {
            let message = format!(
                "the source is an {} address, the destination an {} one",
                family(source),
                family(flow.destination)
            );
            let places = [
                (at_source.as_str(), ""),
                (&at_destination, "the destination"),
            ];
            findings.error(&places, Fault::new(message));
        }
    }
    check_room(path, node, session, flow.destination, findings);
}

/// The tree takes what the source may count on. Of IPv4 in IPv4 every port does.
fn check_room(
    path: &str,
    node: &NodeConfig,
    session: &SessionConfig,
    destination: IpAddr,
    findings: &mut Findings,
) {
    let least = packet_min(destination);
    if destination.is_ipv4() && session.group.is_ipv4() {
        return;
    }
    let below = session.downstream.iter().chain(&session.second_downstream);
    let neighbors = below.filter_map(|name| node.neighbors.iter().find(|at| at.name == *name));
    let ports = neighbors.filter_map(|at| node.ports.iter().position(|port| port.name == at.port));
    let mut ports: Vec<usize> = ports.collect();
    ports.sort_unstable();
    ports.dedup();
    for i in ports {
        let port = &node.ports[i];
        let room = inner_max(port.mtu, session.fec, session.group);
        if room < least {
            let message = format!(
                "port `{}` leaves {room} bytes for packets of session `{}`; {least} is the least that {} allows to count on",
                port.name,
                session.name,
                family(destination)
            );
            let outer = overhead(session.group);
            let hint = format!(
                "the outer headers take {outer} bytes, and parity some more: write mtu = {} or more",
                least + (port.mtu - room)
            );
            let (at_mtu, at_match) = (format!("port[{i}].mtu"), format!("{path}.match"));
            findings.error(
                &[(&at_mtu, ""), (&at_match, "its packets")],
                Fault::new(message).hint(hint),
            );
        }
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
            "two clients of session `{}` have the address {}",
            session.name,
            SocketAddr::new(*address, *port)
        )
    });
    for (i, client) in clients.iter().enumerate() {
        check_client(&place(i, "address"), node, client, findings);
    }
    check_families(path, session, findings);
}

/// Packets are not translated: clients have addresses of the family of what is sent to them. Where the stream does not begin
/// here, that is known only of the clients together.
fn check_families(path: &str, session: &SessionConfig, findings: &mut Findings) {
    let flow = session
        .flow
        .map(|flow| (format!("{path}.match.destination"), flow.destination));
    let clients = session.clients.iter().enumerate();
    let clients =
        clients.map(|(i, client)| (format!("{path}.client[{i}].address"), client.address));
    let mut all: Vec<_> = flow.into_iter().chain(clients).collect();
    all.retain(|(at, _)| !findings.is_broken(at));
    let Some((at_first, first)) = all.first() else {
        return;
    };
    for (at, address) in &all {
        if address.is_ipv4() == first.is_ipv4() {
            continue;
        }
        let message = format!(
            "the packets of session `{}` are {}, and {address} is an {} address",
            session.name,
            family(*first),
            family(*address)
        );
        let hint = "packets are not translated: a client has an address of their IP version";
        let places = [(at.as_str(), ""), (at_first, "its packets")];
        findings.error(&places, Fault::new(message).hint(hint));
    }
}

fn check_client(at: &str, node: &NodeConfig, client: &ClientConfig, findings: &mut Findings) {
    let (name, address) = (&client.name, client.address);
    let on_link = node.ports.iter().find(|port| port.is_on_link(address));
    let is_edge = |port: &PortConfig| port.addresses.iter().any(|own| is_edge(own, address));
    if is_link_local(address) {
        let message = format!("{address} is good on one link alone, and nobody says on which");
        findings.error(&[(at, "")], Fault::new(message));
    } else if !is_host_address(address) || on_link.is_some_and(is_edge) {
        let fault = Fault::new(format!("{address} is not the address of a host"));
        findings.error(&[(at, "")], fault);
    } else if is_own(node, address) {
        let fault = Fault::new(format!("client `{name}` has this node's own address"));
        findings.error(&[(at, "")], fault);
    } else if on_link.is_none()
        && node
            .ports
            .iter()
            .all(|port| port.gateway_like(address).is_none())
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
