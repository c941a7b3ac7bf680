//! The Internet checksum (RFC 1071), kept as a sum until it is needed, so that parts add up and are swapped in place
//! (RFC 1624).

use std::net::IpAddr;
use std::ops::{Add, Sub};

use zerocopy::{Immutable, IntoBytes};

use crate::frame::Addresses;

/// The IPv4 protocol number of UDP.
pub(crate) const PROTOCOL_UDP: u8 = 17;

/// A ones' complement sum of 16-bit big-endian words.
///
/// Addition wraps its carry around, and the complement is the negative; so the sum of a packet is the sum of its parts
/// (each but the last of even length) in any order. There are two zeros, 0 and 0xffff: compare checksums, not sums.
#[derive(Clone, Copy, Debug, Default, IntoBytes, Immutable)]
#[repr(transparent)]
pub(crate) struct Sum(u16);

impl Sum {
    /// The sum of no bytes.
    pub(crate) const ZERO: Sum = Sum(0);

    /// The sum of `bytes`, an odd one at the end padded with zero.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Sum {
        // Eight bytes at a time: a ones' complement sum does not mind the width (RFC 1071 §2), and native order is
        // turned once, at the end, since swapping all words swaps their sum. Two halves per word leave 32 bits for
        // carries: enough for 16 GiB.
        let mut halves = 0u64;
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            let word = u64::from_ne_bytes(*word);
            halves += (word >> 32) + (word & 0xffff_ffff);
        }
        // What is left is less than that: by halves, since a call to copy it would cost more than a header's sum.
        let (pairs, tail) = tail.as_chunks::<2>();
        for pair in pairs {
            halves += u64::from(u16::from_ne_bytes(*pair));
        }
        if let [last] = tail {
            halves += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Sum(u16::from_be(fold(halves)))
    }

    /// The sum of one word.
    #[inline]
    pub(crate) const fn word(word: u16) -> Sum {
        Sum(word)
    }

    /// The sum of a number's four words.
    #[inline]
    pub(crate) const fn long(number: u64) -> Sum {
        Sum(fold(number))
    }

    /// The sum of an address' words.
    #[inline]
    pub(crate) fn address(address: IpAddr) -> Sum {
        match address {
            IpAddr::V4(address) => Sum(fold(u64::from(address.to_bits()))),
            IpAddr::V6(address) => Sum::of(&address.octets()),
        }
    }

    /// The sum that a checksum field stands for.
    #[inline]
    pub(crate) const fn of_checksum(checksum: u16) -> Sum {
        Sum(!checksum)
    }

    /// The sum of a pseudo header (RFC 768, RFC 8200 §8.1): its fields lie otherwise in IPv6, and add up to the same.
    #[inline]
    pub(crate) fn pseudo(addresses: &Addresses, protocol: u8, len: u16) -> Sum {
        Sum::address(addresses.source())
            + Sum::address(addresses.destination())
            + Sum(u16::from(protocol))
            + Sum(len)
    }

    /// That of UDP.
    #[inline]
    pub(crate) fn udp_pseudo(addresses: &Addresses, udp_len: u16) -> Sum {
        Sum::pseudo(addresses, PROTOCOL_UDP, udp_len)
    }

    /// The checksum for a header whose checksum field counted as zero.
    #[inline]
    pub(crate) const fn checksum(self) -> u16 {
        !self.0
    }

    /// The same for UDP, where a computed 0 is sent as 0xffff, since 0 means "none" (RFC 768).
    #[inline]
    pub(crate) const fn udp_checksum(self) -> u16 {
        match self.checksum() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Whether this, the sum of something with its checksum in it, says that it is sound.
    #[inline]
    pub(crate) const fn is_sound(self) -> bool {
        self.0 == 0xffff
    }
}

/// A sum in the making, of words as they lie in memory: what is sound does not depend on the order of bytes (RFC 1071 §2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wide(u64);

impl Wide {
    /// The sum of eight bytes, or of fewer with zeros. A few thousand of these add up without a carry.
    #[inline(always)]
    pub(crate) const fn of(word: u64) -> Wide {
        Wide((word >> 32) + (word & 0xffff_ffff))
    }

    /// As [`Sum::is_sound`].
    #[inline(always)]
    pub(crate) const fn is_sound(self) -> bool {
        // Not zero, as something in it never is: then it is a multiple of 0xffff if it folds to that.
        fold(self.0) == 0xffff
    }
}

impl Add for Wide {
    type Output = Wide;

    #[inline(always)]
    fn add(self, other: Wide) -> Wide {
        Wide(self.0 + other.0)
    }
}

impl Add for Sum {
    type Output = Sum;

    #[inline]
    fn add(self, other: Sum) -> Sum {
        let (sum, carry) = self.0.overflowing_add(other.0);
        Sum(sum + u16::from(carry))
    }
}

impl Sub for Sum {
    type Output = Sum;

    #[inline]
    fn sub(self, other: Sum) -> Sum {
        self + Sum(!other.0)
    }
}

/// Adds up the 16-bit words of a wide sum.
#[inline]
const fn fold(mut wide: u64) -> u16 {
    // Without a branch: 33 bits at most, then 17, 17 and 16.
    wide = (wide >> 32) + (wide & 0xffff_ffff);
    wide = (wide >> 16) + (wide & 0xffff);
    wide = (wide >> 16) + (wide & 0xffff);
    wide = (wide >> 16) + (wide & 0xffff);
    wide as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 1071's definition, word by word.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn the_fast_sum_is_the_defined_one(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            prop_assert_eq!(Sum::of(&bytes).0, naive(&bytes));
        }

        #[test]
        fn parts_add_up_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 1..200), cut in 0usize..100) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let sum = Sum::of(&bytes[..cut]) + Sum::of(&bytes[cut..]);
            prop_assert_eq!(sum.udp_checksum(), Sum::of(&bytes).udp_checksum());
        }

        #[test]
        fn a_word_swapped_in_place_gives_the_checksum_of_the_whole(
            mut words in prop::collection::vec(any::<u16>(), 1..40), index: prop::sample::Index, new: u16
        ) {
            // As in any IPv4 or UDP checksum: something in it is never zero.
            words.push(17);
            let sum = |words: &[u16]| Sum::of(&words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>());
            let old_sum = Sum::of_checksum(sum(&words).udp_checksum());
            let place = index.index(words.len() - 1);
            let swapped = old_sum - Sum::word(words[place]) + Sum::word(new);
            words[place] = new;
            prop_assert_eq!(swapped.udp_checksum(), sum(&words).udp_checksum());
        }

        #[test]
        fn a_udp_checksum_is_etherparses(
            source: [u8; 4], destination: [u8; 4], ports: (u16, u16), payload in prop::collection::vec(any::<u8>(), 0..1500)
        ) {
            let udp = etherparse::UdpHeader::with_ipv4_checksum(
                ports.0,
                ports.1,
                &etherparse::Ipv4Header::new(0, 1, etherparse::IpNumber::UDP, source, destination).unwrap(),
                &payload,
            )
            .unwrap();
            let len = payload.len() as u16 + 8;
            let addresses = Addresses::V4 { source: source.into(), destination: destination.into() };
            let sum = Sum::udp_pseudo(&addresses, len)
                + Sum::word(ports.0)
                + Sum::word(ports.1)
                + Sum::word(len)
                + Sum::of(&payload);
            prop_assert_eq!(sum.udp_checksum(), udp.checksum);
        }

        #[test]
        fn a_udp_checksum_over_ipv6_is_etherparses(
            source: [u8; 16], destination: [u8; 16], ports: (u16, u16), payload in prop::collection::vec(any::<u8>(), 0..1500)
        ) {
            let ip = etherparse::Ipv6Header { source, destination, ..Default::default() };
            let udp = etherparse::UdpHeader::with_ipv6_checksum(ports.0, ports.1, &ip, &payload).unwrap();
            let len = payload.len() as u16 + 8;
            let addresses = Addresses::V6 { source: source.into(), destination: destination.into() };
            let sum = Sum::udp_pseudo(&addresses, len)
                + Sum::word(ports.0)
                + Sum::word(ports.1)
                + Sum::word(len)
                + Sum::of(&payload);
            prop_assert_eq!(sum.udp_checksum(), udp.checksum);
        }
    }

    #[test]
    fn a_computed_zero_is_sent_as_all_ones() {
        assert_eq!(Sum::word(0xffff).udp_checksum(), 0xffff);
        assert_eq!(Sum::word(0xffff).checksum(), 0);
    }
}
