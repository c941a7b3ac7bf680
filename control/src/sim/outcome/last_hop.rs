//! A last hop of a session.

use overlay::sim::{Latencies, NodeReport, Report};

use crate::sim::case::Case;

/// What a last hop got of a session, over all its lives: `sent = tree + repaired + unrecovered + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::sim) struct LastHop {
    /// The session's name.
    pub(in crate::sim) session: String,
    /// The router's name.
    pub(in crate::sim) node: String,
    /// Packets sent since it joined.
    pub(in crate::sim) sent: u64,
    /// Packets that a tree brought.
    pub(in crate::sim) tree: u64,
    /// Packets that came otherwise first.
    pub(in crate::sim) repaired: u64,
    /// Those of them that came as copies.
    pub(in crate::sim) copied: u64,
    /// Those of them that were rebuilt from parity.
    pub(in crate::sim) rebuilt: u64,
    /// Packets given up.
    pub(in crate::sim) unrecovered: u64,
    /// Packets missing at the end.
    pub(in crate::sim) in_flight: u64,
    /// How much later than by the tree packets came that came otherwise, over all sessions of the router; empty in
    /// networks of more than 1,000 routers.
    pub(in crate::sim) recovery: Latencies,
}

impl LastHop {
    /// Those of a run.
    pub(super) fn all(case: &Case, report: &Report) -> Vec<LastHop> {
        let mut all = Vec::new();
        for (session, plan) in case.scenario.sessions.iter().enumerate() {
            for place in plan.places.iter().filter(|place| place.delivers) {
                if let Some(node) = report.nodes.get(place.router) {
                    let names = (
                        case.sessions[session].clone(),
                        case.routers[place.router].clone(),
                    );
                    all.push(LastHop::new(names, session, node));
                }
            }
        }
        all
    }

    fn new((session, node): (String, String), number: usize, report: &NodeReport) -> LastHop {
        let mut last_hop = LastHop {
            session,
            node,
            recovery: report.recovery.clone(),
            ..LastHop::default()
        };
        for (_, stats) in report.sessions.iter().filter(|(at, _)| *at == number) {
            last_hop.sent += stats.sent;
            last_hop.tree += stats.tree;
            last_hop.repaired += stats.repaired;
            last_hop.copied += stats.copied;
            last_hop.rebuilt += stats.rebuilt;
            last_hop.unrecovered += stats.unrecovered;
            last_hop.in_flight += stats.in_flight;
        }
        last_hop
    }

    /// Adds another run's.
    pub(super) fn add(&mut self, other: &LastHop) {
        self.sent += other.sent;
        self.tree += other.tree;
        self.repaired += other.repaired;
        self.copied += other.copied;
        self.rebuilt += other.rebuilt;
        self.unrecovered += other.unrecovered;
        self.in_flight += other.in_flight;
        self.recovery.add(&other.recovery);
    }
}
