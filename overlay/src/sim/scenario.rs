//! What a run is made of: routers, links, sessions and what happens to them.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{Order, SessionConfig};

/// A whole run, ready for [`run`](super::run()). Equal scenarios give equal reports.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What a violation prints so that the run can be had again.
    pub replay: String,
    /// Seed of everything random.
    pub seed: u64,
    /// How many routers there are; they are numbered from 0.
    pub routers: usize,
    /// The links between them. Two routers that a session joins must have one.
    pub links: Vec<Link>,
    /// The sessions.
    pub sessions: Vec<SessionPlan>,
    /// What happens, and how long after the start.
    pub events: Vec<(Duration, Action)>,
    /// How the adjacencies are kept.
    pub node: NodeSettings,
    /// Longest time after the last packet of the sources. A run ends earlier when nothing is missing any more.
    pub drain: Duration,
    /// Whether a packet that is given up is a violation: nothing in the scenario takes it away for good.
    pub lossless: bool,
}

/// How every router keeps its adjacencies.
#[derive(Clone, Copy, Debug)]
pub struct NodeSettings {
    /// How often hellos are sent.
    pub hello_interval: Duration,
    /// How many silent intervals mean that a neighbor is gone.
    pub detect_mult: u8,
    /// How long a parent that came back must stay up before it is parent again.
    pub hold_down: Duration,
    /// Most repairs per second to one neighbor.
    pub repair_rate_pps: u32,
}

impl Default for NodeSettings {
    /// Hellos each 10 ms, three of them missed; 50,000 repairs a second; a second of hold-down.
    fn default() -> NodeSettings {
        NodeSettings {
            hello_interval: Duration::from_millis(10),
            detect_mult: 3,
            hold_down: Duration::from_secs(1),
            repair_rate_pps: 50_000,
        }
    }
}

/// A link between two routers.
#[derive(Clone, Debug)]
pub struct Link {
    /// The two routers.
    pub between: [usize; 2],
    /// What it does to packets from the first to the second.
    pub forth: Impairment,
    /// What it does to packets from the second to the first.
    pub back: Impairment,
}

impl Link {
    /// A link that does the same both ways.
    #[must_use]
    pub fn new(one: usize, other: usize, both: Impairment) -> Link {
        Link {
            between: [one, other],
            forth: both,
            back: both,
        }
    }
}

/// What one direction of a link does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// How long a packet travels; at least a microsecond.
    pub delay: Duration,
    /// Up to so much longer, evenly distributed; packets may overtake each other.
    pub jitter: Duration,
    /// Share of packets lost, each by itself.
    pub loss: f64,
    /// Further loss in bursts.
    pub burst: Option<BurstLoss>,
    /// Share of packets that travel up to twice as long, so that others overtake them.
    pub reorder: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// Its bandwidth; 0 for without limit.
    pub rate_bps: u64,
    /// What waits for its turn when there is a bandwidth; what is more is lost.
    pub queue_bytes: u64,
}

impl Impairment {
    /// Nothing but a delay.
    #[must_use]
    pub const fn delay(delay: Duration) -> Impairment {
        Impairment {
            delay,
            jitter: Duration::ZERO,
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            duplicate: 0.0,
            rate_bps: 0,
            queue_bytes: 1 << 20,
        }
    }

    /// A delay, and a share of packets lost.
    #[must_use]
    pub const fn lossy(delay: Duration, loss: f64) -> Impairment {
        Impairment {
            loss,
            ..Impairment::delay(delay)
        }
    }
}

/// Loss in bursts: the Gilbert–Elliott model with everything lost in its bad state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstLoss {
    /// Share of packets lost over time, below 1.
    pub loss: f64,
    /// Mean length of a burst, in packets; at least 1.
    pub mean: f64,
}

/// One session: its tree, its source and how it is run.
#[derive(Clone, Debug)]
pub struct SessionPlan {
    /// How it is run on all its nodes. `id`, `upstream`, `downstream`, `second_upstream`, `second_downstream` and
    /// `delivery` are set from what follows.
    pub config: SessionConfig,
    /// The ingress.
    pub ingress: usize,
    /// Every other router of the session.
    pub places: Vec<Place>,
    /// How clients are served.
    pub order: Order,
    /// What the source sends.
    pub source: Source,
}

/// A router's place in the tree of a session.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The router.
    pub router: usize,
    /// Its parent, then its backups in order of preference.
    pub upstream: Vec<usize>,
    /// The parents of the second tree, the first that is up; empty where there is none.
    pub second_upstream: Vec<usize>,
    /// Whether it has clients: a last hop.
    pub delivers: bool,
}

/// What the source of a session sends.
#[derive(Clone, Debug)]
pub struct Source {
    /// When it begins: the adjacencies need some hellos first.
    pub start: Duration,
    /// Time between two packets.
    pub interval: Duration,
    /// How many packets it sends.
    pub count: u64,
    /// Bytes of each inner packet.
    pub packet_bytes: u32,
    /// Pauses: after so many packets, for so long; in order.
    pub pauses: Vec<(u64, Duration)>,
    /// Whether it says that the stream has ended.
    pub end: bool,
}

impl Default for Source {
    /// 1,000 packets of 1,000 bytes, one each 200 µs, after 200 ms.
    fn default() -> Source {
        Source {
            start: Duration::from_millis(200),
            interval: Duration::from_micros(200),
            count: 1000,
            packet_bytes: 1000,
            pauses: Vec::new(),
            end: false,
        }
    }
}

/// Something that happens in a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// The router ends: nothing reaches or leaves it.
    Kill(usize),
    /// The router begins anew, with nothing of what it knew.
    Restart(usize),
    /// The router's clock jumps ahead.
    ClockJump(usize, Duration),
    /// From the first router to the second nothing passes any more.
    Cut(usize, usize),
    /// From the first router to the second packets pass again.
    Heal(usize, usize),
    /// From the first router to the second the link does this from now on.
    Impair(usize, usize, Impairment),
    /// A client comes to a session (by its place in the scenario) at a last hop, and is to get this much history.
    Join {
        /// The session's place in [`Scenario::sessions`].
        session: usize,
        /// The last hop.
        router: usize,
        /// The client's number, not that of another one there.
        client: u64,
        /// How much history it gets.
        catch_up: Duration,
    },
    /// A client goes.
    Leave {
        /// The session's place in [`Scenario::sessions`].
        session: usize,
        /// The last hop.
        router: usize,
        /// The client's number.
        client: u64,
    },
}

impl Scenario {
    /// Nothing but routers and a seed.
    #[must_use]
    pub fn new(seed: u64, routers: usize) -> Scenario {
        Scenario {
            replay: alloc::format!("seed {seed}"),
            seed,
            routers,
            links: Vec::new(),
            sessions: Vec::new(),
            events: Vec::new(),
            node: NodeSettings::default(),
            drain: Duration::from_secs(3),
            lossless: true,
        }
    }

    /// A tree: for each router its parents (the backups behind the first; none for the ingress, router 0), a link of
    /// the given kind to each, and one session over it with clients at every leaf.
    ///
    /// ```
    /// use core::time::Duration;
    /// use overlay::sim::{Impairment, Scenario};
    ///
    /// let hop = Impairment::lossy(Duration::from_micros(200), 0.01);
    /// // An ingress, two cores, and two last hops with the second core as their backup.
    /// let parents: [&[usize]; 5] = [&[], &[0], &[0], &[1, 2], &[1, 2]];
    /// let scenario = Scenario::tree(7, &parents, hop);
    /// let report = overlay::sim::run(&scenario);
    /// assert_eq!((report.violations.len(), report.unrecovered), (0, 0));
    /// ```
    #[must_use]
    pub fn tree<T: AsRef<[usize]>>(seed: u64, parents: &[T], link: Impairment) -> Scenario {
        let mut scenario = Scenario::new(seed, parents.len());
        let mut has_children = alloc::vec![false; parents.len()];
        for (child, parents) in parents.iter().enumerate() {
            for &parent in parents.as_ref() {
                has_children[parent] = true;
                scenario.links.push(Link::new(parent, child, link));
            }
        }
        let place = |(router, parents): (usize, &T)| Place {
            router,
            upstream: parents.as_ref().to_vec(),
            second_upstream: Vec::new(),
            delivers: !has_children[router],
        };
        let places = parents.iter().enumerate().skip(1).map(place).collect();
        scenario.sessions.push(SessionPlan::new(0, places));
        scenario
    }

    /// A regular tree of `width` children a router, `depth` links deep.
    #[must_use]
    pub fn fan_out(seed: u64, width: usize, depth: usize, link: Impairment) -> Scenario {
        let mut parents: Vec<Vec<usize>> = alloc::vec![Vec::new()];
        let mut level = 0..1;
        for _ in 0..depth {
            let next = parents.len();
            for parent in level {
                parents.extend((0..width).map(|_| alloc::vec![parent]));
            }
            level = next..parents.len();
        }
        Scenario::tree(seed, &parents, link)
    }

    /// The link between two routers, to change it; `None` where there is none.
    pub fn link_mut(&mut self, one: usize, other: usize) -> Option<&mut Link> {
        let between =
            |link: &&mut Link| link.between == [one, other] || link.between == [other, one];
        self.links.iter_mut().find(between)
    }

    /// What the link does to packets from one router to another, to change it; `None` where there is no link.
    pub fn impairment_mut(&mut self, from: usize, to: usize) -> Option<&mut Impairment> {
        let link = self.link_mut(from, to)?;
        Some(if link.between[0] == from {
            &mut link.forth
        } else {
            &mut link.back
        })
    }

    /// From a moment on and for a span, nothing passes between two routers either way.
    pub fn blackout(&mut self, at: Duration, span: Duration, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.events.push((at, Action::Cut(from, to)));
            self.events.push((at + span, Action::Heal(from, to)));
        }
    }
}

impl SessionPlan {
    /// A session of 1,000 packets, in order, with a deadline of two seconds and windows for 20,000 packets a second.
    #[must_use]
    pub fn new(ingress: usize, places: Vec<Place>) -> SessionPlan {
        SessionPlan {
            config: SessionConfig {
                deadline: Duration::from_secs(2),
                retention: Duration::from_secs(3),
                max_rate_pps: 20_000,
                ..SessionConfig::default()
            },
            ingress,
            places,
            order: Order::Ordered,
            source: Source::default(),
        }
    }

    /// When the source has sent its last packet.
    #[must_use]
    pub fn source_end(&self) -> Duration {
        let source = &self.source;
        let pauses: Duration = source.pauses.iter().map(|pause| pause.1).sum();
        let count = u32::try_from(source.count).unwrap_or(u32::MAX);
        source.start + source.interval * count + pauses
    }
}
