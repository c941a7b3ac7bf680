//! How a port names its device: `KIND:REST`, or DPDK's own `--vdev` string.

use std::ops::RangeInclusive;

use dataplane::Device;

use super::field;
use super::findings::Fault;
use super::table::suggestion;
use super::value::Value;

/// The kinds, each with what follows the colon.
const KINDS: [(&str, &str); 7] = [
    ("af_packet", "a network interface, as in \"af_packet:eth1\""),
    ("af_xdp", "a network interface, as in \"af_xdp:eth1\""),
    ("pci", "a PCI address, as in \"pci:0000:8a:00.0\""),
    ("ring", "a ring's name, as in \"ring:r0\""),
    ("null", "nothing, or arguments, as in \"null:size=64\""),
    ("pcap", "one or two files, as in \"pcap:in.pcap,out.pcap\""),
    (
        "vdev",
        "a --vdev string, as in \"vdev:net_tap0,iface=tap1\"",
    ),
];

/// Reads the device of port number `index`, counted from 0, for packets of up to `mtu` bytes and so many workers.
pub(super) fn device(
    value: &Value,
    (index, workers): (usize, usize),
    mtu: u16,
) -> Result<Device, Fault> {
    let text = field::str_of(value, "a device in quotes, as in \"af_packet:eth1\"")?;
    if text.starts_with("net_") {
        return Ok(Device::Vdev(text.to_owned()));
    }
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    let Some((_, wanted)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        let kinds = KINDS.iter().map(|(name, _)| *name);
        return Err(
            Fault::new(format!("`{kind}` is not a kind of device")).hint(suggestion(kind, kinds))
        );
    };
    let device = match kind {
        "pci" => pci_address(rest).map(Device::Pci),
        "af_packet" | "af_xdp" if !is_interface(rest) => None,
        "vdev" if !rest.starts_with("net_") => None,
        _ => dataplane::vdev_for(kind, rest, index, mtu, workers).map(Device::Vdev),
    };
    device.ok_or_else(|| {
        Fault::new(format!("`{text}` names no device"))
            .hint(format!("after `{kind}:` comes {wanted}"))
    })
}

/// Whether the kernel allows it as an interface's name: up to 15 bytes, no slash, colon or space.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !name
            .chars()
            .any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':'))
}

/// `0000:8a:00.0`, or without the domain.
fn pci_address(text: &str) -> Option<String> {
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (device, bus) = (parts.next()?, parts.next()?);
    let domain = parts.next().unwrap_or("0000");
    let hex = |part: &str, len: RangeInclusive<usize>| {
        len.contains(&part.len()) && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let fits = parts.next().is_none()
        && hex(domain, 4..=8)
        && hex(bus, 2..=2)
        && hex(device, 2..=2)
        && hex(function, 1..=1);
    fits.then(|| format!("{domain}:{bus}:{device}.{function}").to_lowercase())
}
