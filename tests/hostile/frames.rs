//! Frames that nobody should send, made from a seed and from frames that were seen on the wire.

use std::ops::Range;

const ETHERNET_LEN: usize = 14;
const IPV4_LEN: usize = 20;
const UDP_LEN: usize = 8;
/// Where the treecast packet lies in a frame of a node.
pub(crate) const TREECAST: usize = ETHERNET_LEN + IPV4_LEN + UDP_LEN;
const ETHERTYPE_ARP: [u8; 2] = [8, 6];
const ETHERTYPE_IPV4: [u8; 2] = [8, 0];
/// Longest frame that every link takes.
pub(crate) const LONGEST: usize = 1514;

/// How many frames of each sort were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) random: u64,
    pub(crate) truncated: u64,
    pub(crate) flipped: u64,
    pub(crate) replayed: u64,
    pub(crate) refitted: u64,
    /// Of all of these: ARP packets and replayed heartbeats, which a node may take without a counter.
    pub(crate) uncounted: u64,
}

impl Made {
    pub(crate) fn all(&self) -> u64 {
        self.random + self.truncated + self.flipped + self.replayed + self.refitted
    }
}

/// Makes hostile frames for one port.
pub(crate) struct Generator {
    random: fastrand::Rng,
    /// Seen on this port's link, going to the port.
    own: Vec<Vec<u8>>,
    /// Seen anywhere else.
    foreign: Vec<Vec<u8>>,
    mac: [u8; 6],
    made: Made,
}

impl Generator {
    /// A generator for the port at `mac`. A datagram of the source is told apart by nothing from its replay, so it must
    /// not be among `own`.
    pub(crate) fn new(
        seed: u64,
        mac: [u8; 6],
        own: Vec<Vec<u8>>,
        foreign: Vec<Vec<u8>>,
    ) -> Generator {
        assert!(!foreign.is_empty(), "nothing was seen on the wire");
        Generator {
            random: fastrand::Rng::with_seed(seed),
            own,
            foreign,
            mac,
            made: Made::default(),
        }
    }

    pub(crate) fn made(&self) -> Made {
        self.made
    }

    /// The next frame.
    pub(crate) fn make(&mut self) -> Vec<u8> {
        let frame = match self.random.u8(..5) {
            0 => {
                self.made.random += 1;
                self.noise()
            }
            1 => {
                self.made.truncated += 1;
                let frame = self.template();
                let len = self.random.usize(ETHERNET_LEN..frame.len());
                frame[..len].to_vec()
            }
            2 => {
                self.made.flipped += 1;
                self.flipped()
            }
            3 => {
                self.made.replayed += 1;
                self.template()
            }
            _ => {
                self.made.refitted += 1;
                self.refitted()
            }
        };
        self.made.uncounted += u64::from(may_go_uncounted(&frame));
        frame
    }

    /// A frame that was seen: on this link as it was, from another one as if it were meant for this port.
    fn template(&mut self) -> Vec<u8> {
        let here = !self.own.is_empty() && self.random.bool();
        let seen = if here { &self.own } else { &self.foreign };
        let mut frame = seen[self.random.usize(..seen.len())].clone();
        if !here && frame[0] & 1 == 0 {
            frame[..6].copy_from_slice(&self.mac);
        }
        frame
    }

    /// Random bytes behind an Ethernet header that gets them as far as possible.
    fn noise(&mut self) -> Vec<u8> {
        let len = self.random.usize(ETHERNET_LEN..LONGEST);
        let mut frame: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..))
            .take(len)
            .collect();
        if self.random.u8(..4) > 0 {
            frame[..6].copy_from_slice(&self.mac);
        }
        match self.random.u8(..4) {
            0 => frame[12..14].copy_from_slice(&ETHERTYPE_ARP),
            1 => {}
            _ => frame[12..14].copy_from_slice(&ETHERTYPE_IPV4),
        }
        if len > ETHERNET_LEN && self.random.bool() {
            frame[ETHERNET_LEN] = 0x45;
        }
        frame
    }

    /// One byte of a frame is not what it was. Every checksum notices that where it covers the byte: what comes through
    /// is the frame itself with another Ethernet header.
    fn flipped(&mut self) -> Vec<u8> {
        let mut frame = self.template();
        let at = self.random.usize(..frame.len());
        frame[at] ^= self.random.u8(1..);
        frame
    }

    /// A packet of the protocol with sound checksums that is cut, or whose version, type or session nobody knows: what
    /// is behind the checksums gets its share.
    fn refitted(&mut self) -> Vec<u8> {
        let mut frame = self.template();
        if !is_treecast(&frame) {
            return self.flipped();
        }
        match self.random.u8(..3) {
            // Not a NAK: cut between two ranges, it is a NAK still.
            0 if frame[TREECAST] & 0x0f != 3 => {
                frame.truncate(self.random.usize(TREECAST..frame.len()));
            }
            1 => frame[TREECAST] = self.unknown_version_or_type(),
            _ => {
                let session = self.random.u32(1000..);
                frame[TREECAST + 4..TREECAST + 8].copy_from_slice(&session.to_be_bytes());
            }
        }
        seal(&mut frame);
        frame
    }

    fn unknown_version_or_type(&mut self) -> u8 {
        if self.random.bool() {
            self.random.u8(2..16) << 4 | self.random.u8(..16)
        } else {
            1 << 4 | self.random.u8(7..16)
        }
    }
}

/// Whether a frame is a packet of the protocol without IP options.
pub(crate) fn is_treecast(frame: &[u8]) -> bool {
    let port = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    is_udp(frame) && frame.len() >= TREECAST + 24 && [7451, 7452].contains(&port(TREECAST - 6))
}

/// Whether a frame is IPv4 without options and UDP.
pub(crate) fn is_udp(frame: &[u8]) -> bool {
    frame.len() > TREECAST
        && frame[12..14] == ETHERTYPE_IPV4
        && frame[ETHERNET_LEN] == 0x45
        && frame[ETHERNET_LEN + 9] == 17
}

/// ARP, and heartbeats of the tree.
fn may_go_uncounted(frame: &[u8]) -> bool {
    frame[12..14] == ETHERTYPE_ARP || (is_treecast(frame) && frame[TREECAST] & 0x0f == 5)
}

/// Sets lengths and checksums of an IPv4 and UDP frame to what it holds now.
pub(crate) fn seal(frame: &mut [u8]) {
    let ip = ETHERNET_LEN..ETHERNET_LEN + IPV4_LEN;
    let len = u16::try_from(frame.len() - ETHERNET_LEN).unwrap();
    put(frame, ip.start + 2, len);
    put(frame, ip.start + 10, 0);
    let sum = checksum(frame, ip.clone(), 0);
    put(frame, ip.start + 10, sum);
    let udp = ip.end..frame.len();
    let len = u16::try_from(udp.len()).unwrap();
    put(frame, udp.start + 4, len);
    put(frame, udp.start + 6, 0);
    // The pseudo-header: both addresses, the protocol and the length.
    let pseudo = sum_of(&frame[ip.start + 12..ip.end]) + 17 + u32::from(len);
    let sum = match checksum(frame, udp.clone(), pseudo) {
        0 => 0xffff,
        sum => sum,
    };
    put(frame, udp.start + 6, sum);
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

fn checksum(frame: &[u8], part: Range<usize>, start: u32) -> u16 {
    let mut sum = start + sum_of(&frame[part]);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn sum_of(bytes: &[u8]) -> u32 {
    let words = bytes.chunks(2);
    words
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum()
}

/// A frame around a UDP payload, between the same ends as `like`, with sound checksums.
pub(crate) fn around(like: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut frame = like[..TREECAST].to_vec();
    frame.extend_from_slice(payload);
    seal(&mut frame);
    frame
}

#[test]
fn a_seed_makes_the_same_frames_again_and_every_sort_of_them() {
    let mut arp = vec![0xff; 60];
    arp[12..14].copy_from_slice(&ETHERTYPE_ARP);
    let mut data = vec![0; TREECAST + 100];
    data[12..14].copy_from_slice(&ETHERTYPE_IPV4);
    data[ETHERNET_LEN] = 0x45;
    data[ETHERNET_LEN + 9] = 17;
    data[TREECAST - 6..TREECAST - 4].copy_from_slice(&7451_u16.to_be_bytes());
    seal(&mut data);
    let generator = || Generator::new(7, [2; 6], vec![arp.clone()], vec![data.clone()]);
    let (mut one, mut other) = (generator(), generator());
    for _ in 0..2000 {
        let frame = one.make();
        assert!((ETHERNET_LEN..=LONGEST).contains(&frame.len()));
        assert_eq!(frame, other.make());
    }
    let made = one.made();
    for count in [
        made.random,
        made.truncated,
        made.flipped,
        made.replayed,
        made.refitted,
    ] {
        assert!(count > 300, "{made:?}");
    }
    assert_eq!(made.all(), 2000);
}
