//! Raw bindings to the C shim over libdpdk: about thirty burst-level functions, and where an mbuf's fields lie.
//!
//! Not a binding of DPDK: its structs and inline functions stay behind `shim.c`, which is compiled against the
//! installed headers, so that one source serves several releases. `dataplane` makes safe types of this.

#![no_std]
#![allow(non_camel_case_types)]

/// A packet buffer. Its fields are reached through the `TC_MBUF_*` offsets.
#[repr(C)]
pub struct rte_mbuf {
    _opaque: [u8; 0],
}

/// A pool of buffers.
#[repr(C)]
pub struct rte_mempool {
    _opaque: [u8; 0],
}

#[allow(missing_docs, non_camel_case_types, clippy::all)]
mod bindings {
    use super::{rte_mbuf, rte_mempool};

    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

pub use bindings::*;
