//! The rows of the table: what is measured, against what, and what must hold.

mod details;

use dataplane::bench::{Role, Wire, Workload};
use serde::{Deserialize, Serialize};

/// Something that this program measures, in a process of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Subject {
    /// A worker on its ports.
    Worker(Workload),
    /// A worker on rings: at that share of what it can take, that quantile of its latency.
    Latency {
        workload: Workload,
        load_percent: u8,
        quantile_percent: u8,
    },
    /// The protocol alone; where the tree `loses`, every other packet comes as a repair.
    Protocol { loses: bool },
    /// The kernel, sending each of `clients` a datagram with one `sendmmsg`, in frames of `size` bytes.
    Kernel { clients: u16, size: u16 },
    /// The kernel, routing a group to so many interfaces.
    KernelRoute { branches: u16, size: u16 },
    /// DPDK's `ipv4_multicast` approach: with indirect buffers, or with counted references.
    Multicast {
        clones: bool,
        outputs: u16,
        size: u16,
    },
}

/// A run of testpmd.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Testpmd {
    pub(super) wire: Wire,
    /// Its forwarding mode.
    pub(super) mode: &'static str,
    /// Bytes of each frame.
    pub(super) size: u16,
    /// Bytes of each segment, of frames that it makes itself.
    pub(super) segments: Option<&'static str>,
}

/// What a row is compared with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Against {
    Testpmd(Testpmd),
    Subject(Subject),
    /// A number of nanoseconds.
    Limit(f64),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// Packets per second, in millions: more is better.
    Mpps,
    /// Nanoseconds for each packet: less is better.
    Ns,
}

impl Unit {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Unit::Mpps => "Mpps",
            Unit::Ns => "ns",
        }
    }
}

/// A row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) vdev: &'static str,
    pub(super) size: u16,
    pub(super) ours: Subject,
    pub(super) comparator: &'static str,
    pub(super) against: Against,
    pub(super) unit: Unit,
    /// The ratio that must be reached, or, of nanoseconds, not passed; `None` where the row only tells.
    pub(super) bound: Option<f64>,
}

impl Row {
    /// The row's name, told apart from its other sizes and devices.
    pub(super) fn label(&self) -> String {
        format!("{} ({}, {} bytes)", self.name, self.vdev, self.size)
    }
}

/// Packets that a session keeps at the least: what one without retention keeps.
const HELD_LEAST: u32 = 64;
/// Packets that a session keeps in the row with retention.
const HELD_LARGE: u32 = 65_536;
/// Sizes of frames: the smallest, a usual one, and one of a video stream.
const SIZES: [u16; 3] = [64, 256, 1400];
/// Copies are of a video stream.
const COPY: u16 = 1400;
/// Header and payload of a copy, as segments.
const COPY_SEGMENTS: &str = "42,1358";
/// Sessions of the rows that must be flat: few, some, and as many as memory holds of these.
const FEW_SESSIONS: u32 = 10;
const SOME_SESSIONS: u32 = 1_000;
const MANY_SESSIONS: [u32; 2] = [100_000, 10_000];
/// Memory that a session takes with the 64 buffers that it keeps of the smallest frames.
const SESSION_BYTES: u64 = 64 << 10;

/// The rows of these names, or all; without names a quick run leaves out those that tell of details.
pub(super) fn select(names: &[String], is_quick: bool) -> Result<Vec<Row>, String> {
    let mut rows = first();
    if !is_quick || !names.is_empty() {
        rows.extend(details::rows());
    }
    let mut known: Vec<_> = rows.iter().map(|row| row.name).collect();
    known.sort_unstable();
    known.dedup();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        let known = known.join(", ");
        return Err(format!("there is no row {unknown}; rows: {known}"));
    }
    let wanted = |row: &Row| names.is_empty() || names.iter().any(|name| name == row.name);
    Ok(rows.into_iter().filter(wanted).collect())
}

/// The rows that something is asked of, and what tells the most beside them.
fn first() -> Vec<Row> {
    let mut rows = one_to_one();
    let txonly = ("testpmd-txonly-2seg", "txonly", Some(COPY_SEGMENTS));
    let flowgen = ("testpmd-flowgen", "flowgen", None);
    rows.push(fan_out_against(txonly, ("fanout-1-64", 64), Some(1.2)));
    rows.push(fan_out_against(flowgen, ("fanout-1-64", 64), None));
    rows.push(fan_out_against(txonly, ("fanout-1-4096", 4096), Some(1.2)));
    rows.push(Row {
        name: "fanout-flat",
        vdev: "null",
        size: COPY,
        ours: fan_out(4096),
        comparator: "self-1-64",
        against: Against::Subject(fan_out(64)),
        unit: Unit::Ns,
        bound: Some(1.10),
    });
    rows.push(Row {
        name: "fanout-vs-kernel",
        vdev: "null",
        size: COPY,
        ours: fan_out(64),
        comparator: "kernel-sendmmsg",
        against: Against::Subject(Subject::Kernel {
            clients: 64,
            size: COPY,
        }),
        unit: Unit::Mpps,
        bound: Some(30.0),
    });
    rows.push(flat_sessions(SOME_SESSIONS));
    rows.push(flat_sessions(sessions_that_fit()));
    rows.push(off_cost());
    rows.push(Row {
        name: "overlay-inorder",
        vdev: "none",
        size: 0,
        ours: Subject::Protocol { loses: false },
        comparator: "limit-25-ns",
        against: Against::Limit(25.0),
        unit: Unit::Ns,
        bound: Some(1.0),
    });
    rows
}

/// One frame in, one frame out, in each role.
fn one_to_one() -> Vec<Row> {
    let roles = [
        ("encap", Role::Ingress, HELD_LEAST, 0.85),
        ("encap-retention", Role::Ingress, HELD_LARGE, 0.40),
        ("transit-1-1", TRANSIT, HELD_LEAST, 0.60),
        ("lasthop-1-1", last_hop(1), HELD_LEAST, 0.50),
    ];
    let mut rows = Vec::new();
    for (name, role, held, bound) in roles {
        for wire in [Wire::Null, Wire::Ring] {
            for size in SIZES {
                let workload = Workload {
                    wire,
                    held,
                    ..workload(role, size)
                };
                // On a ring testpmd passes on pointers, and takes and frees no buffer: that only tells.
                let bound = (wire == Wire::Null).then_some(bound);
                rows.push(against(
                    ("testpmd-macswap", "macswap"),
                    name,
                    workload,
                    bound,
                ));
            }
        }
    }
    let io = ("testpmd-io", "io");
    rows.push(against(
        io,
        "encap",
        workload(Role::Ingress, SIZES[0]),
        None,
    ));
    rows
}

/// One branch.
const TRANSIT: Role = Role::Transit { branches: 1 };

/// A last hop as devices that can chain have it.
const fn last_hop(clients: u16) -> Role {
    Role::LastHop {
        clients,
        linear: false,
    }
}

/// One session on `net_null` that keeps as little as it may.
const fn workload(role: Role, size: u16) -> Workload {
    Workload {
        role,
        wire: Wire::Null,
        size,
        sessions: 1,
        held: HELD_LEAST,
        switches: true,
    }
}

/// testpmd forwards as well: `macswap` reads and writes the Ethernet header of each packet, `io` nothing.
fn against(
    (comparator, mode): (&'static str, &'static str),
    name: &'static str,
    workload: Workload,
    bound: Option<f64>,
) -> Row {
    Row {
        name,
        vdev: wire_name(workload.wire),
        size: workload.size,
        comparator,
        against: Against::Testpmd(Testpmd {
            wire: workload.wire,
            mode,
            size: workload.size,
            segments: None,
        }),
        ours: Subject::Worker(workload),
        unit: Unit::Mpps,
        bound,
    }
}

/// testpmd makes packets: `txonly` of two segments, as a fan-out does, `flowgen` of one.
fn fan_out_against(
    (comparator, mode, segments): (&'static str, &'static str, Option<&'static str>),
    (name, clients): (&'static str, u16),
    bound: Option<f64>,
) -> Row {
    Row {
        name,
        vdev: "null",
        size: COPY,
        ours: fan_out(clients),
        comparator,
        against: Against::Testpmd(Testpmd {
            wire: Wire::Null,
            mode,
            size: COPY,
            segments,
        }),
        unit: Unit::Mpps,
        bound,
    }
}

fn fan_out(clients: u16) -> Subject {
    Subject::Worker(workload(last_hop(clients), COPY))
}

fn sessions_that_fit() -> u32 {
    let fits = |count: &u32| u64::from(*count) * SESSION_BYTES < memory_available() / 2;
    MANY_SESSIONS
        .into_iter()
        .find(fits)
        .unwrap_or(SOME_SESSIONS)
}

fn flat_sessions(many: u32) -> Row {
    let sessions = |sessions| {
        Subject::Worker(Workload {
            sessions,
            ..workload(Role::Ingress, SIZES[0])
        })
    };
    Row {
        name: "sessions-flat",
        vdev: "null",
        size: SIZES[0],
        ours: sessions(many),
        comparator: match many {
            100_000 => "self-10-to-100000",
            10_000 => "self-10-to-10000",
            _ => "self-10-to-1000",
        },
        against: Against::Subject(sessions(FEW_SESSIONS)),
        unit: Unit::Ns,
        bound: Some(2.0),
    }
}

/// What can be switched on costs nothing while it is off: the worker against one that has none of it.
fn off_cost() -> Row {
    let subject = |switches| {
        Subject::Worker(Workload {
            switches,
            ..workload(TRANSIT, SIZES[0])
        })
    };
    Row {
        name: "off-cost",
        vdev: "null",
        size: SIZES[0],
        ours: subject(true),
        comparator: "self-without-switches",
        against: Against::Subject(subject(false)),
        unit: Unit::Mpps,
        bound: Some(0.99),
    }
}

const fn wire_name(wire: Wire) -> &'static str {
    match wire {
        Wire::Null => "null",
        Wire::Ring => "ring",
    }
}

/// Memory that may be taken, in bytes; nothing where the kernel does not say.
fn memory_available() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut words = info
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .unwrap_or_default()
        .split_whitespace();
    let kib: u64 = words.next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
    kib << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_selected_by_name() {
        let names = ["encap", "overlay-inorder"].map(String::from);
        let rows = select(&names, true).unwrap();
        assert!(rows.iter().all(|row| names.contains(&row.name.to_owned())));
        assert_eq!(
            rows.last().unwrap().ours,
            Subject::Protocol { loses: false }
        );
        assert!(select(&["none".to_owned()], true).is_err());
        let (quick, all) = (select(&[], true).unwrap(), select(&[], false).unwrap());
        assert!(rows.len() < quick.len() && quick.len() < all.len());
    }

    #[test]
    fn a_subject_survives_the_command_line() {
        for row in select(&[], false).unwrap() {
            let text = serde_json::to_string(&row.ours).unwrap();
            assert_eq!(serde_json::from_str::<Subject>(&text).unwrap(), row.ours);
        }
    }
}
