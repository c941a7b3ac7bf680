//! The numbered payload.
//!
//! ```text
//! byte 0   magic
//! byte 4   stream
//! byte 8   number, from 1
//! byte 16  time of sending, ns of CLOCK_REALTIME
//! byte 24  length of the payload
//! byte 28  CRC-32 of all other bytes
//! byte 32  fill: a run of the bytes 0..=255 that begins at the number
//! ```
//! All integers are big endian.

use std::time::{SystemTime, UNIX_EPOCH};

/// Marks a payload of `treecast send`.
const MAGIC: u32 = u32::from_be_bytes(*b"tcst");
/// Shortest payload: its own header.
pub const MIN_LEN: usize = 32;
/// Longest payload: what UDP over IPv4 takes.
pub const MAX_LEN: usize = 65_507;
const CRC_AT: usize = 28;

/// What a payload says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The stream it belongs to.
    pub(super) stream: u32,
    /// Its number in the stream, from 1.
    pub(super) number: u64,
    /// When it was sent, in ns since 1970.
    pub(super) sent_ns: u64,
}

/// Writes payloads of one length.
pub(super) struct Writer {
    /// The bytes 0..=255 repeated, long enough for a fill that starts anywhere in the first run.
    fill: Vec<u8>,
}

impl Writer {
    /// A writer of payloads up to `len` bytes.
    pub(super) fn new(len: usize) -> Writer {
        Writer {
            fill: (0..=u8::MAX).cycle().take(len + 256).collect(),
        }
    }

    /// Fills `buffer` with the payload that `stamp` describes; `buffer` holds at least [`MIN_LEN`] bytes.
    pub(super) fn write(&self, stamp: Stamp, buffer: &mut [u8]) {
        let len = buffer.len();
        buffer[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        buffer[4..8].copy_from_slice(&stamp.stream.to_be_bytes());
        buffer[8..16].copy_from_slice(&stamp.number.to_be_bytes());
        buffer[16..24].copy_from_slice(&stamp.sent_ns.to_be_bytes());
        buffer[24..28].copy_from_slice(&(len as u32).to_be_bytes());
        let start = (stamp.number % 256) as usize;
        buffer[MIN_LEN..].copy_from_slice(&self.fill[start..start + len - MIN_LEN]);
        let crc = checksum(buffer);
        buffer[CRC_AT..MIN_LEN].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Reads a payload back; `None` when it is not one, was cut or was damaged.
pub(super) fn parse(bytes: &[u8]) -> Option<Stamp> {
    let intact = bytes.len() >= MIN_LEN
        && be_u32(bytes, 0) == MAGIC
        && be_u32(bytes, 24) as usize == bytes.len()
        && be_u32(bytes, CRC_AT) == checksum(bytes);
    intact.then(|| Stamp {
        stream: be_u32(bytes, 4),
        number: be_u64(bytes, 8),
        sent_ns: be_u64(bytes, 16),
    })
}

/// Makes bytes a payload: with the right mark, length and checksum, if they are enough.
#[cfg(fuzzing)]
pub(super) fn fuzz_seal(bytes: &mut [u8]) {
    if bytes.len() >= MIN_LEN {
        bytes[0..4].copy_from_slice(&MAGIC.to_be_bytes());
        let len = bytes.len() as u32;
        bytes[24..28].copy_from_slice(&len.to_be_bytes());
        let crc = checksum(bytes);
        bytes[CRC_AT..MIN_LEN].copy_from_slice(&crc.to_be_bytes());
    }
}

/// Nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..CRC_AT]);
    hasher.update(&bytes[MIN_LEN..]);
    hasher.finalize()
}

fn be_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(be_u32(bytes, at)) << 32 | u64::from(be_u32(bytes, at + 4))
}
