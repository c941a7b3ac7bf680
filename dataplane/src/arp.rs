//! ARP (RFC 826): answers for the node's addresses, and the table of the next hops that it needs.

mod packet;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use hashbrown::HashMap;
use overlay::Instant;

pub(crate) use packet::{ARP_FRAME_LEN, ArpOperation, ArpPacket};

use crate::drops::DropReason;
use crate::frame::{Mac, PortIndex};

/// First pause before an unanswered request is repeated; doubled each time. Some round trips of a wide link: a router
/// that comes back owes repairs at once, and its first requests may be lost like anything else.
const FIRST_RETRY: Duration = Duration::from_millis(20);
/// Longest such pause: a host that comes up is found within a second (RFC 1122 §2.3.2.1 allows one request a second).
const LAST_RETRY: Duration = Duration::from_secs(1);
/// How long an address is trusted without being asked again (RFC 1122 §2.3.2.1: of the order of a minute).
const REFRESH: Duration = Duration::from_secs(30);
/// Pause between refreshes that nobody answers.
const REFRESH_RETRY: Duration = Duration::from_secs(1);
/// Unanswered refreshes after which an address is forgotten.
const REFRESHES: u32 = 3;

/// A port as ARP sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ArpPort {
    /// Its Ethernet address.
    pub(crate) mac: Mac,
    /// Its IP address.
    pub(crate) address: Ipv4Addr,
}

/// What a received ARP packet leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ArpAction {
    /// A frame to be sent through the port the packet came by.
    pub(crate) reply: Option<[u8; ARP_FRAME_LEN]>,
    /// A next hop on that port whose Ethernet address is new or has changed.
    pub(crate) learned: Option<(Ipv4Addr, Mac)>,
}

/// What the table does of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ArpOutput {
    /// A frame to be sent.
    Request {
        port: PortIndex,
        frame: [u8; ARP_FRAME_LEN],
    },
    /// A next hop that was known answers no more.
    Lost { port: PortIndex, address: Ipv4Addr },
}

/// The ARP state of a node. Holds only what was asked for with [`ArpTable::want`]: nobody on the link can fill it.
#[derive(Debug)]
pub(crate) struct ArpTable {
    ports: Vec<ArpPort>,
    entries: HashMap<Key, Entry>,
    /// Further addresses to answer for, and how many need each.
    proxied: HashMap<Key, u32>,
    /// When each entry is to be looked at next: exactly one element for each entry.
    timers: BTreeSet<(Instant, Key)>,
}

type Key = (PortIndex, Ipv4Addr);

#[derive(Debug)]
struct Entry {
    /// How many need it.
    users: u32,
    mac: Option<Mac>,
    /// It has moved to another Ethernet address, and that may be a lie: everybody is asked, until somebody answers.
    doubted: bool,
    /// Requests sent since the last answer.
    unanswered: u32,
    /// Its timer.
    due: Instant,
}

impl ArpTable {
    /// An empty table over the node's ports, in the order of their [`PortIndex`].
    pub(crate) fn new(ports: Vec<ArpPort>) -> ArpTable {
        ArpTable {
            ports,
            entries: HashMap::new(),
            proxied: HashMap::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Asks for the next hop `address` to be resolved and kept, until as many [`ArpTable::unwant`]s. Returns what is
    /// known of it already. `port` is one of those given to [`ArpTable::new`].
    pub(crate) fn want(&mut self, now: Instant, port: PortIndex, address: Ipv4Addr) -> Option<Mac> {
        debug_assert!(usize::from(port.0) < self.ports.len(), "{port:?}");
        let key = (port, address);
        let entry = self.entries.entry(key).or_insert_with(|| {
            self.timers.insert((now, key));
            Entry {
                users: 0,
                mac: None,
                doubted: false,
                unanswered: 0,
                due: now,
            }
        });
        entry.users += 1;
        entry.mac
    }

    /// Takes back one [`ArpTable::want`].
    pub(crate) fn unwant(&mut self, port: PortIndex, address: Ipv4Addr) {
        let key = (port, address);
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        entry.users -= 1;
        if entry.users == 0 {
            self.timers.remove(&(entry.due, key));
            self.entries.remove(&key);
        }
    }

    /// Answers requests for `address` on `port` as if it were ours, until as many [`ArpTable::unproxy`]s: for sessions
    /// whose source believes their destination to be on its link.
    pub(crate) fn proxy(&mut self, port: PortIndex, address: Ipv4Addr) {
        *self.proxied.entry((port, address)).or_insert(0) += 1;
    }

    /// Takes back one [`ArpTable::proxy`].
    pub(crate) fn unproxy(&mut self, port: PortIndex, address: Ipv4Addr) {
        let key = (port, address);
        if let Some(users) = self.proxied.get_mut(&key) {
            *users -= 1;
            if *users == 0 {
                self.proxied.remove(&key);
            }
        }
    }

    /// The Ethernet address of a next hop, where it is known.
    #[cfg(test)]
    pub(crate) fn lookup(&self, port: PortIndex, address: Ipv4Addr) -> Option<Mac> {
        self.entries.get(&(port, address))?.mac
    }

    /// Takes an ARP packet that came through `port`.
    ///
    /// # Errors
    /// [`DropReason::ArpConflict`] if another station claims an address of ours, [`DropReason::ArpNotForUs`] if the
    /// packet says nothing to us.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        port: PortIndex,
        packet: &ArpPacket,
    ) -> Result<ArpAction, DropReason> {
        let own = *self
            .ports
            .get(usize::from(port.0))
            .ok_or(DropReason::ArpNotForUs)?;
        if packet.sender_mac == own.mac {
            return Err(DropReason::ArpNotForUs);
        }
        if self.answers_for(port, own, packet.sender) {
            return Err(DropReason::ArpConflict);
        }
        let known = self.entries.contains_key(&(port, packet.sender));
        let learned = self.learn(now, (port, packet.sender), packet.sender_mac);
        let asked =
            packet.operation == ArpOperation::Request && self.answers_for(port, own, packet.target);
        if !known && !asked {
            return Err(DropReason::ArpNotForUs);
        }
        let reply = asked.then(|| packet.answer(own.mac));
        Ok(ArpAction { reply, learned })
    }

    /// Notes that a wanted next hop was heard otherwise, at this Ethernet address, while ARP does not know it yet.
    /// Returns whether that is news.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        port: PortIndex,
        address: Ipv4Addr,
        mac: Mac,
    ) -> bool {
        let key = (port, address);
        let unknown = self
            .entries
            .get(&key)
            .is_some_and(|entry| entry.mac.is_none());
        unknown && mac.is_unicast() && self.learn(now, key, mac).is_some()
    }

    /// The next request that is due, or a next hop that has just been given up; call until `None`.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<ArpOutput> {
        let &(due, key) = self.timers.first()?;
        if due > now {
            return None;
        }
        let (port, address) = key;
        let own = *self.ports.get(usize::from(port.0))?;
        let entry = self.entries.get_mut(&key)?;
        if entry.mac.is_some() && entry.unanswered == REFRESHES {
            entry.mac = None;
            entry.doubted = false;
            entry.unanswered = 0;
            // Due still: the next call starts to ask everybody.
            return Some(ArpOutput::Lost { port, address });
        }
        let (to, pause) = match entry.mac {
            Some(mac) if !entry.doubted => (mac, REFRESH_RETRY),
            Some(_) => (Mac::BROADCAST, FIRST_RETRY),
            None => {
                let doubled = FIRST_RETRY * 2u32.pow(entry.unanswered.min(8));
                (Mac::BROADCAST, doubled.min(LAST_RETRY))
            }
        };
        entry.unanswered = entry.unanswered.saturating_add(1);
        self.reschedule(key, now + pause);
        Some(ArpOutput::Request {
            port,
            frame: ArpPacket::request(own.mac, own.address, address).emit(to),
        })
    }

    /// When [`ArpTable::poll`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    fn answers_for(&self, port: PortIndex, own: ArpPort, address: Ipv4Addr) -> bool {
        address == own.address || self.proxied.contains_key(&(port, address))
    }

    /// Notes that a wanted next hop has spoken; returns it if its Ethernet address is news. One that has moved is asked
    /// for again soon, by a request that its true owner hears as well.
    fn learn(&mut self, now: Instant, key: Key, mac: Mac) -> Option<(Ipv4Addr, Mac)> {
        let entry = self.entries.get_mut(&key)?;
        let news = entry.mac != Some(mac);
        let moved = news && entry.mac.is_some();
        // Who says it twice is not more to be believed: everybody must have been asked in between.
        let unasked = entry.doubted && entry.unanswered == 0;
        entry.mac = Some(mac);
        entry.doubted = moved || unasked;
        entry.unanswered = 0;
        if !unasked {
            let pause = if moved { FIRST_RETRY } else { REFRESH };
            self.reschedule(key, now + pause);
        }
        news.then_some((key.1, mac))
    }

    fn reschedule(&mut self, key: Key, due: Instant) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.timers.remove(&(entry.due, key));
            self.timers.insert((due, key));
            entry.due = due;
        }
    }
}

#[cfg(test)]
mod tests;
