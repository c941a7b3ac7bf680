//! A lab that runs: its namespaces, its cables and its nodes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use thiserror::Error;

use super::netns::{Netns, NetnsError, VethEnd, connect};
use super::plan::{EndImpair, NodePlan, Plan, SeededImpair};
use super::process::Process;
use super::state::StateDir;
use super::stats::NodeStats;
use super::topology::Impair;
use crate::api::{Client, ClientError, Endpoint};

/// How long nodes may take to open their ports, find each other and hear from their ingresses.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long nodes may take to end by themselves.
const STOP_LIMIT: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why a lab can't be built, or what went wrong with it.
#[derive(Debug, Error)]
pub enum LabError {
    /// A namespace or interface.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A file or a process.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A node ended by itself.
    #[error("node {node} ended ({status}); its last words:\n{words}")]
    NodeEnded {
        /// Which.
        node: String,
        /// How.
        status: String,
        /// The end of its log.
        words: String,
    },
    /// The nodes do not find together.
    #[error("the lab is not ready after {} s: {reason}", READY_LIMIT.as_secs())]
    NotReady {
        /// What is not there yet.
        reason: String,
    },
    /// There is no such router, host or link.
    #[error("there is no {0}")]
    Unknown(String),
    /// The node is in the wrong state for it.
    #[error("node {node} {state}")]
    State {
        /// Which.
        node: String,
        /// `runs already`, `does not run`.
        state: &'static str,
    },
    /// A node refused.
    #[error("node {node}: {source}")]
    Api {
        /// Which.
        node: String,
        /// What it said.
        source: ClientError,
    },
}

/// A lab that runs; what it consists of goes when it is dropped.
#[derive(Debug)]
pub(super) struct Network {
    plan: Plan,
    netns: HashMap<String, Netns>,
    nodes: Vec<Node>,
    /// Dropped last: who finds the folder free finds nothing else of the lab.
    dir: StateDir,
}

/// A node of the lab.
#[derive(Debug)]
struct Node {
    name: String,
    process: Option<Process>,
    /// What it last said, in its present or last life.
    now: NodeStats,
    /// The counters of its earlier lives.
    before: NodeStats,
}

impl Network {
    /// Makes the namespaces and cables and starts the nodes.
    pub(super) fn build(plan: Plan, dir: StateDir) -> Result<Network, LabError> {
        let mut netns = HashMap::new();
        let routers = plan.nodes.iter().map(|node| &node.name);
        for name in routers.chain(plan.hosts.iter().map(|host| &host.name)) {
            netns.insert(name.clone(), Netns::new(name)?);
        }
        let nodes = plan
            .nodes
            .iter()
            .map(|node| Node::new(&node.name))
            .collect();
        let mut network = Network {
            plan,
            netns,
            nodes,
            dir,
        };
        network.lay_cables()?;
        network.configure_hosts()?;
        for index in 0..network.nodes.len() {
            network.start_node(index)?;
        }
        Ok(network)
    }

    /// The plan that it was built to.
    #[must_use]
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Its folder.
    #[must_use]
    pub(super) fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The namespace of a router or host.
    pub(super) fn netns(&self, name: &str) -> Result<&Netns, LabError> {
        self.netns
            .get(name)
            .ok_or_else(|| LabError::Unknown(format!("router or host {name}")))
    }

    fn lay_cables(&self) -> Result<(), LabError> {
        for cable in &self.plan.cables {
            let [a, b] = &cable.ends;
            connect(
                VethEnd {
                    netns: self.netns(&a.0)?,
                    device: &a.1,
                },
                VethEnd {
                    netns: self.netns(&b.0)?,
                    device: &b.1,
                },
            )?;
            for (name, device) in &cable.ends {
                if !self.is_host(name) {
                    self.netns(name)?.configure(device, cable.mtu, None)?;
                }
            }
        }
        Ok(())
    }

    fn is_host(&self, name: &str) -> bool {
        self.plan.hosts.iter().any(|host| host.name == name)
    }

    fn configure_hosts(&self) -> Result<(), LabError> {
        for host in &self.plan.hosts {
            let netns = self.netns(&host.name)?;
            netns.configure(&host.device, host.mtu, Some(host.address))?;
            netns.route_by(host.gateway)?;
            netns.checksum_in_software(&host.device)?;
        }
        Ok(())
    }

    /// Makes the hosts' kernels learn their routers' Ethernet addresses: a stream that has to wait for them may lose or
    /// reorder its first packets before they leave the host.
    fn greet_routers(&self) -> Result<(), LabError> {
        const DISCARD: u16 = 9;
        for host in &self.plan.hosts {
            let gateway = host.gateway;
            let anywhere = if gateway.is_ipv4() {
                "0.0.0.0:0"
            } else {
                "[::]:0"
            };
            let greet = move || UdpSocket::bind(anywhere)?.send_to(&[0], (gateway, DISCARD));
            let greeted = self.netns(&host.name)?.run(greet).and_then(|sent| sent);
            greeted.map_err(|source| LabError::Io {
                what: format!("greet the router of {}", host.name),
                source,
            })?;
        }
        Ok(())
    }

    fn start_node(&mut self, index: usize) -> Result<(), LabError> {
        let plan = &self.plan.nodes[index];
        let failed = |source| LabError::Io {
            what: format!("start node {}", plan.name),
            source,
        };
        let file = self.dir.path().join(format!("{}.toml", plan.name));
        fs::write(&file, &plan.config).map_err(failed)?;
        let args = ["node", "--config", &file.display().to_string()].map(str::to_string);
        let netns = &self.netns[&plan.name];
        let process = Process::start(netns, self.dir.path(), &plan.name, &args).map_err(failed)?;
        self.nodes[index].process = Some(process);
        Ok(())
    }

    fn index_of(&self, node: &str) -> Result<usize, LabError> {
        self.nodes
            .iter()
            .position(|at| at.name == node)
            .ok_or_else(|| LabError::Unknown(format!("router {node}")))
    }

    /// Kills a node, as `kill -9` does.
    pub(super) async fn kill(&mut self, node: &str) -> Result<(), LabError> {
        let index = self.index_of(node)?;
        // What it counted is lost with it, so it is asked just before.
        let _ = self.refresh_node(index).await;
        let at = &mut self.nodes[index];
        if at.process.take().is_none() {
            return Err(LabError::State {
                node: node.to_string(),
                state: "does not run",
            });
        }
        Ok(())
    }

    /// Starts a node that was killed.
    pub(super) fn start(&mut self, node: &str) -> Result<(), LabError> {
        let index = self.index_of(node)?;
        let at = &mut self.nodes[index];
        if at
            .process
            .as_mut()
            .is_some_and(|process| process.ended().is_none())
        {
            return Err(LabError::State {
                node: node.to_string(),
                state: "runs already",
            });
        }
        let past = std::mem::take(&mut at.now);
        at.before.add_counters(&past);
        self.start_node(index)
    }

    /// Changes what a link does in both directions; `None` makes it as the topology says.
    pub(super) async fn impair(
        &self,
        link: [&str; 2],
        to: Option<&Impair>,
    ) -> Result<(), LabError> {
        let [a, b] = link;
        let ends = self.plan.impairs.iter().find(|[first, second]| {
            let names = (first.node.as_str(), second.node.as_str());
            names == (a, b) || names == (b, a)
        });
        let ends = ends.ok_or_else(|| LabError::Unknown(format!("link {a}:{b}")))?;
        for end in ends {
            self.impair_end(end, to.unwrap_or(&end.impair.impair))
                .await?;
        }
        Ok(())
    }

    async fn impair_end(&self, end: &EndImpair, impair: &Impair) -> Result<(), LabError> {
        let client = self.client(self.index_of(&end.node)?);
        let path = format!("/v1/ports/{}/impairment", end.port);
        let done = if *impair == Impair::default() {
            client.delete(&path).await
        } else {
            let seeded = SeededImpair {
                seed: end.impair.seed,
                impair: impair.clone(),
            };
            client.put(&path, &json!(seeded)).await
        };
        done.map(drop).map_err(|source| LabError::Api {
            node: end.node.clone(),
            source,
        })
    }

    fn client(&self, index: usize) -> Client {
        Client::new(Endpoint::Unix(self.plan.nodes[index].socket.clone()))
    }

    /// The first node that ended without being killed by the lab, and its last words.
    pub(super) fn casualty(&mut self) -> Option<LabError> {
        self.nodes.iter_mut().find_map(|node| {
            let process = node.process.as_mut()?;
            let status = process.ended()?;
            Some(LabError::NodeEnded {
                node: node.name.clone(),
                status: status.to_string(),
                words: process.last_words(),
            })
        })
    }

    /// Waits until all nodes are ready, all neighbors up, all receivers in step and all clients resolved.
    pub(super) async fn wait_ready(&mut self) -> Result<(), LabError> {
        let deadline = Instant::now() + READY_LIMIT;
        loop {
            let Some(reason) = self.unready().await else {
                return self.greet_routers();
            };
            if let Some(casualty) = self.casualty() {
                return Err(casualty);
            }
            if Instant::now() > deadline {
                return Err(LabError::NotReady { reason });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn unready(&mut self) -> Option<String> {
        for index in 0..self.nodes.len() {
            let name = self.nodes[index].name.clone();
            let node = self.client(index).get("/v1/node").await;
            if !node.is_ok_and(|node| node["ready"] == true) {
                return Some(format!("node {name} has not opened its ports"));
            }
            if self.refresh_node(index).await.is_err() {
                return Some(format!("node {name} does not answer"));
            }
            if let Some(reason) = self.nodes[index].now.waits_for() {
                return Some(format!("{name}: {reason}"));
            }
        }
        None
    }

    /// Asks all nodes that run for their counters; one that does not answer keeps those it gave last.
    pub(super) async fn refresh(&mut self) {
        for index in 0..self.nodes.len() {
            let _ = self.refresh_node(index).await;
        }
    }

    async fn refresh_node(&mut self, index: usize) -> Result<(), ClientError> {
        if self.nodes[index].process.is_none() {
            return Ok(());
        }
        let snapshot = self.client(index).get("/v1/snapshot").await?;
        if let Ok(stats) = serde_json::from_value(snapshot) {
            self.nodes[index].now = stats;
        }
        Ok(())
    }

    /// What a node last said, in its present or last life.
    #[must_use]
    pub(super) fn stats(&self, node: &str) -> Option<&NodeStats> {
        let at = self.nodes.iter().find(|at| at.name == node)?;
        Some(&at.now)
    }

    /// The nodes in order, with their counters over all lives.
    pub(super) fn totals(&self) -> impl Iterator<Item = (&str, NodeStats)> {
        self.nodes.iter().map(|node| {
            let mut total = node.before.clone();
            total.add_counters(&node.now);
            (node.name.as_str(), total)
        })
    }

    /// What `lab show` shows.
    pub(super) fn describe(&mut self) -> Value {
        let plans: Vec<&NodePlan> = self.plan.nodes.iter().collect();
        let nodes: Vec<Value> = self
            .nodes
            .iter_mut()
            .zip(plans)
            .map(|(node, plan)| {
                let pid = node
                    .process
                    .as_mut()
                    .and_then(|process| process.ended().is_none().then(|| process.pid()));
                json!({
                    "node": node.name,
                    "state": if pid.is_some() { "runs" } else { "is down" },
                    "pid": pid,
                    "api": plan.socket,
                })
            })
            .collect();
        let hosts: Vec<Value> = self
            .plan
            .hosts
            .iter()
            .map(|host| json!({ "host": host.name, "address": host.address.0, "gateway": host.gateway }))
            .collect();
        let sessions: Vec<Value> = self.plan.sessions.iter().map(describe_session).collect();
        json!({
            "lab": self.dir.name(),
            "pid": std::process::id(),
            "dir": self.dir.path(),
            "nodes": nodes,
            "hosts": hosts,
            "sessions": sessions,
        })
    }

    /// Ends the nodes in their own time, and kills those that take too long.
    pub(super) fn stop(&mut self) {
        let mut processes: Vec<Process> = self
            .nodes
            .iter_mut()
            .filter_map(|node| node.process.take())
            .collect();
        for process in &mut processes {
            process.signal(Signal::SIGTERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        for process in &mut processes {
            process.wait(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Node {
    fn new(name: &str) -> Node {
        Node {
            name: name.to_string(),
            process: None,
            now: NodeStats::default(),
            before: NodeStats::default(),
        }
    }
}

fn describe_session(session: &super::plan::SessionPlan) -> Value {
    let clients: Vec<Value> = session
        .last_hops
        .iter()
        .flat_map(|hop| hop.clients.iter().map(move |client| (hop, client)))
        .map(|(hop, (name, listen))| json!({ "client": name, "node": hop.node, "listen": listen }))
        .collect();
    json!({
        "session": session.id,
        "name": session.name,
        "source": session.source,
        "destination": session.destination,
        "ingress": session.ingress,
        "carried_by": session.members,
        "clients": clients,
    })
}
