//! Forward error correction: the bytes of a block's parity, and its packets rebuilt from them.
//!
//! Each packet of a block becomes a record, filled up with zeros to the longest of the block:
//!
//! ```text
//!  bytes 0-7   timestamp of the ingress
//!  bytes 8-9   length of the inner packet
//!  bytes 10-   the inner packet as the tree carries it: IP and UDP header, payload
//! ```
//! All big endian. One parity packet is the XOR of the records; more are their Reed–Solomon code over GF(2¹⁶), whose
//! symbols have two bytes: there records are filled up to an even length.
//!
//! What rebuilds a block is any bytes in, whole records or a named error out. A codec takes its memory when it is
//! made, for the largest block and the longest record that it is made for; coding a block takes none.

mod engine;

use overlay::Fec;
use overlay::wire::{FEC_BLOCK_MAX, FEC_PARITY_MAX, PARITY_HEADER_LEN};
use reed_solomon_simd::rate::{DefaultRateDecoder, DefaultRateEncoder, RateDecoder, RateEncoder};
use thiserror::Error;

use engine::BlockEngine;

/// What stands before the inner packet in a record.
const RECORD_HEADER: usize = 8 + 2;

/// The longest inner packet whose parity fits where `room` bytes are left behind the treecast header.
pub(crate) const fn packet_max(fec: Fec, room: usize) -> usize {
    let room = room.saturating_sub(PARITY_HEADER_LEN);
    // Symbols of two bytes.
    let room = if fec.parity > 1 { room & !1 } else { room };
    room.saturating_sub(RECORD_HEADER)
}

/// Why a block could not be coded or rebuilt. Nothing was.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum FecError {
    #[error("the block is larger or has other parity than the session is made for")]
    Block,
    #[error("a packet of the block is longer than its parity can say")]
    TooLong,
    #[error("the parity packets of the block differ in length")]
    Lengths,
    #[error("fewer packets than it takes to rebuild the block, or one twice")]
    Count,
    #[error("what was rebuilt is no record")]
    Record,
}

/// A packet of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The ingress' time stamp.
    pub(crate) timestamp: u64,
    /// The inner packet, in two parts as it lies in buffers.
    pub(crate) packet: [&'a [u8]; 2],
}

impl<'a> Record<'a> {
    fn packet_len(&self) -> usize {
        self.packet[0].len() + self.packet[1].len()
    }

    fn len(&self) -> usize {
        RECORD_HEADER + self.packet_len()
    }

    fn header(&self) -> Result<[u8; RECORD_HEADER], FecError> {
        let len = u16::try_from(self.packet_len()).map_err(|_| FecError::TooLong)?;
        let mut header = [0; RECORD_HEADER];
        header[..8].copy_from_slice(&self.timestamp.to_be_bytes());
        header[8..].copy_from_slice(&len.to_be_bytes());
        Ok(header)
    }

    /// Writes the record at the start of `shard`, which is long enough, and zeros behind it.
    fn write(&self, shard: &mut [u8]) -> Result<(), FecError> {
        if self.len() > shard.len() {
            return Err(FecError::TooLong);
        }
        let (header, rest) = shard.split_at_mut(RECORD_HEADER);
        header.copy_from_slice(&self.header()?);
        let (first, rest) = rest.split_at_mut(self.packet[0].len());
        first.copy_from_slice(self.packet[0]);
        let (second, zeros) = rest.split_at_mut(self.packet[1].len());
        second.copy_from_slice(self.packet[1]);
        zeros.fill(0);
        Ok(())
    }

    /// Adds the record to `sum`, which is long enough.
    fn add_to(&self, sum: &mut [u8]) -> Result<(), FecError> {
        if self.len() > sum.len() {
            return Err(FecError::TooLong);
        }
        let (header, rest) = sum.split_at_mut(RECORD_HEADER);
        xor(header, &self.header()?);
        let (first, rest) = rest.split_at_mut(self.packet[0].len());
        xor(first, self.packet[0]);
        xor(rest, self.packet[1]);
        Ok(())
    }

    /// Reads a record that was rebuilt; its packet is in one part.
    fn read(shard: &'a [u8]) -> Result<Record<'a>, FecError> {
        let (timestamp, rest) = shard.split_first_chunk().ok_or(FecError::Record)?;
        let (len, rest) = rest.split_first_chunk().ok_or(FecError::Record)?;
        let len = usize::from(u16::from_be_bytes(*len));
        let (packet, zeros) = rest.split_at_checked(len).ok_or(FecError::Record)?;
        if packet.is_empty() || zeros.iter().any(|&byte| byte != 0) {
            return Err(FecError::Record);
        }
        Ok(Record {
            timestamp: u64::from_be_bytes(*timestamp),
            packet: [packet, &[]],
        })
    }
}

fn xor(sum: &mut [u8], bytes: &[u8]) {
    for (sum, byte) in sum.iter_mut().zip(bytes) {
        *sum ^= byte;
    }
}

/// Codes and rebuilds the blocks of one session.
pub(crate) struct Codec {
    fec: Fec,
    /// Longest record, in bytes.
    shard_max: usize,
    /// Where more than one parity packet is made.
    code: Option<Box<Code>>,
    /// One record.
    shard: Vec<u8>,
    /// The parity of the block that was encoded last, one after another.
    coded: Vec<u8>,
    /// Length of each of them.
    coded_len: usize,
}

struct Code {
    encoder: DefaultRateEncoder<BlockEngine>,
    decoder: DefaultRateDecoder<BlockEngine>,
}

impl Code {
    fn new(fec: Fec, shard_max: usize) -> Option<Code> {
        let (block, parity) = (fec.block.into(), fec.parity.into());
        let engine = BlockEngine::default;
        let encoder = DefaultRateEncoder::new(block, parity, shard_max, engine(), None);
        let decoder = DefaultRateDecoder::new(block, parity, shard_max, engine(), None);
        Some(Code {
            encoder: encoder.ok()?,
            decoder: decoder.ok()?,
        })
    }
}

impl Codec {
    /// A codec for blocks of up to `fec.block` packets, none longer than `packet_max` bytes. `None` where `fec` is not
    /// possible.
    pub(crate) fn new(fec: Fec, packet_max: usize) -> Option<Codec> {
        let possible =
            (1..=FEC_BLOCK_MAX).contains(&fec.block) && (1..=FEC_PARITY_MAX).contains(&fec.parity);
        if !possible {
            return None;
        }
        let shard_max = (RECORD_HEADER + packet_max).next_multiple_of(2);
        let code = || Some(Box::new(Code::new(fec, shard_max)?));
        Some(Codec {
            fec,
            shard_max,
            code: if fec.parity > 1 { Some(code()?) } else { None },
            shard: vec![0; shard_max],
            coded: vec![0; shard_max * usize::from(fec.parity)],
            coded_len: 0,
        })
    }

    /// Codes a block of `count` packets: `records` are they, in order. [`Codec::parity`] then gives its parity.
    ///
    /// # Errors
    /// [`FecError::Block`], [`FecError::Count`] or [`FecError::TooLong`].
    pub(crate) fn encode<'a>(
        &mut self,
        count: u8,
        records: impl Iterator<Item = Record<'a>> + Clone,
    ) -> Result<(), FecError> {
        self.coded_len = 0;
        if count == 0 || count > self.fec.block {
            return Err(FecError::Block);
        }
        let count = usize::from(count);
        if records.clone().count() != count {
            return Err(FecError::Count);
        }
        let longest = records.clone().map(|record| record.len()).max();
        let len = self.shard_len(longest.unwrap_or_default())?;
        match &mut self.code {
            None => {
                let sum = &mut self.coded[..len];
                sum.fill(0);
                for record in records {
                    record.add_to(sum)?;
                }
            }
            Some(code) => {
                let parity = self.fec.parity.into();
                let encoder = &mut code.encoder;
                let reset = encoder.reset(count, parity, len);
                reset.map_err(|_| FecError::Block)?;
                for record in records {
                    let shard = &mut self.shard[..len];
                    record.write(shard)?;
                    let added = encoder.add_original_shard(&*shard);
                    added.map_err(|_| FecError::Block)?;
                }
                let coded = encoder.encode().map_err(|_| FecError::Block)?;
                let areas = self.coded.chunks_exact_mut(len);
                for (area, shard) in areas.zip(coded.recovery_iter()) {
                    area.copy_from_slice(shard);
                }
            }
        }
        self.coded_len = len;
        Ok(())
    }

    /// Parity packet `index` of the block that was encoded last.
    pub(crate) fn parity(&self, index: u8) -> Option<&[u8]> {
        let mut parity = self.coded.chunks_exact(self.coded_len.max(1));
        let known = index < self.fec.parity && self.coded_len > 0;
        parity.nth(index.into()).filter(|_| known)
    }

    /// Rebuilds what a block, of the size and parity that its parity tells, lacks: from the packets and the parity that are
    /// there, each with its place. Hands each missing one with its place to `found`: all of them, or an error and none.
    ///
    /// # Errors
    /// Why nothing was rebuilt.
    pub(crate) fn rebuild<'a>(
        &mut self,
        block: Fec,
        records: impl Iterator<Item = (u8, Record<'a>)>,
        mut parity: impl Iterator<Item = (u8, &'a [u8])>,
        found: impl FnMut(u8, Record<'_>),
    ) -> Result<(), FecError> {
        let first = parity.next().ok_or(FecError::Count)?;
        let len = self.shard_len(first.1.len())?;
        if len != first.1.len() {
            return Err(FecError::Lengths);
        }
        let count = block.block;
        if count == 0 || count > self.fec.block || block.parity != self.fec.parity {
            return Err(FecError::Block);
        }
        match &mut self.code {
            None => {
                let sum = &mut self.shard[..len];
                sum.copy_from_slice(first.1);
                let missing = subtract(sum, count, records)?;
                hand_over(|| std::iter::once((missing, &*sum)), found)
            }
            Some(code) => {
                let decoder = &mut code.decoder;
                let reset = decoder.reset(count.into(), self.fec.parity.into(), len);
                reset.map_err(|_| FecError::Block)?;
                for (place, record) in records {
                    let shard = &mut self.shard[..len];
                    record.write(shard)?;
                    let added = decoder.add_original_shard(place.into(), &*shard);
                    added.map_err(|_| FecError::Count)?;
                }
                for (index, coded) in [first].into_iter().chain(parity) {
                    if coded.len() != len {
                        return Err(FecError::Lengths);
                    }
                    let added = decoder.add_recovery_shard(index.into(), coded);
                    added.map_err(|_| FecError::Count)?;
                }
                let decoded = decoder.decode().map_err(|_| FecError::Count)?;
                let places = |(place, shard)| (place as u8, shard);
                hand_over(|| decoded.restored_original_iter().map(places), found)
            }
        }
    }

    /// The length of shards whose longest record has `longest` bytes.
    fn shard_len(&self, longest: usize) -> Result<usize, FecError> {
        let len = match self.code {
            None => longest,
            Some(_) => longest.next_multiple_of(2),
        };
        if len > self.shard_max {
            return Err(FecError::TooLong);
        }
        if len < RECORD_HEADER {
            return Err(FecError::Lengths);
        }
        Ok(len)
    }
}

/// Takes the records of a block of `count` out of their sum, which leaves the one that is missing, and says which.
fn subtract<'a>(
    sum: &mut [u8],
    count: u8,
    records: impl Iterator<Item = (u8, Record<'a>)>,
) -> Result<u8, FecError> {
    let mut missing = u128::MAX >> (128 - u32::from(count));
    for (place, record) in records {
        let bit = 1_u128.checked_shl(place.into()).unwrap_or_default();
        if missing & bit == 0 {
            return Err(FecError::Count);
        }
        missing ^= bit;
        record.add_to(sum)?;
    }
    if missing.count_ones() != 1 {
        return Err(FecError::Count);
    }
    Ok(missing.trailing_zeros() as u8)
}

/// Hands over the records if all of them are sound.
fn hand_over<'a, I: Iterator<Item = (u8, &'a [u8])>>(
    restored: impl Fn() -> I,
    mut found: impl FnMut(u8, Record<'a>),
) -> Result<(), FecError> {
    for (_, shard) in restored() {
        Record::read(shard)?;
    }
    for (place, shard) in restored() {
        found(place, Record::read(shard)?);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
