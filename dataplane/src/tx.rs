//! A port's transmit queue, and the frames that wait for it.

#![allow(unsafe_code)]

use std::mem;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use dpdk_sys::rte_mbuf;

use crate::chain::Frame;
use crate::eal::Eal;
use crate::payload::SharedPayload;
use crate::rx::Burst;

/// Most frames given to a device at once: what one reads ahead without stalling the rest of the loop.
pub(crate) const BURST: usize = 64;
/// Frames that wait for a device at most: some bursts, so that a hiccup costs nothing.
pub(crate) const CAPACITY: usize = 8 * BURST;

/// What a transmit queue has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxCounters {
    /// Frames that the device took.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames dropped because they are longer than the port takes.
    pub oversize: u64,
    /// Frames dropped because the device took none for too long.
    pub dropped: u64,
}

/// Frames of a worker that has no queue of its own at a port, on their way to the one that has.
pub(crate) type Relay = Arc<ArrayQueue<Frame>>;

/// A port's transmit queue with the frames that wait for it, oldest first. What the device does not take stays owned.
///
/// There is one handle to it, and one thread uses it.
pub struct TxBuffer {
    port: u16,
    queue: u16,
    /// Takes the frames in place of the device.
    relay: Option<Relay>,
    max_frame_len: usize,
    frames: Vec<Frame>,
    capacity: usize,
    /// Bytes of the frames.
    bytes: usize,
    fruitless: u32,
    counters: TxCounters,
    _eal: Eal,
}

impl TxBuffer {
    pub(crate) fn new(port: u16, queue: u16, max_frame_len: usize, eal: Eal) -> TxBuffer {
        let capacity = CAPACITY;
        TxBuffer {
            port,
            queue,
            relay: None,
            max_frame_len,
            frames: Vec::with_capacity(capacity),
            capacity,
            bytes: 0,
            fruitless: 0,
            counters: TxCounters::default(),
            _eal: eal,
        }
    }

    /// One whose frames go to the worker that has a queue at this port.
    pub(crate) fn relayed(&self, relay: Relay) -> TxBuffer {
        let fresh = TxBuffer::new(self.port, self.queue, self.max_frame_len, self._eal.clone());
        TxBuffer {
            relay: Some(relay),
            ..fresh
        }
    }

    /// The way to the worker that sends its frames, and counts them then, where that is another one.
    pub(crate) fn relay(&self) -> Option<&Relay> {
        self.relay.as_ref()
    }

    /// Puts a frame at the end; gives it back where there is no room. One that is too long for the port is dropped and
    /// counted: some drivers would write past their buffers.
    #[inline]
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        let len = frame.len();
        if len > self.max_frame_len {
            self.counters.oversize += 1;
            return Ok(());
        }
        if self.frames.len() == self.capacity {
            return Err(frame);
        }
        self.bytes += len;
        self.frames.push(frame);
        Ok(())
    }

    /// Puts copies of a payload at the end, chained to their headers or copied behind them.
    #[inline]
    pub(crate) fn push_each<const LEN: usize, const N: usize>(
        &mut self,
        buffers: Burst<N>,
        (payload, chained): (&SharedPayload, bool),
        headers: impl Iterator<Item = impl FnOnce(&mut [u8; LEN])>,
    ) {
        if chained {
            self.push_chains(buffers, payload, headers);
        } else {
            self.push_copies(buffers, payload.data(), headers);
        }
    }

    /// Puts copies of a payload at the end, each with one of `headers` before it, in one of `buffers`, whatever those were
    /// used for before. The caller has checked that there is room, for the frames and in the buffers.
    #[inline]
    fn push_chains<const LEN: usize, const N: usize>(
        &mut self,
        buffers: Burst<N>,
        payload: &SharedPayload,
        headers: impl Iterator<Item = impl FnOnce(&mut [u8; LEN])>,
    ) {
        let mut lent = payload.lend(buffers.len() as u16);
        let frames = buffers
            .zip(headers)
            .filter_map(|(buffer, write)| Frame::chain_lent::<LEN>(buffer, &mut lent, write));
        self.push_all(frames, LEN + payload.len());
    }

    /// The same, with the payload copied behind each header.
    #[inline]
    fn push_copies<const LEN: usize, const N: usize>(
        &mut self,
        buffers: Burst<N>,
        payload: &[u8],
        headers: impl Iterator<Item = impl FnOnce(&mut [u8; LEN])>,
    ) {
        let frames = buffers.zip(headers).filter_map(|(mut buffer, write)| {
            write(buffer.restart::<LEN>()?);
            buffer.append(payload.len())?.copy_from_slice(payload);
            Some(buffer.into())
        });
        self.push_all(frames, LEN + payload.len());
    }

    /// Puts frames of this length at the end, for which there is room.
    #[inline]
    fn push_all(&mut self, frames: impl Iterator<Item = Frame>, len: usize) {
        if len > self.max_frame_len {
            self.counters.oversize += frames.count() as u64;
            return;
        }
        let before = self.frames.len();
        let places = self.frames.spare_capacity_mut().iter_mut();
        let put = places
            .zip(frames)
            .map(|(place, frame)| place.write(frame))
            .count();
        // SAFETY: that many were written.
        unsafe { self.frames.set_len(before + put) };
        self.bytes += put * len;
    }

    /// Hands frames to the device until it takes no more; returns how many it took.
    pub fn flush(&mut self) -> usize {
        let sent = match self.relay.clone() {
            Some(relay) => self.pass_on(&relay),
            None => self.flush_to_device(),
        };
        self.fruitless = if sent > 0 || self.frames.is_empty() {
            0
        } else {
            self.fruitless + 1
        };
        sent
    }

    fn flush_to_device(&mut self) -> usize {
        let mut sent = 0;
        while sent < self.frames.len() {
            let end = self.frames.len().min(sent + BURST);
            let wanted = end - sent;
            let taken = self.send(sent, end);
            sent += taken;
            if taken < wanted {
                break;
            }
        }
        self.forget(sent);
        sent
    }

    /// Hands over as many frames as the other worker's ring has room for, and counts them. Nobody else puts any into it.
    fn pass_on(&mut self, relay: &Relay) -> usize {
        let count = self.frames.len().min(relay.capacity() - relay.len());
        for frame in self.frames.drain(..count) {
            self.bytes -= frame.len();
            self.counters.packets += 1;
            self.counters.bytes += frame.len() as u64;
            let refused = relay.push(frame);
            debug_assert!(refused.is_ok());
        }
        count
    }

    /// Drops all that waits, and returns how many frames that were.
    pub fn drop_all(&mut self) -> usize {
        let dropped = self.frames.len();
        self.frames.clear();
        self.bytes = 0;
        self.fruitless = 0;
        self.counters.dropped += dropped as u64;
        dropped
    }

    /// Takes no more frames, and drops those that wait; or takes frames again. Returns how many were dropped.
    pub(crate) fn set_open(&mut self, open: bool) -> usize {
        self.capacity = if open { CAPACITY } else { 0 };
        if open { 0 } else { self.drop_all() }
    }

    /// Takes frames of this length at most from now on.
    pub(crate) fn set_max_frame_len(&mut self, len: usize) {
        self.max_frame_len = len;
    }

    /// How many flushes in a row have moved nothing though something waits.
    #[must_use]
    pub fn fruitless(&self) -> u32 {
        self.fruitless
    }

    /// Frames that still fit.
    #[must_use]
    #[inline]
    pub fn room(&self) -> usize {
        self.capacity - self.frames.len()
    }

    /// Frames that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Longest frame the port takes, in bytes.
    #[must_use]
    pub fn max_frame_len(&self) -> usize {
        self.max_frame_len
    }

    /// Frames counted since the start.
    #[must_use]
    pub fn counters(&self) -> TxCounters {
        self.counters
    }

    /// Offers `frames[start..end]` to the device; those it took must not be touched again.
    fn send(&mut self, start: usize, end: usize) -> usize {
        let frames = &mut self.frames[start..end];
        let count = frames.len() as u16;
        // A `Frame` is a pointer to an mbuf and nothing else.
        let mbufs = frames.as_mut_ptr().cast::<*mut rte_mbuf>();
        // SAFETY: the port runs as long as the EAL; `mbufs` are `count` frames that we own.
        let taken = unsafe { dpdk_sys::tc_tx_burst(self.port, self.queue, mbufs, count) };
        usize::from(taken)
    }

    /// Leaves the first `sent` frames to the device, which has taken them, and counts them.
    fn forget(&mut self, sent: usize) {
        let left = self.frames[sent..].iter().map(Frame::len).sum();
        self.counters.packets += sent as u64;
        self.counters.bytes += (self.bytes - left) as u64;
        self.bytes = left;
        if sent == self.frames.len() {
            // SAFETY: no frame is left that is ours.
            unsafe { self.frames.set_len(0) };
        } else {
            self.frames.drain(..sent).for_each(mem::forget);
        }
    }
}
