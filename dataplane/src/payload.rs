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
/// May be sent to and shared with other threads: the count is atomic and nobody writes to the buffer.
pub struct SharedPayload {
    raw: Raw,
}

// SAFETY: see above.
unsafe impl Send for SharedPayload {}
// SAFETY: see above.
unsafe impl Sync for SharedPayload {}

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
        self.add_reference();
        header.link(self.raw);
    }

    /// The count has 16 bits: rings and queues hold far fewer frames than that between them.
    fn add_reference(&self) {
        let before = self.raw.refcnt().fetch_add(1, Ordering::Relaxed);
        debug_assert!(before < u16::MAX);
    }
}

impl Clone for SharedPayload {
    fn clone(&self) -> SharedPayload {
        self.add_reference();
        SharedPayload { raw: self.raw }
    }
}

impl Drop for SharedPayload {
    fn drop(&mut self) {
        let count = self.raw.refcnt();
        if count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The last reference: DPDK takes back what has exactly one.
            count.store(1, Ordering::Relaxed);
            self.raw.free();
        }
    }
}
