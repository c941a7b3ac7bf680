//! The unicast packet that travels inside: IPv4 or IPv6, and UDP.

use std::ops::Range;

use zerocopy::FromBytes;

use super::addresses::Addresses;
use super::headers::{IPV4_LEN, Ipv4Header, UDP_LEN, UdpHeader};
use super::ipv6;
use crate::checksum::{PROTOCOL_UDP, Sum};
use crate::drops::DropReason;

/// Longest headers of an inner packet, in bytes: IPv4 with all its options or IPv6 with as many, and UDP.
pub(crate) const MAX_INNER_HEADERS: usize = 60 + UDP_LEN;

/// What the headers of an inner packet say. Only read from headers that are whole and agree with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InnerHeader {
    /// Length of the IP header, options and all, and the UDP header, in bytes.
    pub(crate) len: u8,
    /// IPv6's traffic class.
    pub(crate) dscp_ecn: u8,
    /// IPv6's hop limit.
    pub(crate) ttl: u8,
    /// 0 in IPv6.
    pub(crate) id: u16,
    /// Flags and fragment offset; never a fragment, so at most "don't fragment". 0 in IPv6.
    pub(crate) fragment: u16,
    /// 0 in IPv4.
    pub(crate) flow_label: u32,
    pub(crate) addresses: Addresses,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// Length of the UDP header and payload, in bytes.
    pub(crate) udp_len: u16,
    /// 0 if the source sent none, as only IPv4 allows.
    pub(crate) udp_checksum: u16,
}

impl InnerHeader {
    /// Reads the headers at the start of `packet`: a packet, or just its headers, that went through
    /// [`super::parse`] before.
    ///
    /// Checks that they are whole, of one UDP datagram and consistent; not the checksums, nor that the payload is
    /// there.
    ///
    /// # Errors
    /// The reason why they are not, in words that fit a packet received as it is.
    #[inline(always)]
    pub(crate) fn read(packet: &[u8]) -> Result<InnerHeader, DropReason> {
        match packet.first() {
            Some(first) if first >> 4 == 6 => ipv6::read_udp(packet),
            _ => InnerHeader::read_ipv4(packet),
        }
    }

    /// The same where it can be IPv4 alone.
    #[inline(always)]
    pub(super) fn read_ipv4(packet: &[u8]) -> Result<InnerHeader, DropReason> {
        let (ip, ip_len) = read_ipv4(packet)?;
        if ip.protocol != PROTOCOL_UDP {
            return Err(DropReason::IpProtocolUnknown);
        }
        if ip.is_fragment() {
            return Err(DropReason::Fragment);
        }
        let udp = UdpFields::read(packet, ip_len, ip.total_len.get().into())?;
        Ok(InnerHeader {
            len: (ip_len + UDP_LEN) as u8,
            dscp_ecn: ip.dscp_ecn,
            ttl: ip.ttl,
            id: ip.id.get(),
            fragment: ip.fragment.get(),
            flow_label: 0,
            addresses: Addresses::V4 {
                source: ip.source.into(),
                destination: ip.destination.into(),
            },
            source_port: udp.source_port,
            destination_port: udp.destination_port,
            udp_len: udp.len,
            udp_checksum: udp.checksum,
        })
    }

    /// Length of the whole IP packet, in bytes.
    #[inline]
    pub(crate) const fn packet_len(&self) -> usize {
        self.len as usize - UDP_LEN + self.udp_len as usize
    }

    /// Length of the UDP payload, in bytes.
    #[inline]
    pub(crate) const fn payload_len(&self) -> usize {
        self.udp_len as usize - UDP_LEN
    }
}

/// What a UDP header says.
#[derive(Clone, Copy)]
pub(super) struct UdpFields {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// Length of the header and payload, in bytes.
    pub(super) len: u16,
    pub(super) checksum: u16,
}

impl UdpFields {
    /// Reads the header behind `start` bytes of a packet of `total_len`, which it fills to its end.
    #[inline(always)]
    pub(super) fn read(
        packet: &[u8],
        start: usize,
        total_len: usize,
    ) -> Result<UdpFields, DropReason> {
        let datagram = packet.get(start..).unwrap_or_default();
        let (udp, _) =
            UdpHeader::ref_from_prefix(datagram).map_err(|_| DropReason::UdpTruncated)?;
        let len = usize::from(udp.len.get());
        let room = total_len - start;
        if len < UDP_LEN || len > room {
            return Err(DropReason::UdpTruncated);
        }
        if len < room {
            return Err(DropReason::UdpSurplus);
        }
        Ok(UdpFields {
            source_port: udp.source.get(),
            destination_port: udp.destination.get(),
            len: udp.len.get(),
            checksum: udp.checksum.get(),
        })
    }
}

/// An inner packet and its place in a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inner {
    /// What its headers say.
    pub(crate) header: InnerHeader,
    /// Where in the frame its first byte lies.
    pub(crate) start: usize,
}

impl Inner {
    /// Where in the frame its headers lie.
    #[cfg(any(test, fuzzing))]
    pub(crate) const fn headers(&self) -> Range<usize> {
        self.start..self.start + self.header.len as usize
    }

    /// Where in the frame its UDP payload lies.
    pub(crate) const fn payload(&self) -> Range<usize> {
        let start = self.start + self.header.len as usize;
        start..start + self.header.payload_len()
    }

    /// Where in the frame the whole IP packet lies.
    pub(crate) const fn packet(&self) -> Range<usize> {
        self.start..self.start + self.header.packet_len()
    }

    /// The last checks before a packet enters a tree, for the ingress alone: TTL, and, with `payload`, the UDP checksum where
    /// there is one, which reads all of the packet. `frame` is the one that it was parsed from.
    ///
    /// # Errors
    /// The reason for which it must not enter.
    #[inline]
    pub(crate) fn verify(&self, frame: &[u8], payload: bool) -> Result<(), DropReason> {
        let header = &self.header;
        if header.ttl <= 1 {
            return Err(DropReason::TtlExpired);
        }
        if !payload || header.udp_checksum == 0 {
            return Ok(());
        }
        let datagram = self.packet().end - usize::from(header.udp_len)..self.packet().end;
        let datagram = frame.get(datagram).ok_or(DropReason::FrameTruncated)?;
        let sum = Sum::udp_pseudo(&header.addresses, header.udp_len) + Sum::of(datagram);
        if sum.is_sound() {
            Ok(())
        } else {
            Err(DropReason::InnerChecksumBad)
        }
    }
}

/// Reads an IPv4 header and the length of it with its options; `packet` holds those, but perhaps no more.
#[inline(always)]
pub(super) fn read_ipv4(packet: &[u8]) -> Result<(&Ipv4Header, usize), DropReason> {
    let (ip, _) = Ipv4Header::ref_from_prefix(packet).map_err(|_| DropReason::FrameTruncated)?;
    let ip_len = ip.header_len();
    let total_len = usize::from(ip.total_len.get());
    if ip.version_ihl >> 4 != 4 || ip_len < IPV4_LEN || total_len < ip_len {
        return Err(DropReason::Ipv4HeaderBad);
    }
    if packet.len() < ip_len {
        return Err(DropReason::FrameTruncated);
    }
    Ok((ip, ip_len))
}
