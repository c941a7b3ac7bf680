//! Why a packet ended here: one enum, one counter each, no "other".

/// Makes the enum and its tables from one line per reason: variant, name, sentence.
macro_rules! drop_reasons {
    ($($variant:ident $name:literal $sentence:literal;)+) => {
        /// Why a packet was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $(#[doc = $sentence] $variant,)+
        }

        impl DropReason {
            /// Every reason, in the order of its counters.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$variant),+];

            /// The reason's name in metrics and JSON, in `snake_case`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),+ }
            }

            /// One sentence for operators.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(DropReason::$variant => $sentence),+ }
            }
        }
    };
}

drop_reasons! {
    // Receive: Ethernet, ARP, IPv4, IPv6, UDP.
    Impaired "impaired" "The link impairment that was set on the port lost the frame, as it was told to.";
    FrameTruncated "frame_truncated" "The frame ends before the headers that it announces.";
    NotForUs "not_for_us" "The frame's Ethernet destination is neither this port nor a group that matches its IP destination.";
    EthertypeUnknown "ethertype_unknown" "The frame is neither IPv4 nor IPv6 nor ARP.";
    ArpBad "arp_bad" "The ARP packet is not Ethernet and IPv4, or its sender is not the station that sent the frame.";
    ArpNotForUs "arp_not_for_us" "The ARP packet neither asks for an address of this node nor tells one that it needs.";
    ArpConflict "arp_conflict" "Another station claims an address that this node answers for.";
    NdBad "nd_bad" "The neighbor solicitation or advertisement is not from this link, damaged, or tells another Ethernet address than its frame.";
    NdNotForUs "nd_not_for_us" "The neighbor discovery packet neither asks for an address of this node nor tells one that it needs.";
    NdConflict "nd_conflict" "Another station claims an IPv6 address that this node answers for.";
    Ipv4HeaderBad "ipv4_header_bad" "The IPv4 header has a wrong version or impossible lengths.";
    Ipv4ChecksumBad "ipv4_checksum_bad" "The checksum of the IPv4 header is wrong.";
    Ipv4SourceBad "ipv4_source_bad" "The IPv4 source is no unicast address.";
    Ipv6HeaderBad "ipv6_header_bad" "The IPv6 header has a wrong version, or a length that its options exceed.";
    Ipv6SourceBad "ipv6_source_bad" "The IPv6 source is no unicast address, or one of a single link where the packet is to go on.";
    Ipv6OptionsLong "ipv6_options_long" "The IPv6 packet has more than 16 bytes of options.";
    IpProtocolUnknown "ip_protocol_unknown" "The IP packet is not UDP.";
    IcmpChecksumBad "icmp_checksum_bad" "The checksum of an echo request to this node is wrong.";
    IcmpUnknown "icmp_unknown" "The ICMP message is none that this node takes.";
    Fragment "fragment" "The packet is a fragment: sources must send packets that fit the MTU.";
    UdpTruncated "udp_truncated" "The UDP length is less than its header or more than the packet holds.";
    UdpSurplus "udp_surplus" "The IP packet holds bytes behind its UDP datagram (UDP options), which are not carried.";
    UdpChecksumBad "udp_checksum_bad" "The UDP checksum of a tree or overlay packet is wrong.";
    UdpChecksumMissing "udp_checksum_missing" "The IPv6 packet has no UDP checksum, which IPv6 demands.";
    MulticastUnknown "multicast_unknown" "The multicast packet is not addressed to the tree port.";
    // Ingress.
    FlowUnknown "flow_unknown" "The unicast packet matches no session at this ingress.";
    TtlExpired "ttl_expired" "The TTL is used up: the packet may be looping.";
    InnerChecksumBad "inner_checksum_bad" "The UDP checksum of a packet for a session is wrong; on a virtual link, turn the sender's TX checksum offload off (ethtool -K IF tx off).";
    TooBig "too_big" "The packet with its outer headers exceeds the MTU; the sender of a session's packet is told by ICMP.";
    IcmpLimited "icmp_limited" "An ICMP error or an answer to an echo request was not sent because too many were due at once.";
    // treecast packets.
    WireTruncated "wire_truncated" "The treecast packet ends before the header or body that it announces.";
    WireVersion "wire_version" "The treecast packet has a version that this node does not speak.";
    WireType "wire_type" "The treecast packet has a type that this node does not know.";
    WireField "wire_field" "A field of the treecast packet has an impossible value.";
    KindMisplaced "kind_misplaced" "A treecast packet of this type does not belong on the UDP port it came to.";
    InnerBad "inner_bad" "The packet inside the treecast packet is no whole, sound IPv4/UDP packet.";
    // Tree and overlay.
    SessionUnknown "session_unknown" "The treecast packet is of a session that this node does not have.";
    ChannelWrong "channel_wrong" "The tree packet's source and group are not those of its session.";
    RpfFailed "rpf_failed" "The tree packet came from a station that is not upstream (RPF check).";
    Stranger "stranger" "The overlay packet came from an address, or through a port, that is no neighbor's.";
    EpochOld "epoch_old" "The packet is from an earlier life of its ingress.";
    Duplicate "duplicate" "The packet was here before.";
    Redundant "redundant" "The packet had come by another way before, as it should where there are several.";
    SequenceOld "sequence_old" "The packet came after it had been given up or had left the window.";
    SequenceBeyondWindow "sequence_beyond_window" "The sequence lies too far ahead of the window to be believed.";
    NakUnknownSession "nak_unknown_session" "A neighbor asks for packets of a session that this node does not have.";
    NakOverBudget "nak_over_budget" "A neighbor sends more NAKs than it may be sent repairs.";
    Ejected "ejected" "A neighbor was throttled for so long that its requests go unanswered for a while.";
    RepairUnasked "repair_unasked" "A repair came that nobody had asked for.";
    ParityUseless "parity_useless" "The packets of a block don't match its parity: nothing was rebuilt, what is missing is asked for.";
    HelloStale "hello_stale" "The hello is older than one that came before it.";
    // Delivery and transmission.
    ArpUnresolved "arp_unresolved" "The Ethernet address of the next hop is not known yet.";
    FamilyWrong "family_wrong" "The session's packets are of another IP version than the client's address.";
    NoHeaderBuffer "no_header_buffer" "No header buffer was free for a packet to be sent.";
    NoPacketBuffer "no_packet_buffer" "No packet buffer was free.";
    RetentionFull "retention_full" "The window of a session had no room for the packet.";
    HandoverFull "handover_full" "The worker that has the packet's session had no room for what others hand over to it.";
    PortDown "port_down" "The link of the port that the packet was to leave by is down.";
    TxFull "tx_full" "The port did not take the packet: it is sent more than the link carries.";
    // The kernel exception path.
    KernelRate "kernel_rate" "The frame is for the kernel, beyond the port's kernel_rate.";
    KernelFull "kernel_full" "The frame is for the kernel, which did not take it: its interface is down or gone, or it is slower than frames come.";
}

impl DropReason {
    /// Whether a frame that is not ours for this reason may be the kernel's, where the port has a kernel interface. What
    /// is damaged is nobody's, and what is treecast's is judged here.
    #[must_use]
    pub const fn is_for_kernel(self) -> bool {
        matches!(
            self,
            DropReason::NotForUs
                | DropReason::EthertypeUnknown
                | DropReason::ArpNotForUs
                | DropReason::NdNotForUs
                | DropReason::IcmpUnknown
                | DropReason::Ipv6OptionsLong
                | DropReason::IpProtocolUnknown
                | DropReason::Fragment
                | DropReason::UdpSurplus
                | DropReason::MulticastUnknown
                | DropReason::FlowUnknown
        )
    }
}

/// How many packets were dropped for each reason.
#[derive(Clone, Debug)]
pub(crate) struct DropCounters {
    counts: [u64; DropReason::ALL.len()],
}

impl DropCounters {
    /// All zero.
    pub(crate) const fn new() -> DropCounters {
        DropCounters {
            counts: [0; DropReason::ALL.len()],
        }
    }

    /// Counts one packet.
    pub(crate) fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    /// Counts `packets` packets.
    pub(crate) fn add(&mut self, reason: DropReason, packets: u64) {
        self.counts[reason as usize] += packets;
    }

    /// Adds what another worker has counted.
    pub(crate) fn merge(&mut self, other: &DropCounters) {
        for (count, other) in self.counts.iter_mut().zip(other.counts) {
            *count += other;
        }
    }

    /// Every reason with its count.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.iter().copied().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn snake_case(variant: &str) -> String {
        let mut name = String::new();
        for letter in variant.chars() {
            if letter.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }

    #[test]
    fn each_reason_has_its_own_name_counter_and_sentence() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for (index, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(reason.name(), snake_case(&format!("{reason:?}")));
            assert!(reason.sentence().ends_with('.'), "{reason:?}");
        }
    }

    #[test]
    fn a_count_lands_under_its_reason_alone() {
        let mut drops = DropCounters::new();
        drops.count(DropReason::TxFull);
        drops.add(DropReason::Impaired, 3);
        let counted: Vec<_> = drops.iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(
            counted,
            [(DropReason::Impaired, 3), (DropReason::TxFull, 1)]
        );
    }
}
