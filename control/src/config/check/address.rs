//! What an address may be used for.

use std::net::IpAddr;

use dataplane::{PortAddress, PortConfig};

/// Whether a host can have the address: unicast, and not one of those set aside.
pub(super) fn is_host_address(address: IpAddr) -> bool {
    let set_aside = match address {
        IpAddr::V4(address) => {
            address.is_broadcast() || address.octets()[0] == 0 || address.octets()[0] >= 240
        }
        IpAddr::V6(address) => address.to_ipv4_mapped().is_some(),
    };
    !(set_aside || address.is_multicast() || address.is_loopback() || address.is_unspecified())
}

/// Whether it is an address of the prefix that no host can have: in IPv4 the network's or the broadcast address (RFC 3021
/// frees a /31 of both), in IPv6 that of any of its routers (RFC 4291 §2.6.1; RFC 6164 frees a /127 of it).
pub(super) fn is_edge(of: &PortAddress, address: IpAddr) -> bool {
    if !of.has_on_link(address) {
        return false;
    }
    match address {
        IpAddr::V4(address) => {
            let hosts = u32::MAX.checked_shr(of.prefix_len.into()).unwrap_or(0);
            let host = address.to_bits() & hosts;
            of.prefix_len < 31 && (host == 0 || host == hosts)
        }
        IpAddr::V6(_) => of.prefix_len < 127 && address == of.network(),
    }
}

/// The prefix, as `10.0.1.0/30`.
pub(super) fn subnet(of: &PortAddress) -> String {
    format!("{}/{}", of.network(), of.prefix_len)
}

/// The port's prefix of the family of `address`, for a sentence about one that is not in it.
pub(super) fn subnet_like(port: &PortConfig, address: IpAddr) -> String {
    match port.address_like(address) {
        Some(own) => format!("{}, the subnet of port `{}`", subnet(own), port.name),
        None => {
            let family = family(address);
            format!(
                "a subnet of port `{}`, which has no {family} address",
                port.name
            )
        }
    }
}

/// `IPv4` or `IPv6`.
pub(super) fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// The least that hosts may count on being taken whole: RFC 791 and RFC 8200 §5.
pub(super) fn packet_min(address: IpAddr) -> u16 {
    if address.is_ipv4() { 576 } else { 1280 }
}
