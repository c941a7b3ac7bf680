//! How many buffers a node needs.

use std::time::Duration;

use overlay::PARITY_KEPT_MAX;

use crate::config::{Impairment, NodeConfig, PortConfig, SessionConfig};
use crate::device::buffers_held;
use crate::impair::MAX_HELD;
use crate::port::DESCRIPTORS;
use crate::tx::CAPACITY;
use crate::worker::HANDED_MAX;

/// Buffers under way in a worker itself: bursts, the pools' stashes and transmit buffers.
const UNDER_WAY: usize = 1024;
/// Buffers of each pool that a thread of DPDK may keep for itself: one and a half of its cache of 256.
const CACHED: usize = 384;
/// Descriptors of a port, both ways together.
const BOTH_WAYS: usize = 2 * DESCRIPTORS as usize;
/// Buffers that an impairment holds which neither delays nor queues: a burst, and those that others overtake.
const REORDERED: usize = 64;

/// Packets that a session may hold: what its rate brings in the longer of retention and deadline, and its parity.
#[must_use]
pub fn held_max(session: &SessionConfig) -> usize {
    let keeps_parity = session.fec.is_some() && !session.upstream.is_empty();
    let parity = if keeps_parity { PARITY_KEPT_MAX } else { 0 };
    session.protocol(&|_| None).held_max() + parity
}

/// Packet buffers that a node needs: what its ports hold in their rings and impairments, what its sessions hold, what
/// is under way, and the spare for sessions added later.
#[must_use]
pub fn packets_needed(config: &NodeConfig) -> usize {
    let sessions: usize = config.sessions.iter().map(held_max).sum();
    let ports = config
        .ports
        .iter()
        .map(|port| held_by_port(port, config.workers));
    sessions + ports.sum::<usize>() + UNDER_WAY + held_by_others(config) + config.spare_packets
}

/// Header buffers that a node needs: what its ports hold, and what is under way.
pub(crate) fn headers_needed(config: &NodeConfig) -> usize {
    let rings = config
        .ports
        .iter()
        .map(|port| buffers_held(&port.device, BOTH_WAYS * config.workers));
    // A worker without a queue of its own has as much under way to the one that has.
    let further = config.workers.saturating_sub(1);
    let buffers = config.workers + further;
    let waiting = config.ports.len() * CAPACITY * buffers;
    rings.sum::<usize>() + waiting + UNDER_WAY * config.workers + CACHED * further
}

/// What workers beyond the first have under way, and what is on its way between all of them.
pub(crate) fn held_by_others(config: &NodeConfig) -> usize {
    let further = config.workers.saturating_sub(1);
    let rings = if further > 0 {
        HANDED_MAX * config.workers
    } else {
        0
    };
    (UNDER_WAY + CACHED) * further + rings
}

fn held_by_port(port: &PortConfig, workers: usize) -> usize {
    let impaired = port.impairment.as_ref().map_or(0, held_by_impairment);
    buffers_held(&port.device, BOTH_WAYS * workers) + impaired
}

fn held_by_impairment(impairment: &Impairment) -> usize {
    let held_back = impairment.delay + impairment.jitter > Duration::ZERO;
    if held_back || impairment.rate_bps.is_some() {
        MAX_HELD
    } else {
        REORDERED
    }
}
