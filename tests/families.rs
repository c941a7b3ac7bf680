//! IPv4 and IPv6: either outside, either inside, and the kernel as the neighbor.

use crate::lab::{Lab, list, number, run, topology};

/// The ways of filling gaps differ, so that each meets packets of IPv6. Both of IPv4 is what all other tests run.
#[test]
fn each_ip_version_goes_inside_each_whatever_links_lose() {
    let combinations = [
        "--outer 6 --inner 6",
        "--outer 4 --inner 6 --fec 8+2",
        "--outer 6 --inner 4 --overlay copy",
    ];
    for combination in combinations {
        let args = format!("{combination} --loss 5% --duration 2s --rate 2kpps");
        let run = run(&topology("quickstart"), &args);
        run.assert_clean();
        let hops = run.last_hops();
        let repaired: u64 = hops.iter().map(|(_, hop)| number(&hop["repaired"])).sum();
        assert!(repaired > 0, "{combination}: nothing was repaired");
    }
}

/// The host's kernel finds the node by neighbor discovery (by ARP over IPv4), on each of its addresses, and is answered.
#[test]
fn the_kernel_finds_nodes_and_is_answered() {
    for version in [4, 6] {
        let args = format!("--outer {version} --inner {version} --loss 0%");
        let lab = Lab::up(&topology("quickstart"), &args);
        let mut hosts = list(&lab.shown["hosts"]).iter();
        let host = hosts.find(|at| at["host"] == "c1").unwrap();
        let gateway = host["gateway"].as_str().unwrap();
        // It may have heard of the node by the node's own solicitation: let it ask itself.
        lab.exec("c1", &["ip", "neigh", "flush", "dev", "eth0"]);
        ping(&lab, gateway);
        let neighbors = lab.exec("c1", &["ip", "neigh", "show", gateway]);
        assert!(neighbors.contains("lladdr"), "{neighbors}");
        if version == 6 {
            let mac = neighbors
                .split_whitespace()
                .skip_while(|word| *word != "lladdr")
                .nth(1);
            ping(&lab, &format!("{}%eth0", link_local(mac.unwrap())));
            // Hosts tell a router from other hosts by its advertisements.
            assert!(neighbors.contains("router"), "{neighbors}");
        }
    }
}

fn ping(lab: &Lab, address: &str) {
    let said = lab.exec("c1", &["ping", "-q", "-c", "20", "-i", "0.02", address]);
    assert!(
        said.contains("20 packets transmitted, 20 received, 0% packet loss"),
        "{said}"
    );
}

/// The address that every IPv6 interface with that Ethernet address has.
fn link_local(mac: &str) -> String {
    let bytes: Vec<u8> = mac
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    let [a, b, c, d, e, f] = bytes[..] else {
        panic!("{mac}")
    };
    let a = a ^ 2;
    format!("fe80::{a:02x}{b:02x}:{c:02x}ff:fe{d:02x}:{e:02x}{f:02x}")
}
