//! A port's receive queue.

#![allow(unsafe_code)]

use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null_mut};

use dpdk_sys::{rte_mbuf, rte_mempool};

use crate::eal::Eal;
use crate::mbuf::{Mbuf, Raw};

/// Up to `N` received buffers, oldest first. It is its own iterator; what is not taken is freed with it.
pub struct Burst<const N: usize> {
    mbufs: [*mut rte_mbuf; N],
    next: usize,
    end: usize,
}

// SAFETY: its buffers are `Mbuf`s in all but name.
unsafe impl<const N: usize> Send for Burst<N> {}

impl<const N: usize> Burst<N> {
    /// An empty burst.
    #[must_use]
    pub fn new() -> Burst<N> {
        Burst {
            mbufs: [null_mut(); N],
            next: 0,
            end: 0,
        }
    }

    /// Puts a buffer at the end; gives it back where there is no room.
    pub(crate) fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(place) = self.mbufs.get_mut(self.end) else {
            return Err(mbuf);
        };
        *place = mbuf.into_raw().as_ptr();
        self.end += 1;
        Ok(())
    }

    /// Room for `count` more buffers, if there is.
    pub(crate) fn room_for(&mut self, count: usize) -> Option<&mut [*mut rte_mbuf]> {
        self.mbufs.get_mut(self.end..self.end + count)
    }

    /// Takes over the first `count` of those for which there was room.
    ///
    /// # Safety
    ///
    /// They are there, unique and linear, and the caller's alone.
    pub(crate) unsafe fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// The next buffer, if `test` has something to say of it, and what that is.
    #[inline(always)]
    pub(crate) fn next_if<T>(
        &mut self,
        test: impl FnOnce(&Mbuf) -> Option<T>,
    ) -> Option<(Mbuf, T)> {
        let raw = NonNull::new(*self.mbufs[..self.end].get(self.next)?)?;
        // SAFETY: the queue let in only unique linear buffers, and this one stays in the burst meanwhile.
        let mbuf = ManuallyDrop::new(unsafe { Mbuf::from_raw(raw) });
        let said = test(&mbuf)?;
        self.next += 1;
        Some((ManuallyDrop::into_inner(mbuf), said))
    }

    /// Buffers in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.next
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<const N: usize> Default for Burst<N> {
    fn default() -> Burst<N> {
        Burst::new()
    }
}

impl<const N: usize> Iterator for Burst<N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        let raw = NonNull::new(self.mbufs[self.next])?;
        self.next += 1;
        // SAFETY: the queue let in only unique linear buffers, and this one leaves the burst.
        Some(unsafe { Mbuf::from_raw(raw) })
    }
}

impl<const N: usize> Drop for Burst<N> {
    fn drop(&mut self) {
        self.by_ref().for_each(drop);
    }
}

/// What a receive queue has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxCounters {
    /// Packets received.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets that came shared or in several segments and were copied into a buffer of their own.
    pub copied: u64,
    /// Packets dropped because there was no buffer for that copy, or none large enough.
    pub no_buffer: u64,
}

/// A port's receive queue. There is one handle to it, and one thread polls it.
pub struct RxQueue {
    port: u16,
    queue: u16,
    pool: NonNull<rte_mempool>,
    counters: RxCounters,
    _eal: Eal,
}

// SAFETY: a queue may be polled from any thread, one at a time; polling takes `&mut self`.
unsafe impl Send for RxQueue {}

impl RxQueue {
    pub(crate) fn new(port: u16, queue: u16, pool: NonNull<rte_mempool>, eal: Eal) -> RxQueue {
        RxQueue {
            port,
            queue,
            pool,
            counters: RxCounters::default(),
            _eal: eal,
        }
    }

    /// Receives as many packets as are there and as the burst still has room for; returns how many.
    pub fn recv<const N: usize>(&mut self, burst: &mut Burst<N>) -> usize {
        if burst.is_empty() {
            (burst.next, burst.end) = (0, 0);
        }
        let room = &mut burst.mbufs[burst.end..];
        let count = u16::try_from(room.len()).unwrap_or(u16::MAX);
        // SAFETY: the port runs as long as the EAL, and `room` takes `count` pointers.
        let received =
            unsafe { dpdk_sys::tc_rx_burst(self.port, self.queue, room.as_mut_ptr(), count) };
        let mut kept = 0;
        for i in 0..usize::from(received) {
            let Some(raw) = Raw::from_ptr(room[i]).and_then(|raw| self.admit(raw)) else {
                continue;
            };
            room[kept] = raw.as_ptr();
            kept += 1;
        }
        burst.end += kept;
        self.counters.packets += kept as u64;
        kept
    }

    /// Takes all packets that are there and gives them back to their pools, whatever they are; returns how many.
    pub(crate) fn discard(&mut self) -> usize {
        let mut total = 0;
        loop {
            let mut mbufs = [null_mut::<rte_mbuf>(); 64];
            let room = mbufs.len() as u16;
            // SAFETY: the port runs as long as the EAL, and `mbufs` takes `room` pointers.
            let received =
                unsafe { dpdk_sys::tc_rx_burst(self.port, self.queue, mbufs.as_mut_ptr(), room) };
            if received == 0 {
                return total;
            }
            // SAFETY: the queue has just handed these over, and they go nowhere else.
            unsafe { dpdk_sys::tc_mbuf_free_bulk(mbufs.as_mut_ptr(), u32::from(received)) };
            total += usize::from(received);
        }
    }

    /// Packets counted since the start.
    #[must_use]
    pub fn counters(&self) -> RxCounters {
        self.counters
    }

    /// Makes sure that the packet is unique and linear: `net_ring` passes on what its sender may still share.
    fn admit(&mut self, raw: Raw) -> Option<Raw> {
        self.counters.bytes += u64::from(raw.pkt_len());
        if raw.is_unique_linear() {
            // Flags of the receive path mean nothing on the way out.
            raw.set_ol_flags(0);
            return Some(raw);
        }
        // SAFETY: both live, and a shared packet is only read.
        let copy = unsafe { dpdk_sys::tc_mbuf_copy(raw.as_ptr(), self.pool.as_ptr()) };
        raw.free();
        let copy = Raw::from_ptr(copy);
        match copy {
            Some(_) => self.counters.copied += 1,
            None => self.counters.no_buffer += 1,
        }
        copy
    }
}
