//! A node's configuration file, as the lab writes it.

use serde::Serialize;

use crate::lab::topology::{Impair, NodeSettings, SessionSettings};

/// The whole file.
#[derive(Debug, Serialize)]
pub(super) struct NodeFile {
    pub(super) node: Node,
    pub(super) eal: Eal,
    pub(super) memory: Memory,
    pub(super) api: Api,
    pub(super) port: Vec<Port>,
    pub(super) neighbor: Vec<Neighbor>,
    pub(super) session: Vec<Session>,
}

#[derive(Debug, Serialize)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) idle: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<usize>,
    pub(super) hello: String,
    pub(super) detect_mult: u8,
    pub(super) hold_down: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Eal {
    pub(super) hugepages: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets: Option<usize>,
    pub(super) spare_packets: usize,
}

#[derive(Debug, Serialize)]
pub(super) struct Api {
    pub(super) socket: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) device: String,
    pub(super) address: String,
    pub(super) mtu: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) impair: Option<SeededImpair>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<bool>,
}

/// What a link does to packets, with the seed of this end of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SeededImpair {
    /// Seed of the random numbers.
    pub seed: u64,
    /// What is done.
    #[serde(flatten)]
    pub impair: Impair,
}

#[derive(Debug, Serialize)]
pub(super) struct Neighbor {
    pub(super) name: String,
    pub(super) address: String,
    pub(super) port: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repair_rate: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Session {
    pub(super) id: u32,
    pub(super) name: String,
    pub(super) group: String,
    pub(super) source: String,
    pub(super) upstream: Vec<String>,
    pub(super) downstream: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) second_upstream: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) second_downstream: Vec<String>,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub(super) flow: Option<Match>,
    #[serde(flatten)]
    pub(super) settings: SessionSettings,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) client: Vec<Client>,
}

#[derive(Debug, Serialize)]
pub(super) struct Match {
    pub(super) destination: String,
    pub(super) source: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) catch_up: Option<String>,
}

impl Node {
    pub(super) fn new(name: &str, settings: &NodeSettings) -> Node {
        Node {
            name: name.to_string(),
            idle: settings.idle.clone(),
            workers: settings.workers,
            hello: settings.hello.clone(),
            detect_mult: settings.detect_mult,
            hold_down: settings.hold_down.clone(),
        }
    }
}

impl Memory {
    pub(super) fn new(settings: &NodeSettings) -> Memory {
        Memory {
            packets: settings.packets,
            spare_packets: settings.spare_packets,
        }
    }
}
