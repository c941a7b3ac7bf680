//! The treecast header and the bodies behind it: any bytes in, a value or a named reason out.
//!
//! ```text
//!  byte 0      version (4 bits) | type (4 bits)
//!  byte 1      flags
//!  bytes 2-3   epoch
//!  bytes 4-7   session
//!  bytes 8-15  sequence (data, repair, copy: of this packet; parity: of the first of its block; heartbeat: the lead;
//!              hello: of this hello; NAK confirmation: 0)
//!  bytes 16-23 timestamp (data, repair, copy: ns of CLOCK_REALTIME at the ingress; hello: ns of the sender's clock;
//!              NAK confirmation: ns for which the sender need not be asked)
//! ```
//! All fields are big endian. Data, repair and copy carry the inner IP packet after the header, parity a
//! [`ParityHeader`] and the coded bytes.

use thiserror::Error;
use zerocopy::byteorder::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::seq::{Epoch, Seq, SeqRange, SessionId};

/// The version that this code speaks.
pub const VERSION: u8 = 1;
/// Length of the treecast header, in bytes.
pub const HEADER_LEN: usize = size_of::<RawHeader>();
/// Length of the body of a hello without a session, in bytes.
pub const HELLO_LEN: usize = size_of::<RawHello>();
/// Length of one range of a NAK, in bytes.
pub const RANGE_LEN: usize = size_of::<RawRange>();
/// Length of what stands before the coded bytes of a parity packet.
pub const PARITY_HEADER_LEN: usize = size_of::<RawParity>();
/// Most packets of a block.
pub const FEC_BLOCK_MAX: u8 = 128;
/// Most parity packets of a block.
pub const FEC_PARITY_MAX: u8 = 32;
/// UDP destination port of the tree.
pub const TREE_PORT: u16 = 7451;
/// UDP destination port of the overlay.
pub const OVERLAY_PORT: u16 = 7452;
/// In a hello with a session: "send me this session's tree", kept alive by every further one.
pub const FLAG_GRAFT: u8 = 0x01;
/// In a hello with a session: "send me copies of this session", from `sequence` on, kept alive by every further one.
pub const FLAG_COPY: u8 = 0x02;
/// In a packet of the tree: it goes down the second tree.
pub const FLAG_SECOND: u8 = 0x04;
/// In a heartbeat: the lead is the last packet of the epoch.
pub const FLAG_END: u8 = 0x08;
/// In a hello with a session: "how much of the last `timestamp` nanoseconds is there?". In a NAK confirmation: the
/// answer, one range.
pub const FLAG_HISTORY: u8 = 0x10;

/// What a treecast packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An inner packet going down the tree (ODATA of RFC 3208).
    Data = 1,
    /// An inner packet that fills a gap (RDATA).
    Repair = 2,
    /// The ranges that the sender lacks (NAK).
    Nak = 3,
    /// "I know of this gap and have asked" (NCF).
    NakConfirm = 4,
    /// The lead of a session whose source pauses (SPM).
    Heartbeat = 5,
    /// Liveness of an overlay adjacency (RFC 5880 in spirit); with a session, a request that it keeps alive.
    Hello = 6,
    /// An inner packet once more, over the overlay.
    Copy = 7,
    /// What a block of packets sums up to: rebuilds one of them.
    Parity = 8,
}

/// Why bytes are not a treecast packet.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// Fewer bytes than the header, or than the body that the type calls for.
    #[error("treecast packet is cut short")]
    Truncated,
    /// A version that this code does not speak.
    #[error("treecast version is unknown")]
    Version,
    /// A type that this code does not know.
    #[error("treecast packet type is unknown")]
    Type,
    /// Session 0 where one is needed, sequence 0 in a packet, the last sequence there is, an empty or wrapping range.
    #[error("treecast field has an impossible value")]
    Field,
}

/// The treecast header, parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is.
    pub kind: Kind,
    /// Bits whose meaning depends on `kind`; unknown ones are ignored.
    pub flags: u8,
    /// Life of the ingress for the session; in a hello, of the node.
    pub epoch: Epoch,
    /// The session; 0 only in a hello.
    pub session: SessionId,
    /// See the module's table.
    pub sequence: Seq,
    /// See the module's table, in nanoseconds.
    pub timestamp: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHeader {
    version_type: u8,
    flags: u8,
    epoch: U16,
    session: U32,
    sequence: U64,
    timestamp: U64,
}

impl Header {
    /// Reads the header at the start of `bytes` and returns it with the rest.
    ///
    /// # Errors
    /// The reason why the bytes are not a treecast packet.
    pub fn parse(bytes: &[u8]) -> Result<(Header, &[u8]), WireError> {
        let (raw, rest) = RawHeader::ref_from_prefix(bytes).map_err(|_| WireError::Truncated)?;
        if raw.version_type >> 4 != VERSION {
            return Err(WireError::Version);
        }
        let kind = match raw.version_type & 0x0f {
            1 => Kind::Data,
            2 => Kind::Repair,
            3 => Kind::Nak,
            4 => Kind::NakConfirm,
            5 => Kind::Heartbeat,
            6 => Kind::Hello,
            7 => Kind::Copy,
            8 => Kind::Parity,
            _ => return Err(WireError::Type),
        };
        let header = Header {
            kind,
            flags: raw.flags,
            epoch: Epoch(raw.epoch.get()),
            session: SessionId(raw.session.get()),
            sequence: Seq(raw.sequence.get()),
            timestamp: raw.timestamp.get(),
        };
        let numbered = matches!(kind, Kind::Data | Kind::Repair | Kind::Copy | Kind::Parity);
        let impossible = header.sequence > Seq::MAX || (numbered && header.sequence.0 == 0);
        if kind != Kind::Hello && (header.session.0 == 0 || impossible) {
            return Err(WireError::Field);
        }
        Ok((header, rest))
    }

    /// The header's 24 bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        let raw = RawHeader {
            version_type: VERSION << 4 | self.kind as u8,
            flags: self.flags,
            epoch: U16::new(self.epoch.0),
            session: U32::new(self.session.0),
            sequence: U64::new(self.sequence.0),
            timestamp: U64::new(self.timestamp),
        };
        zerocopy::transmute!(raw)
    }
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawRange {
    first: U64,
    count: U32,
}

/// The ranges of a NAK (or NAK confirmation), read in place.
#[derive(Clone, Copy, Debug)]
pub struct NakRanges<'a> {
    bytes: &'a [u8],
}

impl<'a> NakRanges<'a> {
    /// Checks the body of a NAK: at least one range, a whole number of them, each one possible.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Field`].
    pub fn parse(body: &'a [u8]) -> Result<NakRanges<'a>, WireError> {
        let ranges = <[RawRange]>::ref_from_bytes(body).map_err(|_| WireError::Truncated)?;
        if ranges.is_empty() {
            return Err(WireError::Truncated);
        }
        if ranges.iter().any(|raw| raw.range().is_none()) {
            return Err(WireError::Field);
        }
        Ok(NakRanges { bytes: body })
    }

    /// The ranges in the order in which they were sent.
    pub fn iter(self) -> impl Iterator<Item = SeqRange> + 'a {
        self.bytes
            .chunks_exact(RANGE_LEN)
            .filter_map(|chunk| RawRange::ref_from_bytes(chunk).ok()?.range())
    }
}

impl RawRange {
    fn range(&self) -> Option<SeqRange> {
        SeqRange::new(Seq(self.first.get()), self.count.get())
    }
}

/// The 12 bytes of one range of a NAK.
#[must_use]
pub fn emit_range(range: SeqRange) -> [u8; RANGE_LEN] {
    zerocopy::transmute!(RawRange {
        first: U64::new(range.first().0),
        count: U32::new(range.count())
    })
}

/// What a parity packet is made of: the start of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityHeader {
    /// Packets of the block, from the header's sequence on; 1 to 128.
    pub count: u8,
    /// Parity packets of the block; 1 to 32.
    pub parity: u8,
    /// Which of them this one is, from 0.
    pub index: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawParity {
    count: u8,
    parity: u8,
    index: u8,
    reserved: u8,
}

impl ParityHeader {
    /// Reads the start of a parity packet's body and returns it with the coded bytes.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Field`].
    pub fn parse(body: &[u8]) -> Result<(ParityHeader, &[u8]), WireError> {
        let (raw, coded) = RawParity::ref_from_prefix(body).map_err(|_| WireError::Truncated)?;
        let possible = (1..=FEC_BLOCK_MAX).contains(&raw.count)
            && (1..=FEC_PARITY_MAX).contains(&raw.parity)
            && raw.index < raw.parity;
        if !possible {
            return Err(WireError::Field);
        }
        let header = ParityHeader {
            count: raw.count,
            parity: raw.parity,
            index: raw.index,
        };
        Ok((header, coded))
    }

    /// Its 4 bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; PARITY_HEADER_LEN] {
        zerocopy::transmute!(RawParity {
            count: self.count,
            parity: self.parity,
            index: self.index,
            reserved: 0,
        })
    }
}

/// What the sender of a hello believes of the adjacency (RFC 5880 §6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HelloState {
    /// It has not heard us.
    Down = 0,
    /// It hears us, but has not yet heard that we hear it.
    Init = 1,
    /// Each hears the other.
    Up = 2,
}

/// The body of a hello without a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// How often the sender sends hellos, in microseconds; never 0.
    pub interval_us: u32,
    /// How many intervals of silence mean that the sender is gone; never 0.
    pub detect_mult: u8,
    /// What the sender believes of the adjacency.
    pub state: HelloState,
    /// The timestamp of the last hello the sender had from us; 0 if none.
    pub echo: u64,
    /// How long the sender held that hello before it sent this one, in nanoseconds.
    pub held_ns: u64,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawHello {
    interval_us: U32,
    detect_mult: u8,
    state: u8,
    reserved: U16,
    echo: U64,
    held_ns: U64,
}

impl Hello {
    /// Reads the body of a hello.
    ///
    /// # Errors
    /// [`WireError::Truncated`] or [`WireError::Field`].
    pub fn parse(body: &[u8]) -> Result<Hello, WireError> {
        let (raw, _) = RawHello::ref_from_prefix(body).map_err(|_| WireError::Truncated)?;
        let state = match raw.state {
            0 => HelloState::Down,
            1 => HelloState::Init,
            2 => HelloState::Up,
            _ => return Err(WireError::Field),
        };
        if raw.interval_us.get() == 0 || raw.detect_mult == 0 {
            return Err(WireError::Field);
        }
        Ok(Hello {
            interval_us: raw.interval_us.get(),
            detect_mult: raw.detect_mult,
            state,
            echo: raw.echo.get(),
            held_ns: raw.held_ns.get(),
        })
    }

    /// The body's 24 bytes.
    #[must_use]
    pub fn emit(&self) -> [u8; HELLO_LEN] {
        zerocopy::transmute!(RawHello {
            interval_us: U32::new(self.interval_us),
            detect_mult: self.detect_mult,
            state: self.state as u8,
            reserved: U16::ZERO,
            echo: U64::new(self.echo),
            held_ns: U64::new(self.held_ns),
        })
    }
}

#[cfg(test)]
mod tests;
