//! The next hops that a node needs, found by ARP (RFC 826) and neighbor discovery (RFC 4861), and the answers for its
//! own addresses.
//!
//! Both protocols ask and tell the same, and have the same table and timers here. Those are ARP's: RFC 4861's are of the
//! same order, and a router that comes back is found as soon over IPv6 as over IPv4.

mod arp;
mod nd;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use overlay::Instant;

pub(crate) use arp::{ArpOperation, ArpPacket};
pub(crate) use nd::{NdOperation, NdPacket};

use crate::drops::DropReason;
use crate::frame::{Local, Mac, PortIndex, ShortFrame};

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

/// What a station on a link asks or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// By ARP.
    Arp(ArpPacket),
    /// By neighbor discovery.
    Nd(NdPacket),
}

/// What a received packet leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Action {
    /// A frame to be sent through the port the packet came by.
    pub(crate) reply: Option<ShortFrame>,
    /// A next hop on that port whose Ethernet address is new or has changed.
    pub(crate) learned: Option<(IpAddr, Mac)>,
}

/// What the table does of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// A question to be sent.
    Request { port: PortIndex, frame: ShortFrame },
    /// A next hop that was known answers no more.
    Lost { port: PortIndex, address: IpAddr },
}

/// The next hops of a node. Holds only what was asked for with [`NextHops::want`]: nobody on the link can fill it.
#[derive(Debug)]
pub(crate) struct NextHops {
    ports: Vec<Local>,
    entries: HashMap<Key, Entry>,
    /// Further addresses to answer for, and how many need each.
    proxied: HashMap<Key, u32>,
    /// When each entry is to be looked at next: exactly one element for each entry.
    timers: BTreeSet<(Instant, Key)>,
}

type Key = (PortIndex, IpAddr);

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

impl NextHops {
    /// An empty table over the node's ports, in the order of their [`PortIndex`].
    pub(crate) fn new(ports: Vec<Local>) -> NextHops {
        NextHops {
            ports,
            entries: HashMap::new(),
            proxied: HashMap::new(),
            timers: BTreeSet::new(),
        }
    }

    /// Asks for the next hop `address` to be resolved and kept, until as many [`NextHops::unwant`]s. Returns what is
    /// known of it already. `port` is one of those given to [`NextHops::new`].
    pub(crate) fn want(&mut self, now: Instant, port: PortIndex, address: IpAddr) -> Option<Mac> {
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

    /// Takes back one [`NextHops::want`].
    pub(crate) fn unwant(&mut self, port: PortIndex, address: IpAddr) {
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

    /// Answers requests for `address` on `port` as if it were ours, until as many [`NextHops::unproxy`]s: for sessions
    /// whose source believes their destination to be on its link.
    pub(crate) fn proxy(&mut self, port: PortIndex, address: IpAddr) {
        *self.proxied.entry((port, address)).or_insert(0) += 1;
    }

    /// Takes back one [`NextHops::proxy`].
    pub(crate) fn unproxy(&mut self, port: PortIndex, address: IpAddr) {
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
    pub(crate) fn lookup(&self, port: PortIndex, address: IpAddr) -> Option<Mac> {
        self.entries.get(&(port, address))?.mac
    }

    /// Takes what came through `port`.
    ///
    /// # Errors
    /// [`DropReason::ArpConflict`] or [`DropReason::NdConflict`] if another station claims an address of ours,
    /// [`DropReason::ArpNotForUs`] or [`DropReason::NdNotForUs`] if the packet says nothing to us.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        port: PortIndex,
        packet: &Resolution,
    ) -> Result<Action, DropReason> {
        let not_for_us = packet.not_for_us();
        let own = self.ports.get(usize::from(port.0)).ok_or(not_for_us)?;
        let (mac, asked) = (own.mac, packet.question());
        let is_own = asked.is_some_and(|address| own.has(address));
        if packet.station() == mac {
            return Err(not_for_us);
        }
        let said = packet.claim();
        if said.is_some_and(|address| self.answers_for(port, address)) {
            return Err(packet.conflict());
        }
        let known = said.and_then(|address| self.entries.get(&(port, address)));
        let stays = known.is_some_and(|entry| entry.mac.is_some()) && !packet.overrides();
        let (known, mut learned) = (known.is_some(), None);
        if let Some(address) = said.filter(|_| !stays) {
            learned = self.learn(now, (port, address), packet.station());
        }
        let asked = asked.filter(|&address| self.answers_for(port, address));
        if !known && asked.is_none() {
            return Err(not_for_us);
        }
        let reply = asked.map(|_| packet.answer(mac, is_own));
        Ok(Action { reply, learned })
    }

    /// Notes that a wanted next hop was heard otherwise, at this Ethernet address, while it is not known yet.
    /// Returns whether that is news.
    pub(crate) fn hear(
        &mut self,
        now: Instant,
        port: PortIndex,
        address: IpAddr,
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
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Output> {
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
            return Some(Output::Lost { port, address });
        }
        let (to, pause) = match entry.mac {
            Some(mac) if !entry.doubted => (Some(mac), REFRESH_RETRY),
            Some(_) => (None, FIRST_RETRY),
            None => {
                let doubled = FIRST_RETRY * 2u32.pow(entry.unanswered.min(8));
                (None, doubled.min(LAST_RETRY))
            }
        };
        entry.unanswered = entry.unanswered.saturating_add(1);
        self.reschedule(key, now + pause);
        let frame = question(&own, address, to)?;
        Some(Output::Request { port, frame })
    }

    /// When [`NextHops::poll`] has something next.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.timers.first().map(|&(due, _)| due)
    }

    fn answers_for(&self, port: PortIndex, address: IpAddr) -> bool {
        let own = self.ports.get(usize::from(port.0));
        own.is_some_and(|own| own.has(address)) || self.proxied.contains_key(&(port, address))
    }

    /// Notes that a wanted next hop has spoken; returns it if its Ethernet address is news. One that has moved is asked
    /// for again soon, by a request that its true owner hears as well.
    fn learn(&mut self, now: Instant, key: Key, mac: Mac) -> Option<(IpAddr, Mac)> {
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

impl From<ArpPacket> for Resolution {
    fn from(packet: ArpPacket) -> Resolution {
        Resolution::Arp(packet)
    }
}

impl From<NdPacket> for Resolution {
    fn from(packet: NdPacket) -> Resolution {
        Resolution::Nd(packet)
    }
}

impl Resolution {
    /// Who sent it.
    fn station(&self) -> Mac {
        match self {
            Resolution::Arp(packet) => packet.sender_mac,
            Resolution::Nd(packet) => packet.station,
        }
    }

    /// The address that the station says it has.
    fn claim(&self) -> Option<IpAddr> {
        match self {
            Resolution::Arp(packet) => Some(packet.sender.into()),
            Resolution::Nd(packet) => match packet.operation {
                NdOperation::Solicit => packet.tells_station.then_some(packet.sender.into()),
                NdOperation::Advertise { .. } => Some(packet.target.into()),
            },
        }
    }

    /// Whether the claim holds against what is known.
    fn overrides(&self) -> bool {
        match self {
            Resolution::Arp(_) => true,
            Resolution::Nd(packet) => {
                packet.operation != NdOperation::Advertise { overrides: false }
            }
        }
    }

    /// The address that the station looks for.
    pub(crate) fn question(&self) -> Option<IpAddr> {
        match self {
            Resolution::Arp(packet) => {
                (packet.operation == ArpOperation::Request).then_some(packet.target.into())
            }
            Resolution::Nd(packet) => {
                (packet.operation == NdOperation::Solicit).then_some(packet.target.into())
            }
        }
    }

    /// Whether it answers a question, or tells something unasked.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Resolution::Arp(packet) => packet.operation == ArpOperation::Reply,
            Resolution::Nd(packet) => packet.operation != NdOperation::Solicit,
        }
    }

    /// The frame that says that what it looks for, an address of the node's own or not, is at `mac`.
    fn answer(&self, mac: Mac, is_own: bool) -> ShortFrame {
        match self {
            Resolution::Arp(packet) => packet.answer(mac),
            Resolution::Nd(packet) => packet.answer(mac, is_own),
        }
    }

    const fn not_for_us(&self) -> DropReason {
        match self {
            Resolution::Arp(_) => DropReason::ArpNotForUs,
            Resolution::Nd(_) => DropReason::NdNotForUs,
        }
    }

    const fn conflict(&self) -> DropReason {
        match self {
            Resolution::Arp(_) => DropReason::ArpConflict,
            Resolution::Nd(_) => DropReason::NdConflict,
        }
    }
}

/// The question who has `address`, to all or to the station that had it; `None` if the port has no address to ask from.
fn question(own: &Local, address: IpAddr, to: Option<Mac>) -> Option<ShortFrame> {
    match (own.towards(address)?, address) {
        (IpAddr::V4(from), IpAddr::V4(target)) => {
            let request = ArpPacket::request(own.mac, from, target);
            Some(request.emit(to.unwrap_or(Mac::BROADCAST)))
        }
        (IpAddr::V6(from), IpAddr::V6(target)) => {
            Some(NdPacket::solicitation(own.mac, from, target, to))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
