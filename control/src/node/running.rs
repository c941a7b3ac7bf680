//! A running node: the dataplane, and the configuration that it runs by.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dataplane::{CommandError, Dataplane, Event, Impairment, Snapshot, StageSnapshot, StartError};
use overlay::SessionId;
use serde_json::{Value, json};

use super::events::{EventLog, LoggedEvent};
use crate::api::ApiError;
use crate::config::{self, Config};
use crate::metrics::Identity;

/// How long the cycles of stages are counted: long beside what comes once in a while.
const LOOK: Duration = Duration::from_secs(1);

/// A node that runs.
///
/// Every change takes the lock of the running configuration first, so there is one at a time, and puts into it what the
/// dataplane has accepted: the two never differ.
pub(crate) struct Node {
    pub(super) dataplane: Dataplane,
    pub(super) file: PathBuf,
    name: String,
    started: Instant,
    start_unix_s: f64,
    running: Mutex<Config>,
    log: Mutex<EventLog>,
}

impl Node {
    /// Starts the dataplane; `file` is what a reload reads.
    pub(super) fn start(config: Config, file: PathBuf) -> Result<Node, StartError> {
        let dataplane = Dataplane::start(config.node.clone())?;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        let node = Node {
            dataplane,
            file,
            name: config.node.name.clone(),
            started: Instant::now(),
            start_unix_s: since_1970.map_or(0.0, |since| since.as_secs_f64()),
            running: Mutex::new(config),
            log: Mutex::default(),
        };
        // A port counts as up until it is looked at.
        node.follow_links();
        Ok(node)
    }

    /// Stops the dataplane, and says how its sessions ended.
    pub(super) fn stop(self) {
        for session in self.dataplane.stop().sessions {
            tracing::info!(
                "session {}: {} sent, {} by the tree, {} repaired, {} unrecovered, {} in flight, {} delivered",
                session.session,
                session.sent,
                session.tree,
                session.repaired,
                session.unrecovered,
                session.in_flight,
                session.delivered
            );
        }
    }

    /// Does on a thread that may wait what takes its time: a session that ends here stays until those below have all of it.
    pub(crate) async fn change<T: Send + 'static>(
        node: &Arc<Node>,
        make: impl FnOnce(&Node) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let node = Arc::clone(node);
        let made = tokio::task::spawn_blocking(move || make(&node)).await;
        made.unwrap_or_else(|panicked| Err(ApiError::unavailable(panicked)))
    }

    /// What metrics say beside the snapshot.
    pub(crate) fn identity(&self) -> Identity<'_> {
        Identity {
            name: &self.name,
            start_unix_s: self.start_unix_s,
        }
    }

    /// The node itself: `ready` once its ports are up and its worker runs.
    pub(crate) fn info(&self) -> Value {
        let snapshot = self.snapshot();
        let ready = !snapshot.workers.is_empty() && snapshot.ports.iter().all(|port| port.link_up);
        json!({
            "name": self.name,
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs(),
            "ready": ready,
        })
    }

    /// Everything the dataplane says of itself.
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.dataplane.snapshot()
    }

    /// What the stages of the workers' loops take: counted from now on, for a second.
    pub(crate) fn stages(&self) -> Result<Vec<StageSnapshot>, ApiError> {
        Ok(self.dataplane.stages(LOOK)?)
    }

    /// Takes what happened out of the dataplane, to the log and for [`Node::events`].
    pub(super) fn take_events(&self) {
        let mut log = lock(&self.log);
        while let Some(event) = self.dataplane.poll_event() {
            log.record(&event);
        }
    }

    /// Looks at the ports' links; what has changed goes to the log.
    pub(super) fn follow_links(&self) {
        self.record(self.dataplane.follow_links());
    }

    /// Whether the kernel tells of all that may happen to the ports' links.
    pub(super) fn has_interfaces_only(&self) -> bool {
        self.dataplane.has_interfaces_only()
    }

    pub(super) fn record(&self, events: Vec<Event>) {
        let mut log = lock(&self.log);
        for event in &events {
            log.record(event);
        }
    }

    /// The last events, oldest first.
    pub(crate) fn events(&self) -> Vec<LoggedEvent> {
        self.take_events();
        lock(&self.log).to_vec()
    }

    /// Adds a session.
    pub(crate) fn add_session(&self, body: &Value) -> Result<SessionId, ApiError> {
        let mut running = self.running();
        if let Some(id) = body["id"].as_u64() {
            let sessions = &running.node.sessions;
            if sessions.iter().any(|session| u64::from(session.id.0) == id) {
                return Err(exists("session", id));
            }
        }
        let mut config = running.with_session(body).map_err(ApiError::from)?;
        let session = added(&config.node.sessions)?.clone();
        let id = session.id;
        self.dataplane.add_session(session)?;
        tracing::info!("session {} added", id.0);
        for short in config.keep_repair_rates(&running) {
            tracing::warn!("{short}");
        }
        *running = config;
        Ok(id)
    }

    /// Removes a session.
    pub(crate) fn remove_session(&self, id: SessionId) -> Result<(), ApiError> {
        let mut running = self.running();
        self.dataplane.remove_session(id)?;
        tracing::info!("session {} removed", id.0);
        running.node.sessions.retain(|session| session.id != id);
        Ok(())
    }

    /// Adds a client, and says its name.
    pub(crate) fn add_client(&self, id: SessionId, body: &Value) -> Result<String, ApiError> {
        let mut running = self.running();
        let mut sessions = running.node.sessions.iter();
        let index = sessions
            .position(|session| session.id == id)
            .ok_or_else(|| ApiError::not_found(format!("there is no session {}", id.0)))?;
        if let Some(name) = body["name"].as_str() {
            let clients = &running.node.sessions[index].clients;
            if clients.iter().any(|client| client.name == name) {
                return Err(exists("client", name));
            }
        }
        let config = running.with_client(id, body)?;
        let client = added(&config.node.sessions[index].clients)?.clone();
        let name = client.name.clone();
        self.dataplane.add_client(id, client)?;
        tracing::info!("session {}: client {name} added", id.0);
        *running = config;
        Ok(name)
    }

    /// Removes a client.
    pub(crate) fn remove_client(&self, id: SessionId, name: &str) -> Result<(), ApiError> {
        let mut running = self.running();
        self.dataplane.remove_client(id, name)?;
        tracing::info!("session {}: client {name} removed", id.0);
        let mut sessions = running.node.sessions.iter_mut();
        if let Some(session) = sessions.find(|session| session.id == id) {
            session.clients.retain(|client| client.name != name);
        }
        Ok(())
    }

    /// Sets what is done to the packets that a port receives, or clears it.
    pub(crate) fn set_impairment(&self, port: &str, body: Option<&Value>) -> Result<(), ApiError> {
        let impairment = body.map(config::parse_impairment).transpose()?;
        self.impair(&mut self.running(), port, impairment)
    }

    pub(super) fn impair(
        &self,
        running: &mut Config,
        port: &str,
        impairment: Option<Impairment>,
    ) -> Result<(), ApiError> {
        self.dataplane.set_impairment(port, impairment.clone())?;
        tracing::info!("port {port}: impairment {impairment:?}");
        let mut ports = running.node.ports.iter_mut();
        if let Some(port) = ports.find(|configured| configured.name == port) {
            port.impairment = impairment;
        }
        Ok(())
    }

    /// The running configuration, locked against other changes.
    pub(super) fn running(&self) -> MutexGuard<'_, Config> {
        lock(&self.running)
    }
}

/// A change that panicked has not touched the value yet, or has replaced all of it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn exists(what: &str, name: impl std::fmt::Display) -> ApiError {
    ApiError::conflict(format!("{what} {name} exists already"))
}

/// The item that was added to a list: the last.
fn added<T>(items: &[T]) -> Result<&T, ApiError> {
    items
        .last()
        .ok_or_else(|| ApiError::bad_request("the body adds nothing"))
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> ApiError {
        match error {
            CommandError::Unknown { .. } => ApiError::not_found(error),
            CommandError::Unreachable(_)
            | CommandError::Families(_)
            | CommandError::OtherFamily(_) => ApiError::bad_request(error),
            CommandError::Exists { .. }
            | CommandError::InUse(_)
            | CommandError::Port(_)
            | CommandError::NeedsRestart(_) => ApiError::conflict(error),
            CommandError::NoRoom(_) | CommandError::Stopped => ApiError::unavailable(error),
        }
    }
}

impl From<config::ConfigErrors> for ApiError {
    fn from(errors: config::ConfigErrors) -> ApiError {
        let wrong = errors.problems.iter().filter(|problem| !problem.warning);
        let said: Vec<String> = wrong
            .map(|problem| match problem.key.as_str() {
                "" => problem.message.clone(),
                key => format!("{key}: {}", problem.message),
            })
            .collect();
        ApiError::bad_request(said.join("; ")).with("problems", errors.to_json())
    }
}
