//! Ports and neighbors: names, addresses, subnets.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::{
    Device, NeighborConfig, NodeConfig, PortAddress, PortConfig, is_link_local, overhead,
};

use super::address::{family, is_edge, is_host_address, packet_min, subnet, subnet_like};
use super::check_unique;
use crate::config::findings::{Fault, Findings};
use crate::config::table::suggestion;

/// Any address of the family that asks least of a link.
const ANY_IPV4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

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
            if let Some(shared) = shared_subnet(port, other) {
                let message = format!(
                    "ports `{}` and `{}` are in one subnet, {}",
                    other.name,
                    port.name,
                    subnet(shared)
                );
                let fault = Fault::new(message).hint("give each port a subnet of its own");
                findings.error(&[(&here, ""), (&there, "")], fault);
            }
        }
    }
}

/// The wider of two subnets that overlap.
fn shared_subnet<'p>(port: &'p PortConfig, other: &'p PortConfig) -> Option<&'p PortAddress> {
    let pairs = port
        .addresses
        .iter()
        .flat_map(|own| other.addresses.iter().map(move |theirs| (own, theirs)));
    let overlap = |(own, theirs): &(&PortAddress, &PortAddress)| {
        own.has_on_link(theirs.address) || theirs.has_on_link(own.address)
    };
    let (own, theirs) = pairs.into_iter().find(overlap)?;
    Some(if own.prefix_len < theirs.prefix_len {
        own
    } else {
        theirs
    })
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
    for own in &port.addresses {
        check_address(path, port, own, findings);
    }
    check_mtu(path, port, findings);
    check_gateways(path, port, findings);
}

fn check_address(path: &str, port: &PortConfig, own: &PortAddress, findings: &mut Findings) {
    let at_address = format!("{path}.address");
    let address = own.address;
    let message = if !is_host_address(address) {
        format!("{address} is not the address of a host")
    } else if is_edge(own, address) {
        format!(
            "{address} is the first or last address of {}, which no host can have",
            subnet(own)
        )
    } else if port.address_like(address) != Some(own) {
        format!("the port has two {} addresses", family(address))
    } else {
        return;
    };
    findings.error(&[(&at_address, "")], Fault::new(message));
}

fn check_mtu(path: &str, port: &PortConfig, findings: &mut Findings) {
    let (at_mtu, at_address) = (format!("{path}.mtu"), format!("{path}.address"));
    let outer = overhead(ANY_IPV4);
    let least = packet_min(ANY_IPV4) + outer;
    let ipv6 = port.addresses.iter().find(|own| own.address.is_ipv6());
    let least_ipv6 = ipv6.map(|own| packet_min(own.address));
    if port.mtu < least {
        let message = format!(
            "an MTU of {} leaves {} bytes for the inner packet; {} is the least that IP allows to count on",
            port.mtu,
            port.mtu.saturating_sub(outer),
            least - outer
        );
        let hint = format!("the outer headers take {outer} bytes: write at least {least}");
        findings.error(&[(&at_mtu, "")], Fault::new(message).hint(hint));
    } else if let Some(least) = least_ipv6.filter(|&least| port.mtu < least) {
        let message = format!(
            "an MTU of {} is less than the {least} that IPv6 demands of a link",
            port.mtu
        );
        let places = [(at_mtu.as_str(), ""), (&at_address, "an IPv6 address")];
        findings.error(&places, Fault::new(message));
    }
}

fn check_gateways(path: &str, port: &PortConfig, findings: &mut Findings) {
    let (at_gateway, at_address) = (format!("{path}.gateway"), format!("{path}.address"));
    let places = [
        (at_gateway.as_str(), ""),
        (&at_address, "the port's subnet"),
    ];
    for &gateway in &port.gateways {
        if port.addresses.iter().any(|own| own.address == gateway) {
            let fault = Fault::new("the gateway is the port's own address");
            findings.error(&places, fault);
        } else if !port.is_on_link(gateway) {
            let subnet = match port.address_like(gateway) {
                Some(own) => subnet(own),
                None => format!(
                    "a subnet of the port, which has no {} address",
                    family(gateway)
                ),
            };
            let message = format!("the gateway {gateway} is not in {subnet}");
            findings.error(&places, Fault::new(message));
        } else if port.gateway_like(gateway) != Some(gateway) {
            let message = format!("the port has two {} gateways", family(gateway));
            findings.error(&places[..1], Fault::new(message));
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
    // A link-local address is one station's on each link.
    let address = |n: &'_ NeighborConfig| {
        let link = is_link_local(n.address).then(|| n.port.clone());
        (n.address, link)
    };
    let addresses = indexed("neighbor", "address", neighbors.iter().map(address));
    check_unique(addresses, findings, |(address, _)| {
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
    if port.addresses.iter().any(|own| own.address == address) {
        let message = format!("neighbor `{}` has this node's own address", neighbor.name);
        findings.error(&places, Fault::new(message));
    } else if !port.is_on_link(address) {
        let message = format!(
            "neighbor `{}` is not on link: {address} is not in {}",
            neighbor.name,
            subnet_like(port, address)
        );
        findings.error(&places, Fault::new(message).hint(right_port(node, address)));
    } else if port.addresses.iter().any(|own| is_edge(own, address)) || !is_host_address(address) {
        let message = format!("{address} is not the address of a host");
        findings.error(&places, Fault::new(message));
    }
}

/// Which port the address would be on link on.
fn right_port(node: &NodeConfig, address: IpAddr) -> String {
    match node.ports.iter().find(|port| port.is_on_link(address)) {
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
