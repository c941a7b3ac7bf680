//! The handle through which the control plane runs a node.

mod links;
mod model;
mod report;
mod start;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use overlay::SessionId;
use thiserror::Error;

use crate::config::{ClientConfig, Impairment, NeighborConfig, NodeConfig, SessionConfig};
use crate::event::Event;
use crate::frame::PortIndex;
use crate::kernel::KernelThread;
use crate::port::{Port, PortError};
use crate::snapshot::{Snapshot, StageSnapshot};
use crate::worker::{Command, EventQueue, Leftover, Reply, WorkerId};
use model::Model;

pub use start::StartError;
pub(crate) use start::{Built, build, set_up_thread};

/// Longest that the worker may take to answer: thousands of turns.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Why a command was not carried out; nothing was changed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The thing named does not exist.
    #[error("there is no {what} {name}")]
    Unknown {
        /// `session`, `client`, `port`, `neighbor`.
        what: &'static str,
        /// As the caller named it.
        name: String,
    },
    /// The thing to be added exists already.
    #[error("{what} {name} exists already")]
    Exists {
        /// `session`, `client`, `neighbor`.
        what: &'static str,
        /// As the caller named it.
        name: String,
    },
    /// Something still refers to the thing.
    #[error("neighbor {0} is still used by a session")]
    InUse(String),
    /// A client is on no port's link, and no port has a gateway.
    #[error("client {0} is on no port's link, and no port has a gateway")]
    Unreachable(String),
    /// The addresses of a session don't go together.
    #[error(
        "session {0}: its group and source must be of one IP version, and so must its match and its clients"
    )]
    Families(u32),
    /// A port has no address of its neighbor's family.
    #[error("neighbor {0} has an address of an IP version that its port has none of")]
    OtherFamily(String),
    /// There is no room for it.
    #[error("{0}")]
    NoRoom(String),
    /// The change can't be made while the node runs.
    #[error("{0}")]
    NeedsRestart(String),
    /// A port can't be as asked for.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The worker has stopped, or hangs.
    #[error("the worker does not answer")]
    Stopped,
}

/// A running node: ports, workers, and what the control plane knows of them.
///
/// Its methods block until the workers have acted, at most some milliseconds.
pub struct Dataplane {
    model: Mutex<Model>,
    ports: Vec<Port>,
    /// To each worker.
    commands: Vec<Sender<Command>>,
    events: EventQueue,
    /// Those that have been started, the first one first.
    workers: Vec<JoinHandle<()>>,
    is_drained: bool,
    /// Goes after the workers, and the kernel interfaces with it.
    _kernel: Option<KernelThread>,
    /// Held by whoever looks at the stages: a worker counts for one at a time.
    looking: Mutex<()>,
}

impl Dataplane {
    /// Starts the EAL, opens the ports and starts the workers. A process can do this once.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn start(config: NodeConfig) -> Result<Dataplane, StartError> {
        start::start(config)
    }

    /// Everything the node says of itself, now. Without a worker that answers, what the configuration tells.
    pub fn snapshot(&self) -> Snapshot {
        // Held all the time: a session that moved meanwhile would be found twice, or nowhere.
        let model = self.lock();
        let (to, answer) = bounded(1);
        let mut report = model.report(&self.ports, to);
        for (place, commands) in self.commands.iter().enumerate() {
            report.begin(WorkerId(place as u16));
            let sent = commands.send_timeout(Command::Report(report), ANSWER_WITHIN);
            report = match answer.recv_timeout(ANSWER_WITHIN) {
                Ok(report) if sent.is_ok() => report,
                _ => return Snapshot::default(),
            };
        }
        model.finish(report)
    }

    /// Has the workers count the cycles of each stage of their loops for this long, and waits for them.
    ///
    /// # Errors
    /// [`CommandError::Stopped`].
    pub fn stages(&self, time: Duration) -> Result<Vec<StageSnapshot>, CommandError> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let looks = self
            .worker_ids()
            .map(|worker| Ok((worker, self.send(worker, |to| Command::Look(time, to))?)));
        // All at the same time.
        let looks: Vec<_> = looks.collect::<Result<_, CommandError>>()?;
        let mut stages = Vec::new();
        for (worker, answer) in looks {
            let counts = answer.recv_timeout(time + ANSWER_WITHIN);
            let counts = counts.map_err(|_| CommandError::Stopped)?;
            stages.extend(report::stages(worker.place(), &counts));
        }
        Ok(stages)
    }

    /// The next event, oldest first.
    pub fn poll_event(&self) -> Option<Event> {
        loop {
            let (unix_ms, event) = self.events.pop()?;
            if let Some(kind) = self.lock().describe(event) {
                return Some(Event { unix_ms, kind });
            }
        }
    }

    /// Adds a session.
    ///
    /// # Errors
    /// [`CommandError::Exists`], [`CommandError::Unknown`] for a neighbor it names, [`CommandError::NoRoom`].
    pub fn add_session(&self, config: SessionConfig) -> Result<(), CommandError> {
        let mut model = self.lock();
        let (session, clients, known) = model.new_session(&config)?;
        let add = |to| Command::AddSession(session, clients, to);
        match self.ask(known.worker, add)? {
            Reply::Done => {
                model.note(known);
                self.publish_owners(&model)
            }
            _ => Err(CommandError::NoRoom(
                "the node holds as many sessions as it may".into(),
            )),
        }
    }

    /// Changes a session in place: clients, deadline, retention, delivery, neighbors; what stays loses nothing.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::NoRoom`], and [`CommandError::NeedsRestart`] for a change of
    /// the channel, the flow or the role, which make another session of it: remove and add it.
    pub fn update_session(&self, config: SessionConfig) -> Result<(), CommandError> {
        let mut model = self.lock();
        let pinned = model.pinned(&config)?;
        let (protocol, clients, mut known) = model.updated_session(&config)?;
        if let Some(to) = pinned.filter(|&to| to != known.worker) {
            self.move_to(&mut model, config.id, to)?;
            known.worker = to;
        }
        let change = Box::new((protocol, clients));
        let update = |to| Command::UpdateSession(config.id, change, to);
        self.ask_done(known.worker, update)?;
        model.note(known);
        Ok(())
    }

    /// Has a session go to another worker; no packet of it is lost or overtaken.
    fn move_to(&self, model: &mut Model, id: SessionId, to: WorkerId) -> Result<(), CommandError> {
        let from = model.worker_of(id)?;
        let owners = Arc::new(model.owners(Some((id, to))));
        let follow = |worker| {
            let owners = Arc::clone(&owners);
            self.ask_done(worker, |to| Command::FollowOwners(owners, to))
        };
        follow(to)?;
        for worker in self.worker_ids() {
            if worker != from && worker != to {
                follow(worker)?;
            }
        }
        let give = |reply| Command::GiveAway(id, to, Arc::clone(&owners), reply);
        if let Reply::Refused = self.ask(from, give)? {
            self.publish_owners(model)?;
            return Err(CommandError::NoRoom(format!(
                "session {} is about to end, or the other worker is busy",
                id.0
            )));
        }
        model.note_move(id, to);
        Ok(())
    }

    /// Removes a session. Where its stream begins that takes its deadline, at most a second: those below hear of the end
    /// and fetch what they lack. Nothing else waits for it meanwhile.
    ///
    /// # Errors
    /// [`CommandError::Unknown`].
    pub fn remove_session(&self, id: SessionId) -> Result<(), CommandError> {
        self.remove_sessions(&[id])
    }

    /// Removes sessions as [`Dataplane::remove_session`] does, all at the same time.
    ///
    /// # Errors
    /// [`CommandError::Unknown`] for the first that is not there; then none is removed.
    pub fn remove_sessions(&self, ids: &[SessionId]) -> Result<(), CommandError> {
        let model = self.lock();
        let lingers = ids
            .iter()
            .map(|&id| Ok((id, model.worker_of(id)?, model.linger(id)?)));
        let lingers: Vec<_> = lingers.collect::<Result<_, CommandError>>()?;
        let mut answers = Vec::with_capacity(ids.len());
        for (id, worker, linger) in lingers {
            answers.push(self.send(worker, |to| Command::RemoveSession(id, linger, to))?);
        }
        drop(model);
        for (&id, answer) in ids.iter().zip(answers) {
            let answer = answer.recv_timeout(ANSWER_WITHIN);
            drop(answer.map_err(|_| CommandError::Stopped)?);
            self.lock().remove(id);
        }
        self.publish_owners(&self.lock())
    }

    /// Removes a session and adds it as configured now, without waiting for those below: they follow it into its next
    /// life.
    ///
    /// # Errors
    /// As [`Dataplane::add_session`], when the session that was there is gone; and [`CommandError::Unknown`].
    pub fn restart_session(&self, config: SessionConfig) -> Result<(), CommandError> {
        let mut model = self.lock();
        let worker = model.worker_of(config.id)?;
        self.ask_done(worker, |to| {
            Command::RemoveSession(config.id, Duration::ZERO, to)
        })?;
        model.remove(config.id);
        drop(model);
        self.add_session(config)
    }

    /// Adds a client; when it returns, the client gets every packet from then on.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::Exists`].
    pub fn add_client(&self, id: SessionId, client: ClientConfig) -> Result<(), CommandError> {
        let mut config = self.lock().session(id)?.clone();
        if config.clients.iter().any(|known| known.name == client.name) {
            return Err(CommandError::Exists {
                what: "client",
                name: client.name,
            });
        }
        config.clients.push(client);
        self.update_session(config)
    }

    /// Removes a client; when it returns, nothing more is sent to it.
    ///
    /// # Errors
    /// [`CommandError::Unknown`].
    pub fn remove_client(&self, id: SessionId, name: &str) -> Result<(), CommandError> {
        let mut config = self.lock().session(id)?.clone();
        let before = config.clients.len();
        config.clients.retain(|client| client.name != name);
        if config.clients.len() == before {
            return Err(CommandError::Unknown {
                what: "client",
                name: name.into(),
            });
        }
        self.update_session(config)
    }

    /// Adds a neighbor.
    ///
    /// # Errors
    /// [`CommandError::Exists`], [`CommandError::Unknown`] for its port, [`CommandError::NoRoom`].
    pub fn add_neighbor(&self, config: NeighborConfig) -> Result<(), CommandError> {
        let mut model = self.lock();
        let (protocol, adjacent) = model.new_neighbor(&config)?;
        for worker in self.worker_ids() {
            let add = |to| Command::AddNeighbor(protocol, adjacent, to);
            let Reply::Neighbor(id) = self.ask(worker, add)? else {
                return Err(CommandError::NoRoom(
                    "the node holds as many neighbors as it may".into(),
                ));
            };
            model.add_neighbor(&config, id);
        }
        Ok(())
    }

    /// Removes a neighbor that no session refers to.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::InUse`].
    pub fn remove_neighbor(&self, name: &str) -> Result<(), CommandError> {
        let mut model = self.lock();
        let id = model.unused_neighbor(name)?;
        for worker in self.worker_ids() {
            self.ask_done(worker, |to| Command::RemoveNeighbor(id, to))?;
        }
        model.remove_neighbor(name);
        Ok(())
    }

    /// Sets or clears what is done to the packets that a port receives.
    ///
    /// # Errors
    /// [`CommandError::Unknown`].
    pub fn set_impairment(
        &self,
        port: &str,
        impairment: Option<Impairment>,
    ) -> Result<(), CommandError> {
        let place = self.place_of(port)?;
        let port = PortIndex(place as u16);
        for worker in self.worker_ids() {
            let impairment = impairment.clone();
            self.ask_done(worker, |to| Command::Impair(port, impairment, to))?;
        }
        Ok(())
    }

    /// Stops the node: takes no more packets of sources, waits until those below have what it has taken and its clients
    /// what it has received (a second at most), says that its streams have ended, closes the ports. Returns its numbers at
    /// the end.
    pub fn stop(mut self) -> Snapshot {
        self.drain();
        self.snapshot()
    }

    /// Has the workers pass on what there is; whether they go on after that.
    fn drain(&mut self) -> bool {
        self.is_drained || {
            let running = self.worker_ids().take(self.workers.len());
            let draining: Vec<_> = running
                .map(|worker| self.send(worker, Command::Drain))
                .collect();
            self.is_drained = draining.into_iter().all(|answer| {
                answer.is_ok_and(|answer| answer.recv_timeout(ANSWER_WITHIN).is_ok())
            });
            self.is_drained
        }
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn worker_ids(&self) -> impl Iterator<Item = WorkerId> + use<> {
        (0..self.commands.len() as u16).map(WorkerId)
    }

    /// Tells all workers which of them has which session. A worker that is alone need not know.
    fn publish_owners(&self, model: &Model) -> Result<(), CommandError> {
        if self.commands.len() < 2 {
            return Ok(());
        }
        let owners = Arc::new(model.owners(None));
        for worker in self.worker_ids() {
            let owners = Arc::clone(&owners);
            self.ask_done(worker, |to| Command::FollowOwners(owners, to))?;
        }
        Ok(())
    }

    /// Has a worker do something to what the model says is there, and frees what that leaves over.
    fn ask_done(
        &self,
        worker: WorkerId,
        command: impl FnOnce(Sender<Reply>) -> Command,
    ) -> Result<(), CommandError> {
        match self.ask(worker, command)? {
            Reply::Left(Leftover::Session(session)) => drop(session),
            Reply::Left(Leftover::Clients(clients)) => drop(clients),
            Reply::Left(Leftover::Owners(owners)) => drop(owners),
            Reply::Done | Reply::Neighbor(_) | Reply::Refused => {}
        }
        Ok(())
    }

    /// Has a worker do something, and waits until it has.
    fn ask(
        &self,
        worker: WorkerId,
        command: impl FnOnce(Sender<Reply>) -> Command,
    ) -> Result<Reply, CommandError> {
        self.send(worker, command)?
            .recv_timeout(ANSWER_WITHIN)
            .map_err(|_| CommandError::Stopped)
    }

    /// Has a worker do something, and returns where its answer will come.
    fn send<T>(
        &self,
        worker: WorkerId,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Result<Receiver<T>, CommandError> {
        let (to, answer) = bounded(1);
        let sent = self.commands[worker.place()].send_timeout(command(to), ANSWER_WITHIN);
        sent.map_err(|_| CommandError::Stopped)?;
        Ok(answer)
    }

    /// Stops workers from this one on, and waits for them unless they hang: in a driver, and are left behind.
    fn stop_workers(&mut self, from: usize, is_alive: bool) {
        let commands = &self.commands[from..];
        for (thread, commands) in self.workers.drain(from..).zip(commands) {
            let told = commands.send_timeout(Command::Stop, ANSWER_WITHIN).is_ok();
            if told && is_alive {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        let stopped = self.drain();
        // What the others have sent may go by the queues of the first.
        for from in [1, 0] {
            self.stop_workers(from.min(self.workers.len()), stopped);
        }
    }
}
