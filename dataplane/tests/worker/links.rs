//! What a node does when its links change.

use std::process::Command;
use std::time::Instant;

use dataplane::{EventKind, PortError, PortSnapshot};
use overlay::wire::Kind;
use overlay::{Seq, SessionId};

use crate::cases::{Case, FIRST, GROUP_FLOW, ingress, of_overlay, of_tree};
use crate::namespace::run;
use crate::stream::{Stream, payload};
use crate::{Bench, KERNEL_INTERFACE, MTU, PATIENCE};

/// All of them, in order.
pub(crate) const CASES: [Case; 2] = [
    (
        "what_is_for_a_port_that_is_down_ends_there_at_once",
        what_is_for_a_port_that_is_down_ends_there_at_once,
    ),
    (
        "packets_keep_to_the_mtu_of_their_ports_as_it_changes",
        packets_keep_to_the_mtu_of_their_ports_as_it_changes,
    ),
];

/// The port of the children, as its interface is called.
const PORT: &str = "downlink";

impl Bench {
    /// Has the node look at its links until it says so much of the children's.
    fn follow(&self, expected: &[EventKind]) {
        let deadline = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        while said.len() < expected.len() {
            assert!(Instant::now() < deadline, "{expected:?}, but {said:?}");
            said.extend(self.node.follow_links().into_iter().map(|event| event.kind));
        }
        assert_eq!(said, expected);
        assert_eq!(self.node.follow_links().len(), 0, "nothing is said twice");
        // Workers do in order what they are told: when they have answered they have followed.
        self.node.snapshot();
    }

    fn port(&self) -> PortSnapshot {
        let ports = self.node.snapshot().ports;
        ports.into_iter().find(|port| port.name == PORT).unwrap()
    }
}

fn link(up: bool) -> EventKind {
    EventKind::PortLink {
        name: PORT.into(),
        up,
    }
}

fn mtu(mtu: u16, configured: u16) -> EventKind {
    EventKind::PortMtu {
        name: PORT.into(),
        mtu,
        configured,
    }
}

fn what_is_for_a_port_that_is_down_ends_there_at_once(bench: &mut Bench) {
    let config = ingress(10);
    bench.begin(&config);
    bench.follow(&[]);
    bench.host.send_flow(GROUP_FLOW, &payload(1));
    let data = bench
        .child
        .expect("the stream", |came| of_tree(came, Kind::Data));
    let stream = Stream {
        epoch: data.0.epoch,
        ..Stream::of(&config)
    };
    // First the other end goes, which takes the carrier, then the port's own interface.
    for (downs, interface) in [(1, "child"), (2, PORT)] {
        run("ip", &format!("link set {interface} down"));
        bench.follow(&[link(false)]);
        let before = bench.node.snapshot();
        let lead = before.sessions[0].sent;
        for sequence in lead + 1..=lead + 40 {
            bench.host.send_flow(GROUP_FLOW, &payload(sequence));
        }
        let after = bench.until_session(10, "all are taken", |said| said.sent == lead + 40);
        assert_eq!(after.sent, after.lead);
        let dropped = |reason| bench.node.snapshot().drops[reason] - before.drops[reason];
        assert!(dropped("port_down") >= 40, "hellos end there too");
        assert_eq!(dropped("tx_full"), 0);
        let port = bench.port();
        assert_eq!((port.link_up, port.downs), (false, downs));
        assert!(port.tx_dropped >= before.ports[2].tx_dropped + 40);
        run("ip", &format!("link set {interface} up"));
        bench.follow(&[link(true)]);
        assert!(bench.port().link_up);
        // What was for the tree is still held for those who ask.
        let ask = stream.ask(Kind::Nak, lead + 1, 40);
        bench.child.send_overlay(FIRST, &ask);
        bench.child.expect("the last repair", |came| {
            of_overlay(came, Kind::Repair).filter(|sent| sent.0.sequence == Seq(lead + 40))
        });
        let repairs = bench.child.all(|came| of_overlay(came, Kind::Repair));
        assert_eq!(repairs.len(), 39);
        bench.child.forget();
    }
    bench.node.remove_session(SessionId(10)).unwrap();
}

fn packets_keep_to_the_mtu_of_their_ports_as_it_changes(bench: &mut Bench) {
    const LONG: usize = 1400;
    bench.begin(&ingress(11));
    let is_long = |came: &crate::station::Datagram| {
        of_tree(came, Kind::Data).filter(|(_, body)| body.len() > LONG)
    };
    let passes = |bench: &mut Bench| {
        bench.host.send_flow(GROUP_FLOW, &[7; LONG]);
        bench.child.expect("a long packet", is_long);
    };
    let is_too_big = |bench: &mut Bench| {
        let before = bench.drops("too_big");
        bench.host.send_flow(GROUP_FLOW, &[7; LONG]);
        bench.until("it is too big", |said| said.drops["too_big"] == before + 1);
        assert_eq!(bench.child.all(is_long).len(), 0);
    };
    let set = |bench: &Bench, mtu: u16| bench.node.set_mtus(&[(PORT.into(), mtu)]);
    passes(bench);

    // The operator narrows the interface.
    run("ip", &format!("link set {PORT} mtu 1400"));
    bench.follow(&[mtu(1400, MTU)]);
    let port = bench.port();
    assert_eq!((port.mtu, port.configured_mtu), (1400, MTU));
    is_too_big(bench);
    let refused = set(bench, 1500).unwrap_err().to_string();
    assert!(refused.contains("ip link set"), "{refused}");
    run("ip", &format!("link set {PORT} mtu {MTU}"));
    bench.follow(&[mtu(MTU, MTU)]);
    // The worker answers this when it has followed.
    assert_eq!(bench.port().mtu, MTU);
    passes(bench);

    // The configuration narrows the port, for sessions that come later as well.
    let said = set(bench, 1200).unwrap();
    let said = Vec::from_iter(said.into_iter().map(|event| event.kind));
    assert_eq!(said, [mtu(1200, 1200)]);
    is_too_big(bench);
    bench.node.remove_session(SessionId(11)).unwrap();
    bench.begin(&ingress(12));
    is_too_big(bench);

    // So does the kernel interface of a port that has one.
    for wanted in [1300, MTU] {
        bench.node.set_mtus(&[("edge".into(), wanted)]).unwrap();
        let show = ["-o", "link", "show", "dev", KERNEL_INTERFACE];
        let said = Command::new("ip").args(show).output().unwrap();
        let said = String::from_utf8(said.stdout).unwrap();
        assert!(said.contains(&format!(" mtu {wanted} ")), "{said}");
    }

    // What does not fit the buffers changes nothing, of no port.
    let wider = [(PORT.into(), MTU), ("uplink".into(), 9000)];
    let refused = bench.node.set_mtus(&wider).unwrap_err();
    assert!(
        matches!(
            &refused,
            dataplane::CommandError::Port(PortError::Buffers { port, mtu: 9000, max })
                if port == "uplink" && (MTU..MTU + 64).contains(max)
        ),
        "{refused}"
    );
    is_too_big(bench);
    set(bench, MTU).unwrap();
    passes(bench);
    bench.node.remove_session(SessionId(12)).unwrap();
}
