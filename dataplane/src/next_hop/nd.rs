//! Neighbor solicitations and advertisements (RFC 4861 §4.3, §4.4).

use std::net::Ipv6Addr;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::checksum::Sum;
use crate::drops::DropReason;
use crate::frame::{
    Addresses, ETHERTYPE_IPV6, EthernetHeader, Ipv6Header, Mac, PROTOCOL_ICMPV6, ShortFrame,
};

/// ICMPv6 types.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Options that tell an Ethernet address: the sender's, in a solicitation; the target's, in an advertisement.
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
/// Units of 8 bytes that such an option takes for an Ethernet address (RFC 2464 §6).
const LINK_ADDRESS_UNITS: u8 = 1;
/// Hop limit that no router passes on: whoever sent a packet that has it is on this link.
const HOP_LIMIT: u8 = 255;
/// Flags of an advertisement: from a router, an answer, true even where another address is known.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// All nodes of the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// What a neighbor discovery packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NdOperation {
    /// Asks who has the target address.
    Solicit,
    /// Tells who has it. Without `overrides` it is a second choice: an address that is known stays.
    Advertise { overrides: bool },
}

/// A solicitation or advertisement, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NdPacket {
    pub(crate) operation: NdOperation,
    /// Who sent it.
    pub(crate) station: Mac,
    /// Its address; unspecified where it asks whether it may take the target for its own (RFC 4862 §5.4).
    pub(crate) sender: Ipv6Addr,
    pub(crate) target: Ipv6Addr,
    /// Whether it tells the station's Ethernet address, which the frame itself does as well.
    pub(crate) tells_station: bool,
}

/// Both messages up to their options.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawNd {
    kind: u8,
    code: u8,
    checksum: U16,
    flags: u8,
    reserved: [u8; 3],
    target: [u8; 16],
}

/// An option with an Ethernet address.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct LinkAddress {
    kind: u8,
    units: u8,
    mac: Mac,
}

const MESSAGE_LEN: u16 = (size_of::<RawNd>() + size_of::<LinkAddress>()) as u16;

impl NdPacket {
    /// Reads the ICMPv6 message `bytes`, sent by the station `station` in a packet with the header `ip`.
    ///
    /// # Errors
    /// [`DropReason::IcmpUnknown`] if it is another message, [`DropReason::NdBad`] if it is none that a receiver may
    /// believe (RFC 4861 §7.1.1, §7.1.2).
    pub(crate) fn parse(
        station: Mac,
        ip: &Ipv6Header,
        bytes: &[u8],
    ) -> Result<NdPacket, DropReason> {
        let source = Ipv6Addr::from(ip.source);
        let destination = Ipv6Addr::from(ip.destination);
        if !matches!(bytes.first(), Some(&(SOLICITATION | ADVERTISEMENT))) {
            return Err(DropReason::IcmpUnknown);
        }
        let (raw, options) = RawNd::ref_from_prefix(bytes).map_err(|_| DropReason::NdBad)?;
        let addresses = Addresses::V6 {
            source,
            destination,
        };
        let sum = Sum::pseudo(&addresses, PROTOCOL_ICMPV6, bytes.len() as u16) + Sum::of(bytes);
        let target = Ipv6Addr::from(raw.target);
        let is_question = raw.kind == SOLICITATION;
        let said = link_address(
            options,
            if is_question {
                SOURCE_LINK_ADDRESS
            } else {
                TARGET_LINK_ADDRESS
            },
        )?;
        let is_possible = if is_question && source.is_unspecified() {
            said.is_none() && destination == solicited_node(target)
        } else {
            let is_answer_to_all = destination.is_multicast() && raw.flags & SOLICITED != 0;
            is_question || !is_answer_to_all
        };
        let sound = ip.hop_limit == HOP_LIMIT
            && raw.code == 0
            && sum.is_sound()
            && !target.is_multicast()
            && !source.is_multicast()
            && (is_question || !source.is_unspecified())
            && is_possible
            && station.is_unicast()
            && said.is_none_or(|mac| mac == station);
        if !sound {
            return Err(DropReason::NdBad);
        }
        Ok(NdPacket {
            operation: if is_question {
                NdOperation::Solicit
            } else {
                NdOperation::Advertise {
                    overrides: raw.flags & OVERRIDE != 0,
                }
            },
            station,
            sender: source,
            target,
            tells_station: said.is_some(),
        })
    }

    /// The question who has `target`, from the station `mac` with the address `sender`: to all that might, or to the one
    /// that had it.
    pub(super) fn solicitation(
        mac: Mac,
        sender: Ipv6Addr,
        target: Ipv6Addr,
        to: Option<Mac>,
    ) -> ShortFrame {
        let group = solicited_node(target);
        let (to, destination) = match to {
            Some(mac) => (mac, target),
            None => (Mac::of_ipv6_group(group), group),
        };
        emit(
            (mac, to),
            (sender, destination),
            (SOLICITATION, 0),
            (target, SOURCE_LINK_ADDRESS),
        )
    }

    /// The answer to this solicitation: the target is at `mac`. One for an address of our own is from a router, and holds
    /// whatever else is said; for one that we only answer for there may be a better one.
    pub(super) fn answer(&self, mac: Mac, is_own: bool) -> ShortFrame {
        let own = if is_own { ROUTER | OVERRIDE } else { 0 };
        // Who has no address yet can't be answered alone (RFC 4861 §7.2.4).
        let (to, destination, solicited) = if self.sender.is_unspecified() {
            (Mac::of_ipv6_group(ALL_NODES), ALL_NODES, 0)
        } else {
            (self.station, self.sender, SOLICITED)
        };
        emit(
            (mac, to),
            (self.target, destination),
            (ADVERTISEMENT, own | solicited),
            (self.target, TARGET_LINK_ADDRESS),
        )
    }
}

/// The group of all nodes that might have the address (RFC 4291 §2.7.1).
pub(super) const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., high, low] = address.segments();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | (high & 0xff), low)
}

/// The Ethernet address in the option of that kind, if there is one.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, DropReason> {
    let mut found = None;
    while let &[kind, units, ..] = options {
        let len = 8 * usize::from(units);
        let option = options.get(..len).filter(|option| !option.is_empty());
        let option = option.ok_or(DropReason::NdBad)?;
        if kind == wanted {
            let address = LinkAddress::ref_from_bytes(option).map_err(|_| DropReason::NdBad)?;
            found = Some(address.mac);
        }
        options = &options[len..];
    }
    if options.is_empty() {
        Ok(found)
    } else {
        Err(DropReason::NdBad)
    }
}

/// A whole message as a frame, with the sender's Ethernet address in an option.
fn emit(
    (from, to): (Mac, Mac),
    (source, destination): (Ipv6Addr, Ipv6Addr),
    (kind, flags): (u8, u8),
    (target, option): (Ipv6Addr, u8),
) -> ShortFrame {
    let ethernet = EthernetHeader {
        destination: to,
        source: from,
        ethertype: U16::new(ETHERTYPE_IPV6),
    };
    let mut ip = Ipv6Header::new(source, destination, PROTOCOL_ICMPV6, HOP_LIMIT);
    ip.payload_len = U16::new(MESSAGE_LEN);
    let mut raw = RawNd {
        kind,
        code: 0,
        checksum: U16::ZERO,
        flags,
        reserved: [0; 3],
        target: target.octets(),
    };
    let address = LinkAddress {
        kind: option,
        units: LINK_ADDRESS_UNITS,
        mac: from,
    };
    let addresses = Addresses::V6 {
        source,
        destination,
    };
    let sum = Sum::pseudo(&addresses, PROTOCOL_ICMPV6, MESSAGE_LEN)
        + Sum::of(raw.as_bytes())
        + Sum::of(address.as_bytes());
    raw.checksum = U16::new(sum.checksum());
    ShortFrame::of(&[
        ethernet.as_bytes(),
        ip.as_bytes(),
        raw.as_bytes(),
        address.as_bytes(),
    ])
}
