//! As much of DPDK as the types that own buffers call, for Miri, which runs no C. A buffer is an allocation of its own as
//! long as it is out of its pool.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ffi::{c_char, c_int, c_uint};
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicU16, AtomicUsize, Ordering};

use dpdk_sys::{rte_mbuf, rte_mempool};

/// Where a buffer of the fake's notes its pool: nobody else looks there.
const POOL: c_uint = 80;

struct Pool {
    size: usize,
    private: usize,
    room: usize,
    out: AtomicUsize,
}

/// All pools; the device receives into the first.
static POOLS: Mutex<Vec<AtomicPtr<Pool>>> = Mutex::new(Vec::new());
/// Bursts that the device was offered.
static OFFERED: AtomicUsize = AtomicUsize::new(0);

impl Pool {
    fn layout(&self) -> Layout {
        let size = dpdk_sys::TC_MBUF_SIZE as usize + self.private + self.room;
        Layout::from_size_align(size, 64).unwrap()
    }

    fn buffer(&self) -> *mut rte_mbuf {
        // SAFETY: the layout has a size.
        let mbuf: *mut rte_mbuf = unsafe { alloc_zeroed(self.layout()) }.cast();
        let data = dpdk_sys::TC_MBUF_SIZE as usize + self.private;
        // SAFETY: all of it is the buffer's, and each at its own place.
        unsafe {
            *at(mbuf, POOL) = std::ptr::from_ref(self);
            *at(mbuf, dpdk_sys::TC_MBUF_BUF_ADDR) = mbuf.cast::<u8>().add(data);
            *at(mbuf, dpdk_sys::TC_MBUF_BUF_LEN) = self.room as u16;
            *at(mbuf, dpdk_sys::TC_MBUF_DATA_OFF) = dpdk_sys::TC_HEADROOM as u16;
            *at(mbuf, dpdk_sys::TC_MBUF_REFCNT) = 1u16;
            *at(mbuf, dpdk_sys::TC_MBUF_NB_SEGS) = 1u16;
        }
        self.out.fetch_add(1, Ordering::Relaxed);
        mbuf
    }
}

fn at<T>(mbuf: *mut rte_mbuf, offset: c_uint) -> *mut T {
    mbuf.cast::<u8>().wrapping_add(offset as usize).cast()
}

/// The bytes of a segment, copied.
fn bytes(mbuf: *const rte_mbuf) -> Vec<u8> {
    let mbuf = mbuf.cast_mut();
    // SAFETY: the mbuf lives, and says of itself where they are.
    unsafe {
        let begin: *mut u8 = *at(mbuf, dpdk_sys::TC_MBUF_BUF_ADDR);
        let offset: u16 = *at(mbuf, dpdk_sys::TC_MBUF_DATA_OFF);
        let len: u16 = *at(mbuf, dpdk_sys::TC_MBUF_DATA_LEN);
        slice::from_raw_parts(begin.add(offset.into()), len.into()).to_vec()
    }
}

fn next(mbuf: *const rte_mbuf) -> *mut rte_mbuf {
    // SAFETY: the mbuf lives.
    unsafe { *at(mbuf.cast_mut(), dpdk_sys::TC_MBUF_NEXT) }
}

/// The bytes of all segments.
fn packet(mut mbuf: *const rte_mbuf) -> Vec<u8> {
    let mut packet = Vec::new();
    while !mbuf.is_null() {
        packet.extend(bytes(mbuf));
        mbuf = next(mbuf);
    }
    packet
}

fn fill(mbuf: *mut rte_mbuf, packet: &[u8]) {
    // SAFETY: the mbuf is fresh, and has the room.
    unsafe {
        let begin: *mut u8 = *at(mbuf, dpdk_sys::TC_MBUF_BUF_ADDR);
        let begin = begin.add(dpdk_sys::TC_HEADROOM as usize);
        begin.copy_from_nonoverlapping(packet.as_ptr(), packet.len());
        *at(mbuf, dpdk_sys::TC_MBUF_DATA_LEN) = packet.len() as u16;
        *at(mbuf, dpdk_sys::TC_MBUF_PKT_LEN) = packet.len() as u32;
    }
}

#[unsafe(no_mangle)]
extern "C" fn tc_eal_init(_: c_int, _: *mut *mut c_char) -> c_int {
    0
}

#[unsafe(no_mangle)]
extern "C" fn tc_eal_cleanup() {
    for pool in POOLS.lock().unwrap().drain(..) {
        // SAFETY: it was made by `Box::into_raw`, and whoever had it is gone.
        drop(unsafe { Box::from_raw(pool.into_inner()) });
    }
}

#[unsafe(no_mangle)]
extern "C" fn tc_ports_close() {}

#[unsafe(no_mangle)]
extern "C" fn tc_pool_create(
    _: *const c_char,
    count: c_uint,
    private: u16,
    room: u16,
    _: *mut c_int,
) -> *mut rte_mempool {
    let pool = Box::into_raw(Box::new(Pool {
        size: count as usize,
        private: private.into(),
        room: room.into(),
        out: AtomicUsize::new(0),
    }));
    POOLS.lock().unwrap().push(AtomicPtr::new(pool));
    pool.cast()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_pool_in_use(pool: *const rte_mempool) -> c_uint {
    // SAFETY: it is one of ours, and lives as long as the process.
    let pool = unsafe { &*pool.cast::<Pool>() };
    pool.out.load(Ordering::Relaxed) as c_uint
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_mbuf_alloc_bulk(
    pool: *mut rte_mempool,
    mbufs: *mut *mut rte_mbuf,
    count: c_uint,
) -> c_int {
    // SAFETY: as above.
    let pool = unsafe { &*pool.cast::<Pool>() };
    if pool.out.load(Ordering::Relaxed) + count as usize > pool.size {
        return -1;
    }
    for place in 0..count as usize {
        // SAFETY: the caller has room for so many.
        unsafe { mbufs.add(place).write(pool.buffer()) };
    }
    0
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_mbuf_take_bulk(
    pool: *mut rte_mempool,
    mbufs: *mut *mut rte_mbuf,
    count: c_uint,
) -> c_int {
    // SAFETY: the same contract.
    unsafe { tc_mbuf_alloc_bulk(pool, mbufs, count) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_mbuf_free(mbuf: *mut rte_mbuf) {
    let mut segment = mbuf;
    while !segment.is_null() {
        let following = next(segment);
        // SAFETY: the segment lives, and the caller gives up a reference to it.
        let references = unsafe { AtomicU16::from_ptr(at(segment, dpdk_sys::TC_MBUF_REFCNT)) };
        if references.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: it was the last reference: nobody else has the buffer.
            unsafe {
                let pool: *const Pool = *at(segment, POOL);
                (*pool).out.fetch_sub(1, Ordering::Relaxed);
                dealloc(segment.cast(), (*pool).layout());
            }
        }
        segment = following;
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_mbuf_free_bulk(mbufs: *mut *mut rte_mbuf, count: c_uint) {
    for place in 0..count as usize {
        // SAFETY: the caller gives up so many references.
        unsafe { tc_mbuf_free(*mbufs.add(place)) };
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn tc_mbuf_copy(mbuf: *const rte_mbuf, pool: *mut rte_mempool) -> *mut rte_mbuf {
    // SAFETY: as above.
    let copy = unsafe { &*pool.cast::<Pool>() }.buffer();
    fill(copy, &packet(mbuf));
    copy
}

/// Three packets, of which the second is a chain.
#[unsafe(no_mangle)]
unsafe extern "C" fn tc_rx_burst(_: u16, _: u16, mbufs: *mut *mut rte_mbuf, count: u16) -> u16 {
    static RECEIVED: AtomicUsize = AtomicUsize::new(0);
    // Then nothing, once.
    if RECEIVED.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
        return 0;
    }
    // SAFETY: as above.
    let pool = unsafe { &*POOLS.lock().unwrap()[0].load(Ordering::Relaxed) };
    let came = count.min(3);
    for place in 0..came {
        let mbuf = pool.buffer();
        fill(mbuf, &[place as u8; 60]);
        if place == 1 {
            let second = pool.buffer();
            fill(second, &[8; 20]);
            // SAFETY: both are ours.
            unsafe {
                *at(mbuf, dpdk_sys::TC_MBUF_NEXT) = second;
                *at(mbuf, dpdk_sys::TC_MBUF_NB_SEGS) = 2u16;
                *at(mbuf, dpdk_sys::TC_MBUF_PKT_LEN) = 80u32;
            }
        }
        // SAFETY: the caller has room for so many.
        unsafe { mbufs.add(place.into()).write(mbuf) };
    }
    came
}

/// Takes another part of each burst, reads what it took and gives it back.
#[unsafe(no_mangle)]
unsafe extern "C" fn tc_tx_burst(_: u16, _: u16, mbufs: *mut *mut rte_mbuf, count: u16) -> u16 {
    let taken = (OFFERED.fetch_add(1, Ordering::Relaxed) * 5 + 7) as u16 % count;
    for place in 0..taken {
        // SAFETY: the device owns what it takes.
        unsafe {
            let mbuf = *mbufs.add(place.into());
            let len: u32 = *at(mbuf, dpdk_sys::TC_MBUF_PKT_LEN);
            assert_eq!(packet(mbuf).len(), len as usize);
            tc_mbuf_free(mbuf);
        }
    }
    taken
}
