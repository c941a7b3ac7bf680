//! A payload that many frames share.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::slice;
use std::sync::atomic::Ordering;

use crate::chain::Frame;
use crate::frame::{IPV4_LEN, UDP_LEN};
use crate::mbuf::{Mbuf, Raw};
use crate::pool::Pool;

/// Length of inner headers without IP options.
const INNER_LEN: usize = IPV4_LEN + UDP_LEN;

/// What a node remembers of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadMeta {
    /// When the ingress took the packet, in ns of CLOCK_REALTIME.
    pub ingress_ns: u64,
    /// Bytes of the inner IP and UDP header.
    pub inner_header_len: u16,
}

/// A counted, read-only reference to a payload. Clones refer to the same buffer; the last to go frees it.
///
/// Where payload and inner headers lie is noted beside what the buffer says of its own data: where the buffer was sent as it
/// is, that is a whole frame, and devices and readers of rings look at it later.
///
/// May be sent to other threads: the count is atomic and nobody writes to the buffer. One reference is not shared by
/// threads, though: as long as there is no other, its owner changes the count without the cost of an atomic operation.
pub struct SharedPayload {
    raw: Raw,
}

/// What a buffer carries of its payload, in the part of the mbuf that is ours: written once, when it is shared, in whole
/// words, so that no later look at a part of it waits for them to come together.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Label {
    ingress_ns: u64,
    view: View,
}

/// Where payload and inner headers begin, in bytes from the buffer's begin, and their lengths.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct View {
    offset: u16,
    len: u16,
    headers_offset: u16,
    headers_len: u16,
}

const _: () = assert!(size_of::<Label>() == dpdk_sys::TC_OURS_SIZE as usize);

// SAFETY: see above.
unsafe impl Send for SharedPayload {}

impl Mbuf {
    /// Gives up the right to write. The inner headers are what lies right before the data, as far as the buffer reaches.
    #[must_use]
    #[inline]
    pub fn share(self, meta: PayloadMeta) -> SharedPayload {
        let raw = self.into_raw();
        let offset = raw.data_off();
        let headers_len = meta.inner_header_len.min(offset);
        let view = View {
            offset,
            len: raw.data_len(),
            headers_offset: offset - headers_len,
            headers_len,
        };
        SharedPayload::new(raw, meta.ingress_ns, view)
    }
}

/// Where in a frame the inner headers begin, and their length; the payload is the rest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) headers_at: usize,
    pub(crate) headers_len: usize,
}

impl Mbuf {
    /// Gives up the right to write to what is a whole frame: to be sent as it is, and for what is in it. No buffer for a
    /// header and no chain. The payload can't be chained later, but copied.
    #[must_use]
    #[inline(always)]
    pub(crate) fn share_as_frame(self, place: Place, ingress_ns: u64) -> (SharedPayload, Frame) {
        let headers_at = place.headers_at.min(self.len());
        let payload_at = (headers_at + place.headers_len).min(self.len());
        let raw = self.into_raw();
        let begin = raw.data_off();
        let view = View {
            offset: begin + payload_at as u16,
            len: raw.data_len() - payload_at as u16,
            headers_offset: begin + headers_at as u16,
            headers_len: (payload_at - headers_at) as u16,
        };
        let payload = SharedPayload::new(raw, ingress_ns, view);
        // The frame has the one reference that there was.
        payload.add_references(1);
        (payload, Frame::from_raw(raw))
    }
}

/// Payloads that are not needed any more, given back to their pools many at a time.
pub(crate) struct Spent {
    payloads: Vec<SharedPayload>,
}

impl Spent {
    /// Payloads given back at a time: what a burst brings.
    const MANY: usize = 32;

    /// With room for as many.
    pub(crate) fn new() -> Spent {
        Spent {
            payloads: Vec::with_capacity(Self::MANY),
        }
    }

    /// Takes a payload; it goes back with later ones.
    #[inline]
    pub(crate) fn push(&mut self, payload: SharedPayload) {
        payload.raw.prefetch();
        self.payloads.push(payload);
        if self.payloads.len() >= Self::MANY {
            self.give_back();
        }
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&mut self) {
        let mut mbufs = [null_mut(); Self::MANY];
        let payloads = self
            .payloads
            .drain(..)
            .map(|payload| ManuallyDrop::new(payload).raw);
        let count = mbufs
            .iter_mut()
            .zip(payloads)
            .map(|(mbuf, raw)| *mbuf = raw.as_ptr())
            .count();
        // SAFETY: those are live, and the reference to each was ours, and is given up.
        unsafe { dpdk_sys::tc_mbuf_free_bulk(mbufs.as_mut_ptr(), count as u32) };
    }
}

impl SharedPayload {
    /// The reference to a buffer that nobody writes to any more.
    #[inline(always)]
    fn new(raw: Raw, ingress_ns: u64, view: View) -> SharedPayload {
        label(raw, ingress_ns, view);
        SharedPayload { raw }
    }

    #[inline(always)]
    fn label(&self) -> &Label {
        // SAFETY: it was written when the buffer was shared, and is not written to as long as it is.
        unsafe { &*self.raw.at::<Label>(dpdk_sys::TC_MBUF_OURS) }
    }

    /// The payload.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.bytes(self.label().view.offset, self.label().view.len)
    }

    /// Bytes of the payload.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.label().view.len.into()
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inner IP and UDP header.
    #[must_use]
    #[inline]
    pub fn headers(&self) -> &[u8] {
        self.bytes(
            self.label().view.headers_offset,
            self.label().view.headers_len,
        )
    }

    /// What was said of it when it was shared.
    #[must_use]
    #[inline]
    pub fn meta(&self) -> PayloadMeta {
        PayloadMeta {
            ingress_ns: self.label().ingress_ns,
            inner_header_len: self.label().view.headers_len,
        }
    }

    #[inline]
    fn bytes(&self, offset: u16, len: u16) -> &[u8] {
        let start = self.raw.buf_addr().wrapping_add(offset.into());
        // SAFETY: both were within the buffer when it was shared, and nobody writes to it.
        unsafe { slice::from_raw_parts(start, len.into()) }
    }

    /// Whether the payload is just what the buffer says of itself: only then can it follow a header in a chain.
    #[must_use]
    #[inline]
    pub fn can_be_chained(&self) -> bool {
        let view = &self.label().view;
        self.raw.data_off() == view.offset && self.raw.data_len() == view.len
    }

    /// Makes the buffer itself a frame: a header of `LEN` bytes, which `write` writes, and the payload. The inner headers, which
    /// lie where the header will, move before it. `None` if somebody else has the buffer, it was sent before, the inner
    /// packet has IP options, or there is no room.
    #[inline(always)]
    pub(crate) fn frame_in_place<const LEN: usize>(
        &mut self,
        write: impl FnOnce(&mut [u8; LEN]),
    ) -> Option<Frame> {
        let raw = self.raw;
        let Label { ingress_ns, view } = *self.label();
        let inner = InnerWords::of(self.headers())?;
        let headers_offset = view.offset.checked_sub((LEN + INNER_LEN) as u16)?;
        let is_plain = usize::from(view.headers_len) == INNER_LEN && self.can_be_chained();
        if !is_plain || raw.refcnt().load(Ordering::Acquire) != 1 {
            return None;
        }
        let begin = raw.buf_addr().wrapping_add(headers_offset.into());
        // SAFETY: the buffer is ours alone, nothing of it is lent, and so many bytes lie before the payload.
        let area = unsafe { slice::from_raw_parts_mut(begin, INNER_LEN + LEN) };
        let (inner_area, header_area) = area.split_first_chunk_mut()?;
        inner.put(inner_area);
        write(header_area.first_chunk_mut()?);
        raw.set_data_off(view.offset - LEN as u16);
        raw.set_data_len(view.len + LEN as u16);
        raw.set_pkt_len(u32::from(view.len) + LEN as u32);
        let view = View {
            headers_offset,
            ..view
        };
        label(raw, ingress_ns, view);
        self.add_references(1);
        Some(Frame::from_raw(raw))
    }

    /// The same in a buffer of its own, which can be chained; `None` if the pool is exhausted.
    #[must_use]
    pub(crate) fn copy(&self, packets: &Pool) -> Option<SharedPayload> {
        let mut mbuf = packets.copy(self.headers())?;
        mbuf.append(self.len())?.copy_from_slice(self.data());
        mbuf.trim_front(self.headers().len());
        Some(mbuf.share(self.meta()))
    }

    /// Makes the payload the second segment of `header`, which takes a reference.
    #[inline]
    pub(crate) fn chain_to(&self, header: Raw) {
        self.add_references(1);
        header.link(self.raw, usize::from(header.data_len()) + self.len());
    }

    /// References for as many frames as are to come: counted once, which is most of what each would cost.
    #[inline]
    pub(crate) fn lend(&self, count: u16) -> Lent<'_> {
        self.add_references(count);
        Lent {
            payload: self,
            left: count,
        }
    }

    /// The count has 16 bits: rings and queues hold far fewer frames than that between them.
    #[inline]
    fn add_references(&self, count: u16) {
        let refcnt = self.raw.refcnt();
        if refcnt.load(Ordering::Acquire) == 1 {
            // Ours is the only one, and no other thread has it.
            refcnt.store(1 + count, Ordering::Relaxed);
            return;
        }
        let before = refcnt.fetch_add(count, Ordering::Relaxed);
        debug_assert!(before < u16::MAX - count);
    }

    #[inline]
    fn remove_references(&self, count: u16) -> bool {
        let refcnt = self.raw.refcnt();
        if refcnt.load(Ordering::Acquire) == count {
            // These are all there are: DPDK takes back what has exactly one.
            refcnt.store(1, Ordering::Relaxed);
            return true;
        }
        let was_last = refcnt.fetch_sub(count, Ordering::AcqRel) == count;
        if was_last {
            refcnt.store(1, Ordering::Relaxed);
        }
        was_last
    }
}
/// Inner headers in registers: what passes through memory in pieces that overlap costs a stall.
struct InnerWords(u128, u64, u32);

impl InnerWords {
    #[inline(always)]
    fn of(headers: &[u8]) -> Option<InnerWords> {
        let (first, rest) = headers.split_first_chunk()?;
        let (second, rest) = rest.split_first_chunk()?;
        let third = rest.first_chunk()?;
        Some(InnerWords(
            u128::from_ne_bytes(*first),
            u64::from_ne_bytes(*second),
            u32::from_ne_bytes(*third),
        ))
    }

    #[inline(always)]
    fn put(self, area: &mut [u8; INNER_LEN]) {
        area[..16].copy_from_slice(&self.0.to_ne_bytes());
        area[16..24].copy_from_slice(&self.1.to_ne_bytes());
        area[24..].copy_from_slice(&self.2.to_ne_bytes());
    }
}

/// Notes in a buffer, which is the caller's alone, what it carries.
#[inline(always)]
fn label(raw: Raw, ingress_ns: u64, view: View) {
    let label = Label { ingress_ns, view };
    // SAFETY: those bytes of a live mbuf are ours.
    unsafe { raw.at::<Label>(dpdk_sys::TC_MBUF_OURS).write(label) }
}

/// References to a payload that are counted already; those that no frame takes go with it.
pub(crate) struct Lent<'a> {
    payload: &'a SharedPayload,
    left: u16,
}

impl Lent<'_> {
    /// Makes the payload the second segment of `header`, which takes one of the references and has
    /// `header_len` bytes; `false` if none is left.
    #[inline]
    pub(crate) fn chain_to(&mut self, header: Raw, header_len: usize) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        header.link(self.payload.raw, header_len + self.payload.len());
        true
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            // Never the last: the payload has its own.
            self.payload.remove_references(self.left);
        }
    }
}

impl Clone for SharedPayload {
    fn clone(&self) -> SharedPayload {
        self.add_references(1);
        SharedPayload { raw: self.raw }
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        if self.remove_references(1) {
            self.raw.free();
        }
    }
}
