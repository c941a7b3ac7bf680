//! Ports and neighbors: names, addresses, subnets.

use std::net::Ipv4Addr;

use dataplane::{Device, NodeConfig, PortConfig};

use super::{check_unique, is_on_link, mask, subnet};
use crate::config::findings::{Fault, Findings};
use crate::config::table::suggestion;

/// Bytes around the inner packet: outer IPv4 20, UDP 8, treecast 24.
const OUTER_LEN: u16 = 52;
/// The packet that every IPv4 host takes (RFC 791).
const INNER_LEN_MIN: u16 = 576;

/// Checks the ports.
pub(super) fn check_ports(node: &NodeConfig, findings: &mut Findings) {
    if node.ports.is_empty() && !findings.is_broken("port") {
        let fault = Fault::new("there is no port").hint("add a [[port]]");
        findings.error(&[("port", "")], fault);
    }
    let names = indexed("port", "name", node.ports.iter().map(|port| &port.name));
    check_unique(names, findings, |name| {
        format!("two ports are named `{name}`")
    });
    let devices = indexed(
        "port",
        "device",
        node.ports.iter().map(|port| hardware(&port.device)),
    );
    check_unique(devices, findings, |_| {
        "two ports share one device".to_owned()
    });
    check_kernel_interfaces(node, findings);
    for (i, port) in node.ports.iter().enumerate() {
        check_port(&format!("port[{i}]"), port, findings);
        for (j, other) in node.ports.iter().enumerate().take(i) {
            let (here, there) = (format!("port[{i}].address"), format!("port[{j}].address"));
            if is_on_link(other, port.address) || is_on_link(port, other.address) {
                let message = format!(
                    "ports `{}` and `{}` are in one subnet, {}",
                    other.name,
                    port.name,
                    subnet(if port.prefix_len < other.prefix_len {
                        port
                    } else {
                        other
                    })
                );
                let fault = Fault::new(message).hint("give each port a subnet of its own");
                findings.error(&[(&here, ""), (&there, "")], fault);
            }
        }
    }
}

/// Kernel interfaces have names of their own, which no device of a port has.
fn check_kernel_interfaces(node: &NodeConfig, findings: &mut Findings) {
    let with_kernel = node.ports.iter().enumerate();
    let names: Vec<(String, &str)> = with_kernel
        .filter_map(|(i, port)| {
            let kernel = port.kernel.as_ref()?;
            Some((format!("port[{i}].kernel"), kernel.interface.as_str()))
        })
        .collect();
    for (path, name) in &names {
        let devices = node.ports.iter().map(|port| hardware(&port.device));
        if devices
            .into_iter()
            .any(|device| device == format!("iface={name}"))
        {
            let message = format!("the kernel interface `{name}` is the device of a port");
            let fault =
                Fault::new(message).hint("write the name of an interface that is not there");
            findings.error(&[(path, "")], fault);
        }
    }
    check_unique(names.into_iter(), findings, |name| {
        format!("two ports have the kernel interface `{name}`")
    });
}

/// What tells one device from another: the interface behind a virtual device, not the number that DPDK knows it by.
pub(in crate::config) fn hardware(device: &Device) -> &str {
    match device {
        Device::Pci(address) => address,
        Device::Vdev(text) => text
            .split(',')
            .find(|argument| argument.starts_with("iface="))
            .unwrap_or(text),
    }
}

fn check_port(path: &str, port: &PortConfig, findings: &mut Findings) {
    let at_address = format!("{path}.address");
    if !is_host_address(port.address) {
        let message = format!("{} is not the address of a host", port.address);
        findings.error(&[(&at_address, "")], Fault::new(message));
    } else if is_edge(port, port.address) {
        let message = format!(
            "{} is the first or last address of {}, which no host can have",
            port.address,
            subnet(port)
        );
        findings.error(&[(&at_address, "")], Fault::new(message));
    }
    if port.mtu < INNER_LEN_MIN + OUTER_LEN {
        let message = format!(
            "an MTU of {} leaves {} bytes for the inner packet; 576 is the least that IP allows to count on",
            port.mtu,
            port.mtu.saturating_sub(OUTER_LEN)
        );
        let hint = format!("the outer headers take {OUTER_LEN} bytes: write at least 628");
        findings.error(
            &[(&format!("{path}.mtu"), "")],
            Fault::new(message).hint(hint),
        );
    }
    if let Some(gateway) = port.gateway {
        let at_gateway = format!("{path}.gateway");
        let places = [
            (at_gateway.as_str(), ""),
            (&at_address, "the port's subnet"),
        ];
        if gateway == port.address {
            let fault = Fault::new("the gateway is the port's own address");
            findings.error(&places, fault);
        } else if !is_on_link(port, gateway) {
            let message = format!("the gateway {gateway} is not in {}", subnet(port));
            findings.error(&places, Fault::new(message));
        }
    }
}

/// Checks the neighbors.
pub(super) fn check_neighbors(node: &NodeConfig, findings: &mut Findings) {
    let neighbors = &node.neighbors;
    let names = indexed("neighbor", "name", neighbors.iter().map(|n| &n.name));
    check_unique(names, findings, |name| {
        format!("two neighbors are named `{name}`")
    });
    let addresses = indexed("neighbor", "address", neighbors.iter().map(|n| n.address));
    check_unique(addresses, findings, |address| {
        format!("two neighbors have the address {address}")
    });
    if neighbors.len() > usize::from(u16::MAX) {
        let message = format!("{} neighbors are too many: 65535 at most", neighbors.len());
        findings.error(&[("neighbor", "")], Fault::new(message));
    }
    for (i, neighbor) in neighbors.iter().enumerate() {
        let at_port = format!("neighbor[{i}].port");
        let port = node
            .ports
            .iter()
            .position(|port| port.name == neighbor.port);
        match port {
            Some(port) => check_neighbor_on_link(node, i, port, findings),
            None => {
                let known = node.ports.iter().map(|port| port.name.as_str());
                unknown("port", &neighbor.port, known, &at_port, findings);
            }
        }
    }
}

fn check_neighbor_on_link(node: &NodeConfig, index: usize, port: usize, findings: &mut Findings) {
    let (neighbor, at_port) = (&node.neighbors[index], format!("port[{port}].address"));
    let port = &node.ports[port];
    let at = format!("neighbor[{index}].address");
    let places = [(at.as_str(), ""), (&at_port, "the port's subnet")];
    let address = neighbor.address;
    if address == port.address {
        let message = format!("neighbor `{}` has this node's own address", neighbor.name);
        findings.error(&places, Fault::new(message));
    } else if !is_on_link(port, address) {
        let message = format!(
            "neighbor `{}` is not on link: {address} is not in {}, the subnet of port `{}`",
            neighbor.name,
            subnet(port),
            port.name
        );
        findings.error(&places, Fault::new(message).hint(right_port(node, address)));
    } else if is_edge(port, address) || !is_host_address(address) {
        let message = format!("{address} is not the address of a host");
        findings.error(&places, Fault::new(message));
    }
}

/// Which port the address would be on link on.
fn right_port(node: &NodeConfig, address: Ipv4Addr) -> String {
    match node.ports.iter().find(|port| is_on_link(port, address)) {
        Some(port) => format!("it is on link on port `{}`", port.name),
        None => "an overlay neighbor is one hop away, in the subnet of its port".to_owned(),
    }
}

/// Reports a reference to something that does not exist. Silent when a name could not be read: it may be that one.
pub(super) fn unknown<'n>(
    what: &str,
    name: &str,
    known: impl Iterator<Item = &'n str> + Clone,
    at: &str,
    findings: &mut Findings,
) {
    let unreadable = known.clone().any(str::is_empty) || findings.is_broken(what);
    if !unreadable {
        let fault = Fault::new(format!("there is no {what} `{name}`"));
        findings.error(&[(at, "")], fault.hint(suggestion(name, known)));
    }
}

/// Whether a host can have the address: unicast, and not one of those set aside.
pub(super) fn is_host_address(address: Ipv4Addr) -> bool {
    !(address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback()
        || address.octets()[0] == 0
        || address.octets()[0] >= 240)
}

/// Whether it is the network's or the broadcast address of the port's subnet (RFC 3021 frees a /31 of both).
pub(super) fn is_edge(port: &PortConfig, address: Ipv4Addr) -> bool {
    let host_bits = u32::from(address) & !mask(port.prefix_len);
    port.prefix_len < 31 && (host_bits == 0 || host_bits == !mask(port.prefix_len))
}

/// Pairs each value with its path.
fn indexed<T>(
    list: &'static str,
    key: &'static str,
    values: impl Iterator<Item = T>,
) -> impl Iterator<Item = (String, T)> {
    values
        .enumerate()
        .map(move |(i, value)| (format!("{list}[{i}].{key}"), value))
}
