//! Buffers and ports against the real DPDK, without hugepages: `net_null`, `net_ring`, and `net_af_packet` over a veth
//! pair in a network namespace of the test's own.
//!
//! Every case must leave the pools as it found them: a buffer that leaked or was freed twice shows there.

// A test in all but the attribute, which would bring threads.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use dataplane::{
    Burst, Device, Eal, EalConfig, EalError, Frame, Mbuf, PayloadMeta, Pool, Port, PortError,
    RxQueue, SharedPayload, TxBuffer, data_room, memory_mb, vdev_for,
};

const MTU: u16 = 1600;
const PACKETS: usize = 4096;
const HEADERS: usize = 2048;

#[path = "worker/namespace.rs"]
mod namespace;

use namespace::{enter_namespace, run};

type Case = (&'static str, fn(&mut Bench));

struct Link {
    port: Port,
    rx: RxQueue,
    tx: TxBuffer,
}

struct Bench {
    packets: Pool,
    headers: Pool,
    null: Link,
    ring: Link,
    left: Link,
    right: Link,
    /// Only where the kernel lets this user load XDP programs.
    xdp: Option<XdpPair>,
}

/// An AF_XDP port, its peer, and a pool of their own: the driver keeps buffers ready to receive into.
struct XdpPair {
    xdp: Link,
    peer: Link,
    pool: Pool,
}

fn main() {
    let root = enter_namespace();
    run(
        "ip",
        "link add left mtu 1600 type veth peer name right mtu 1600",
    );
    run(
        "ip",
        "link add upper mtu 1600 type veth peer name lower mtu 1600",
    );
    for interface in ["left", "right", "upper", "lower"] {
        // The kernel's own frames (IPv6 neighbor discovery) would mix with the test's.
        run("ip", &format!("link set {interface} addrgenmode none"));
        run("ip", &format!("link set {interface} up"));
    }
    let mut bench = bench(root);
    let cases: [Case; 13] = [
        ("devices_are_described", devices_are_described),
        (
            "buffers_grow_and_shrink_within_their_room",
            buffers_grow_and_shrink_within_their_room,
        ),
        ("null_receives_and_swallows", null_receives_and_swallows),
        (
            "chained_frames_cross_a_ring_as_linear_ones",
            chained_frames_cross_a_ring_as_linear_ones,
        ),
        (
            "what_a_full_ring_refuses_stays_owned",
            what_a_full_ring_refuses_stays_owned,
        ),
        (
            "an_empty_pool_gives_none_and_recovers",
            an_empty_pool_gives_none_and_recovers,
        ),
        (
            "receive_without_a_buffer_drops_and_counts",
            receive_without_a_buffer_drops_and_counts,
        ),
        (
            "veth_carries_chained_and_linear_frames",
            veth_carries_chained_and_linear_frames,
        ),
        (
            "one_payload_goes_out_on_two_ports",
            one_payload_goes_out_on_two_ports,
        ),
        (
            "oversize_frames_are_dropped_and_counted",
            oversize_frames_are_dropped_and_counted,
        ),
        ("a_dead_link_loses_no_buffer", a_dead_link_loses_no_buffer),
        ("a_long_run_leaks_nothing", a_long_run_leaks_nothing),
        ("af_xdp_carries_linear_frames", af_xdp_carries_linear_frames),
    ];
    for (name, case) in cases {
        let before = (bench.packets.in_use(), bench.headers.in_use());
        case(&mut bench);
        let after = (bench.packets.in_use(), bench.headers.in_use());
        assert_eq!(before, after, "{name}: buffers in use before and after");
        println!("test {name} ... ok");
    }
}

fn bench(root: bool) -> Bench {
    let mut devices = vec![
        ("null", ""),
        ("ring", "loop"),
        ("af_packet", "left"),
        ("af_packet", "right"),
    ];
    if root {
        devices.extend([("af_xdp", "upper"), ("af_packet", "lower")]);
    }
    let devices: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(index, (kind, rest))| Device::Vdev(vdev_for(kind, rest, index, MTU, 1).unwrap()))
        .collect();
    let room = devices
        .iter()
        .map(|device| data_room(device, MTU))
        .max()
        .unwrap();
    let memory = memory_mb(&[(PACKETS, room), (PACKETS, room), (HEADERS, 256)]);
    let eal = Eal::start(&EalConfig::default(), "test", &devices, memory).unwrap();
    let again = Eal::start(&EalConfig::default(), "test", &devices, memory);
    assert!(matches!(again, Err(EalError::AlreadyStarted)));
    let packets = Pool::new(&eal, "packets", PACKETS, room).unwrap();
    let headers = Pool::new(&eal, "headers", HEADERS, 256).unwrap();
    let open = |index: usize, pool: &Pool| {
        let (port, rx, tx) = Port::open("test", &devices[index], MTU, pool).unwrap();
        Link { port, rx, tx }
    };
    let (null, ring) = (open(0, &packets), open(1, &packets));
    let (left, right) = (open(2, &packets), open(3, &packets));
    let xdp = root.then(|| {
        let pool = Pool::new(&eal, "xdp", PACKETS, room).unwrap();
        XdpPair {
            xdp: open(4, &pool),
            peer: open(5, &pool),
            pool,
        }
    });
    let missing = Port::open("none", &Device::Vdev("net_null9".into()), MTU, &packets);
    assert!(matches!(missing, Err(PortError::NoDevice { .. })));
    Bench {
        packets,
        headers,
        null,
        ring,
        left,
        right,
        xdp,
    }
}

impl Bench {
    /// A payload with a recognisable pattern, and 28 bytes of headers before it.
    fn payload(&self, len: usize, seed: u8) -> SharedPayload {
        let mut mbuf = self.packets.alloc().unwrap();
        mbuf.append(28).unwrap().fill(seed);
        for (i, byte) in mbuf.append(len).unwrap().iter_mut().enumerate() {
            *byte = (i as u8).wrapping_mul(7).wrapping_add(seed);
        }
        mbuf.trim_front(28);
        mbuf.share(PayloadMeta {
            ingress_ns: u64::from(seed),
            inner_header_len: 28,
        })
    }

    fn header(&self, seed: u8) -> Mbuf {
        let mut bytes = [seed; 42];
        bytes[..6].fill(0xff);
        bytes[12..14].copy_from_slice(&[0x88, 0xb5]);
        self.headers.copy(&bytes).unwrap()
    }

    fn expected(&self, payload: &SharedPayload, seed: u8) -> Vec<u8> {
        [self.header(seed).data(), payload.data()].concat()
    }
}

impl Link {
    fn send(&mut self, frame: Frame) {
        assert!(self.tx.push(frame).is_ok());
        assert_eq!(self.tx.flush(), 1);
    }

    fn receive(&mut self) -> Mbuf {
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut burst = Burst::<1>::new();
        while self.rx.recv(&mut burst) == 0 {
            assert!(Instant::now() < deadline, "nothing came in 5 s");
        }
        burst.next().unwrap()
    }

    fn drain(&mut self) -> usize {
        let mut burst = Burst::<32>::new();
        let mut total = 0;
        while self.rx.recv(&mut burst) > 0 {
            total += burst.by_ref().count();
        }
        total
    }
}

fn devices_are_described(bench: &mut Bench) {
    assert_eq!(bench.null.port.driver(), "net_null");
    assert_eq!(bench.ring.port.driver(), "net_ring");
    assert_eq!(bench.left.port.driver(), "net_af_packet");
    assert!(bench.left.port.chained());
    assert!(bench.left.port.link().unwrap().up);
    assert_ne!(bench.left.port.mac(), bench.right.port.mac());
}

fn buffers_grow_and_shrink_within_their_room(bench: &mut Bench) {
    let mut mbuf = bench.packets.copy(b"payload").unwrap();
    assert_eq!(mbuf.headroom(), usize::from(dataplane::HEADROOM));
    mbuf.prepend(4).unwrap().copy_from_slice(b"head");
    mbuf.append(4).unwrap().copy_from_slice(b"tail");
    assert_eq!(mbuf.data(), b"headpayloadtail");
    mbuf.trim_front(4);
    mbuf.trim_back_to(7);
    assert_eq!(mbuf.data(), b"payload");
    assert!(mbuf.prepend(mbuf.headroom() + 1).is_none());
    assert!(mbuf.append(mbuf.tailroom() + 1).is_none());
    assert_eq!(mbuf.data(), b"payload");
    let shared = mbuf.share(PayloadMeta {
        ingress_ns: 5,
        inner_header_len: 4,
    });
    assert_eq!(shared.headers(), b"head");
    assert_eq!(
        shared.clone().meta(),
        PayloadMeta {
            ingress_ns: 5,
            inner_header_len: 4
        }
    );
    assert!(bench.packets.copy(&[0; 4000]).is_none());
}

fn null_receives_and_swallows(bench: &mut Bench) {
    let mut burst = Burst::<32>::new();
    assert_eq!(bench.null.rx.recv(&mut burst), 32);
    assert_eq!(
        bench.null.rx.recv(&mut burst),
        0,
        "a full burst has no room"
    );
    let sent: usize = burst
        .by_ref()
        .take(10)
        .map(|mbuf| bench.null.tx.push(mbuf.into()).is_ok() as usize)
        .sum();
    assert_eq!(bench.null.tx.flush(), sent);
    assert_eq!(burst.len(), 22);
}

fn chained_frames_cross_a_ring_as_linear_ones(bench: &mut Bench) {
    let payload = bench.payload(1316, 3);
    for seed in 0..100 {
        let expected = bench.expected(&payload, seed);
        bench
            .ring
            .send(Frame::chain(bench.header(seed), &payload).unwrap());
        let mut received = bench.ring.receive();
        assert_eq!(received.data(), expected);
        // A copy of its own: writing to it must not reach the payload.
        received.data_mut().fill(0);
    }
    assert_eq!(payload.data(), bench.payload(1316, 3).data());
    assert_eq!(bench.ring.rx.counters().copied, 100);
}

fn what_a_full_ring_refuses_stays_owned(bench: &mut Bench) {
    let payload = bench.payload(200, 4);
    let mut sent = 0;
    while bench.ring.tx.fruitless() < 3 {
        while bench.ring.tx.room() > 0 && bench.headers.in_use() < HEADERS {
            let header = bench.header(1);
            assert!(
                bench
                    .ring
                    .tx
                    .push(Frame::chain(header, &payload).unwrap())
                    .is_ok()
            );
        }
        sent += bench.ring.tx.flush();
    }
    let kept = bench.ring.tx.len();
    assert!(sent > 500 && kept > 64, "sent {sent}, kept {kept}");
    let refused = bench
        .ring
        .tx
        .push(Frame::chain(bench.header(2), &payload).unwrap());
    assert!(refused.is_err());
    drop(refused);
    let received = bench.ring.drain();
    assert_eq!(received, sent);
    assert_eq!(
        bench.ring.tx.flush(),
        kept,
        "the rest goes once there is room"
    );
    assert_eq!(bench.ring.drain(), kept);
    for _ in 0..100 {
        assert!(
            bench
                .ring
                .tx
                .push(Frame::chain(bench.header(1), &payload).unwrap())
                .is_ok()
        );
    }
    assert_eq!(bench.ring.tx.drop_all(), 100);
    assert_eq!(bench.ring.tx.counters().dropped, 100);
}

fn an_empty_pool_gives_none_and_recovers(bench: &mut Bench) {
    let mut taken = Vec::new();
    while let Some(mbuf) = bench.headers.alloc() {
        taken.push(mbuf);
    }
    assert_eq!(bench.headers.in_use(), HEADERS);
    assert!(!bench.headers.alloc_bulk(&mut taken, 8));
    assert_eq!(taken.len(), HEADERS);
    assert!(bench.headers.copy(b"x").is_none());
    taken.truncate(HEADERS - 1);
    assert!(!bench.headers.alloc_bulk(&mut taken, 2), "all or none");
    assert!(bench.headers.alloc_bulk(&mut taken, 1));
}

fn receive_without_a_buffer_drops_and_counts(bench: &mut Bench) {
    let payload = bench.payload(100, 5);
    bench
        .ring
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    let taken: Vec<_> = std::iter::from_fn(|| bench.packets.alloc()).collect();
    let before = bench.ring.rx.counters().no_buffer;
    assert_eq!(bench.ring.drain(), 0);
    assert_eq!(bench.ring.rx.counters().no_buffer, before + 1);
    drop(taken);
    bench
        .ring
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    assert_eq!(bench.ring.drain(), 1);
}

fn veth_carries_chained_and_linear_frames(bench: &mut Bench) {
    for len in [18, 1316, 1472, 1600 - 28] {
        let payload = bench.payload(len, len as u8);
        let expected = bench.expected(&payload, 9);
        bench
            .left
            .send(Frame::chain(bench.header(9), &payload).unwrap());
        assert_eq!(
            bench.right.receive().data(),
            expected,
            "chained, {len} bytes"
        );
        let linear = Frame::linear(bench.header(9), &payload, &bench.packets).unwrap();
        bench.right.send(linear);
        assert_eq!(bench.left.receive().data(), expected, "linear, {len} bytes");
    }
}

fn one_payload_goes_out_on_two_ports(bench: &mut Bench) {
    let payload = bench.payload(1000, 6);
    let expected = bench.expected(&payload, 1);
    bench
        .left
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    bench
        .ring
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    bench
        .null
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    drop(payload);
    assert_eq!(bench.right.receive().data(), expected);
    assert_eq!(bench.ring.receive().data(), expected);
}

fn oversize_frames_are_dropped_and_counted(bench: &mut Bench) {
    let payload = bench.payload(1600, 7);
    assert!(
        bench
            .left
            .tx
            .push(Frame::chain(bench.header(1), &payload).unwrap())
            .is_ok()
    );
    assert_eq!(bench.left.tx.flush(), 0);
    assert_eq!(bench.left.tx.counters().oversize, 1);
    // Longer than the interface takes, though not than the port: the kernel drops it, and what follows must still go.
    let payload = bench.payload(1600 - 28 + 4, 7);
    bench
        .left
        .send(Frame::chain(bench.header(1), &payload).unwrap());
    let payload = bench.payload(100, 8);
    bench
        .left
        .send(Frame::chain(bench.header(2), &payload).unwrap());
    let mut received = bench.right.receive();
    if received.len() > 200 {
        received = bench.right.receive();
    }
    assert_eq!(received.data(), bench.expected(&payload, 2));
}

fn a_dead_link_loses_no_buffer(bench: &mut Bench) {
    let payload = bench.payload(100, 8);
    run("ip", "link set left down");
    let deadline = Instant::now() + Duration::from_secs(5);
    while bench.left.port.link().unwrap().up {
        assert!(
            Instant::now() < deadline,
            "the link is down and the port does not say so"
        );
    }
    // More than the kernel's ring holds.
    for _ in 0..3000 {
        let _ = bench
            .left
            .tx
            .push(Frame::chain(bench.header(1), &payload).unwrap());
        bench.left.tx.flush();
    }
    bench.left.tx.drop_all();
    run("ip", "link set left up");
    let deadline = Instant::now() + Duration::from_secs(5);
    let expected = bench.expected(&payload, 2);
    // What the ring held comes first.
    loop {
        assert!(
            Instant::now() < deadline,
            "the link is up and nothing passes"
        );
        let _ = bench
            .left
            .tx
            .push(Frame::chain(bench.header(2), &payload).unwrap());
        bench.left.tx.flush();
        let mut burst = Burst::<32>::new();
        bench.right.rx.recv(&mut burst);
        if burst.any(|mbuf| mbuf.data() == expected) {
            break;
        }
    }
    bench.left.tx.drop_all();
    std::thread::sleep(Duration::from_millis(50));
    bench.right.drain();
}

fn a_long_run_leaks_nothing(bench: &mut Bench) {
    let payload = bench.payload(1316, 9);
    let mut received = 0;
    for round in 0..2000_usize {
        for i in 0..24 {
            let link = if i % 3 == 0 {
                &mut bench.ring
            } else {
                &mut bench.left
            };
            if let Some(header) = bench.headers.copy(&[0xff; 42]) {
                let _ = link.tx.push(Frame::chain(header, &payload).unwrap());
            }
        }
        bench.ring.tx.flush();
        bench.left.tx.flush();
        // Now and then the receivers fall behind.
        if round % 64 > 40 {
            received += bench.ring.drain() + bench.right.drain();
        }
    }
    for _ in 0..10 {
        bench.left.tx.flush();
        bench.ring.tx.flush();
        received += bench.ring.drain() + bench.right.drain();
    }
    bench.left.tx.drop_all();
    bench.ring.tx.drop_all();
    received += bench.ring.drain() + bench.right.drain();
    assert!(received > 20_000, "{received} received");
}

fn af_xdp_carries_linear_frames(bench: &mut Bench) {
    let Some(mut pair) = bench.xdp.take() else {
        println!("test af_xdp_carries_linear_frames ... NOT RUN: only root may load XDP programs");
        return;
    };
    assert_eq!(pair.xdp.port.driver(), "net_af_xdp");
    assert!(!pair.xdp.port.chained());
    let start = pair.pool.in_use();
    // More than the pool holds, so that every buffer of it has been in the kernel's hands.
    for round in 0..2 * PACKETS {
        let payload = bench.payload([58, 1316, 1600 - 28][round % 3], round as u8);
        let expected = bench.expected(&payload, 9);
        let frame = Frame::linear(bench.header(9), &payload, &pair.pool).unwrap();
        pair.xdp.send(frame);
        assert_eq!(pair.peer.receive().data(), expected);
        pair.peer
            .send(Frame::chain(bench.header(9), &payload).unwrap());
        assert_eq!(pair.xdp.receive().data(), expected);
    }
    assert!(
        pair.pool.in_use() <= start + 2 * 64,
        "{} in use, {start} before",
        pair.pool.in_use()
    );
}
