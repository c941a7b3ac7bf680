//! What the control plane knows of a running node: names, and which numbers the worker knows them by.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use hashbrown::HashMap;
use overlay::wire::HelloState;
use overlay::{Instant, NeighborId, Seq, Session, SessionId, StateReason};

use super::CommandError;
use super::start::epoch_now;
use crate::client::ClientEntry;
use crate::config::{ClientConfig, NeighborConfig, NodeConfig, SessionConfig};
use crate::event::EventKind;
use crate::frame::{Addresses, PortIndex};
use crate::sizing::{held_by_others, held_max};
use crate::worker::{
    Adjacent, Client, ClientKey, Clients, Clock, NewSession, Owners, PortLink, Route, RoutePort,
    WorkerId, upstream_of,
};

/// Packet buffers that are never promised to a session.
const RESERVE: usize = 1024;
/// Longest time that a session stays after its end: the default deadline. Those below that wait longer lose little by it,
/// and whoever removes a session waits no longer.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// A session as it is configured now.
pub(super) struct Known {
    pub(super) config: SessionConfig,
    pub(super) worker: WorkerId,
    /// Its clients in the worker's order, ascending by key.
    pub(super) clients: Vec<(ClientKey, ClientConfig)>,
}

/// The names of the neighbors that a session refers to.
fn neighbors_of(config: &SessionConfig) -> impl Iterator<Item = &String> {
    let first = config.upstream.iter().chain(&config.downstream);
    let second = config.second_upstream.iter();
    first.chain(second).chain(&config.second_downstream)
}

/// (S,G). What a session's addresses are together must hold before the worker sees any of them: both of the channel are of
/// one family, both of the flow are, and all of its clients are of the flow's.
fn channel_of(config: &SessionConfig) -> Result<Addresses, CommandError> {
    let inside = config.flow.iter();
    let inside = inside.flat_map(|flow| [Some(flow.destination), flow.source]);
    let clients = config.clients.iter().map(|client| Some(client.address));
    let mut inside = inside.chain(clients).flatten().map(|inner| inner.is_ipv4());
    let first = inside.next();
    let is_one_family = inside.all(|is_ipv4| Some(is_ipv4) == first);
    let channel = Addresses::new(config.source, config.group);
    channel
        .filter(|_| is_one_family)
        .ok_or(CommandError::Families(config.id.0))
}

/// What makes a client the one that is there: how it caught up is its past.
fn identity(client: &ClientConfig) -> impl Hash + Eq + '_ {
    (client.name.as_str(), client.address, client.port)
}

/// What was last seen of a port's link; a port begins as one that is up.
#[derive(Clone, Copy)]
struct KnownLink {
    up: bool,
    downs: u64,
}

/// The node as configured now.
pub(super) struct Model {
    node: NodeConfig,
    ports: Vec<RoutePort>,
    links: Vec<KnownLink>,
    neighbors: Vec<(NeighborConfig, NeighborId)>,
    sessions: BTreeMap<SessionId, Known>,
    packets: usize,
    /// Those of `packets` that sessions may hold.
    promised: usize,
    /// Rates of each worker's sessions, added up.
    rates_pps: Vec<u64>,
    next_key: u64,
    /// The last epoch of each session that ever began here: the next one must differ.
    epochs: HashMap<SessionId, overlay::Epoch>,
    clock: Clock,
}

impl Model {
    pub(super) fn new(
        config: &NodeConfig,
        ports: Vec<RoutePort>,
        packets: usize,
        clock: Clock,
    ) -> Model {
        let node = NodeConfig {
            neighbors: Vec::new(),
            sessions: Vec::new(),
            ..config.clone()
        };
        let up = KnownLink { up: true, downs: 0 };
        Model {
            node,
            links: vec![up; ports.len()],
            ports,
            neighbors: Vec::new(),
            sessions: BTreeMap::new(),
            packets,
            promised: 0,
            rates_pps: vec![0; config.workers],
            next_key: 0,
            epochs: HashMap::new(),
            clock,
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Ports and settings; neighbors and sessions are listed by themselves.
    pub(super) fn config(&self) -> &NodeConfig {
        &self.node
    }

    /// A port's link as the worker has been told.
    pub(super) fn link(&self, place: usize) -> PortLink {
        PortLink {
            up: self.links[place].up,
            mtu: self.ports[place].mtu,
        }
    }

    /// How often a port's link went down.
    pub(super) fn downs(&self, place: usize) -> u64 {
        self.links[place].downs
    }

    /// Notes what the worker has been told of a port's link.
    pub(super) fn set_link(&mut self, place: usize, link: PortLink) {
        let known = &mut self.links[place];
        known.downs += u64::from(known.up && !link.up);
        known.up = link.up;
        self.ports[place].mtu = link.mtu;
    }

    /// The MTU that a port is configured to have.
    pub(super) fn configured_mtu(&self, place: usize) -> u16 {
        self.node.ports[place].mtu
    }

    pub(super) fn set_configured_mtu(&mut self, place: usize, mtu: u16) {
        self.node.ports[place].mtu = mtu;
    }

    pub(super) fn neighbors(&self) -> impl Iterator<Item = (&NeighborConfig, NeighborId)> {
        self.neighbors.iter().map(|(neighbor, id)| (neighbor, *id))
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = &Known> {
        self.sessions.values()
    }

    pub(super) fn session(&self, id: SessionId) -> Result<&SessionConfig, CommandError> {
        self.known(id).map(|known| &known.config)
    }

    /// The worker that has a session.
    pub(super) fn worker_of(&self, id: SessionId) -> Result<WorkerId, CommandError> {
        self.known(id).map(|known| known.worker)
    }

    /// Which worker has which session. `moving`: one that is to go to another worker.
    pub(super) fn owners(&self, moving: Option<(SessionId, WorkerId)>) -> Owners {
        let sessions = self.sessions.iter().map(|(&id, known)| {
            let to = moving.filter(|(moving, _)| *moving == id);
            let worker = to.map_or(known.worker, |(_, to)| to);
            (id, worker, known.config.flow)
        });
        Owners::new(sessions, moving.map(|(id, _)| id))
    }

    /// Notes that a session is another worker's now.
    pub(super) fn note_move(&mut self, id: SessionId, to: WorkerId) {
        if let Some(known) = self.sessions.get_mut(&id) {
            let rate_pps = u64::from(known.config.max_rate_pps);
            self.rates_pps[known.worker.place()] -= rate_pps;
            self.rates_pps[to.place()] += rate_pps;
            known.worker = to;
        }
    }

    /// The worker that a configuration names.
    pub(super) fn pinned(&self, config: &SessionConfig) -> Result<Option<WorkerId>, CommandError> {
        let Some(worker) = config.worker else {
            return Ok(None);
        };
        let known = (0..self.node.workers).contains(&worker);
        let unknown = CommandError::Unknown {
            what: "worker",
            name: worker.to_string(),
        };
        known
            .then_some(Some(WorkerId(worker as u16)))
            .ok_or(unknown)
    }

    /// The worker with the least to do: that whose sessions' rates add up to the least.
    fn least_loaded(&self) -> WorkerId {
        let rates = self.rates_pps.iter().enumerate();
        let least = rates.min_by_key(|(_, rate)| **rate);
        least.map_or(WorkerId::FIRST, |(place, _)| WorkerId(place as u16))
    }

    fn known(&self, id: SessionId) -> Result<&Known, CommandError> {
        let known = self.sessions.get(&id);
        let unknown = || CommandError::Unknown {
            what: "session",
            name: id.0.to_string(),
        };
        known.ok_or_else(unknown)
    }

    /// Makes a session for the worker: its memory is taken here.
    pub(super) fn new_session(
        &mut self,
        config: &SessionConfig,
    ) -> Result<(NewSession, Clients, Known), CommandError> {
        if self.session(config.id).is_ok() {
            let name = config.id.0.to_string();
            return Err(CommandError::Exists {
                what: "session",
                name,
            });
        }
        let channel = channel_of(config)?;
        self.check_neighbors(config)?;
        self.check_room(config)?;
        let protocol = config.protocol(&|name| self.neighbor(name));
        let udp_ports = [self.node.tree_port, self.node.overlay_port];
        let upstream = upstream_of(&protocol);
        let mut route = Route::new(config, channel, upstream, &self.ports, udp_ports);
        if let Some(flow) = config.flow {
            route.proxies = self.ports_on_link(flow.destination).collect();
        }
        let epoch = self.next_epoch(config.id);
        let session = Box::new(Session::new(self.now(), protocol, epoch));
        let (clients, known) = self.clients_of(config)?;
        Ok((
            NewSession {
                session,
                route: Box::new(route),
            },
            clients,
            known,
        ))
    }

    /// What the worker needs to change a session.
    pub(super) fn updated_session(
        &mut self,
        config: &SessionConfig,
    ) -> Result<(overlay::SessionConfig, Clients, Known), CommandError> {
        let known = self.session(config.id)?;
        let fixed = |of: &SessionConfig| {
            let role = of.upstream.is_empty();
            (of.group, of.source, of.ttl, of.flow, role, of.fec)
        };
        if fixed(known) != fixed(config) {
            return Err(CommandError::NeedsRestart(format!(
                "session {}: its group, source, ttl, match, role and fec can't be changed; remove it and add it anew",
                config.id.0
            )));
        }
        if held_max(config) > held_max(known) {
            return Err(CommandError::NeedsRestart(format!(
                "session {}: its window was sized for {} packets and can't grow; remove it and add it anew",
                config.id.0,
                held_max(known)
            )));
        }
        channel_of(config)?;
        self.check_neighbors(config)?;
        let (clients, known) = self.clients_of(config)?;
        Ok((config.protocol(&|name| self.neighbor(name)), clients, known))
    }

    /// Notes what the worker has made of a session, new or changed.
    pub(super) fn note(&mut self, known: Known) {
        self.remove(known.config.id);
        self.promised += held_max(&known.config);
        self.rates_pps[known.worker.place()] += u64::from(known.config.max_rate_pps);
        self.sessions.insert(known.config.id, known);
    }

    /// How long a session stays that is to be removed: where its stream begins, long enough for those below to fetch what
    /// they lack.
    pub(super) fn linger(&self, id: SessionId) -> Result<Duration, CommandError> {
        let session = self.session(id)?;
        let begins_here = session.upstream.is_empty();
        Ok(if begins_here {
            session.deadline.min(LINGER_MAX)
        } else {
            Duration::ZERO
        })
    }

    pub(super) fn remove(&mut self, id: SessionId) {
        if let Some(known) = self.sessions.remove(&id) {
            self.promised -= held_max(&known.config);
            self.rates_pps[known.worker.place()] -= u64::from(known.config.max_rate_pps);
        }
    }

    fn check_neighbors(&self, config: &SessionConfig) -> Result<(), CommandError> {
        match neighbors_of(config).find(|name| self.neighbor(name).is_none()) {
            Some(name) => Err(CommandError::Unknown {
                what: "neighbor",
                name: name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// A session that could fill the pool by itself would starve the others. An explicit pool size is the operator's
    /// word, so nothing is checked before all of the configuration is there.
    fn check_room(&self, config: &SessionConfig) -> Result<(), CommandError> {
        let reserve = RESERVE + held_by_others(&self.node);
        let free = self.packets.saturating_sub(self.promised + reserve);
        let needed = held_max(config);
        if needed <= free || self.node.pool_packets.is_some() {
            return Ok(());
        }
        Err(CommandError::NoRoom(format!(
            "session {} needs {needed} packets (retention × max_rate), {free} are free: raise [memory] spare_packets",
            config.id.0
        )))
    }

    fn next_epoch(&mut self, id: SessionId) -> overlay::Epoch {
        let mut epoch = epoch_now();
        if let Some(last) = self.epochs.get(&id)
            && !epoch.is_newer_than(*last)
        {
            epoch = overlay::Epoch(last.0.wrapping_add(1));
        }
        self.epochs.insert(id, epoch);
        epoch
    }

    /// The clients for the worker, and how they will be known. Those that stay as they are keep the key that they had.
    fn clients_of(&mut self, config: &SessionConfig) -> Result<(Clients, Known), CommandError> {
        let mut known = Vec::with_capacity(config.clients.len());
        let before = self.sessions.get(&config.id);
        let before = before.map_or(&[][..], |before| &before.clients);
        let before = before.iter().map(|(key, client)| (identity(client), *key));
        let before: HashMap<_, _> = before.collect();
        for client in &config.clients {
            let key = before.get(&identity(client)).copied().unwrap_or_else(|| {
                self.next_key += 1;
                ClientKey(self.next_key)
            });
            known.push((key, client.clone()));
        }
        known.sort_by_key(|(key, _)| *key);
        let mut clients = Clients::with_capacity(known.len());
        for (key, client) in &known {
            let (port, next_hop) = self.next_hop(client)?;
            let mac = self.ports[usize::from(port.0)].local.mac;
            let entry = ClientEntry::new(client.address, client.port, port, mac);
            let client = Client {
                key: *key,
                from: Seq(0),
                next_hop,
                catch_up: client.catch_up,
            };
            clients.push(client, entry);
        }
        let worker = match self.worker_of(config.id) {
            Ok(worker) => worker,
            Err(_) => self.pinned(config)?.unwrap_or_else(|| self.least_loaded()),
        };
        Ok((
            clients,
            Known {
                config: config.clone(),
                worker,
                clients: known,
            },
        ))
    }

    /// The port and next hop towards an address: on link, else by the first gateway of its family.
    fn next_hop(&self, client: &ClientConfig) -> Result<(PortIndex, IpAddr), CommandError> {
        let address = client.address;
        let on_link = self
            .ports_on_link(address)
            .next()
            .map(|port| (port, address));
        let gateway = || {
            let mut ports = self.node.ports.iter().enumerate();
            ports.find_map(|(place, port)| {
                Some((PortIndex(place as u16), port.gateway_like(address)?))
            })
        };
        on_link
            .or_else(gateway)
            .ok_or_else(|| CommandError::Unreachable(client.name.clone()))
    }

    fn ports_on_link(&self, address: IpAddr) -> impl Iterator<Item = PortIndex> + '_ {
        let ports = self.node.ports.iter().enumerate();
        ports
            .filter(move |(_, port)| port.is_on_link(address))
            .map(|(place, _)| PortIndex(place as u16))
    }

    fn neighbor(&self, name: &str) -> Option<NeighborId> {
        let known = self
            .neighbors
            .iter()
            .find(|(neighbor, _)| neighbor.name == name);
        known.map(|(_, id)| *id)
    }

    pub(super) fn neighbor_name(&self, id: NeighborId) -> Option<String> {
        let known = self.neighbors.iter().find(|(_, known)| *known == id);
        known.map(|(neighbor, _)| neighbor.name.clone())
    }

    pub(super) fn new_neighbor(
        &self,
        config: &NeighborConfig,
    ) -> Result<(overlay::NeighborConfig, Adjacent), CommandError> {
        if self.neighbor(&config.name).is_some() {
            return Err(CommandError::Exists {
                what: "neighbor",
                name: config.name.clone(),
            });
        }
        let port = self
            .node
            .ports
            .iter()
            .position(|port| port.name == config.port);
        let unknown = || CommandError::Unknown {
            what: "port",
            name: config.port.clone(),
        };
        let place = port.ok_or_else(unknown)?;
        let own = self.ports[place].local.towards(config.address);
        let addresses = own.and_then(|own| Addresses::new(own, config.address));
        let addresses = addresses.ok_or_else(|| CommandError::OtherFamily(config.name.clone()))?;
        let protocol = overlay::NeighborConfig {
            hello_interval: self.node.hello_interval,
            detect_mult: self.node.detect_mult,
            // Each worker answers for its own sessions.
            repair_rate_pps: (config.repair_rate_pps / self.node.workers as u32).max(1),
        };
        Ok((
            protocol,
            Adjacent {
                addresses,
                port: PortIndex(place as u16),
                mac: None,
            },
        ))
    }

    /// Notes what a worker calls a neighbor. All call it the same, since they were told the same.
    pub(super) fn add_neighbor(&mut self, config: &NeighborConfig, id: NeighborId) {
        match self.neighbor(&config.name) {
            None => self.neighbors.push((config.clone(), id)),
            Some(known) => debug_assert_eq!(known, id, "{}", config.name),
        }
    }

    pub(super) fn unused_neighbor(&self, name: &str) -> Result<NeighborId, CommandError> {
        let unknown = || CommandError::Unknown {
            what: "neighbor",
            name: name.into(),
        };
        let id = self.neighbor(name).ok_or_else(unknown)?;
        let mut sessions = self.sessions.values().map(|known| &known.config);
        if sessions.any(|session| neighbors_of(session).any(|used| used == name)) {
            return Err(CommandError::InUse(name.into()));
        }
        Ok(id)
    }

    pub(super) fn remove_neighbor(&mut self, name: &str) {
        self.neighbors.retain(|(neighbor, _)| neighbor.name != name);
    }

    /// An event in the control plane's words; `None` if what it is about is gone.
    pub(super) fn describe(&self, event: overlay::Event) -> Option<EventKind> {
        Some(match event {
            overlay::Event::Neighbor(id, HelloState::Up, _) => EventKind::NeighborUp {
                name: self.neighbor_name(id)?,
            },
            overlay::Event::Neighbor(_, HelloState::Init, StateReason::Hello) => return None,
            overlay::Event::Neighbor(id, _, reason) => EventKind::NeighborDown {
                name: self.neighbor_name(id)?,
                reason: reason.as_str(),
            },
            overlay::Event::Parent(session, id) => EventKind::ParentChanged {
                session,
                name: self.neighbor_name(id)?,
            },
            overlay::Event::Epoch(session, epoch) => EventKind::EpochChanged {
                session,
                epoch: epoch.0,
            },
            overlay::Event::Skipped(session, skipped) => EventKind::Resync { session, skipped },
            overlay::Event::Copying(session, copying) => EventKind::Copying { session, copying },
            overlay::Event::Ended(session) => EventKind::Ended { session },
            overlay::Event::Idle(session) => EventKind::Idle { session },
            overlay::Event::Throttled(id, throttled) => EventKind::Throttled {
                name: self.neighbor_name(id)?,
                throttled,
            },
            overlay::Event::Ejected(id, ejected) => EventKind::Ejected {
                name: self.neighbor_name(id)?,
                ejected,
            },
        })
    }
}
