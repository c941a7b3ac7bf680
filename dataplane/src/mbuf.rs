//! One packet buffer, and the rules of who may write to it.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys::{rte_mbuf, tc_layout};

use crate::pool::HEADROOM;

/// A buffer that has one owner, one segment and may be written to.
///
/// May be sent to another thread: it has no other owner, and pools take buffers back from any thread.
#[repr(transparent)]
pub struct Mbuf {
    raw: Raw,
}

// SAFETY: see above.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes a buffer over.
    ///
    /// # Safety
    ///
    /// `raw` is live, direct, of one segment and one reference, and the caller's alone.
    pub(crate) unsafe fn from_raw(raw: NonNull<rte_mbuf>) -> Mbuf {
        Mbuf { raw: Raw(raw) }
    }

    #[inline]
    pub(crate) fn into_raw(self) -> Raw {
        ManuallyDrop::new(self).raw
    }

    /// The packet.
    #[must_use]
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.raw.data()
    }

    /// The packet, to write to.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: `data_off` and `data_len` lie within the buffer, and nobody else sees it.
        unsafe { slice::from_raw_parts_mut(self.raw.data_ptr(), self.raw.data_len().into()) }
    }

    /// Bytes of the packet.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.data_len().into()
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes free before the packet.
    #[must_use]
    #[inline]
    pub fn headroom(&self) -> usize {
        self.raw.data_off().into()
    }

    /// Bytes free after the packet.
    #[must_use]
    #[inline]
    pub fn tailroom(&self) -> usize {
        usize::from(self.raw.buf_len()) - self.headroom() - self.len()
    }

    /// Makes the buffer, whatever it was used for before, one of `LEN` bytes with [`HEADROOM`] before them, and returns
    /// them, unset; `None` where it is too small.
    #[inline]
    pub(crate) fn restart<const LEN: usize>(&mut self) -> Option<&mut [u8; LEN]> {
        if usize::from(self.raw.buf_len()) < usize::from(HEADROOM) + LEN {
            return None;
        }
        self.raw.set_rearm([HEADROOM, 1, 1, u16::MAX]);
        self.raw.set_ol_flags(0);
        self.raw.set_data_len(LEN as u16);
        self.raw.set_pkt_len(LEN as u32);
        let area = self.raw.buf_addr().wrapping_add(HEADROOM.into());
        // SAFETY: that many bytes of the buffer lie there, and nobody else sees it.
        Some(unsafe { &mut *area.cast::<[u8; LEN]>() })
    }

    /// Grows the packet by `len` bytes at its front and returns them, unset; `None` where there is no room.
    pub fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.headroom() {
            return None;
        }
        self.place(self.headroom() - len, self.len() + len);
        Some(&mut self.data_mut()[..len])
    }

    /// Grows the packet by `len` bytes at its end and returns them, unset; `None` where there is no room.
    #[inline]
    pub fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.tailroom() {
            return None;
        }
        let before = self.len();
        self.place(self.headroom(), before + len);
        Some(&mut self.data_mut()[before..])
    }

    /// Takes `len` bytes off the front, or all there are; they stay in the headroom.
    #[inline]
    pub fn trim_front(&mut self, len: usize) {
        let len = len.min(self.len());
        self.place(self.headroom() + len, self.len() - len);
    }

    /// Shortens the packet to `len` bytes; a shorter one stays as it is.
    #[inline]
    pub fn trim_back_to(&mut self, len: usize) {
        self.place(self.headroom(), len.min(self.len()));
    }

    /// Both numbers are within `buf_len`, 16 bits.
    #[inline]
    fn place(&mut self, offset: usize, len: usize) {
        self.raw.set_data_off(offset as u16);
        self.raw.set_data_len(len as u16);
        self.raw.set_pkt_len(len as u32);
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        self.raw.free();
    }
}

/// A live mbuf, whoever owns it. The owners above are the only ones who make one, and see to it that it lives.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Raw(NonNull<rte_mbuf>);

macro_rules! field {
    ($get:ident, $set:ident, $type:ty, $offset:ident) => {
        #[inline]
        pub(crate) fn $get(self) -> $type {
            // SAFETY: the mbuf lives, and the offset is this libdpdk's.
            unsafe { self.at::<$type>(dpdk_sys::$offset).read() }
        }

        #[inline]
        pub(crate) fn $set(self, value: $type) {
            // SAFETY: as above; only a unique owner calls this.
            unsafe { self.at::<$type>(dpdk_sys::$offset).write(value) }
        }
    };
    ($get:ident, $type:ty, $offset:ident) => {
        #[inline]
        pub(crate) fn $get(self) -> $type {
            // SAFETY: the mbuf lives, and the offset is this libdpdk's.
            unsafe { self.at::<$type>(dpdk_sys::$offset).read() }
        }
    };
}

// What is stored as one lies together.
const _: () = {
    let first = dpdk_sys::TC_MBUF_DATA_OFF as usize;
    assert!(dpdk_sys::TC_MBUF_REFCNT as usize == first + 2);
    assert!(dpdk_sys::TC_MBUF_NB_SEGS as usize == first + 4);
    assert!(dpdk_sys::TC_MBUF_PORT as usize == first + 6);
};

impl Raw {
    field!(data_off, set_data_off, u16, TC_MBUF_DATA_OFF);
    field!(data_len, set_data_len, u16, TC_MBUF_DATA_LEN);
    field!(pkt_len, set_pkt_len, u32, TC_MBUF_PKT_LEN);
    field!(nb_segs, set_nb_segs, u16, TC_MBUF_NB_SEGS);
    field!(ol_flags, set_ol_flags, u64, TC_MBUF_OL_FLAGS);
    field!(buf_len, u16, TC_MBUF_BUF_LEN);
    field!(buf_addr, *mut u8, TC_MBUF_BUF_ADDR);

    /// Sets data offset, references, segments and port in one store.
    #[inline]
    fn set_rearm(self, fields: [u16; 4]) {
        // SAFETY: the mbuf lives, they lie there one after another, and only a unique owner calls this.
        unsafe {
            self.at::<[u16; 4]>(dpdk_sys::TC_MBUF_DATA_OFF)
                .write(fields)
        }
    }

    #[inline]
    fn set_next(self, next: *mut rte_mbuf) {
        // SAFETY: the mbuf lives, and only a unique owner calls this.
        unsafe { self.at::<*mut rte_mbuf>(dpdk_sys::TC_MBUF_NEXT).write(next) }
    }

    /// Has both cache lines read that freeing looks at, before it does.
    #[inline]
    pub(crate) fn prefetch(self) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        for line in [0, 64] {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let at = self.as_ptr().cast::<i8>().wrapping_add(line);
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch(at, _MM_HINT_T0) };
        }
    }

    pub(crate) fn from_ptr(raw: *mut rte_mbuf) -> Option<Raw> {
        NonNull::new(raw).map(Raw)
    }

    pub(crate) fn as_ptr(self) -> *mut rte_mbuf {
        self.0.as_ptr()
    }

    #[inline]
    pub(crate) fn at<T>(self, offset: tc_layout) -> *mut T {
        self.as_ptr()
            .cast::<u8>()
            .wrapping_add(offset as usize)
            .cast()
    }

    #[inline]
    pub(crate) fn data_ptr(self) -> *mut u8 {
        self.buf_addr().wrapping_add(self.data_off().into())
    }

    /// The first segment's bytes, for as long as the owner who asks lives.
    #[inline]
    pub(crate) fn data<'a>(self) -> &'a [u8] {
        // SAFETY: `data_off` and `data_len` lie within the buffer; the callers tie the result to their own life.
        unsafe { slice::from_raw_parts(self.data_ptr(), self.data_len().into()) }
    }

    /// Gives up one reference to each segment.
    pub(crate) fn free(self) {
        // SAFETY: the mbuf lives, and the caller owns the reference that it gives up.
        unsafe { dpdk_sys::tc_mbuf_free(self.as_ptr()) }
    }

    /// Makes this the first of two segments, `len` bytes together.
    #[inline]
    pub(crate) fn link(self, next: Raw, len: usize) {
        self.set_next(next.as_ptr());
        self.set_nb_segs(2);
        self.set_pkt_len(len as u32);
    }

    /// Whether one owner may write to it: one segment, one reference, its own data.
    #[inline]
    pub(crate) fn is_unique_linear(self) -> bool {
        // The pointer to the next segment is null where there is one (`rte_mbuf.next`): no look at its cache line.
        self.nb_segs() == 1
            && self.refcnt().load(std::sync::atomic::Ordering::Acquire) == 1
            && self.ol_flags() & dpdk_sys::TC_MBUF_ELSEWHERE == 0
    }

    /// The count of references, which DPDK changes atomically too.
    #[inline]
    pub(crate) fn refcnt<'a>(self) -> &'a std::sync::atomic::AtomicU16 {
        // SAFETY: aligned, live, and changed by atomic operations wherever it is shared.
        unsafe { std::sync::atomic::AtomicU16::from_ptr(self.at(dpdk_sys::TC_MBUF_REFCNT)) }
    }
}
