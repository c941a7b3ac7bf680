//! An ARP packet for IPv4 over Ethernet.

use std::net::Ipv4Addr;

use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::drops::DropReason;
use crate::frame::{ETHERTYPE_ARP, ETHERTYPE_IPV4, EthernetHeader, Mac, ShortFrame};

/// Hardware type of Ethernet.
const HARDWARE_ETHERNET: u16 = 1;
/// Lengths of an Ethernet and an IPv4 address.
const ADDRESS_LENS: [u8; 2] = [6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArpOperation {
    /// Asks who has the target address.
    Request = 1,
    /// Tells who has the sender address.
    Reply = 2,
}

/// An ARP packet, parsed. `sender` is 0.0.0.0 in a probe (RFC 5227), else the address of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArpPacket {
    pub(crate) operation: ArpOperation,
    pub(crate) sender_mac: Mac,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target_mac: Mac,
    pub(crate) target: Ipv4Addr,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawArp {
    hardware: U16,
    protocol: U16,
    address_lens: [u8; 2],
    operation: U16,
    sender_mac: Mac,
    sender: [u8; 4],
    target_mac: Mac,
    target: [u8; 4],
}

impl ArpPacket {
    /// Reads the ARP packet at the start of `bytes`, sent by the station `source`.
    ///
    /// # Errors
    /// [`DropReason::FrameTruncated`] or [`DropReason::ArpBad`].
    pub(crate) fn parse(source: Mac, bytes: &[u8]) -> Result<ArpPacket, DropReason> {
        let (raw, _) = RawArp::ref_from_prefix(bytes).map_err(|_| DropReason::FrameTruncated)?;
        let operation = match raw.operation.get() {
            1 => ArpOperation::Request,
            2 => ArpOperation::Reply,
            _ => return Err(DropReason::ArpBad),
        };
        let sender = Ipv4Addr::from(raw.sender);
        let sound = raw.hardware.get() == HARDWARE_ETHERNET
            && raw.protocol.get() == ETHERTYPE_IPV4
            && raw.address_lens == ADDRESS_LENS
            && raw.sender_mac == source
            && source.is_unicast()
            && !sender.is_multicast()
            && !sender.is_broadcast();
        if !sound {
            return Err(DropReason::ArpBad);
        }
        Ok(ArpPacket {
            operation,
            sender_mac: raw.sender_mac,
            sender,
            target_mac: raw.target_mac,
            target: raw.target.into(),
        })
    }

    /// The question who has `target`.
    pub(super) const fn request(mac: Mac, address: Ipv4Addr, target: Ipv4Addr) -> ArpPacket {
        ArpPacket {
            operation: ArpOperation::Request,
            sender_mac: mac,
            sender: address,
            target_mac: Mac::NONE,
            target,
        }
    }

    /// The frame that answers this request: the target is at `mac`.
    pub(super) fn answer(&self, mac: Mac) -> ShortFrame {
        ArpPacket {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender: self.target,
            target_mac: self.sender_mac,
            target: self.sender,
        }
        .emit(self.sender_mac)
    }

    /// The packet as a frame to the station (or all stations) `to`.
    pub(crate) fn emit(&self, to: Mac) -> ShortFrame {
        let ethernet = EthernetHeader {
            destination: to,
            source: self.sender_mac,
            ethertype: U16::new(ETHERTYPE_ARP),
        };
        let raw = RawArp {
            hardware: U16::new(HARDWARE_ETHERNET),
            protocol: U16::new(ETHERTYPE_IPV4),
            address_lens: ADDRESS_LENS,
            operation: U16::new(self.operation as u16),
            sender_mac: self.sender_mac,
            sender: self.sender.octets(),
            target_mac: self.target_mac,
            target: self.target.octets(),
        };
        ShortFrame::of(&[ethernet.as_bytes(), raw.as_bytes()])
    }
}
