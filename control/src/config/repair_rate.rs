//! How many repairs a neighbor may have, where its file does not say.

use dataplane::NodeConfig;

use super::Config;
use super::node_file::RATE_LIMIT_PPS;
use super::quantity::print_packet_rate;

/// What stands for a rate that is not written, until it is sized; no rate that can be written.
pub(super) const UNSET_PPS: u32 = 0;
/// Twice the default rate of a session: small sessions may grow, or others come, without much being said about it.
const LEAST_PPS: u32 = 50_000;

/// The neighbors whose rate is not written.
pub(super) fn unset(node: &NodeConfig) -> Vec<String> {
    let neighbors = node.neighbors.iter();
    neighbors
        .filter(|neighbor| neighbor.repair_rate_pps == UNSET_PPS)
        .map(|neighbor| neighbor.name.clone())
        .collect()
}

/// Sizes the rates of the neighbors called `sized`: twice what all sessions of the node bring together. Once for
/// copies, once for repairs: a burst of losses is repaired while the stream goes on. All sessions, since a neighbor
/// whose own parent dies may turn here with any of them.
pub(super) fn size(node: &mut NodeConfig, sized: &[String]) {
    let sessions = node.sessions.iter();
    let sum: u64 = sessions
        .map(|session| u64::from(session.max_rate_pps))
        .sum();
    let rate = (2 * sum).clamp(LEAST_PPS.into(), RATE_LIMIT_PPS.into());
    for neighbor in &mut node.neighbors {
        if sized.contains(&neighbor.name) {
            neighbor.repair_rate_pps = u32::try_from(rate).unwrap_or(RATE_LIMIT_PPS);
        }
    }
}

impl Config {
    /// A neighbor keeps the repair rate that it was made with: puts those of `running` in place, and says where the
    /// sessions now want more.
    pub fn keep_repair_rates(&mut self, running: &Config) -> Vec<String> {
        let mut short = Vec::new();
        for neighbor in &mut self.node.neighbors {
            let mut known = running.node.neighbors.iter();
            let Some(known) = known.find(|known| known.name == neighbor.name) else {
                continue;
            };
            if known.repair_rate_pps < neighbor.repair_rate_pps {
                short.push(format!(
                    "neighbor {} keeps a repair rate of {} until a restart, but the sessions now want {}",
                    neighbor.name,
                    print_packet_rate(known.repair_rate_pps.into()),
                    print_packet_rate(neighbor.repair_rate_pps.into())
                ));
            }
            neighbor.repair_rate_pps = known.repair_rate_pps;
        }
        short
    }
}
