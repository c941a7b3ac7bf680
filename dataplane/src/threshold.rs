//! From which length on a payload is chained to its header, rather than copied behind it.
//!
//! A chain costs a reference, a second segment and giving both back; a copy costs its bytes. Where the two meet depends on
//! the machine: it is measured at start, with the node's own buffers.

use crate::chain::Frame;
use crate::client::COPY_HEADERS;
use crate::eal::cycles;
use crate::payload::{PayloadMeta, SharedPayload};
use crate::pool::Pool;

/// Frames made at a time: a burst.
const BURST: usize = 64;
/// Bursts of each sort and length, of which the quickest counts: half a millisecond in all, and a moment without
/// interruption among them.
const ROUNDS: usize = 32;
/// Bytes between lengths that are tried: a vector.
const STEP: usize = 32;

/// As a threshold: payloads are never chained.
pub(crate) const NEVER: u16 = u16::MAX;

/// The shortest payload, in bytes, that is cheaper chained; at most one more than fits behind a header.
pub(crate) fn chain_from(packets: &Pool, headers: &Pool) -> u16 {
    let room = headers.room() - COPY_HEADERS;
    let is_cheaper_copied = |len: &usize| {
        let (mut copied, mut chained) = (u64::MAX, u64::MAX);
        for _ in 0..ROUNDS {
            let Some(payload) = payload(packets, *len) else {
                return false;
            };
            let whole = |header| Frame::linear(header, &payload, packets);
            copied = copied.min(time(headers, whole));
            let chain = |header| Frame::chain(header, &payload);
            chained = chained.min(time(headers, chain));
        }
        copied < chained
    };
    let lengths = (STEP..=room).step_by(STEP);
    let longest = lengths.take_while(is_cheaper_copied).last();
    longest.map_or(0, |len| len as u16 + 1)
}

fn payload(packets: &Pool, len: usize) -> Option<SharedPayload> {
    let mut mbuf = packets.alloc()?;
    mbuf.append(len)?.fill(0);
    Some(mbuf.share(PayloadMeta::default()))
}

/// Cycles that a burst of frames takes, to make and to give back.
fn time(headers: &Pool, make: impl Fn(crate::Mbuf) -> Option<Frame>) -> u64 {
    let mut frames = Vec::with_capacity(BURST);
    let start = cycles();
    for _ in 0..BURST {
        let header = headers.alloc().and_then(|mut header| {
            header.append(COPY_HEADERS)?;
            Some(header)
        });
        frames.extend(header.and_then(&make));
    }
    let made = frames.len();
    drop(frames);
    let took = cycles() - start;
    if made == BURST { took } else { u64::MAX }
}
