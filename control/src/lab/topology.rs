//! The topology file: routers, links, hosts, sessions and what happens to them.

use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::quantity::Rate;

mod check;
mod entry;
mod settings;

pub(super) use check::{TREES, legal_name};
use entry::Entry;
pub(super) use settings::{Delivery, Fec, Overlay, SessionSettings};

/// A topology, as its file says it. Quantities are kept as written: most go into the nodes' files unchanged.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topology {
    /// Name of the lab.
    pub name: String,
    /// Seed of everything random.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// How long sources send.
    #[serde(default = "default_duration")]
    pub duration: String,
    /// How fast each source sends.
    #[serde(default = "default_rate")]
    pub rate: String,
    /// Bytes of each payload.
    #[serde(default = "default_size")]
    pub size: usize,
    /// IP version between routers: of trees and overlay.
    #[serde(default)]
    pub outer: IpVersion,
    /// IP version of sources and clients.
    #[serde(default)]
    pub inner: IpVersion,
    /// The routers.
    pub routers: Vec<String>,
    /// The links between routers, in order of preference where paths are equally short.
    #[serde(default, rename = "link")]
    pub links: Vec<Link>,
    /// The hosts of sources and clients, each on a link of its own.
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
    /// The sessions.
    #[serde(rename = "session")]
    pub sessions: Vec<Session>,
    /// What happens while the lab runs.
    #[serde(default, rename = "event")]
    pub events: Vec<Event>,
    /// Settings of every node.
    #[serde(default)]
    pub node: NodeSettings,
    /// What every link is like unless it says otherwise itself.
    #[serde(default)]
    pub link_defaults: LinkSettings,
    /// How every session is unless it says otherwise itself.
    #[serde(default)]
    pub session_defaults: SessionSettings,
}

/// A version of the Internet Protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(crate) enum IpVersion {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

impl TryFrom<u8> for IpVersion {
    type Error = &'static str;

    fn try_from(version: u8) -> Result<IpVersion, &'static str> {
        match version {
            4 => Ok(IpVersion::V4),
            6 => Ok(IpVersion::V6),
            _ => Err("an IP version is 4 or 6"),
        }
    }
}

impl std::str::FromStr for IpVersion {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<IpVersion, &'static str> {
        text.parse().unwrap_or(0u8).try_into()
    }
}

/// A link between two routers; it does to both directions what it says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct Link {
    /// The two routers.
    pub between: [String; 2],
    /// What the link is like, written beside `between`; what is not set comes from `link_defaults`.
    pub settings: LinkSettings,
}

/// What a link is like.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct LinkSettings {
    /// Largest IP packet that it carries, in bytes.
    pub mtu: Option<u16>,
    /// What it does to packets, written beside the rest.
    pub impair: Impair,
}

/// What a link does to packets: the keys of a port's `impair`, without the seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Impair {
    /// Share of packets lost, such as `2%`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<String>,
    /// Further loss in bursts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_loss: Option<BurstLoss>,
    /// Time each packet is held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<String>,
    /// Further random time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<String>,
    /// Share of packets that overtake others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder: Option<String>,
    /// Share of packets that arrive twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate: Option<String>,
    /// Rate limit, such as `100Mbps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
}

/// Loss in bursts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BurstLoss {
    /// Share of packets lost over time.
    pub loss: String,
    /// Mean length of a burst, in packets.
    pub mean: f64,
}

/// A host on a link of its own to a router.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Host {
    /// Its name.
    pub name: String,
    /// The router it is attached to.
    pub router: String,
    /// Largest IP packet on its link, in bytes.
    #[serde(default = "default_host_mtu")]
    pub mtu: u16,
}

/// A session: one source, its clients and its settings.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct Session {
    /// Its number, the same on all nodes; its place in the file, from 1, unless set.
    pub id: Option<u32>,
    /// Its name.
    pub name: String,
    /// The host that sends it; that host's router is the ingress.
    pub source: String,
    /// The hosts that receive it; their routers are the last hops.
    pub clients: Vec<String>,
    /// Multicast address of its tree; one of 239.1.0.0/16, or of ff3e::8000:0/112, unless set.
    pub group: Option<IpAddr>,
    /// Its settings, written beside the rest; what is not set comes from `session_defaults`.
    pub settings: SessionSettings,
}

/// Something that happens at a set time: a link changes or a router is killed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Entry")]
pub(crate) struct Event {
    /// When, counted from the first packet.
    pub at: String,
    /// The link that changes.
    pub link: Option<[String; 2]>,
    /// How the link is impaired instead, written beside the rest.
    pub impair: Impair,
    /// After how long the link is as before; never unless set.
    pub lasting: Option<String>,
    /// The router whose node is killed.
    pub kill: Option<String>,
    /// After how long its node is started again; never unless set.
    pub start_after: Option<String>,
}

/// Settings of every node of the lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NodeSettings {
    /// `spin` or `nap`.
    pub idle: String,
    /// Workers of each node.
    pub workers: Option<usize>,
    /// How often hellos go out.
    pub hello: String,
    /// Silent hellos that mean down.
    pub detect_mult: u8,
    /// How long a parent that came back must stay up before it is parent again.
    pub hold_down: String,
    /// Most repairs to one neighbor; sized from the sessions unless set.
    pub repair_rate: Option<String>,
    /// Size of the packet pool; by formula unless set.
    pub packets: Option<usize>,
    /// Buffers for sessions added at run time.
    pub spare_packets: usize,
    /// Whether each router's kernel has a part of its ports, for routing daemons and the like.
    pub kernel: bool,
}

impl Default for NodeSettings {
    /// Ten nodes share two cores: they nap, and a node that had to wait for its turn is not dead.
    fn default() -> NodeSettings {
        NodeSettings {
            idle: "nap".to_string(),
            workers: None,
            hello: "50ms".to_string(),
            detect_mult: 3,
            hold_down: "1s".to_string(),
            repair_rate: None,
            packets: None,
            spare_packets: 2048,
            kernel: false,
        }
    }
}

/// Ethernet's.
fn default_host_mtu() -> u16 {
    1500
}

fn default_seed() -> u64 {
    1
}

fn default_duration() -> String {
    "10s".to_string()
}

fn default_rate() -> String {
    "5kpps".to_string()
}

fn default_size() -> usize {
    1316
}

/// Why a topology is not usable: all that is wrong with it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{file}:\n  {}", .problems.join("\n  "))]
pub(crate) struct TopologyError {
    /// The file.
    pub file: String,
    /// What is wrong, each with its place and, where there is one, a way out.
    pub problems: Vec<String>,
}

impl Topology {
    /// Reads and checks a file.
    pub(crate) fn load(path: &Path) -> Result<Topology, TopologyError> {
        let file = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Topology::parse(&file, &text),
            Err(error) => Err(TopologyError {
                file,
                problems: vec![format!("read the file: {error}")],
            }),
        }
    }

    /// Reads and checks a topology's text; `file` is for messages.
    pub(crate) fn parse(file: &str, text: &str) -> Result<Topology, TopologyError> {
        let failed = |problems| TopologyError {
            file: file.to_string(),
            problems,
        };
        let topology: Topology = toml::from_str(text)
            .map_err(|error| failed(vec![error.to_string().trim_end().to_string()]))?;
        let problems = topology.problems();
        if problems.is_empty() {
            Ok(topology)
        } else {
            Err(failed(problems))
        }
    }

    /// The host of that name.
    #[must_use]
    pub(crate) fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name == name)
    }

    /// Makes every source send at `rate`.
    pub(super) fn set_rate(&mut self, rate: Rate) {
        self.rate = rate.to_string();
        self.each_settings(|settings| settings.rate = None);
    }

    /// Changes the settings of all sessions, those by default as well.
    pub(super) fn each_settings(&mut self, change: impl Fn(&mut SessionSettings)) {
        change(&mut self.session_defaults);
        for session in &mut self.sessions {
            change(&mut session.settings);
        }
    }

    /// The position of the link between two routers.
    #[must_use]
    pub(crate) fn link_between(&self, a: &str, b: &str) -> Option<usize> {
        self.links.iter().position(|link| {
            let [first, second] = &link.between;
            (first == a && second == b) || (first == b && second == a)
        })
    }

    fn has_router(&self, name: &str) -> bool {
        self.routers.iter().any(|router| router == name)
    }
}

impl Session {
    /// Its number, when it is the session at `index` of its topology.
    #[must_use]
    pub(crate) fn number(&self, index: usize) -> u32 {
        self.id.unwrap_or(index as u32 + 1)
    }
}

impl LinkSettings {
    /// These settings, and those of `default` where there are none.
    #[must_use]
    pub(crate) fn or(&self, default: &LinkSettings) -> LinkSettings {
        LinkSettings {
            mtu: self.mtu.or(default.mtu),
            impair: self.impair.or(&default.impair),
        }
    }
}

impl Impair {
    /// These settings, and those of `default` where there are none.
    #[must_use]
    pub(crate) fn or(&self, default: &Impair) -> Impair {
        let first = |mine: &Option<String>, default: &Option<String>| {
            mine.clone().or_else(|| default.clone())
        };
        Impair {
            loss: first(&self.loss, &default.loss),
            burst_loss: self
                .burst_loss
                .clone()
                .or_else(|| default.burst_loss.clone()),
            delay: first(&self.delay, &default.delay),
            jitter: first(&self.jitter, &default.jitter),
            reorder: first(&self.reorder, &default.reorder),
            duplicate: first(&self.duplicate, &default.duplicate),
            rate: first(&self.rate, &default.rate),
        }
    }
}

#[cfg(test)]
mod tests;
