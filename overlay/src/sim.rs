//! Whole trees in virtual time: real nodes, links that lose, and checkers that look at every step.
//!
//! A [`Scenario`] says what there is and what happens, [`run`] makes a [`Report`] of it. One seed decides everything
//! random and no clock is read, so equal scenarios give equal reports, and a [`Violation`] comes with the line that
//! brings it back. It is not a model of the protocol: each router runs the [`Node`](crate::Node) that a worker of the
//! dataplane runs. What it leaves out is the dataplane: sending and receiving take no time.
//!
//! ```
//! use core::time::Duration;
//! use overlay::sim::{Impairment, Scenario, run};
//!
//! let hop = Impairment::lossy(Duration::from_micros(500), 0.02);
//! let mut scenario = Scenario::fan_out(1, 3, 2, hop);
//! scenario.blackout(Duration::from_millis(250), Duration::from_millis(50), 0, 1);
//! let report = run(&scenario);
//! assert_eq!(report.failure(), None);
//! assert_eq!(report.delivered, 9 * 1000);
//! ```

mod check;
mod layout;
mod link;
mod network;
mod queue;
mod random;
mod report;
mod router;
mod scenario;

pub use link::{Carried, LinkStats};
pub use network::{Network, run};
pub use random::random;
pub use report::{Latencies, NodeReport, Report, Rule, Violation};
pub use scenario::{
    Action, BurstLoss, Impairment, Link, NodeSettings, Place, Scenario, SessionPlan, Source,
};

#[cfg(test)]
mod tests;
