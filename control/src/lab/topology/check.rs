//! What may be wrong with a topology, found all at once.

use std::collections::HashSet;

use super::{Event, Impair, SessionSettings, Topology};
use crate::config::quantity;

/// How many trees a session may be sent on.
pub(in crate::lab) const TREES: std::ops::RangeInclusive<u8> = 1..=2;

/// A name that may be part of a file's: of a lab, router or host.
pub(in crate::lab) fn legal_name(name: &str) -> Result<String, &'static str> {
    let legal = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if legal {
        Ok(name.to_string())
    } else {
        Err("a name is 1 to 32 letters, digits, - and _")
    }
}

impl Topology {
    /// Everything that is wrong with what the file says.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Problems(Vec::new());
        self.check_general(&mut problems);
        self.check_names(&mut problems);
        self.check_links(&mut problems);
        self.check_sessions(&mut problems);
        for (index, event) in self.events.iter().enumerate() {
            self.check_event(&format!("event {}", index + 1), event, &mut problems);
        }
        problems.0
    }

    fn check_general(&self, problems: &mut Problems) {
        problems.quantity("duration", quantity::duration(&self.duration));
        problems.quantity("rate", quantity::rate(&self.rate));
        let sizes = crate::probe::MIN_LEN..=crate::probe::MAX_LEN;
        if !sizes.contains(&self.size) {
            problems.add(format!(
                "size: {} is not {} to {} bytes",
                self.size,
                sizes.start(),
                sizes.end()
            ));
        }
        problems.duration("node: hold_down", Some(&self.node.hold_down));
        problems.impair("link_defaults", &self.link_defaults.impair);
        problems.settings("session_defaults", &self.session_defaults);
    }

    fn check_names(&self, problems: &mut Problems) {
        let mut seen = HashSet::new();
        let routers = self
            .routers
            .iter()
            .map(|router| ("router", router.as_str()));
        let hosts = self.hosts.iter().map(|host| ("host", host.name.as_str()));
        for (what, name) in [("lab", self.name.as_str())]
            .into_iter()
            .chain(routers)
            .chain(hosts)
        {
            if let Err(why) = legal_name(name) {
                problems.add(format!("{what} {name:?}: {why}"));
            }
            // Its socket and log would be the lab's own.
            if what == "router" && name == "lab" {
                problems.add("router lab: the name is the lab's own".to_string());
            }
            if what != "lab" && !seen.insert(name) {
                problems.add(format!("{what} {name}: the name is taken"));
            }
        }
        for host in &self.hosts {
            if !self.has_router(&host.router) {
                problems.add(format!(
                    "host {}: there is no router {}",
                    host.name, host.router
                ));
            }
        }
    }

    fn check_links(&self, problems: &mut Problems) {
        for (index, link) in self.links.iter().enumerate() {
            let [a, b] = &link.between;
            let place = format!("link {a}:{b}");
            for end in &link.between {
                if !self.has_router(end) {
                    problems.add(format!("{place}: there is no router {end}"));
                }
            }
            if a == b {
                problems.add(format!("{place}: a link has two different ends"));
            } else if self.link_between(a, b) != Some(index) {
                problems.add(format!("{place}: the two routers have a link already"));
            }
            problems.impair(&place, &link.settings.impair);
        }
    }

    fn check_sessions(&self, problems: &mut Problems) {
        let mut ids = HashSet::new();
        for (index, session) in self.sessions.iter().enumerate() {
            let place = format!("session {}", session.name);
            let id = session.number(index);
            if id == 0 || !ids.insert(id) {
                problems.add(format!("{place}: the id {id} is 0 or taken"));
            }
            let mut hosts = HashSet::new();
            for host in session.clients.iter().chain([&session.source]) {
                if self.host(host).is_none() {
                    problems.add(format!("{place}: there is no host {host}"));
                } else if !hosts.insert(host) {
                    problems.add(format!("{place}: host {host} is named twice"));
                }
            }
            problems.settings(&place, &session.settings);
        }
        if self.sessions.is_empty() {
            problems.add("there is no session".to_string());
        }
    }

    fn check_event(&self, place: &str, event: &Event, problems: &mut Problems) {
        problems.duration(&format!("{place}: at"), Some(&event.at));
        problems.duration(&format!("{place}: for"), event.lasting.as_ref());
        problems.duration(&format!("{place}: start_after"), event.start_after.as_ref());
        problems.impair(place, &event.impair);
        match (&event.link, &event.kill) {
            (Some([a, b]), None) if self.link_between(a, b).is_none() => {
                problems.add(format!("{place}: there is no link {a}:{b}"));
            }
            (None, Some(router)) if !self.has_router(router) => {
                problems.add(format!("{place}: there is no router {router}"));
            }
            (Some(_), None) | (None, Some(_)) => {}
            _ => problems.add(format!("{place}: an event has either link or kill")),
        }
    }
}

/// What was found wrong so far.
struct Problems(Vec<String>);

impl Problems {
    fn add(&mut self, problem: String) {
        self.0.push(problem);
    }

    fn quantity<T>(&mut self, place: &str, read: Result<T, quantity::QuantityError>) {
        if let Err(error) = read {
            self.add(format!("{place}: {error}"));
        }
    }

    fn duration(&mut self, place: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.quantity(place, quantity::duration(value));
        }
    }

    fn settings(&mut self, place: &str, settings: &SessionSettings) {
        if let Some(rate) = &settings.rate {
            self.quantity(&format!("{place}: rate"), quantity::rate(rate));
        }
        if let Some(rate) = &settings.max_rate {
            self.quantity(&format!("{place}: max_rate"), quantity::packet_rate(rate));
        }
        let durations = [
            ("deadline", &settings.deadline),
            ("retention", &settings.retention),
            ("reorder_delay", &settings.reorder_delay),
            ("catch_up", &settings.catch_up),
            ("client_catch_up", &settings.client_catch_up),
            ("idle_timeout", &settings.idle_timeout),
        ];
        for (key, value) in durations {
            self.duration(&format!("{place}: {key}"), value.as_ref());
        }
        if let Some(trees) = settings.trees.filter(|trees| !TREES.contains(trees)) {
            self.add(format!("{place}: trees: {trees} is neither 1 nor 2"));
        }
    }

    fn impair(&mut self, place: &str, impair: &Impair) {
        let burst_loss = impair.burst_loss.as_ref().map(|burst| &burst.loss);
        let shares = [
            ("loss", impair.loss.as_ref()),
            ("burst_loss", burst_loss),
            ("reorder", impair.reorder.as_ref()),
            ("duplicate", impair.duplicate.as_ref()),
        ];
        for (key, value) in shares {
            if let Some(value) = value {
                self.quantity(&format!("{place}: {key}"), quantity::percent(value));
            }
        }
        self.duration(&format!("{place}: delay"), impair.delay.as_ref());
        self.duration(&format!("{place}: jitter"), impair.jitter.as_ref());
        if let Some(rate) = &impair.rate {
            self.quantity(&format!("{place}: rate"), quantity::bit_rate(rate));
        }
    }
}
