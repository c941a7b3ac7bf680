//! What an operator reads for each way in which values don't go together.

use crate::config::parse;
use crate::config::tests::FULL;

/// What is said about the full file after one edit.
fn said(from: &str, to: &str) -> Vec<String> {
    assert!(FULL.contains(from), "{from}");
    match parse("x", &FULL.replacen(from, to, 1)) {
        Ok(config) => config.warnings,
        Err(errors) => errors.lines(),
    }
}

#[track_caller]
fn expect(from: &str, to: &str, message: &str) {
    let said = said(from, to);
    assert_eq!(said.len(), 1, "{said:#?}");
    assert!(said[0].contains(message), "{said:#?}");
}

#[test]
fn names_and_ids_are_used_once() {
    let twice = said(
        "name = \"down\"
device",
        "name = \"up\"
device",
    );
    assert!(twice[0].contains("two ports are named `up`"), "{twice:#?}");
    let twice = said("name = \"lh1\"", "name = \"ing\"");
    assert!(
        twice[0].contains("two neighbors are named `ing`"),
        "{twice:#?}"
    );
    expect("id = 2", "id = 1", "two sessions have the id 1");
    expect("\"tv2\"", "\"tv1\"", "two sessions are named `tv1`");
    let client = "[[session.client]]\nname = \"c1\"\naddress = \"10.9.1.2:5004\"\n";
    let other = |name: &str, address: &str| {
        format!("{client}[[session.client]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    expect(
        client,
        &other("c1", "10.9.1.3:5004"),
        "two clients of session `tv1` are named `c1`",
    );
    expect(
        client,
        &other("c2", "10.9.1.2:5004"),
        "two clients of session `tv1` have the address 10.9.1.2:5004",
    );
}

#[test]
fn workers_have_a_cpu_each_and_are_there() {
    expect(
        "cpus = [2, 3]",
        "cpus = [2]",
        "workers = 2, and a CPU for 1 of them",
    );
    expect("cpus = [2, 3]", "cpu = 2", "a CPU for 1 of them");
    expect("worker = 1", "worker = 2", "there is no worker 2");
}

#[test]
fn references_lead_somewhere() {
    expect(
        "port = \"down\"",
        "port = \"dwon\"",
        "there is no port `dwon` (did you mean `down`?)",
    );
    expect(
        "downstream = [\"lh1\"]\ndelivery",
        "downstream = [\"lh2\"]\ndelivery",
        "there is no neighbor `lh2` (did you mean `lh1`?)",
    );
}

#[test]
fn a_neighbor_is_on_link_on_its_port() {
    expect(
        "address = \"10.0.2.2\"",
        "address = \"10.0.3.2\"",
        "neighbor `lh1` is not on link: 10.0.3.2 is not in 10.0.2.0/24, the subnet of port `down`",
    );
    expect(
        "port = \"down\"",
        "port = \"up\"",
        "(it is on link on port `down`)",
    );
    expect(
        "address = \"10.0.2.2\"",
        "address = \"10.0.2.1\"",
        "neighbor `lh1` has this node's own address",
    );
    expect(
        "address = \"10.0.2.2\"",
        "address = \"10.0.2.255\"",
        "10.0.2.255 is not the address of a host",
    );
    expect(
        "address = \"10.0.2.2\"\nport = \"down\"",
        "address = \"10.0.1.1\"\nport = \"up\"",
        "two neighbors have the address 10.0.1.1",
    );
}

#[test]
fn a_group_is_multicast_and_not_of_the_link() {
    expect(
        "239.1.0.1",
        "10.1.0.1",
        "10.1.0.1 is not a multicast address",
    );
    expect(
        "239.1.0.1",
        "224.0.0.5",
        "224.0.0.5 is reserved for the link's own control traffic",
    );
    let same_tree = said(
        "\"239.1.0.2\"\nsource = \"10.0.1.2\"",
        "\"239.1.0.1\"\nsource = \"10.0.1.1\"",
    );
    assert!(
        same_tree
            .iter()
            .any(|l| l.contains("two sessions have the same tree (10.0.1.1, 239.1.0.1)")),
        "{same_tree:#?}"
    );
    expect(
        "source = \"10.0.1.1\"\nttl",
        "source = \"239.0.0.1\"\nttl",
        "239.0.0.1 is not the address of a host",
    );
    expect(
        "source = \"10.0.1.2\"",
        "source = \"10.0.1.9\"",
        "10.0.1.9 is not an address of this node",
    );
}

#[test]
fn session_id_zero_is_out_of_range() {
    expect(
        "id = 1",
        "id = 0",
        "`0` is out of range (from 1 to 4294967295)",
    );
}

#[test]
fn a_session_is_matched_at_its_ingress_and_comes_from_upstream_elsewhere() {
    expect(
        "upstream = [\"ing\"]",
        "upstream = [\"ing\"]\nmatch = { destination = \"198.51.100.2:5004\" }",
        "session `tv1` has both `match` and `upstream`",
    );
    let neither = said("upstream = [\"ing\"]\n", "");
    assert!(
        neither
            .iter()
            .any(|l| l.contains("session `tv1` has neither `upstream` nor `match`")),
        "{neither:#?}"
    );
    expect(
        "downstream = [\"lh1\"]\ndelivery",
        "downstream = [\"lh1\", \"lh1\"]\ndelivery",
        "neighbor `lh1` is in this session's tree twice",
    );
}

#[test]
fn a_flow_belongs_to_one_session() {
    let third =
        "[[session]]\nid = 3\nname = \"tv3\"\ngroup = \"239.1.0.3\"\nsource = \"10.0.1.2\"\n";
    let flow = "match = { destination = \"198.51.100.1:5004\", source = \"10.0.2.9\" }\n";
    let again = format!("{third}{flow}[[session]]\nid = 1");
    expect(
        "[[session]]\nid = 1",
        &again,
        "sessions `tv3` and `tv2` match the same packets",
    );
    expect(
        "destination = \"198.51.100.1",
        "destination = \"239.51.100.1",
        "239.51.100.1 is not a unicast address",
    );
}

#[test]
fn at_most_64_downstream_neighbors() {
    let names: Vec<_> = (0..65).map(|i| format!("\"n{i}\"")).collect();
    let list = format!("downstream = [{}]\ndelivery", names.join(", "));
    let said = said("downstream = [\"lh1\"]\ndelivery", &list);
    assert!(
        // The second tree's is one more.
        said.iter()
            .any(|l| l.contains("66 downstream neighbors are too many: 64 at most")),
        "{said:#?}"
    );
}

#[test]
fn ports_are_sane() {
    expect(
        "10.0.2.1/24",
        "10.0.2.0/24",
        "10.0.2.0 is the first or last address of 10.0.2.0/24",
    );
    let one_subnet = said("10.0.2.1/24", "10.0.2.1/16");
    assert!(
        one_subnet[0].contains("ports `up` and `down` are in one subnet, 10.0.0.0/16"),
        "{one_subnet:#?}"
    );
    let loopback = said("10.0.2.1/24", "127.0.0.1/8");
    assert!(
        loopback[0].contains("127.0.0.1 is not the address of a host"),
        "{loopback:#?}"
    );
    expect(
        "\"pci:8a:00.0\"",
        "\"af_packet:eth1\"",
        "two ports share one device",
    );
    expect(
        "gateway = \"10.0.1.1\"",
        "gateway = \"10.0.1.9\"",
        "the gateway 10.0.1.9 is not in 10.0.1.0/30",
    );
    expect(
        "gateway = \"10.0.1.1\"",
        "gateway = \"10.0.1.2\"",
        "the gateway is the port's own address",
    );
    expect(
        "mtu = 1600",
        "mtu = 627",
        "an MTU of 627 leaves 575 bytes for the inner packet",
    );
    assert!(said("mtu = 1600", "mtu = 628").is_empty());
}

#[test]
fn a_node_needs_a_port() {
    let lines = parse("x", "[node]\nname = \"n\"\n").unwrap_err().lines();
    assert_eq!(lines, ["port: there is no port (add a [[port]])"]);
}

#[test]
fn clients_can_be_reached() {
    expect(
        "gateway = \"10.0.1.1\"\n",
        "",
        "client `c1` can't be reached: 10.9.1.2 is on no port's subnet",
    );
    expect(
        "10.9.1.2:5004",
        "10.0.2.1:5004",
        "client `c1` has this node's own address",
    );
    expect(
        "10.9.1.2:5004",
        "239.9.1.2:5004",
        "239.9.1.2 is not the address of a host",
    );
    expect(
        "10.9.1.2:5004",
        "10.9.1.2:0",
        "`10.9.1.2:0` is not an IP address and UDP port",
    );
}

#[test]
fn times_go_together() {
    expect(
        "deadline = \"1500ms\"",
        "deadline = \"4s\"",
        "a gap may wait 4s, but packets are kept for 3s only",
    );
    expect(
        "reorder_delay = \"50us\"",
        "reorder_delay = \"1500ms\"",
        "`1500ms` is out of range (from 0ns to 1s)",
    );
    expect(
        "deadline = \"1500ms\"\nretention = \"3s\"\nreorder_delay = \"50us\"",
        "deadline = \"5ms\"\nreorder_delay = \"5ms\"",
        "gaps would be given up (after 5ms) before they are asked for (after 5ms)",
    );
    expect(
        "hello = \"20ms\"\ndetect_mult = 4",
        "hello = \"1s\"\ndetect_mult = 200",
        "a dead neighbor would be noticed after 200s",
    );
    expect(
        "detect_mult = 4",
        "detect_mult = 1",
        "a single lost hello takes a neighbor down",
    );
    expect(
        "detect_mult = 4",
        "detect_mult = 0",
        "`0` is out of range (from 1 to 255)",
    );
}

#[test]
fn the_udp_ports_differ() {
    expect(
        "tree_port = 7461",
        "tree_port = 7462",
        "the tree and the overlay can't share a UDP port",
    );
}

#[test]
fn the_node_has_room_for_its_sessions() {
    expect(
        "max_sessions = 100",
        "max_sessions = 1",
        "max_sessions is 1, but there are 2 sessions",
    );
    // What the sessions retain alone: 3 s of 20 kpps and 2 s of 25 kpps.
    let retained = 60_000 + 50_000;
    let needed = dataplane::packets_needed(&parse("x", FULL).unwrap().node) - 1000;
    assert!(needed > retained, "{needed}");
    expect(
        "packets = 200000",
        "packets = 100000",
        &format!(
            "100000 packets are too few: ports and sessions (retention times max_rate) need {needed}"
        ),
    );
    assert!(said("packets = 200000", &format!("packets = {needed}")).is_empty());
}

#[test]
fn a_second_tree_fits_the_nodes_place() {
    let below = "second_downstream = [\"lh1\"]";
    expect(
        below,
        "second_downstream = [\"lh2\"]",
        "there is no neighbor `lh2` (did you mean `lh1`?)",
    );
    expect(
        below,
        "second_downstream = [\"core2\"]",
        "neighbor `core2` is in this session's second tree twice",
    );
    expect(
        "second_upstream = [\"core2\"]\n",
        "",
        "session `tv1` passes on a second tree that comes from nowhere",
    );
    expect(
        "second_upstream = [\"core2\"]",
        "second_upstream = [\"ing\"]",
        "both trees of session `tv1` come from `ing`",
    );
    expect(
        "match = { destination",
        "second_upstream = [\"core2\"]\nmatch = { destination",
        "session `tv2` has no upstream, but a second one (an ingress sends both trees",
    );
    // A ring: what is below in one tree is above in the other.
    let ring = "second_upstream = [\"lh1\"]\nsecond_downstream = [\"core2\"]";
    let here = format!("second_upstream = [\"core2\"]\n{below}");
    assert!(said(&here, ring).is_empty());
}

#[test]
fn a_history_is_kept_before_it_is_asked_for() {
    expect(
        "catch_up = \"1s\"",
        "catch_up = \"4s\"",
        "a history of 4s is asked for, but packets are kept for 3s only",
    );
    expect(
        "catch_up = \"500ms\"",
        "catch_up = \"3001ms\"",
        "a history of 3001ms is asked for, but packets are kept for 3s only",
    );
    assert!(said("catch_up = \"500ms\"", "catch_up = \"3s\"").is_empty());
}

#[test]
fn recovery_has_bounds() {
    expect(
        "overlay = \"auto\"",
        "overlay = \"push\"",
        "`push` is not known here (write \"pull\" or \"copy\" or \"auto\")",
    );
    expect(
        "block = 16",
        "block = 129",
        "`129` is out of range (from 1 to 128)",
    );
    expect(
        "parity = 3",
        "parity = 33",
        "`33` is out of range (from 1 to 32)",
    );
    expect(
        "fec = { block = 16, parity = 3 }",
        "fec = { block = 16 }",
        "`parity` is missing (add parity = 2)",
    );
    expect(
        "subcast_threshold = 8",
        "subcast_threshold = 65",
        "`65` is out of range (from 0 to 64)",
    );
    expect(
        "idle_timeout = \"5min\"",
        "idle_timeout = \"500ms\"",
        "`500ms` is out of range (from 1s to 1440min)",
    );
    expect(
        "hold_down = \"2s\"",
        "hold_down = \"1h\"",
        "`h` is not a unit of a duration",
    );
}

#[test]
fn a_written_repair_rate_carries_the_copies() {
    let lh1 = "address = \"10.0.2.2\"\n";
    let rate = |rate: &str| format!("{lh1}repair_rate = \"{rate}\"\n");
    expect(
        lh1,
        &rate("19kpps"),
        "neighbor `lh1` may have 19kpps repairs, but the copies of its sessions need 20kpps (write at least \"40kpps\", \
         or leave repair_rate out: it is then sized from the sessions)",
    );
    assert!(said(lh1, &rate("20kpps")).is_empty());
    // Copies come down: a parent is sent none. The full file gives `ing` 10 kpps.
    assert!(said("overlay = \"auto\"", "overlay = \"copy\"").is_empty());
}

#[test]
fn a_kernel_interface_has_a_name_of_its_own() {
    let kernel = "kernel = \"down\"";
    expect(kernel, "kernel = \"eth1\"", "is the device of a port");
    expect(
        kernel,
        "kernel = \"a/b\"",
        "can't be the name of an interface",
    );
    expect(kernel, "kernel = 1", "true or the name of an interface");
    let twice = said("mtu = 1600", "mtu = 1600\nkernel = \"down\"");
    assert!(
        twice[0].contains("two ports have the kernel interface `down`"),
        "{twice:#?}"
    );
    assert_eq!(said(kernel, "kernel = true"), Vec::<String>::new());
    assert_eq!(said(kernel, "kernel = false"), Vec::<String>::new());
}

/// The full file in IPv6, outside and inside.
fn ipv6() -> String {
    [
        ("\"10.0.1.2/30\"", "[\"10.0.1.2/30\", \"fd00:1::2/64\"]"),
        ("gateway = \"10.0.1.1\"", "gateway = \"fe80::1\""),
        ("\"10.0.2.1/24\"", "\"fd00:2::1/64\""),
        ("address = \"10.0.1.1\"", "address = \"fd00:1::1\""),
        ("address = \"10.0.2.2\"", "address = \"fe80::2\""),
        ("address = \"10.0.2.3\"", "address = \"fd00:2::3\""),
        ("239.1.0.1", "ff3e::8000:1"),
        ("239.1.0.2", "ff3e::8000:2"),
        ("source = \"10.0.1.1\"", "source = \"fd00:1::1\""),
        ("source = \"10.0.1.2\"", "source = \"fd00:1::2\""),
        ("198.51.100.1:5004", "[2001:db8::1]:5004"),
        ("10.0.2.9", "fd00:2::9"),
        ("10.9.1.2:5004", "[2001:db8:9::2]:5004"),
    ]
    .iter()
    .fold(FULL.to_owned(), |text, (four, six)| {
        assert!(text.contains(four), "{four}");
        text.replace(four, six)
    })
}

fn expect6(from: &str, to: &str, message: &str) {
    let text = ipv6();
    assert!(text.contains(from), "{from}");
    let said = match parse("x", &text.replace(from, to)) {
        Ok(config) => config.warnings.iter().map(ToString::to_string).collect(),
        Err(errors) => errors.lines(),
    };
    assert!(said.iter().any(|line| line.contains(message)), "{said:#?}");
}

#[test]
fn all_addresses_may_be_of_ipv6() {
    let config = parse("x", &ipv6()).unwrap_or_else(|errors| panic!("{:#?}", errors.lines()));
    let port = &config.node.ports[0];
    assert_eq!(port.addresses.len(), 2);
    assert!(port.is_on_link("fd00:1::99".parse().unwrap()));
}

#[test]
fn addresses_of_ipv6_are_sane() {
    expect6(
        "fd00:2::1/64",
        "fd00:2::/64",
        "fd00:2:: is the first or last address of fd00:2::/64",
    );
    expect6(
        "fd00:2::1/64",
        "fd00:1::9/48",
        "ports `up` and `down` are in one subnet, fd00:1::/48",
    );
    expect6(
        "\"10.0.1.2/30\", \"fd00:1::2/64\"",
        "\"fd00:3::2/64\", \"fd00:1::2/64\"",
        "the port has two IPv6 addresses",
    );
    expect6("\"fd00:2::1/64\"", "[]", "the list is empty");
    expect6(
        "gateway = \"fe80::1\"",
        "gateway = [\"fe80::1\", \"fe80::3\"]",
        "the port has two IPv6 gateways",
    );
    expect6(
        "address = \"fd00:2::3\"",
        "address = \"fd00:3::3\"",
        "neighbor `core2` is not on link: fd00:3::3 is not in fd00:2::/64, the subnet of port `down`",
    );
    expect6(
        "address = \"fd00:2::3\"",
        "address = \"10.0.2.3\"",
        "10.0.2.3 is not in a subnet of port `down`, which has no IPv4 address",
    );
    expect6(
        "mtu = 1600",
        "mtu = 1279",
        "an MTU of 1279 is less than the 1280 that IPv6 demands of a link",
    );
    expect6(
        "[2001:db8:9::2]:5004",
        "[fe80::7]:5004",
        "fe80::7 is good on one link alone, and nobody says on which",
    );
    expect6(
        "[2001:db8::1]:5004",
        "[fe80::7]:5004",
        "fe80::7 is good on one link alone, and packets to it are not forwarded",
    );
}

#[test]
fn groups_of_ipv6_reach_beyond_a_link() {
    expect6(
        "ff3e::8000:1",
        "fd00::1",
        "fd00::1 is not a multicast address",
    );
    expect6(
        "ff3e::8000:1",
        "ff02::8000:1",
        "ff02::8000:1 has a scope that no router passes on (use one of ff3e::8000:0/97",
    );
}

#[test]
fn what_belongs_together_is_of_one_ip_version() {
    expect6(
        "ff3e::8000:1",
        "239.1.0.1",
        "the group is an IPv4 address, the source fd00:1::1 an IPv6 one",
    );
    expect6(
        "source = \"fd00:2::9\"",
        "source = \"10.0.2.9\"",
        "the source is an IPv4 address, the destination an IPv6 one",
    );
    let client =
        "downstream = [\"lh1\"]\n[[session.client]]\nname = \"c4\"\naddress = \"10.0.1.1:5004\"\n";
    let last = "match = { destination = \"[2001:db8::1]:5004\", source = \"fd00:2::9\" }\n";
    expect6(
        &format!("{last}downstream = [\"lh1\"]\n"),
        &format!("{last}{client}"),
        "the packets of session `tv2` are IPv6, and 10.0.1.1 is an IPv4 address",
    );
    expect6(
        "[[session.client]]",
        "[[session.client]]\nname = \"c0\"\naddress = \"10.0.1.1:5004\"\n[[session.client]]",
        "the packets of session `tv1` are IPv4, and 2001:db8:9::2 is an IPv6 address",
    );
}

#[test]
fn the_tree_takes_what_ipv6_sources_count_on() {
    let narrow = "address = \"fd00:2::1/64\"\nmtu = 1351";
    expect6(
        "address = \"fd00:2::1/64\"",
        narrow,
        "port `down` leaves 1279 bytes for packets of session `tv2`; 1280 is the least that IPv6 allows to count on \
         (the outer headers take 72 bytes, and parity some more: write mtu = 1352 or more)",
    );
    let wide = ipv6().replace(
        "address = \"fd00:2::1/64\"",
        &narrow.replace("1351", "1352"),
    );
    assert!(parse("x", &wide).is_ok());
}
