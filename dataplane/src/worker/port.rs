//! A port as the worker holds it: its queues, its addresses and its impairment.

use std::iter;
use std::net::IpAddr;
use std::time::Duration;

use overlay::Instant;

use super::kernel::KernelPort;
use super::{PortLink, TX_ROOM};
use crate::chain::Frame;
use crate::config::{Impairment, PortConfig};
use crate::device::frame_len;
use crate::drops::DropReason;
use crate::frame::{Local, LocalIpv6, Mac};
use crate::impair::Impaired;
use crate::mbuf::Mbuf;
use crate::payload::SharedPayload;
use crate::pool::Pool;
use crate::rx::RxQueue;
use crate::snapshot::ImpairmentSnapshot;
use crate::threshold::NEVER;
use crate::tx::{BURST, Relay, TxBuffer};

/// How long a device may refuse all frames before those that wait are given up: longer than any pause of a link.
const STUCK: Duration = Duration::from_millis(100);

/// How long others wait for a device that refuses all frames: a full ring is sent within that, and no neighbor misses
/// its hellos.
pub(super) const PATIENCE: Duration = Duration::from_millis(2);

/// One port.
pub(crate) struct WorkerPort {
    pub(crate) local: Local,
    pub(crate) mtu: u16,
    is_up: bool,
    /// Shortest payload that is chained to a header, in bytes; [`NEVER`] where the device can't.
    pub(crate) chain_from: u16,
    /// `None` where other workers have all queues that the device has.
    pub(crate) rx: Option<RxQueue>,
    pub(crate) tx: TxBuffer,
    /// What workers send that have no queue of their own.
    pub(crate) relays: Vec<Relay>,
    pub(crate) impaired: Option<Box<Impaired<Mbuf>>>,
    /// The first worker, which is another, impairs what comes, or has the kernel's part of the port.
    pub(crate) impaired_by_first: bool,
    pub(crate) kernel_of_first: bool,
    /// What impairments before the present one did.
    pub(crate) impaired_before: Option<ImpairmentSnapshot>,
    /// Data packets of the tree that came, before any impairment, and those of them that it lost.
    pub(crate) tree_offered: u64,
    pub(crate) tree_dropped: u64,
    pub(crate) tx_dropped: u64,
    /// Where the kernel gets what is not ours.
    pub(crate) kernel: Option<Box<KernelPort>>,
    stuck_since: Option<Instant>,
}

impl WorkerPort {
    pub(crate) fn new(
        config: &PortConfig,
        [tree_port, overlay_port]: [u16; 2],
        (port, measured): (&crate::Port, u16),
        (rx, tx): (Option<RxQueue>, TxBuffer),
    ) -> WorkerPort {
        let before = ImpairmentSnapshot::default();
        let impaired = config.impairment.as_ref();
        let mac = Mac(port.mac());
        let addresses = config.addresses.iter().map(|own| own.address);
        let (mut ipv4, mut ipv6) = (None, None);
        for address in addresses {
            match address {
                IpAddr::V4(address) => ipv4 = Some(address),
                IpAddr::V6(address) => ipv6 = Some(LocalIpv6::new(mac, address)),
            }
        }
        WorkerPort {
            local: Local {
                mac,
                ipv4,
                ipv6,
                tree_port,
                overlay_port,
                verify_payload: config.verify_payload,
            },
            mtu: config.mtu,
            is_up: true,
            chain_from: if port.chained() {
                config.chain_from.unwrap_or(measured)
            } else {
                NEVER
            },
            rx,
            tx,
            relays: Vec::new(),
            impaired_by_first: false,
            kernel_of_first: false,
            impaired: impaired.map(|settings| Box::new(Impaired::new(settings, before))),
            impaired_before: None,
            tree_offered: 0,
            tree_dropped: 0,
            tx_dropped: 0,
            kernel: None,
            stuck_since: None,
        }
    }

    /// What its impairment has done, if it ever had one.
    pub(crate) fn impairment_stats(&self) -> Option<ImpairmentSnapshot> {
        self.impaired
            .as_ref()
            .map(|impaired| impaired.stats())
            .or(self.impaired_before)
    }

    /// Sets or clears the impairment. What the old one held is returned, to be received now.
    pub(crate) fn impair(
        &mut self,
        settings: Option<&Impairment>,
    ) -> impl Iterator<Item = Mbuf> + use<> {
        let mut cleared = None;
        match (settings, &mut self.impaired) {
            (Some(settings), Some(impaired)) => impaired.change(settings),
            (Some(settings), none) => {
                let before = self.impaired_before.unwrap_or_default();
                *none = Some(Box::new(Impaired::new(settings, before)));
            }
            (None, impaired) => {
                cleared = impaired.take();
                self.impaired_before = cleared
                    .as_ref()
                    .map(|old| old.stats())
                    .or(self.impaired_before);
            }
        }
        cleared.into_iter().flat_map(|old| old.drain())
    }

    pub(crate) fn impairment_due(&self) -> Option<Instant> {
        self.impaired.as_ref()?.next_due()
    }

    /// Queues a frame, and hands a burst to the device when it is complete: while caches hold it.
    #[inline]
    pub(crate) fn send(&mut self, frame: Frame) -> Result<(), DropReason> {
        if self.tx.room() == 0 {
            self.flush();
        }
        let pushed = self.tx.push(frame);
        if self.tx.len().is_multiple_of(BURST) {
            self.flush();
        }
        pushed.map_err(|_| {
            self.tx_dropped += 1;
            if self.is_up {
                DropReason::TxFull
            } else {
                DropReason::PortDown
            }
        })
    }

    /// Follows the link. While it is down there is no room for anything, so what is for it ends at once; returns how many
    /// frames waited and end with it.
    pub(super) fn set_link(&mut self, link: PortLink) -> u64 {
        self.mtu = link.mtu;
        self.tx.set_max_frame_len(frame_len(link.mtu));
        if self.is_up == link.up {
            return 0;
        }
        self.is_up = link.up;
        self.stuck_since = None;
        let dropped = self.tx.set_open(link.up) as u64;
        self.tx_dropped += dropped;
        dropped
    }

    /// Whether that many frames can be queued. Makes room by a flush, if it has to.
    #[inline]
    pub(crate) fn has_room_for(&mut self, count: usize) -> bool {
        if self.tx.room() < count {
            self.flush();
        }
        self.tx.room() >= count
    }

    /// Hands over what is complete of bursts.
    #[inline]
    pub(crate) fn flush_bursts(&mut self) {
        if self.tx.len() >= BURST {
            self.flush();
        }
    }

    /// Whether its device has no room now but soon will: what is still to come waits in order. One that has refused
    /// everything for a while, or whose link is down, does not hold up the other ports; it drops what does not fit.
    #[inline]
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        // A worker that sends for this one may wait for its CPU first, and gives up itself what the device refuses.
        let patience = self.tx.relay().map_or(PATIENCE, |_| STUCK);
        let stuck = self
            .stuck_since
            .is_some_and(|since| now.since(since) >= patience);
        self.tx.room() < TX_ROOM && !stuck && self.is_up
    }

    /// Whether a payload is long enough to be chained here.
    #[inline]
    pub(crate) fn chains(&self, payload: &SharedPayload) -> bool {
        payload.len() >= self.chain_from.into() && self.chain_from != NEVER
    }

    /// `header` before `payload`, as this port wants it.
    #[inline]
    pub(crate) fn join(
        &self,
        header: Mbuf,
        payload: &SharedPayload,
        packets: &Pool,
    ) -> Result<Frame, DropReason> {
        let frame = if self.chains(payload) && payload.can_be_chained() {
            Frame::chain(header, payload)
        } else {
            Frame::linear(header, payload, packets)
        };
        frame.ok_or(DropReason::NoPacketBuffer)
    }

    /// Takes in what other workers send by this one's queue; returns how many frames.
    pub(crate) fn relay(&mut self) -> usize {
        let mut taken = 0;
        for relay in &self.relays {
            while self.tx.room() > 0
                && let Some(frame) = relay.pop()
            {
                taken += usize::from(self.tx.push(frame).is_ok());
            }
        }
        taken
    }

    /// Drops what other workers sent by this one's queue before they heard that the link is down; returns how many frames.
    pub(super) fn drop_relayed(&mut self) -> u64 {
        if self.is_up {
            return 0;
        }
        let waiting = self.relays.iter();
        let waiting = waiting.flat_map(|relay| iter::from_fn(|| relay.pop()));
        let dropped = waiting.count() as u64;
        self.tx_dropped += dropped;
        dropped
    }

    pub(crate) fn flush(&mut self) -> usize {
        if self.tx.is_empty() {
            return 0;
        }
        let sent = self.tx.flush();
        if sent > 0 {
            self.stuck_since = None;
        }
        sent
    }

    /// Whether nothing waits for its device, or for the worker that sends for this one.
    pub(crate) fn is_flushed(&self) -> bool {
        self.tx.is_empty() && self.tx.relay().is_none_or(|relay| relay.is_empty())
    }

    /// Gives up what waits for a device that has taken nothing for long; returns how many frames that were.
    pub(crate) fn give_up_stuck(&mut self, now: Instant) -> u64 {
        if self.tx.fruitless() == 0 {
            self.stuck_since = None;
            return 0;
        }
        let since = *self.stuck_since.get_or_insert(now);
        if now.since(since) < STUCK {
            return 0;
        }
        self.stuck_since = None;
        let dropped = self.tx.drop_all() as u64;
        self.tx_dropped += dropped;
        dropped
    }
}
