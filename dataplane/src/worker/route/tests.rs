use std::time::Duration;

use super::*;
use crate::client::ClientEntry;
use crate::worker::{Client, ClientKey};
use overlay::SessionId;
use std::net::Ipv4Addr;

use crate::fec::Record;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const LOCAL: Local = Local {
    mac: MAC,
    ipv4: None,
    ipv6: None,
    tree_port: 7451,
    overlay_port: 7452,
    verify_payload: true,
};

fn route(fec: Option<Fec>, ports: &[RoutePort]) -> Route {
    let config = SessionConfig {
        id: SessionId(1),
        name: "tv1".into(),
        group: Ipv4Addr::new(239, 1, 0, 1).into(),
        source: Ipv4Addr::new(10, 0, 1, 1).into(),
        ttl: 16,
        upstream: Vec::new(),
        downstream: Vec::new(),
        flow: None,
        delivery: Delivery::Ordered,
        deadline: Duration::from_secs(1),
        retention: Duration::from_secs(2),
        reorder_delay: Duration::ZERO,
        max_rate_pps: 1000,
        second_upstream: Vec::new(),
        second_downstream: Vec::new(),
        mode: overlay::Mode::Pull,
        fec,
        subcast_threshold: 0,
        catch_up: Duration::ZERO,
        idle_timeout: Duration::from_secs(600),
        worker: None,
        clients: Vec::new(),
    };
    let channel = Addresses::new(config.source, config.group).unwrap();
    Route::new(&config, channel, PerTree::default(), ports, [7451, 7452])
}

/// Clients of these keys, each with how much it catches up.
fn clients<const N: usize>(keys: [(u64, u64); N]) -> Clients {
    let mut clients = Clients::with_capacity(N);
    for (key, catch_up_ms) in keys {
        let address = Ipv4Addr::new(10, 9, 1, key as u8).into();
        let client = Client {
            key: ClientKey(key),
            from: Seq(0),
            next_hop: address,
            catch_up: Duration::from_millis(catch_up_ms),
        };
        clients.push(client, ClientEntry::new(address, 5004, PortIndex(0), MAC));
    }
    clients
}

/// Puts clients in the place of others, and returns those.
fn replace(route: &mut Route, fresh: Clients, from: u64) -> Clients {
    route.clients.replace(fresh, Seq(from), |_, _| Some(MAC))
}

#[test]
fn a_client_that_joined_late_gets_all_of_the_next_epoch() {
    let mut route = route(None, &[]);
    route.follow_epoch(Some(Epoch(1)));
    replace(&mut route, clients([(1, 0)]), 1);
    replace(&mut route, clients([(1, 0), (2, 0)]), 50_000);
    route.follow_epoch(Some(Epoch(1)));
    let from = |route: &Route| Vec::from_iter(route.clients.iter().map(|(client, _)| client.from));
    assert_eq!(from(&route), [Seq(1), Seq(50_000)]);
    route.follow_epoch(Some(Epoch(2)));
    assert_eq!(from(&route), [Seq(0), Seq(0)]);
}

#[test]
fn a_client_that_catches_up_is_not_served_with_the_others_whatever_the_epoch() {
    let mut route = route(None, &[]);
    let late = (2, 500);
    replace(&mut route, clients([(1, 0), late]), 9);
    route.follow_epoch(Some(Epoch(2)));
    let caught = |route: &Route| {
        let clients = route.clients.iter();
        Vec::from_iter(clients.map(|(client, _)| client.is_catching_up()))
    };
    assert_eq!(caught(&route), [false, true]);
    assert!(!route.clients.all_take(Seq(1_000_000)));
    replace(&mut route, clients([(1, 0), late, (3, 0)]), 9);
    assert_eq!(
        caught(&route),
        [false, true, false],
        "it stays, and goes on"
    );
    assert!(route.clients.serve_from(ClientKey(2), Seq(12)));
    let takes_all = |seq| route.clients.all_take(Seq(seq));
    assert_eq!((takes_all(11), takes_all(12)), (false, true));
    replace(&mut route, clients([(1, 0), late]), 50);
    assert_eq!(
        route.clients.iter().nth(1).map(|(client, _)| client.from),
        Some(Seq(12)),
        "it is not caught up anew"
    );
    assert!(route.clients.entry_mut(ClientKey(3)).is_none());
}

#[test]
fn each_tree_has_its_branches_and_the_narrowest_of_all_limits_packets() {
    let port = |mtu| RoutePort {
        local: LOCAL,
        mtu,
        mtu_max: mtu,
    };
    let ports = [port(1600), port(1500), port(576)];
    let mut route = route(None, &ports);
    route.set_branches(|tree| match tree {
        Tree::First => vec![PortIndex(0)].into_iter(),
        Tree::Second => vec![PortIndex(0), PortIndex(1), PortIndex(7)].into_iter(),
    });
    let active = |route: &Route| Vec::from_iter(route.branches.iter().map(|branch| branch.active));
    let expected = [(true, true), (false, true), (false, false)];
    assert_eq!(active(&route), expected.map(|(a, b)| PerTree([a, b])));
    assert_eq!((route.inner_max, route.has_second), (1448, true));
    route.set_mtu(PortIndex(0), 1400);
    assert_eq!(route.inner_max, 1348, "the other one is the narrower now");
    route.set_mtu(PortIndex(2), 600);
    assert_eq!(route.inner_max, 1348, "nothing goes that way");
    route.set_mtu(PortIndex(0), 1600);
    assert_eq!(route.inner_max, 1448);
    route.set_mtu(PortIndex(2), 576);
    route.set_branches(|tree| {
        let first = (tree == Tree::First).then_some(PortIndex(2));
        first.into_iter()
    });
    assert_eq!((route.inner_max, route.has_second), (524, false));
    route.set_branches(|_| None.into_iter());
    assert_eq!(route.inner_max, u16::MAX);
}

#[test]
fn parity_takes_its_share_of_the_mtu() {
    let fec = Some(Fec {
        block: 32,
        parity: 2,
    });
    let mut route = route(
        fec,
        &[RoutePort {
            local: LOCAL,
            mtu: 1500,
            mtu_max: 1600,
        }],
    );
    route.set_branches(|_| Some(PortIndex(0)).into_iter());
    assert_eq!(route.inner_max, 1434);
    route.set_mtu(PortIndex(0), 1600);
    assert_eq!(route.inner_max, 1534);
    let parity = route.parity.as_mut().unwrap();
    let packet = [0; 1534];
    let record = || Record {
        timestamp: 0,
        packet: [&packet[..], &[]],
    };
    let coded = parity.codec.encode(2, [record(), record()].into_iter());
    assert_eq!(coded, Ok(()), "it is made for the widest that may come");
}

#[test]
fn only_next_hops_that_are_new_or_gone_are_looked_up() {
    let mut route = route(None, &[]);
    replace(&mut route, clients([(1, 0), (2, 0), (3, 0)]), 1);
    // One of them moves to another next hop.
    let moved = IpAddr::from([10, 9, 1, 77]);
    let mut fresh = Clients::with_capacity(3);
    for (client, entry) in clients([(1, 0), (3, 0), (4, 0)]).iter() {
        let mut client = client.clone();
        if client.key == ClientKey(3) {
            client.next_hop = moved;
        }
        fresh.push(client, entry.clone());
    }
    let mut asked = Vec::new();
    let old = route.clients.replace(fresh, Seq(5), |_, next_hop| {
        asked.push(next_hop);
        Some(MAC)
    });
    let hop = |host| Ipv4Addr::new(10, 9, 1, host);
    assert_eq!(asked, [moved, hop(4).into()]);
    let gone = old
        .leavers(&route.clients)
        .map(|(client, _)| client.next_hop);
    assert_eq!(Vec::from_iter(gone), [hop(2), hop(3)]);
    assert!(route.clients.all_take(Seq(5)), "all are resolved");
}
