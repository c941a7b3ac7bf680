//! What a worker must keep under load, with real devices. DPDK starts once in a process, so each test has one of its own.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use overlay::SessionId;

use super::*;
use crate::Dataplane;
use crate::config::SessionConfig;
use crate::snapshot::Snapshot;

/// Longest that anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the ignored test of that name in a process of its own.
fn run_apart(name: &str) {
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", &format!("bench::rig::tests::{name}")]);
    let ran = test.args(["--ignored", "--nocapture"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
    println!("{said}");
}

/// What the node says of itself, while the worker turns.
fn snapshot(dataplane: &Dataplane, worker: &mut Worker) -> Snapshot {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| dataplane.snapshot());
        while !asked.is_finished() {
            worker.turn::<true>();
        }
        asked.join().unwrap()
    })
}

#[test]
fn buffers_balance_after_partial_transmission() {
    run_apart("transmit_partially");
}

/// Frames sent.
const FRAMES: u64 = 10_000_000;
/// The other port out.
const OUT2: PortIndex = PortIndex(2);

/// A node that does everything at once: a last hop that has branches too, a transit node that sends packets on where they
/// lie, an ingress. Copies for one of the ports are linear.
fn everything() -> (crate::config::NodeConfig, [Generator; 2]) {
    let mac = Mac([0; 6]);
    let tree = Workload {
        role: Role::Transit { branches: 2 },
        wire: Wire::Ring,
        size: 256,
        sessions: 3,
        held: 64,
        switches: true,
    };
    let last_hop = Role::LastHop {
        clients: 64,
        linear: false,
    };
    let of = |role| node(&Workload { role, ..tree }, None).sessions;
    let mut config = node(&tree, None);
    let mut ingress = of(Role::Ingress).remove(2);
    ingress.flow = of(Role::Ingress)[0].flow;
    config.sessions[0].clients = of(last_hop)[0].clients.clone();
    config.sessions[1].downstream.truncate(1);
    config.sessions[2] = ingress;
    let fed = [(tree.role, 2), (Role::Ingress, 1)];
    let generators = fed.map(|(role, sessions)| {
        let workload = Workload {
            role,
            sessions,
            ..tree
        };
        Generator::new(&workload, mac)
    });
    (config, generators)
}

#[test]
#[ignore = "in a process of its own, by the test above"]
fn transmit_partially() {
    let (config, [mut tree, mut flow]) = everything();
    let (dataplane, mut workers, eal) = build(&config).unwrap().split().unwrap();
    let mut worker = workers.remove(0);
    let _registration = eal.register_thread().unwrap();
    for port in [IN, OUT, OUT2] {
        worker.find_next_hop(port, beyond(port).into(), STATION);
    }
    worker.forbid_chains(OUT2);
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut turns, mut partial) = (0, 0);
    while worker.sent(OUT) + worker.sent(OUT2) < FRAMES {
        put(&mut worker, IN, rng.u64(..=16), |mbuf| tree.write(mbuf));
        put(&mut worker, IN, rng.u64(..=8), |mbuf| flow.write(mbuf));
        worker.turn::<true>();
        for port in [OUT, OUT2] {
            partial += u64::from(worker.waiting(port) > 0);
            (0..rng.u64(..=4)).for_each(|_| worker.discard_some(port));
        }
        turns += 1;
    }
    println!("{FRAMES} frames in {turns} turns; {partial} times a ring took only a part");
    assert!(partial > turns / 4, "{partial} of {turns}");
    let mut turn = || {
        worker.turn::<true>();
        for port in [IN, OUT, OUT2] {
            worker.discard(port);
        }
        [IN, OUT, OUT2].iter().any(|&port| worker.waiting(port) > 0)
    };
    std::thread::scope(|scope| {
        let (dataplane, ids) = (&dataplane, [1, 2, 3].map(SessionId));
        let removed = scope.spawn(move || dataplane.remove_sessions(&ids).unwrap());
        while !removed.is_finished() {
            turn();
        }
    });
    while turn() {}
    let pools = worker.pools();
    for pool in [&pools.packets, &pools.headers] {
        assert_eq!(pool.in_use(), 0, "{}", pool.name());
        // One that was freed twice would be there twice.
        let all: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
        let places: HashSet<_> = all.iter().map(|mbuf| mbuf.data().as_ptr()).collect();
        assert_eq!((all.len(), places.len()), (pool.size(), pool.size()));
    }
}

#[test]
fn a_table_swapped_a_thousand_times_a_second_loses_nothing() {
    run_apart("swap_tables");
}

/// Clients of a table, and those of them that the other table has not.
const CLIENTS: u16 = 4096;
const OTHERS: usize = 64;
const SWAPS: u64 = 1000;
const SWAP_INTERVAL: Duration = Duration::from_millis(1);
/// Share of what the worker can take.
const LOAD: f64 = 0.9;
/// Packets that may wait for the worker: half of what a ring and a window hold.
const WAITING: u64 = 512;

/// The time that this thread has had a core: what else the machine does is no load of the worker's.
fn core_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// Swaps the tables, each time that the worker's time says so.
fn swap_when_due(dataplane: &Dataplane, tables: [SessionConfig; 2], worker_us: &AtomicU64) {
    let interval_us = SWAP_INTERVAL.as_micros() as u64;
    for swap in 1..=SWAPS {
        while worker_us.load(Ordering::Relaxed) < swap * interval_us {
            std::thread::yield_now();
        }
        let table = tables[swap as usize % 2].clone();
        dataplane.update_session(table).unwrap();
    }
}

#[test]
#[ignore = "in a process of its own, by the test above"]
fn swap_tables() {
    let workload = Workload {
        role: Role::LastHop {
            clients: CLIENTS + OTHERS as u16,
            linear: false,
        },
        wire: Wire::Null,
        size: 1400,
        sessions: 1,
        held: 2 * WAITING as u32,
        switches: true,
    };
    let mut rig = Rig::new(workload, None).unwrap();
    let most = rig.run(Duration::from_millis(300)).unwrap();
    let ns_per_packet = most.ns as f64 / most.packets as f64 * f64::from(CLIENTS);
    let interval = Duration::from_nanos((ns_per_packet / LOAD) as u64);
    let all = node(&workload, None).sessions.remove(0);
    let [mut first, mut second] = [all.clone(), all];
    first.clients.truncate(CLIENTS.into());
    second.clients.drain(..OTHERS);
    let stays = |name: &str| {
        first.clients[OTHERS..]
            .iter()
            .any(|client| client.name == name)
    };

    let Rig {
        built,
        mut generator,
        ..
    } = rig;
    let (dataplane, mut workers, _eal) = built.split().unwrap();
    let mut worker = workers.remove(0);
    let before = snapshot(&dataplane, &mut worker).sessions[0].delivered;
    let (sent_before, worker_us) = (worker.sent(OUT), AtomicU64::new(0));
    let (mut fed, mut held_up) = (0, 0);
    let tables = [first.clone(), second];
    let started = core_time();
    std::thread::scope(|scope| {
        let swapping = scope.spawn(|| swap_when_due(&dataplane, tables, &worker_us));
        while !swapping.is_finished() {
            let now = core_time() - started;
            worker_us.store(now.as_micros() as u64, Ordering::Relaxed);
            let done = (worker.sent(OUT) - sent_before) / u64::from(CLIENTS);
            if now >= interval * fed as u32 {
                if fed < done + WAITING {
                    put(&mut worker, IN, 1, |mbuf| generator.write(mbuf));
                    fed += 1;
                } else {
                    held_up += 1;
                }
            }
            worker.turn::<true>();
        }
        swapping.join().unwrap();
    });
    let took = core_time() - started;
    let deadline = Instant::now() + PATIENCE;
    let said = loop {
        let said = snapshot(&dataplane, &mut worker);
        let session = &said.sessions[0];
        if session.delivered == before + fed {
            // The last one may still be on its way to some.
            worker.turn::<true>();
            break snapshot(&dataplane, &mut worker);
        }
        assert!(Instant::now() < deadline, "{} of {fed}", session.delivered);
    };
    let copies = worker.sent(OUT) - sent_before;
    println!(
        "{SWAPS} swaps of {CLIENTS} clients and {copies} copies in {took:?} of a core, {:.0} % of what it can make; \
         held up {held_up} times",
        copies as f64 / most.packets as f64 * most.ns as f64 / took.as_nanos() as f64 * 100.0
    );
    // Every packet once to everybody who was there all the time, and nothing dropped.
    let session = &said.sessions[0];
    // Who comes or goes while a packet goes round may miss it.
    let least = u64::from(CLIENTS) - OTHERS as u64;
    assert!((fed * least..=fed * u64::from(CLIENTS)).contains(&copies));
    for client in session
        .clients
        .iter()
        .filter(|client| stays(&client.client))
    {
        let counted = (client.packets, client.dropped);
        assert_eq!(counted, (before + fed, 0), "{}", client.client);
    }
    let lost = [session.unrecovered, session.undelivered, session.in_flight];
    assert_eq!(lost, [0; 3]);
    // What the node says to the ring comes back to it.
    let dropped = said.drops.iter().filter(|(_, count)| **count > 0);
    let mut reasons = dropped.map(|(reason, _)| *reason);
    assert!(reasons.all(|reason| ["arp_bad", "not_for_us"].contains(&reason)));
}
