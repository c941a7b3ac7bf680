//! How a session is.

use serde::{Deserialize, Serialize};

/// The keys of a node's `[[session]]` that a lab sets, and the rate of the source.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionSettings {
    /// How fast its source sends; the topology's `rate` unless set.
    #[serde(skip_serializing)]
    pub rate: Option<String>,
    /// `ordered` or `immediate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// How long a gap may stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// How long packets are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<String>,
    /// How long a gap may be mere reordering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reorder_delay: Option<String>,
    /// Fastest rate that buffers are sized for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rate: Option<String>,
    /// `pull`, `copy` or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlay: Option<Overlay>,
    /// Parity packets down the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fec: Option<Fec>,
    /// Children that must miss a packet before it goes down the tree once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subcast_threshold: Option<u8>,
    /// How much history a node fetches when it joins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<String>,
    /// How much history each client gets when it is added.
    #[serde(skip_serializing)]
    pub client_catch_up: Option<String>,
    /// Silence of the ingress after which the stream has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// Disjoint trees that the session is sent on: 1 unless set, or 2.
    #[serde(skip_serializing)]
    pub trees: Option<u8>,
}

/// What fills gaps before anybody asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Overlay {
    /// Nothing.
    #[default]
    Pull,
    /// Each packet comes once more over the overlay.
    Copy,
    /// Copies while the tree loses much.
    Auto,
}

/// Forward error correction: `parity` packets behind every `block` packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fec {
    /// Packets of a block.
    pub block: u8,
    /// Parity packets behind each.
    pub parity: u8,
}

/// How a session is passed on to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Delivery {
    /// In order.
    #[default]
    Ordered,
    /// As packets come.
    Immediate,
}

impl SessionSettings {
    /// These settings, and those of `default` where there are none.
    #[must_use]
    pub(crate) fn or(&self, default: &SessionSettings) -> SessionSettings {
        let first = |mine: &Option<String>, default: &Option<String>| {
            mine.clone().or_else(|| default.clone())
        };
        SessionSettings {
            rate: first(&self.rate, &default.rate),
            delivery: self.delivery.or(default.delivery),
            deadline: first(&self.deadline, &default.deadline),
            retention: first(&self.retention, &default.retention),
            reorder_delay: first(&self.reorder_delay, &default.reorder_delay),
            max_rate: first(&self.max_rate, &default.max_rate),
            overlay: self.overlay.or(default.overlay),
            fec: self.fec.or(default.fec),
            subcast_threshold: self.subcast_threshold.or(default.subcast_threshold),
            catch_up: first(&self.catch_up, &default.catch_up),
            client_catch_up: first(&self.client_catch_up, &default.client_catch_up),
            idle_timeout: first(&self.idle_timeout, &default.idle_timeout),
            trees: self.trees.or(default.trees),
        }
    }
}
