//! What the control plane has a worker do while packets flow.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Sender;
use overlay::{
    Instant, NeighborConfig, NeighborId, Session, SessionConfig, SessionId, SessionIndex,
};

use super::stages::Look;
use super::{
    Adjacent, Clients, NewSession, Owners, PortLink, Report, Route, StageCounts, Worker, WorkerId,
    upstream_of,
};
use crate::config::Impairment;
use crate::frame::PortIndex;
use crate::rx::Burst;

/// A command, with where its reply goes. What it makes superfluous returns with the reply, to be freed there.
pub(crate) enum Command {
    AddSession(NewSession, Clients, Sender<Reply>),
    /// Changes the protocol's settings and the list of clients, in one turn.
    UpdateSession(SessionId, Box<(SessionConfig, Clients)>, Sender<Reply>),
    /// Removes a session; one that begins here stays for this long, so that those below get all of its stream.
    RemoveSession(SessionId, Duration, Sender<Reply>),
    AddNeighbor(NeighborConfig, Adjacent, Sender<Reply>),
    RemoveNeighbor(NeighborId, Sender<Reply>),
    Impair(PortIndex, Option<Impairment>, Sender<Reply>),
    /// Says which worker has which session.
    FollowOwners(Arc<Owners>, Sender<Reply>),
    /// Has a session go to another worker, and the owners be these from then on.
    GiveAway(SessionId, WorkerId, Arc<Owners>, Sender<Reply>),
    SetLink(PortIndex, PortLink, Sender<Reply>),
    Report(Box<Report>),
    /// Counts the cycles of each stage for this long.
    Look(Duration, Sender<StageCounts>),
    /// Ends what begins here and passes on what there is, before a stop.
    Drain(Sender<Reply>),
    Stop,
}

/// How a command ended.
pub(crate) enum Reply {
    Done,
    Neighbor(NeighborId),
    /// Done; what is left over is to be freed on the other side.
    Left(Leftover),
    /// What the command names is not there, or there is no room for it.
    Refused,
}

/// What the worker no longer needs, and is not to spend its time freeing.
pub(crate) enum Leftover {
    Session(NewSession),
    Clients(Clients),
    Owners(Arc<Owners>),
}

impl Worker {
    /// Carries out what commands there are.
    pub(super) fn obey(&mut self, now: Instant) {
        while let Ok(command) = self.commands.try_recv() {
            let (reply, to) = match command {
                Command::AddSession(session, clients, to) => {
                    (self.add_session(now, session, clients), to)
                }
                Command::UpdateSession(id, change, to) => {
                    let (protocol, clients) = *change;
                    (self.update_session(now, id, protocol, clients), to)
                }
                Command::RemoveSession(id, linger, to) => {
                    match self.begin_ending(now, (id, linger), to) {
                        Ok(()) => continue,
                        Err(to) => (self.remove_session(id), to),
                    }
                }
                Command::AddNeighbor(config, adjacent, to) => {
                    (self.add_neighbor(now, config, adjacent), to)
                }
                Command::RemoveNeighbor(id, to) => (self.remove_neighbor(id), to),
                Command::Impair(port, settings, to) => {
                    (self.impair_port(now, port, settings.as_ref()), to)
                }
                Command::FollowOwners(owners, to) => (self.follow_owners(now, owners), to),
                Command::GiveAway(id, worker, owners, to) => {
                    self.give_away(now, (id, worker), owners, to);
                    continue;
                }
                Command::SetLink(port, link, to) => (self.set_link(port, link), to),
                Command::Report(report) => {
                    self.report = Some(report);
                    continue;
                }
                Command::Look(time, to) => {
                    self.look = Some(Box::new(Look::begin(now, time, to)));
                    continue;
                }
                Command::Drain(to) => {
                    self.begin_draining(now, to);
                    continue;
                }
                Command::Stop => {
                    self.end();
                    continue;
                }
            };
            // What was to be sent before the command is sent before its reply.
            self.flush();
            let _ = to.send(reply);
        }
    }

    pub(crate) fn add_session(
        &mut self,
        now: Instant,
        session: NewSession,
        clients: Clients,
    ) -> Reply {
        let index = match self.install(now, session) {
            Ok(index) => index,
            Err(session) => return Reply::Left(Leftover::Session(session)),
        };
        let none = self.set_clients(now, index, clients);
        debug_assert!(none.is_empty());
        Reply::Done
    }

    /// Puts a session in its place, new or from another worker.
    pub(super) fn install(
        &mut self,
        now: Instant,
        session: NewSession,
    ) -> Result<SessionIndex, NewSession> {
        let NewSession { session, mut route } = session;
        let index = match self.node.add_session(now, session) {
            Ok(index) => index,
            Err(session) => return Err(NewSession { session, route }),
        };
        // What the worker before knew of next hops need not be asked for again.
        route.clients.resolve(|port, next_hop, mac| {
            let known = self.next_hops.want(now, port, next_hop);
            if known.is_none()
                && let Some(mac) = mac
            {
                self.next_hops.hear(now, port, next_hop, mac);
            }
            known.or(mac)
        });
        if let Some(flow) = route.flow {
            self.flows.insert(flow, index);
            for &port in &route.proxies {
                self.next_hops.proxy(port, flow.destination);
            }
        }
        if self.routes.len() <= index.0 {
            self.routes.resize_with(index.0 + 1, || None);
        }
        self.routes[index.0] = Some(route);
        Ok(index)
    }

    fn update_session(
        &mut self,
        now: Instant,
        id: SessionId,
        protocol: SessionConfig,
        clients: Clients,
    ) -> Reply {
        let Some(index) = self.node.find(id) else {
            return Reply::Refused;
        };
        if let Some(route) = self.route_mut(index) {
            route.upstream = upstream_of(&protocol);
        }
        self.node.reconfigure(now, index, protocol);
        Reply::Left(Leftover::Clients(self.set_clients(now, index, clients)))
    }

    pub(super) fn remove_session(&mut self, id: SessionId) -> Reply {
        let Some(index) = self.node.find(id) else {
            return Reply::Refused;
        };
        let route = self.routes.get_mut(index.0).and_then(Option::take);
        let (Some(session), Some(route)) = (self.node.remove_session(index), route) else {
            return Reply::Refused;
        };
        if let Some(flow) = route.flow {
            self.flows.remove(flow);
            for &port in &route.proxies {
                self.next_hops.unproxy(port, flow.destination);
            }
        }
        self.forget_unfinished(index);
        for (client, entry) in route.clients.iter() {
            self.next_hops.unwant(entry.port, client.next_hop);
        }
        Reply::Left(Leftover::Session(NewSession { session, route }))
    }

    /// Puts a new list of clients in place and returns the old one. Of those that stay nothing is looked up: a list of
    /// thousands may be replaced while packets flow.
    fn set_clients(&mut self, now: Instant, index: SessionIndex, clients: Clients) -> Clients {
        let session = self.node.session(index);
        let from = session.map(|session| session.lead().next());
        let epoch = session.and_then(Session::epoch);
        let Some(Some(route)) = self.routes.get_mut(index.0) else {
            return clients;
        };
        route.follow_epoch(epoch);
        let next_hops = &mut self.next_hops;
        let resolve = |port, next_hop| next_hops.want(now, port, next_hop);
        let old = route
            .clients
            .replace(clients, from.unwrap_or_default(), resolve);
        for (client, entry) in old.leavers(&route.clients) {
            self.next_hops.unwant(entry.port, client.next_hop);
        }
        self.follow_catch_ups(now, index, &old);
        old
    }

    pub(crate) fn add_neighbor(
        &mut self,
        now: Instant,
        config: NeighborConfig,
        mut adjacent: Adjacent,
    ) -> Reply {
        let Some(id) = self.node.add_neighbor(now, config) else {
            return Reply::Refused;
        };
        let address = adjacent.addresses.destination();
        adjacent.mac = self.next_hops.want(now, adjacent.port, address);
        self.by_address.insert((adjacent.port, address), id);
        let place = usize::from(id.0);
        if self.adjacents.len() <= place {
            self.adjacents.resize(place + 1, None);
        }
        self.adjacents[place] = Some(adjacent);
        Reply::Neighbor(id)
    }

    fn remove_neighbor(&mut self, id: NeighborId) -> Reply {
        let adjacent = self
            .adjacents
            .get_mut(usize::from(id.0))
            .and_then(Option::take);
        let Some(Adjacent {
            port, addresses, ..
        }) = adjacent
        else {
            return Reply::Refused;
        };
        let address = addresses.destination();
        self.by_address.remove(&(port, address));
        self.next_hops.unwant(port, address);
        self.node.remove_neighbor(id);
        Reply::Done
    }

    fn impair_port(
        &mut self,
        now: Instant,
        port: PortIndex,
        settings: Option<&Impairment>,
    ) -> Reply {
        let Some(this) = self.ports.get_mut(usize::from(port.0)) else {
            return Reply::Refused;
        };
        // The first worker has what all queues of the port receive, and impairs it.
        if self.peers.as_ref().is_some_and(|peers| !peers.is_first()) {
            this.impaired_by_first = settings.is_some();
            return Reply::Done;
        }
        for held in this.impair(settings) {
            self.receive(now, port, held, &mut Burst::new());
        }
        self.flush_handed();
        Reply::Done
    }

    fn route_mut(&mut self, index: SessionIndex) -> Option<&mut Route> {
        self.routes.get_mut(index.0)?.as_deref_mut()
    }
}
