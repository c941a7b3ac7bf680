//! Random scenarios: whatever the protocol has to stand.

use alloc::vec::Vec;
use core::time::Duration;

use super::scenario::{Action, BurstLoss, Impairment, Link, Place, Scenario, SessionPlan, Source};
use crate::{Fec, Mode, Order, SessionConfig};

/// Children a router has at most: the backups' children come on top.
const WIDTH_MAX: usize = 12;
/// When the sources begin: the adjacencies are up by then.
const START: Duration = Duration::from_millis(150);

/// The scenario of a seed: a tree of 2 to 200 routers, small ones more often, with whatever there may be of loss,
/// crashes, modes and late clients.
#[must_use]
pub fn random(seed: u64) -> Scenario {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Log-uniform: as many between 2 and 20 as between 20 and 200.
    let routers = (2.0 * 100f64.powf(rng.f64())) as usize;
    let mut scenario = Scenario::new(seed, routers.clamp(2, 200));
    scenario.replay = alloc::format!("treecast sim --random --seed {seed}");
    scenario.node.hold_down = millis(rng.u64(0..400));
    // The deadline, and some heartbeats more.
    scenario.drain = millis(2200);
    let parents = tree(&mut rng, scenario.routers);
    let two_trees = rng.u8(..5) == 0;
    let second = two_trees.then(|| other_parents(&mut rng, &parents));
    let seldom = rng.u8(..3) == 0;
    for router in 1..scenario.routers {
        let second = second.as_ref().map(|second| second[router]);
        for &parent in parents[router].iter().chain(&second) {
            if scenario.link_mut(parent, router).is_none() {
                let forth = impairment(&mut rng, seldom);
                let back = impairment(&mut rng, seldom);
                scenario.links.push(Link {
                    between: [parent, router],
                    forth,
                    back,
                });
            }
        }
    }
    let session = session(&mut rng, &parents, second.as_deref());
    let last = session.source_end();
    let transit: Vec<usize> = (1..scenario.routers)
        .filter(|router| {
            session
                .places
                .iter()
                .any(|place| place.upstream.contains(router))
        })
        .collect();
    let last_hops = session.places.iter().filter(|place| place.delivers);
    let last_hops: Vec<usize> = last_hops.map(|place| place.router).collect();
    scenario.sessions.push(session);
    disturb(&mut rng, &mut scenario, &transit, last);
    for client in 0..rng.u64(..6) {
        late_client(&mut rng, &mut scenario, &last_hops, client, last);
    }
    scenario
}

fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// For each router its parent, and perhaps backups: never one of those below it.
fn tree(rng: &mut fastrand::Rng, routers: usize) -> Vec<Vec<usize>> {
    let width = rng.usize(1..=WIDTH_MAX);
    // Some trees are chains for the most part, some are flat.
    let reach = rng.usize(1..=routers);
    let mut children = alloc::vec![0; routers];
    let mut parents: Vec<Vec<usize>> = alloc::vec![Vec::new()];
    for router in 1..routers {
        let near = router.saturating_sub(reach)..router;
        let free = near.filter(|&parent| children[parent] < width);
        let free: Vec<usize> = free.collect();
        let parent = if free.is_empty() {
            router - 1
        } else {
            free[rng.usize(..free.len())]
        };
        children[parent] += 1;
        let mut own = alloc::vec![parent];
        for _ in 0..rng.usize(..3) {
            let backup = rng.usize(..router);
            if !own.contains(&backup) && children[backup] < 2 * WIDTH_MAX {
                children[backup] += 1;
                own.push(backup);
            }
        }
        parents.push(own);
    }
    parents
}

/// A second tree: another parent where there is one.
fn other_parents(rng: &mut fastrand::Rng, parents: &[Vec<usize>]) -> Vec<usize> {
    let mut children = alloc::vec![0; parents.len()];
    let mut second = alloc::vec![0];
    for (router, first) in parents.iter().enumerate().skip(1) {
        let mut parent = rng.usize(..router);
        if parent == first[0] || children[parent] >= WIDTH_MAX {
            parent = rng.usize(..router);
        }
        if children[parent] >= WIDTH_MAX {
            parent = router - 1;
        }
        children[parent] += 1;
        second.push(parent);
    }
    second
}

fn impairment(rng: &mut fastrand::Rng, seldom: bool) -> Impairment {
    let delay = Duration::from_micros([100, 1000, 10_000][rng.usize(..3)] + rng.u64(..500));
    let mut way = Impairment::lossy(delay, [0.0, 0.002, 0.02, 0.1][rng.usize(..4)]);
    if seldom {
        return way;
    }
    match rng.u8(..12) {
        0 => way.loss = 0.2,
        1 => way.jitter = delay.mul_f64(rng.f64()),
        2 => way.reorder = 0.1,
        3 => way.duplicate = 0.1,
        4 => {
            way.burst = Some(BurstLoss {
                loss: 0.05,
                mean: 1.0 + 30.0 * rng.f64(),
            });
        }
        5 => {
            // A queue of a few packets at several times the stream's rate.
            way.rate_bps = 400_000_000;
            way.queue_bytes = 30_000;
        }
        _ => {}
    }
    way
}

fn session(
    rng: &mut fastrand::Rng,
    parents: &[Vec<usize>],
    second: Option<&[usize]>,
) -> SessionPlan {
    let inner = |router| {
        let second = second.into_iter().flatten().skip(1);
        parents
            .iter()
            .flatten()
            .chain(second)
            .any(|&parent| parent == router)
    };
    let places = (1..parents.len()).map(|router| Place {
        router,
        upstream: parents[router].clone(),
        second_upstream: second.map(|second| second[router]).into_iter().collect(),
        delivers: !inner(router) || rng.u8(..4) == 0,
    });
    let mut session = SessionPlan::new(0, places.collect());
    let fec = Fec {
        block: rng.u8(2..=32),
        parity: rng.u8(1..=3),
    };
    session.order = [Order::Ordered, Order::Immediate][rng.usize(..2)];
    session.config = SessionConfig {
        mode: [Mode::Pull, Mode::Pull, Mode::Copy, Mode::Auto][rng.usize(..4)],
        fec: (rng.u8(..4) == 0).then_some(fec),
        subcast_threshold: [0, 1, 2, 8][rng.usize(..4)],
        catch_up: millis([0, 0, 50][rng.usize(..3)]),
        deadline: millis(1500),
        retention: millis(2000),
        max_rate_pps: 2000,
        ..session.config
    };
    let count = rng.u64(100..400);
    session.source = Source {
        start: START,
        interval: Duration::from_micros(rng.u64(500..1500)),
        count,
        end: rng.bool(),
        pauses: Vec::from_iter(
            rng.bool()
                .then(|| (rng.u64(1..count), millis(rng.u64(5..300)))),
        ),
        ..Source::default()
    };
    session
}

/// Crashes, cuts and clocks that jump.
fn disturb(rng: &mut fastrand::Rng, scenario: &mut Scenario, transit: &[usize], last: Duration) {
    let window = (last - START).as_millis() as u64;
    let at = START + millis(rng.u64(..=window));
    let link = rng.usize(..scenario.links.len());
    let [one, other] = scenario.links[link].between;
    match rng.u8(..10) {
        0 if !transit.is_empty() => {
            let router = transit[rng.usize(..transit.len())];
            scenario.events.push((at, Action::Kill(router)));
            if rng.bool() {
                let back = at + millis(rng.u64(1..500));
                scenario.events.push((back, Action::Restart(router)));
            }
            scenario.lossless = false;
        }
        1 => {
            let router = rng.usize(..scenario.routers);
            scenario.events.push((at, Action::Restart(router)));
            scenario.lossless = false;
        }
        2 => scenario.blackout(at, millis(rng.u64(1..400)), one, other),
        3 => {
            let back = at + millis(rng.u64(1..400));
            scenario.events.push((at, Action::Cut(one, other)));
            scenario.events.push((back, Action::Heal(one, other)));
        }
        4 => {
            let ahead = millis([1, 30, 400, 5000][rng.usize(..4)]);
            let router = rng.usize(..scenario.routers);
            scenario.events.push((at, Action::ClockJump(router, ahead)));
            // What waits when the clock jumps past its deadline is given up.
            scenario.lossless = false;
        }
        5 => {
            // Beyond the deadline.
            scenario.blackout(at, millis(1800), one, other);
            scenario.lossless = false;
        }
        _ => {}
    }
}

fn late_client(
    rng: &mut fastrand::Rng,
    scenario: &mut Scenario,
    last_hops: &[usize],
    client: u64,
    last: Duration,
) {
    let at = START + millis(rng.u64(..=(last - START).as_millis() as u64));
    let router = last_hops[rng.usize(..last_hops.len())];
    let join = Action::Join {
        session: 0,
        router,
        client,
        catch_up: millis(rng.u64(..500)),
    };
    scenario.events.push((at, join));
    if rng.u8(..4) == 0 {
        let leave = Action::Leave {
            session: 0,
            router,
            client,
        };
        scenario.events.push((at + millis(rng.u64(..20)), leave));
    }
}
