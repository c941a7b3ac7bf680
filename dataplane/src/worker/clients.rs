//! The clients of a session, in two lists side by side: what every copy reads, and the rest.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use overlay::Seq;

use crate::client::ClientEntry;
use crate::frame::{Mac, PortIndex};

/// Tells one client from all others that the node ever had; grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey(pub(crate) u64);

/// What is known of a client beside its entry.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) key: ClientKey,
    /// The first sequence of the route's epoch that it gets with the others: with repairs passed on as they come, older
    /// ones may still follow. [`Client::CATCHING_UP`]: none yet.
    pub(crate) from: Seq,
    /// Its next hop on the entry's port.
    pub(crate) next_hop: IpAddr,
    /// How much history it gets when it is new.
    pub(crate) catch_up: Duration,
}

impl Client {
    /// As `from`: the client gets history on its own. No packet has this sequence.
    pub(crate) const CATCHING_UP: Seq = Seq(u64::MAX);

    /// Whether it gets history, and is not served with the others yet.
    pub(crate) fn is_catching_up(&self) -> bool {
        self.from == Client::CATCHING_UP
    }
}

/// The clients of a session, ascending by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    entries: Vec<ClientEntry>,
    clients: Vec<Client>,
    /// The latest `from` of those that don't catch up, and how many do.
    all_from: Seq,
    catching_up: usize,
    /// How many next hops are not resolved.
    unresolved: usize,
}

impl Clients {
    pub(crate) fn with_capacity(count: usize) -> Clients {
        Clients {
            entries: Vec::with_capacity(count),
            clients: Vec::with_capacity(count),
            ..Clients::default()
        }
    }

    /// Appends a client, whose key is above all others.
    pub(crate) fn push(&mut self, client: Client, entry: ClientEntry) {
        self.note(&client);
        self.unresolved += usize::from(!entry.is_resolved());
        self.clients.push(client);
        self.entries.push(entry);
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Client, &ClientEntry)> {
        self.clients.iter().zip(&self.entries)
    }

    /// Whether any of them gets history on its own.
    pub(crate) fn is_any_catching_up(&self) -> bool {
        self.catching_up > 0
    }

    pub(crate) fn contains(&self, key: ClientKey) -> bool {
        self.place(key).is_some()
    }

    /// The client of that key.
    pub(crate) fn entry_mut(&mut self, key: ClientKey) -> Option<&mut ClientEntry> {
        let place = self.place(key)?;
        self.entries.get_mut(place)
    }

    fn place(&self, key: ClientKey) -> Option<usize> {
        let place = self.clients.binary_search_by_key(&key, |client| client.key);
        place.ok()
    }

    /// The key of the client at that place.
    pub(crate) fn key(&self, place: usize) -> Option<ClientKey> {
        Some(self.clients.get(place)?.key)
    }

    /// The place behind all clients up to and with that key.
    pub(crate) fn place_after(&self, key: ClientKey) -> usize {
        self.clients.partition_point(|client| client.key <= key)
    }

    /// Whether all of them are to have the packet `seq`, and can.
    #[inline]
    pub(crate) fn all_take(&self, seq: Seq) -> bool {
        self.unresolved == 0 && self.catching_up == 0 && self.all_from <= seq
    }

    /// The entries at those places.
    #[inline]
    pub(crate) fn entries_mut(&mut self, places: Range<usize>) -> &mut [ClientEntry] {
        self.entries.get_mut(places).unwrap_or_default()
    }

    /// Those at those places that are to have the packet `seq`.
    pub(crate) fn takers_mut(
        &mut self,
        places: Range<usize>,
        seq: Seq,
    ) -> impl Iterator<Item = &mut ClientEntry> {
        let clients = self.clients.get(places.clone()).unwrap_or_default();
        let entries = self.entries.get_mut(places).unwrap_or_default();
        let both = clients.iter().zip(entries);
        both.filter_map(move |(client, entry)| (client.from <= seq).then_some(entry))
    }

    /// Has a client served with the others, from `from` on; `false` if there is no such client.
    pub(crate) fn serve_from(&mut self, key: ClientKey, from: Seq) -> bool {
        let Some(place) = self.place(key) else {
            return false;
        };
        let client = &mut self.clients[place];
        self.catching_up -= usize::from(client.is_catching_up());
        client.from = from;
        let client = client.clone();
        self.note(&client);
        true
    }

    /// Sets the next hop of all by what `resolve` says of port, address and what was known of it.
    pub(crate) fn resolve(
        &mut self,
        mut resolve: impl FnMut(PortIndex, IpAddr, Option<Mac>) -> Option<Mac>,
    ) {
        for (client, entry) in self.clients.iter().zip(&mut self.entries) {
            let known = entry.next_hop();
            entry.set_next_hop(resolve(entry.port, client.next_hop, known));
        }
        self.look();
    }

    /// Notes the Ethernet address of a next hop, or that it has none any more.
    pub(crate) fn set_next_hop(&mut self, port: PortIndex, address: IpAddr, mac: Option<Mac>) {
        for (client, entry) in self.clients.iter().zip(&mut self.entries) {
            if entry.port == port && client.next_hop == address {
                entry.set_next_hop(mac);
            }
        }
        self.look();
    }

    /// The ingress has another life: those that are clients get all of it. One that catches up goes on to.
    pub(crate) fn begin_epoch(&mut self) {
        for client in &mut self.clients {
            if !client.is_catching_up() {
                client.from = Seq(0);
            }
        }
        self.look();
    }

    /// Lets `fresh` take their place. Those that stay keep their counters; those that are new get what comes from `from`
    /// on, or catch up. `resolve` is asked for the next hops of those that had another one before, or none. Returns the old
    /// ones, to be freed elsewhere.
    pub(crate) fn replace(
        &mut self,
        mut fresh: Clients,
        from: Seq,
        mut resolve: impl FnMut(PortIndex, IpAddr) -> Option<Mac>,
    ) -> Clients {
        let mut old = self.iter().peekable();
        let mut seen = Clients::default();
        for (client, entry) in fresh.clients.iter_mut().zip(&mut fresh.entries) {
            while old.next_if(|(old, _)| old.key < client.key).is_some() {}
            let stays = old.next_if(|(old, _)| old.key == client.key);
            match stays {
                Some((old, old_entry)) => {
                    entry.packets = old_entry.packets;
                    entry.dropped = old_entry.dropped;
                    client.from = old.from;
                }
                None if client.catch_up > Duration::ZERO => client.from = Client::CATCHING_UP,
                None => client.from = from,
            }
            let next_hop = match stays.filter(|&stays| goes_same_way(stays, (client, entry))) {
                Some((_, old_entry)) => old_entry.next_hop(),
                None => resolve(entry.port, client.next_hop),
            };
            entry.set_next_hop(next_hop);
            seen.unresolved += usize::from(next_hop.is_none());
            seen.note(client);
        }
        drop(old);
        fresh.all_from = seen.all_from;
        fresh.catching_up = seen.catching_up;
        fresh.unresolved = seen.unresolved;
        std::mem::replace(self, fresh)
    }

    /// Those that are no more, or behind another next hop, in `fresh`.
    pub(crate) fn leavers(&self, fresh: &Clients) -> impl Iterator<Item = (&Client, &ClientEntry)> {
        let mut fresh = fresh.iter().peekable();
        self.iter().filter(move |&old| {
            while fresh
                .next_if(|(client, _)| client.key < old.0.key)
                .is_some()
            {}
            let stays = fresh.next_if(|(client, _)| client.key == old.0.key);
            !stays.is_some_and(|stays| goes_same_way(old, stays))
        })
    }

    /// Learns anew what holds for all.
    fn look(&mut self) {
        (self.all_from, self.catching_up) = (Seq(0), 0);
        let clients = std::mem::take(&mut self.clients);
        clients.iter().for_each(|client| self.note(client));
        self.clients = clients;
        let unresolved = self.entries.iter().filter(|entry| !entry.is_resolved());
        self.unresolved = unresolved.count();
    }

    fn note(&mut self, client: &Client) {
        if client.is_catching_up() {
            self.catching_up += 1;
        } else {
            self.all_from = self.all_from.max(client.from);
        }
    }
}

/// Whether a client's copies go to the same next hop as before.
fn goes_same_way(old: (&Client, &ClientEntry), now: (&Client, &ClientEntry)) -> bool {
    (old.1.port, old.0.next_hop) == (now.1.port, now.0.next_hop)
}
