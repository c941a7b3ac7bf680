//! The handle through which the control plane runs a node.

mod links;
mod model;
mod report;
mod start;

use std::sync::{Mutex, MutexGuard, PoisonError};
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
use crate::worker::{Command, EventQueue, Leftover, Reply};
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

/// A running node: ports, worker, and what the control plane knows of them.
///
/// Its methods block until the worker has acted, at most some milliseconds.
pub struct Dataplane {
    model: Mutex<Model>,
    ports: Vec<Port>,
    commands: Sender<Command>,
    events: EventQueue,
    worker: Option<JoinHandle<()>>,
    is_drained: bool,
    /// Goes after the worker, and the kernel interfaces with it.
    _kernel: Option<KernelThread>,
    /// Held by whoever looks at the stages: a worker counts for one at a time.
    looking: Mutex<()>,
}

impl Dataplane {
    /// Starts the EAL, opens the ports and starts the worker. A process can do this once.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub fn start(config: NodeConfig) -> Result<Dataplane, StartError> {
        start::start(config)
    }

    /// Everything the node says of itself, now. Without a worker that answers, what the configuration tells.
    pub fn snapshot(&self) -> Snapshot {
        let model = self.lock();
        let (to, answer) = bounded(1);
        let report = model.report(&self.ports, to);
        let sent = self
            .commands
            .send_timeout(Command::Report(report), ANSWER_WITHIN)
            .is_ok();
        match answer.recv_timeout(ANSWER_WITHIN) {
            Ok(report) if sent => model.finish(report),
            _ => Snapshot::default(),
        }
    }

    /// Has the worker count the cycles of each stage of its loop for this long, and waits for it.
    ///
    /// # Errors
    /// [`CommandError::Stopped`].
    pub fn stages(&self, time: Duration) -> Result<Vec<StageSnapshot>, CommandError> {
        let _one = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.send(|to| Command::Look(time, to))?;
        let counts = answer.recv_timeout(time + ANSWER_WITHIN);
        Ok(report::stages(
            0,
            &counts.map_err(|_| CommandError::Stopped)?,
        ))
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
        match self.ask(|to| Command::AddSession(session, clients, to))? {
            Reply::Done => {
                model.note(known);
                Ok(())
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
        let (protocol, clients, known) = model.updated_session(&config)?;
        let change = Box::new((protocol, clients));
        self.ask_done(|to| Command::UpdateSession(config.id, change, to))?;
        model.note(known);
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
        let lingers: Result<Vec<_>, _> = ids.iter().map(|&id| model.linger(id)).collect();
        let lingers = lingers?;
        drop(model);
        let mut answers = Vec::with_capacity(ids.len());
        for (&id, linger) in ids.iter().zip(lingers) {
            answers.push(self.send(|to| Command::RemoveSession(id, linger, to))?);
        }
        for (&id, answer) in ids.iter().zip(answers) {
            let answer = answer.recv_timeout(ANSWER_WITHIN);
            drop(answer.map_err(|_| CommandError::Stopped)?);
            self.lock().remove(id);
        }
        Ok(())
    }

    /// Removes a session and adds it as configured now, without waiting for those below: they follow it into its next
    /// life.
    ///
    /// # Errors
    /// As [`Dataplane::add_session`], when the session that was there is gone; and [`CommandError::Unknown`].
    pub fn restart_session(&self, config: SessionConfig) -> Result<(), CommandError> {
        let mut model = self.lock();
        model.session(config.id)?;
        self.ask_done(|to| Command::RemoveSession(config.id, Duration::ZERO, to))?;
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
        match self.ask(|to| Command::AddNeighbor(protocol, adjacent, to))? {
            Reply::Neighbor(id) => {
                model.add_neighbor(config, id);
                Ok(())
            }
            _ => Err(CommandError::NoRoom(
                "the node holds as many neighbors as it may".into(),
            )),
        }
    }

    /// Removes a neighbor that no session refers to.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::InUse`].
    pub fn remove_neighbor(&self, name: &str) -> Result<(), CommandError> {
        let mut model = self.lock();
        let id = model.unused_neighbor(name)?;
        self.ask_done(|to| Command::RemoveNeighbor(id, to))?;
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
        self.ask_done(|to| Command::Impair(PortIndex(place as u16), impairment, to))
    }

    /// Stops the node: takes no more packets of sources, waits until those below have what it has taken and its clients
    /// what it has received (a second at most), says that its streams have ended, closes the ports. Returns its numbers at
    /// the end.
    pub fn stop(mut self) -> Snapshot {
        self.drain();
        self.snapshot()
    }

    /// Has the worker pass on what there is; whether it goes on after that.
    fn drain(&mut self) -> bool {
        self.is_drained || {
            self.is_drained = self.ask(Command::Drain).is_ok();
            self.is_drained
        }
    }

    fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the worker do something to what the model says is there, and frees what that leaves over.
    fn ask_done(&self, command: impl FnOnce(Sender<Reply>) -> Command) -> Result<(), CommandError> {
        match self.ask(command)? {
            Reply::Left(Leftover::Session(session)) => drop(session),
            Reply::Left(Leftover::Clients(clients)) => drop(clients),
            Reply::Done | Reply::Neighbor(_) | Reply::Refused => {}
        }
        Ok(())
    }

    /// Has the worker do something, and waits until it has.
    fn ask(&self, command: impl FnOnce(Sender<Reply>) -> Command) -> Result<Reply, CommandError> {
        self.send(command)?
            .recv_timeout(ANSWER_WITHIN)
            .map_err(|_| CommandError::Stopped)
    }

    /// Has the worker do something, and returns where its answer will come.
    fn send<T>(
        &self,
        command: impl FnOnce(Sender<T>) -> Command,
    ) -> Result<Receiver<T>, CommandError> {
        let (to, answer) = bounded(1);
        let sent = self.commands.send_timeout(command(to), ANSWER_WITHIN);
        sent.map_err(|_| CommandError::Stopped)?;
        Ok(answer)
    }
}

impl Drop for Dataplane {
    fn drop(&mut self) {
        let stopped = self.drain()
            && self
                .commands
                .send_timeout(Command::Stop, ANSWER_WITHIN)
                .is_ok();
        // A worker that hangs in a driver is left behind rather than waited for.
        if let Some(worker) = self.worker.take().filter(|_| stopped) {
            let _ = worker.join();
        }
    }
}
