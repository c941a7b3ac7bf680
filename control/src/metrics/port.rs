//! The metrics of ports.

use dataplane::{ImpairmentSnapshot, KernelSnapshot, PortSnapshot};

use super::family::{Families, Field, Labels};

/// Adds the metrics of all ports.
pub(super) fn add(families: &mut Families, ports: &[PortSnapshot]) {
    add_traffic(families, ports);
    add_state(families, ports);
    add_kernel(families, ports);
    add_impairments(families, ports);
}

fn labels(port: &PortSnapshot) -> Labels {
    vec![("port", port.name.clone())]
}

fn add_traffic(families: &mut Families, ports: &[PortSnapshot]) {
    const COUNTERS: [Field<PortSnapshot>; 10] = [
        (
            "treecast_port_receive_packets_total",
            "Frames received, before any impairment.",
            |port| port.rx_packets as f64,
        ),
        (
            "treecast_port_receive_bytes_total",
            "Bytes received.",
            |port| port.rx_bytes as f64,
        ),
        (
            "treecast_port_receive_missed_packets_total",
            "Frames that the device lost because nobody fetched them.",
            |port| port.rx_missed as f64,
        ),
        (
            "treecast_port_receive_unbuffered_packets_total",
            "Frames lost because the pool was empty.",
            |port| port.rx_nombuf as f64,
        ),
        (
            "treecast_port_transmit_packets_total",
            "Frames sent.",
            |port| port.tx_packets as f64,
        ),
        (
            "treecast_port_transmit_bytes_total",
            "Bytes sent.",
            |port| port.tx_bytes as f64,
        ),
        (
            "treecast_port_transmit_dropped_packets_total",
            "Frames given up because the device took none.",
            |port| port.tx_dropped as f64,
        ),
        (
            "treecast_port_tree_offered_packets_total",
            "Data frames of the tree that arrived on the wire, before any impairment.",
            |port| port.tree_offered as f64,
        ),
        (
            "treecast_port_tree_impaired_packets_total",
            "Data frames of the tree that the impairment lost.",
            |port| port.tree_dropped as f64,
        ),
        (
            "treecast_port_downs_total",
            "How often the port's link went down.",
            |port| port.downs as f64,
        ),
    ];
    families.counters(&COUNTERS, ports, labels);
}

fn add_state(families: &mut Families, ports: &[PortSnapshot]) {
    const GAUGES: [Field<PortSnapshot>; 3] = [
        (
            "treecast_port_up",
            "Whether the port's link is up.",
            |port| f64::from(port.link_up),
        ),
        (
            "treecast_port_mtu_bytes",
            "The largest IP packet that the link takes.",
            |port| f64::from(port.mtu),
        ),
        (
            "treecast_port_configured_mtu_bytes",
            "The largest IP packet that the port is configured to take.",
            |port| f64::from(port.configured_mtu),
        ),
    ];
    families.gauges(&GAUGES, ports, labels);
    let infos = ports.iter().map(|port| {
        let mut labels = labels(port);
        labels.push(("device", port.device.clone()));
        labels.push(("driver", port.driver.clone()));
        labels.push(("mac", port.mac.clone()));
        labels.push(("address", port.address.clone()));
        (labels, 1.0)
    });
    families.gauge(
        "treecast_port_info",
        "The port's device and addresses; always 1.",
        infos,
    );
}

fn add_kernel(families: &mut Families, ports: &[PortSnapshot]) {
    type Shared<'a> = (&'a PortSnapshot, &'a KernelSnapshot);
    let shared: Vec<Shared<'_>> = ports
        .iter()
        .filter_map(|port| Some((port, port.kernel.as_ref()?)))
        .collect();
    let counters: [Field<Shared<'_>>; 2] = [
        (
            "treecast_port_to_kernel_packets_total",
            "Frames that the port received and the kernel took.",
            |(_, kernel)| kernel.to_kernel as f64,
        ),
        (
            "treecast_port_from_kernel_packets_total",
            "Frames that the kernel sent out of the port.",
            |(_, kernel)| kernel.from_kernel as f64,
        ),
    ];
    families.counters(&counters, &shared, |(port, _)| labels(port));
}

fn add_impairments(families: &mut Families, ports: &[PortSnapshot]) {
    type Impaired<'a> = (&'a PortSnapshot, ImpairmentSnapshot);
    let impaired: Vec<Impaired<'_>> = ports
        .iter()
        .filter_map(|port| Some((port, port.impairment?)))
        .collect();
    let counters: [Field<Impaired<'_>>; 5] = [
        (
            "treecast_impairment_offered_packets_total",
            "Frames that the port's impairment saw.",
            |(_, impairment)| impairment.offered as f64,
        ),
        (
            "treecast_impairment_dropped_packets_total",
            "Frames that the port's impairment lost, for any cause.",
            |(_, impairment)| impairment.dropped as f64,
        ),
        (
            "treecast_impairment_duplicated_packets_total",
            "Frames that the port's impairment doubled.",
            |(_, impairment)| impairment.duplicated as f64,
        ),
        (
            "treecast_impairment_reordered_packets_total",
            "Frames that the port's impairment let overtake.",
            |(_, impairment)| impairment.reordered as f64,
        ),
        (
            "treecast_impairment_rate_dropped_packets_total",
            "Frames that the port's rate limit lost, counted as dropped as well.",
            |(_, impairment)| impairment.rate_dropped as f64,
        ),
    ];
    families.counters(&counters, &impaired, |(port, _)| labels(port));
}
