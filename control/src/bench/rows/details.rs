//! Rows that tell of details: other comparators, other devices, what goes on beside forwarding. Nothing is asked of them.

use dataplane::bench::{Role, Wire, Workload};

use super::{
    Against, COPY, COPY_SEGMENTS, Row, SIZES, Subject, TRANSIT, Testpmd, Unit, against, fan_out,
    fan_out_against, last_hop, wire_name, workload,
};

/// Branches of a transit node that has several.
const BRANCHES: u16 = 8;
/// Packets that a parent holds: more than caches do.
const HELD: u32 = 4096;
/// Packets that a NAK asks for where many are lost in a row.
const ASKS: u16 = 64;
/// Shares of what a node can take, in percent.
const LOADS: [(&str, u8); 3] = [("latency-10", 10), ("latency-50", 50), ("latency-90", 90)];

pub(super) fn rows() -> Vec<Row> {
    let mut rows = other_comparators();
    rows.extend(branches());
    rows.extend(other_copies());
    rows.extend(repairs());
    rows.push(gaps());
    rows.extend(LOADS.map(latency));
    rows
}

/// What testpmd and DPDK's multicast sample do otherwise.
fn other_comparators() -> Vec<Row> {
    let io = |name, role| against(("testpmd-io", "io"), name, workload(role, SIZES[0]), None);
    let flowgen = ("testpmd-flowgen", "flowgen", None);
    let mut rows = vec![
        io("transit-1-1", TRANSIT),
        io("lasthop-1-1", last_hop(1)),
        fan_out_against(flowgen, ("fanout-1-4096", 4096), None),
    ];
    for (name, clients) in [("fanout-1-64", 64), ("fanout-1-4096", 4096)] {
        for (comparator, clones) in [
            ("dpdk-multicast-clone", true),
            ("dpdk-multicast-count", false),
        ] {
            let multicast = Subject::Multicast {
                clones,
                outputs: clients,
                size: COPY,
            };
            rows.push(copies(name, fan_out(clients), (comparator, multicast)));
        }
    }
    rows
}

/// A packet of the tree to several ports.
fn branches() -> Vec<Row> {
    let role = Role::Transit { branches: BRANCHES };
    let ours = |wire| {
        Subject::Worker(Workload {
            wire,
            ..workload(role, COPY)
        })
    };
    let kernel = Subject::KernelRoute {
        branches: BRANCHES,
        size: COPY,
    };
    vec![
        Row {
            against: two_segments(),
            ..copies(
                "transit-1-8",
                ours(Wire::Null),
                ("testpmd-txonly-2seg", ours(Wire::Null)),
            )
        },
        copies(
            "transit-1-8",
            ours(Wire::Null),
            ("kernel-multicast-route", kernel),
        ),
        on_ring("transit-1-8", ours),
    ]
}

/// Copies on a ring, and copies that are no chains.
fn other_copies() -> [Row; 2] {
    let fan_out_on = |wire| {
        Subject::Worker(Workload {
            wire,
            ..workload(last_hop(64), COPY)
        })
    };
    let linear = Role::LastHop {
        clients: 64,
        linear: true,
    };
    let linear = Subject::Worker(workload(linear, COPY));
    [
        on_ring("fanout-1-64", fan_out_on),
        copies("fanout-linear", linear, ("self-chained", fan_out(64))),
    ]
}

/// A child asks, for a packet or for many in a row: repairs a second, which for one each is NAKs a second too.
fn repairs() -> [Row; 2] {
    [("naks", 1), ("repairs", ASKS)].map(|(name, asks)| Row {
        name,
        vdev: wire_name(Wire::Ring),
        size: COPY,
        ours: Subject::Worker(Workload {
            wire: Wire::Ring,
            held: HELD,
            ..workload(Role::Parent { asks }, COPY)
        }),
        comparator: "testpmd-txonly-2seg",
        against: two_segments(),
        unit: Unit::Mpps,
        bound: None,
    })
}

/// A gap is opened, asked for and filled, and all is delivered in order; with the packet that showed it.
fn gaps() -> Row {
    Row {
        name: "overlay-gap",
        vdev: "none",
        size: 0,
        ours: Subject::Protocol { loses: true },
        comparator: "self-in-order",
        against: Against::Subject(Subject::Protocol { loses: false }),
        unit: Unit::Ns,
        bound: None,
    }
}

/// Of a last hop with one client: 99 % take less, against the median.
fn latency((name, load_percent): (&'static str, u8)) -> Row {
    let subject = |quantile_percent| Subject::Latency {
        workload: Workload {
            wire: Wire::Ring,
            ..workload(last_hop(1), COPY)
        },
        load_percent,
        quantile_percent,
    };
    Row {
        name,
        vdev: wire_name(Wire::Ring),
        size: COPY,
        ours: subject(99),
        comparator: "self-median",
        against: Against::Subject(subject(50)),
        unit: Unit::Ns,
        bound: None,
    }
}

/// testpmd makes packets of a header and a payload.
fn two_segments() -> Against {
    Against::Testpmd(Testpmd {
        wire: Wire::Null,
        mode: "txonly",
        size: COPY,
        segments: Some(COPY_SEGMENTS),
    })
}

fn on_ring(name: &'static str, ours: impl Fn(Wire) -> Subject) -> Row {
    Row {
        vdev: wire_name(Wire::Ring),
        ..copies(name, ours(Wire::Ring), ("self-on-null", ours(Wire::Null)))
    }
}

fn copies(name: &'static str, ours: Subject, (comparator, theirs): (&'static str, Subject)) -> Row {
    Row {
        name,
        vdev: wire_name(Wire::Null),
        size: COPY,
        ours,
        comparator,
        against: Against::Subject(theirs),
        unit: Unit::Mpps,
        bound: None,
    }
}
