//! A payload that many frames share.

#![allow(unsafe_code)]

use std::slice;
use std::sync::atomic::Ordering;

use crate::mbuf::{Mbuf, Raw};

/// What a node remembers of a payload, kept in the buffer itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PayloadMeta {
    /// When the ingress took the packet, in ns of CLOCK_REALTIME.
    pub ingress_ns: u64,
    /// Bytes of the inner IP and UDP header, which lie right before the payload.
    pub inner_header_len: u16,
}

/// A counted, read-only reference to a payload. Clones refer to the same buffer; the last to go frees it.
///
/// May be sent to other threads: the count is atomic and nobody writes to the buffer. One reference is not shared by
/// threads, though: as long as there is no other, its owner changes the count without the cost of an atomic operation.
pub struct SharedPayload {
    raw: Raw,
}

// SAFETY: see above.
unsafe impl Send for SharedPayload {}

impl Mbuf {
    /// Gives up the right to write. What lies before the data stays readable through [`SharedPayload::headers`].
    #[must_use]
    pub fn share(self, meta: PayloadMeta) -> SharedPayload {
        let raw = self.into_raw();
        // SAFETY: every pool leaves room for it behind the mbuf, aligned to 8; the buffer is still ours alone.
        unsafe { raw.at::<PayloadMeta>(dpdk_sys::TC_MBUF_SIZE).write(meta) }
        SharedPayload { raw }
    }
}

impl SharedPayload {
    /// The payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.raw.data()
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.data_len().into()
    }

    /// Whether the payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The `len` bytes right before the payload; fewer where the buffer begins.
    #[must_use]
    pub fn headers(&self, len: usize) -> &[u8] {
        let len = len.min(self.raw.data_off().into());
        let start = self.raw.data_ptr().wrapping_sub(len);
        // SAFETY: `len` bytes of the buffer lie before its data, and nobody writes to them.
        unsafe { slice::from_raw_parts(start, len) }
    }

    /// What was said of it when it was shared.
    #[must_use]
    pub fn meta(&self) -> PayloadMeta {
        // SAFETY: `Mbuf::share` wrote it.
        unsafe { self.raw.at::<PayloadMeta>(dpdk_sys::TC_MBUF_SIZE).read() }
    }

    /// Makes the payload the second segment of `header`, which takes a reference.
    pub(crate) fn chain_to(&self, header: Raw) {
        self.add_references(1);
        header.link(self.raw);
    }

    /// References for as many frames as are to come: counted once, which is most of what each would cost.
    pub(crate) fn lend(&self, count: u16) -> Lent<'_> {
        self.add_references(count);
        Lent {
            payload: self,
            left: count,
        }
    }

    /// The count has 16 bits: rings and queues hold far fewer frames than that between them.
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
    /// Makes the payload the second segment of `header`, which takes one of the references; `false` if none is left.
    pub(crate) fn chain_to(&mut self, header: Raw) -> bool {
        let Some(left) = self.left.checked_sub(1) else {
            return false;
        };
        self.left = left;
        header.link(self.payload.raw);
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
