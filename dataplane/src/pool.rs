//! Pools of packet buffers.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::CString;
use std::ptr::NonNull;

use thiserror::Error;

use crate::eal::{Eal, error_text};
use crate::mbuf::Mbuf;
use crate::rx::Burst;

/// Bytes before the data of a fresh buffer, for headers to come.
pub const HEADROOM: u16 = dpdk_sys::TC_HEADROOM as u16;

/// Buffers fetched at once: one call for a burst's worth.
const STASH: usize = 32;

/// Nothing lies between an mbuf and its data: a short frame takes one cache line of its buffer, and with the tree's
/// headers before it two.
const PRIVATE_SIZE: u16 = 0;

/// A pool could not be made.
#[derive(Debug, Error)]
#[error("no memory for a pool of {count} {name} ({needed_mb} MiB): {reason}")]
pub struct PoolError {
    name: &'static str,
    count: usize,
    needed_mb: usize,
    reason: String,
}

/// A pool of buffers of one size, as one worker takes from it; the buffers may go back from any thread.
pub struct Pool {
    raw: NonNull<dpdk_sys::rte_mempool>,
    name: &'static str,
    size: usize,
    data_room: u16,
    stash: RefCell<Vec<Mbuf>>,
    // Keeps the memory.
    eal: Eal,
}

// SAFETY: a mempool may be used from any thread; that the stash has no lock makes the pool not `Sync`, no more.
unsafe impl Send for Pool {}

impl Pool {
    /// Makes a pool of `count` buffers of `data_room` bytes, headroom included. The name is unique in the process.
    pub fn new(
        eal: &Eal,
        name: &'static str,
        count: usize,
        data_room: u16,
    ) -> Result<Pool, PoolError> {
        let error = |reason| {
            let needed_mb = (memory_bytes(count, data_room) >> 20) + 1;
            PoolError {
                name,
                count,
                needed_mb,
                reason,
            }
        };
        let c_name = CString::new(name).map_err(|_| error("its name holds a NUL byte".into()))?;
        let buffers = u32::try_from(count).map_err(|_| error("too many".into()))?;
        let mut code = 0;
        // SAFETY: the EAL runs; the name and the code outlive the call.
        let raw = unsafe {
            dpdk_sys::tc_pool_create(c_name.as_ptr(), buffers, PRIVATE_SIZE, data_room, &mut code)
        };
        let raw = NonNull::new(raw).ok_or_else(|| error(error_text(code)))?;
        eal.keep_pool(raw);
        let stash = RefCell::new(Vec::with_capacity(STASH));
        Ok(Pool {
            raw,
            name,
            size: count,
            data_room,
            stash,
            eal: eal.clone(),
        })
    }

    /// Another handle to the same pool, for another worker: what each fetches ahead is its own.
    pub(crate) fn handle(&self) -> Pool {
        Pool {
            raw: self.raw,
            name: self.name,
            size: self.size,
            data_room: self.data_room,
            stash: RefCell::new(Vec::with_capacity(STASH)),
            eal: self.eal.clone(),
        }
    }

    /// Buffers that this handle has fetched ahead: they are free.
    pub(crate) fn stashed(&self) -> usize {
        self.stash.borrow().len()
    }

    /// An empty buffer with [`HEADROOM`] bytes before its data; `None` if the pool is exhausted.
    #[must_use]
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        let mut stash = self.stash.borrow_mut();
        if stash.is_empty() {
            self.refill(&mut stash);
        }
        stash.pop()
    }

    #[cold]
    fn refill(&self, stash: &mut Vec<Mbuf>) {
        if !self.fetch(stash, STASH) {
            self.fetch(stash, 1);
        }
    }

    /// Lets `write` see the `count` buffers that this thread will be given next by the pool itself, in that order: as a
    /// driver that hands out buffers without writing to them (`net_null`) will receive them. At most a stash of them.
    pub(crate) fn write_next(&self, count: usize, mut write: impl FnMut(&mut Mbuf)) {
        let mut next = Vec::with_capacity(STASH);
        if self.fetch(&mut next, count.min(STASH)) {
            next.iter_mut().for_each(&mut write);
        }
        // The pool's cache is a stack: given back last to first, they lie as before.
        while let Some(mbuf) = next.pop() {
            drop(mbuf);
        }
    }

    /// Lets `write` see every buffer that is free.
    pub(crate) fn write_all(&self, mut write: impl FnMut(&mut Mbuf)) {
        let mut all: Vec<Mbuf> = std::iter::from_fn(|| self.alloc()).collect();
        all.iter_mut().for_each(&mut write);
    }

    /// Takes `count` buffers, at most `N`, that hold whatever their last use left in them: to be
    /// [restarted](Mbuf::restart). `None` if the pool has fewer.
    #[inline]
    pub(crate) fn take<const N: usize>(&self, count: usize) -> Option<Burst<N>> {
        let mut burst = Burst::new();
        let room = burst.room_for(count)?;
        let count = room.len() as u32;
        // SAFETY: the pool lives, and there is room for `count` pointers.
        let code =
            unsafe { dpdk_sys::tc_mbuf_take_bulk(self.raw.as_ptr(), room.as_mut_ptr(), count) };
        if code != 0 {
            return None;
        }
        // SAFETY: that many were written: from the pool, with one reference and one segment each, and of nobody else.
        unsafe { burst.filled(count as usize) };
        Some(burst)
    }

    /// Appends `count` empty buffers to `into`: all of them, or none and `false`.
    #[must_use]
    pub fn alloc_bulk(&self, into: &mut Vec<Mbuf>, count: usize) -> bool {
        let before = into.len();
        while into.len() < before + count {
            let Some(mbuf) = self.alloc() else {
                into.truncate(before);
                return false;
            };
            into.push(mbuf);
        }
        true
    }

    /// A buffer that holds `bytes`; `None` if the pool is exhausted or they don't fit.
    #[must_use]
    pub fn copy(&self, bytes: &[u8]) -> Option<Mbuf> {
        let mut mbuf = self.alloc()?;
        mbuf.append(bytes.len())?.copy_from_slice(bytes);
        Some(mbuf)
    }

    /// Buffers in use now: by this process, its ports' receive rings and what waits to be sent, and what other handles
    /// have fetched ahead.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.taken().saturating_sub(self.stashed())
    }

    /// Buffers that are with this process, its devices or any handle.
    pub(crate) fn taken(&self) -> usize {
        // SAFETY: the pool lives as long as `self.eal`.
        let taken = unsafe { dpdk_sys::tc_pool_in_use(self.raw.as_ptr()) };
        taken as usize
    }

    /// Buffers in all.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Bytes of each buffer, headroom included.
    #[must_use]
    pub fn data_room(&self) -> u16 {
        self.data_room
    }

    /// Bytes that fit into a fresh buffer.
    #[must_use]
    #[inline]
    pub(crate) fn room(&self) -> usize {
        (self.data_room - HEADROOM).into()
    }

    pub(crate) fn raw(&self) -> NonNull<dpdk_sys::rte_mempool> {
        self.raw
    }

    /// The EAL that the pool lives in.
    #[must_use]
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// Appends `count` buffers to `stash`: all of them, or none and `false`.
    fn fetch(&self, stash: &mut Vec<Mbuf>, count: usize) -> bool {
        stash.reserve(count);
        // An `Mbuf` is a pointer to an mbuf and nothing else.
        let room = stash.spare_capacity_mut().as_mut_ptr().cast();
        // SAFETY: the pool lives, and there is room for `count` pointers.
        let code = unsafe { dpdk_sys::tc_mbuf_alloc_bulk(self.raw.as_ptr(), room, count as u32) };
        if code != 0 {
            return false;
        }
        // SAFETY: that many were written: fresh from the pool, and of nobody else.
        unsafe { stash.set_len(stash.len() + count) };
        true
    }
}

/// Memory that a pool takes, in bytes, rounded up.
fn memory_bytes(count: usize, data_room: u16) -> usize {
    // An object header and an mbuf in cache lines of their own, then the private area and the data.
    let element = 64 + dpdk_sys::TC_MBUF_SIZE as usize + usize::from(PRIVATE_SIZE + data_room);
    // DPDK rounds to cache lines, and adds up to two to spread buffers over memory channels.
    let element = element.next_multiple_of(64) + 2 * 64;
    // A ring of pointers, and caches for 128 threads.
    count * element + (count + 1).next_power_of_two() * 8 + (3 << 20)
}

/// Memory to give [`Eal::start`] for pools of these counts and data rooms, and DPDK's own needs, in MiB.
#[must_use]
pub fn memory_mb(pools: &[(usize, u16)]) -> usize {
    let pools: usize = pools
        .iter()
        .map(|&(count, data_room)| memory_bytes(count, data_room))
        .sum();
    // Device queues, rings and names.
    (pools >> 20) + 1 + 32
}
