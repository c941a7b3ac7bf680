//! Reload: makes a running node match its file.

use std::collections::BTreeSet;
use std::mem;

use dataplane::PortConfig;
use overlay::SessionId;
use serde_json::{Value, json};

use super::Node;
use crate::api::ApiError;
use crate::config::{self, Changes, Config, NeedsRestart};

impl Node {
    /// Reads the file again, makes the node match it, and says what was added, changed and removed.
    ///
    /// A file with errors, and one that asks for what only a restart can change, change nothing. If the dataplane refuses
    /// one of the other changes, those before it stay made.
    pub(crate) fn reload(&self) -> Result<Value, ApiError> {
        let mut running = self.running();
        let reloaded = self.reload_into(&mut running);
        match &reloaded {
            Ok(done) => tracing::info!("{} reloaded: {done}", self.file.display()),
            Err(error) => {
                tracing::error!("{} not reloaded: {}", self.file.display(), error.message)
            }
        }
        reloaded
    }

    fn reload_into(&self, running: &mut Config) -> Result<Value, ApiError> {
        let mut new = config::load(&self.file)?;
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let changes = running.changes(&new)?;
        if !changes.neighbors_updated.is_empty() {
            let updated = changes.neighbors_updated.iter();
            let keys = updated.map(|neighbor| format!("neighbor.{}", neighbor.name));
            return Err(NeedsRestart {
                keys: keys.collect(),
            }
            .into());
        }
        let done = summary(&changes);
        self.apply(running, changes)?;
        for short in new.keep_repair_rates(running) {
            tracing::warn!("{short}");
        }
        // The same in content, and in the order of the file as well.
        *running = new;
        Ok(done)
    }

    /// Makes the changes, in an order in which nothing refers to what is not there.
    fn apply(&self, running: &mut Config, mut changes: Changes) -> Result<(), ApiError> {
        // First, since it is refused as a whole.
        self.resize(running, mem::take(&mut changes.ports_resized))?;
        let afresh = changes.sessions_begun_afresh(running);
        let ended = changes.sessions_removed.iter();
        let ended: Vec<_> = ended.copied().filter(|id| !afresh.contains(id)).collect();
        // Together, since each that begins here waits until those below have all of it.
        self.dataplane.remove_sessions(&ended)?;
        let sessions = &mut running.node.sessions;
        sessions.retain(|session| !ended.contains(&session.id));
        for neighbor in changes.neighbors_added {
            self.dataplane.add_neighbor(neighbor.clone())?;
            running.node.neighbors.push(neighbor);
        }
        for session in changes.sessions_updated {
            self.dataplane.update_session(session.clone())?;
            let mut sessions = running.node.sessions.iter_mut();
            if let Some(old) = sessions.find(|old| old.id == session.id) {
                *old = session;
            }
        }
        for session in changes.sessions_added {
            if afresh.contains(&session.id) {
                let begun = self.dataplane.restart_session(session.clone());
                // Whatever came of it, the old one is gone.
                running.node.sessions.retain(|old| old.id != session.id);
                begun?;
            } else {
                self.dataplane.add_session(session.clone())?;
            }
            running.node.sessions.push(session);
        }
        for name in changes.neighbors_removed {
            self.dataplane.remove_neighbor(&name)?;
            running.node.neighbors.retain(|old| old.name != name);
        }
        for (port, impairment) in changes.impairments {
            self.impair(running, &port, impairment)?;
        }
        Ok(())
    }

    /// Gives ports, as they are to be, their MTUs.
    fn resize(&self, running: &mut Config, ports: Vec<PortConfig>) -> Result<(), ApiError> {
        let mtus = ports.iter().map(|port| (port.name.clone(), port.mtu));
        self.record(self.dataplane.set_mtus(&Vec::from_iter(mtus))?);
        for port in ports {
            let mut olds = running.node.ports.iter_mut();
            if let Some(old) = olds.find(|old| old.name == port.name) {
                // An interface's device is named after the MTU as well.
                (old.mtu, old.device) = (port.mtu, port.device);
            }
        }
        Ok(())
    }
}

impl Changes {
    /// The sessions that are replaced by one of the same id. One that takes over the packets of another is not among them:
    /// that one has to go first.
    fn sessions_begun_afresh(&self, running: &Config) -> Vec<SessionId> {
        let added = self.sessions_added.iter().filter(|session| {
            let mut others = running.node.sessions.iter();
            let is_taken = others.any(|other| other.id != session.id && other.flow == session.flow);
            self.sessions_removed.contains(&session.id) && !(session.flow.is_some() && is_taken)
        });
        added.map(|session| session.id).collect()
    }
}

/// What a reload did, as the API answers it.
fn summary(changes: &Changes) -> Value {
    let ids = |sessions: &[dataplane::SessionConfig]| -> Vec<u32> {
        sessions.iter().map(|session| session.id.0).collect()
    };
    let removed = changes.sessions_removed.iter().map(|id| id.0);
    let neighbors = changes.neighbors_added.iter().map(|added| &added.name);
    let impaired = changes.impairments.iter().map(|(port, _)| port);
    let resized = changes.ports_resized.iter().map(|port| &port.name);
    let ports: BTreeSet<_> = impaired.chain(resized).collect();
    json!({
        "sessions": {
            "added": ids(&changes.sessions_added),
            "changed": ids(&changes.sessions_updated),
            "removed": removed.collect::<Vec<_>>(),
        },
        "neighbors": {
            "added": neighbors.collect::<Vec<_>>(),
            "removed": changes.neighbors_removed,
        },
        "ports": { "changed": ports },
    })
}

impl From<NeedsRestart> for ApiError {
    fn from(error: NeedsRestart) -> ApiError {
        let keys = json!(error.keys);
        ApiError::conflict(error).with("keys", keys)
    }
}
