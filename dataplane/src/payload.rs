//! A payload that many frames share.

#![allow(unsafe_code)]

use std::slice;
use std::sync::atomic::Ordering;

use crate::mbuf::{Mbuf, Raw};
use crate::pool::Pool;

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
/// It says itself where in the buffer the payload and its inner headers lie: where the buffer was sent as it is, what the
/// buffer says of itself is a whole frame, and devices and readers of rings look at that later.
///
/// May be sent to other threads: the count is atomic and nobody writes to the buffer. One reference is not shared by
/// threads, though: as long as there is no other, its owner changes the count without the cost of an atomic operation.
pub struct SharedPayload {
    raw: Raw,
    ingress_ns: u64,
    /// Where the payload begins, in bytes from the buffer's begin, and its length.
    offset: u16,
    len: u16,
    /// Where the inner headers begin, and their length.
    headers_offset: u16,
    headers_len: u16,
}

// SAFETY: see above.
unsafe impl Send for SharedPayload {}

// A window holds one for each packet.
const _: () = assert!(size_of::<Option<SharedPayload>>() == 24);

impl Mbuf {
    /// Gives up the right to write. The inner headers are what lies right before the data, as far as the buffer reaches.
    #[must_use]
    #[inline]
    pub fn share(self, meta: PayloadMeta) -> SharedPayload {
        let raw = self.into_raw();
        let offset = raw.data_off();
        let headers_len = meta.inner_header_len.min(offset);
        SharedPayload {
            raw,
            ingress_ns: meta.ingress_ns,
            offset,
            len: raw.data_len(),
            headers_offset: offset - headers_len,
            headers_len,
        }
    }
}

impl SharedPayload {
    /// The payload.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.bytes(self.offset, self.len)
    }

    /// Bytes of the payload.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len.into()
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
        self.bytes(self.headers_offset, self.headers_len)
    }

    /// What was said of it when it was shared.
    #[must_use]
    #[inline]
    pub fn meta(&self) -> PayloadMeta {
        PayloadMeta {
            ingress_ns: self.ingress_ns,
            inner_header_len: self.headers_len,
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
        self.raw.data_off() == self.offset && self.raw.data_len() == self.len
    }

    /// The same in a buffer of its own, which can be chained; `None` if the pool is exhausted.
    #[must_use]
    pub(crate) fn copy(&self, packets: &Pool) -> Option<SharedPayload> {
        let mut mbuf = packets.copy(self.headers())?;
        mbuf.append(self.len())?.copy_from_slice(self.data());
        mbuf.trim_front(self.headers_len.into());
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
        SharedPayload { ..*self }
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        if self.remove_references(1) {
            self.raw.free();
        }
    }
}
