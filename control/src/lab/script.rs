//! The events of a topology, played at their times.

use std::time::Duration;

use super::network::{LabError, Network};
use super::topology::{Event, Impair};
use crate::config::quantity;

/// What is still to happen.
#[derive(Debug)]
pub(super) struct Script {
    /// Soonest last.
    acts: Vec<(Duration, Act)>,
    end: Duration,
}

#[derive(Clone, Debug, PartialEq)]
enum Act {
    Impair([String; 2], Impair),
    Restore([String; 2]),
    Kill(String),
    Start(String),
}

impl Script {
    /// The script of a topology's events.
    #[must_use]
    pub(super) fn new(events: &[Event]) -> Script {
        let mut acts: Vec<(Duration, Act)> = events.iter().flat_map(acts).collect();
        acts.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Script {
            end: acts.first().map_or(Duration::ZERO, |(at, _)| *at),
            acts,
        }
    }

    /// When the last of it happens.
    #[must_use]
    pub(super) fn end(&self) -> Duration {
        self.end
    }

    /// Whether all of it has happened.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        self.acts.is_empty()
    }

    /// Does what is due at `now`, counted from the first packet.
    pub(super) async fn play(&mut self, now: Duration, lab: &mut Network) -> Result<(), LabError> {
        while let Some((_, act)) = self.acts.pop_if(|(at, _)| *at <= now) {
            match act {
                Act::Impair([a, b], impair) => lab.impair([&a, &b], Some(&impair)).await?,
                Act::Restore([a, b]) => lab.impair([&a, &b], None).await?,
                Act::Kill(node) => lab.kill(&node).await?,
                Act::Start(node) => lab.start(&node)?,
            }
        }
        Ok(())
    }
}

/// What an event comes to. Its quantities were checked with the topology.
fn acts(event: &Event) -> Vec<(Duration, Act)> {
    let read = |text: &String| quantity::duration(text).unwrap_or_default();
    let at = read(&event.at);
    let mut acts = Vec::new();
    if let Some(link) = &event.link {
        acts.push((at, Act::Impair(link.clone(), event.impair.clone())));
        if let Some(lasting) = &event.lasting {
            acts.push((at + read(lasting), Act::Restore(link.clone())));
        }
    }
    if let Some(node) = &event.kill {
        acts.push((at, Act::Kill(node.clone())));
        if let Some(after) = &event.start_after {
            acts.push((at + read(after), Act::Start(node.clone())));
        }
    }
    acts
}
