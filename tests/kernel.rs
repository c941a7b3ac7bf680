//! The kernel exception path: what is not treecast's goes to the router's kernel and back, on the same ports.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::lab::{Lab, Running, changed, list, number, succeed, wait_for};

/// The quickstart with a part of each port for the kernel.
fn topology(dir: &Path) -> PathBuf {
    changed(dir, "quickstart", |text| {
        text.replace(
            "[link_defaults]",
            "[node]\nkernel = true\n\n[link_defaults]",
        )
    })
}

/// The address of a host's router on its link.
fn gateway(lab: &Lab, host: &str) -> String {
    let hosts = list(&lab.shown["hosts"]).iter();
    let mut found = hosts.filter(|at| at["host"] == host);
    found.next().unwrap()["gateway"].as_str().unwrap().into()
}

/// What a router's port and its kernel have exchanged: frames to the kernel and from it.
fn exchanged(lab: &Lab, router: &str, port: &str) -> (u64, u64) {
    let ports = lab.get(router, "/v1/ports");
    let of = |at: &Value| {
        (
            number(&at["kernel"]["to_kernel"]),
            number(&at["kernel"]["from_kernel"]),
        )
    };
    let mut ports = list(&ports).iter().filter(|at| at["name"] == port);
    of(ports.next().unwrap())
}

/// Drops of a router for this reason.
fn drops(lab: &Lab, router: &str, reason: &str) -> u64 {
    number(&lab.get(router, "/v1/drops")[reason])
}

/// Waits until somebody in `place` listens on this TCP port.
fn wait_for_listener(lab: &Lab, place: &str, port: u16) {
    let wanted = format!(":{port:04X} 00000000:0000 0A");
    wait_for("a listener", || {
        let sockets = lab.exec(place, &["cat", "/proc/net/tcp"]);
        sockets.contains(&wanted).then_some(())
    });
}

/// Carries `file` from the router to the host by TCP, and checks that it came whole.
fn carry(lab: &Lab, (router, host): (&str, &str), file: &Path) {
    let copy = file.with_extension("copy");
    let from = format!("FILE:{}", file.display());
    let listen = "TCP-LISTEN:2222,reuseaddr";
    let server = lab.start(router, &["socat", "-u", &from, listen]);
    wait_for_listener(lab, router, 2222);
    let connect = format!("TCP:{}:2222", gateway(lab, host));
    let to = format!("CREATE:{}", copy.display());
    lab.exec(host, &["socat", "-u", &connect, &to]);
    succeed(server.finish());
    // Not with `assert_eq`: nobody wants to read megabytes.
    assert!(fs::read(&copy).unwrap() == fs::read(file).unwrap());
}

#[test]
fn the_kernel_answers_ping_and_tcp_while_a_stream_passes_by_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::up(&topology(dir.path()), "--loss 1%");
    let file = dir.path().join("file");
    let mut random = fastrand::Rng::with_seed(8);
    let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..))
        .take(5_000_001)
        .collect();
    fs::write(&file, bytes).unwrap();

    let clients = lab.listen_all();
    let source = lab.send("--rate 5kpps --duration 4s");
    wait_for("the stream", || {
        (number(&lab.session("lh1")["lead"]) > 500).then_some(())
    });
    let router = gateway(&lab, "c1");
    let said = lab.exec("c1", &["ping", "-q", "-c", "50", "-i", "0.01", &router]);
    // Each answered, and once: the kernel does not take them by the port's own interface as well.
    assert!(
        said.contains("50 packets transmitted, 50 received, 0% packet loss"),
        "{said}"
    );
    carry(&lab, ("lh1", "c1"), &file);
    assert!(
        number(&lab.session("lh1")["lead"]) < 20_000,
        "the stream ended too soon"
    );

    let sent = lab.settle(source);
    assert_eq!(sent, 20_000);
    for client in clients {
        client.assert_clean(sent);
    }
    let (to, from) = exchanged(&lab, "lh1", "c1");
    // Acknowledgements one way, segments the other.
    assert!(to > 50 && from > 50 + 5_000_000 / 1500, "{to} {from}");
    // The stream's own packets are not the kernel's business: 20,000 came by this port.
    let (to, from) = exchanged(&lab, "lh1", "core");
    assert!(to < 100 && from < 100, "{to} {from}");
    let shown = lab.exec("lh1", &["ip", "-4", "-o", "address", "show", "tc-c1"]);
    assert!(shown.contains(&format!("{router}/30")), "{shown}");
}

#[test]
fn what_goes_to_the_kernel_is_limited_and_a_storm_leaves_the_way_free() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::up(&topology(dir.path()), "--loss 0%");
    let began = Instant::now();
    let before = exchanged(&lab, "lh1", "c1").0;
    // Multicast of nobody's, far above the rate of 10,000 a second.
    let treecast = env!("CARGO_BIN_EXE_treecast");
    let storm = "send --to 239.77.7.7:9 --rate 60kpps --size 64 --duration 2s";
    let storm: Vec<&str> = [treecast].into_iter().chain(storm.split(' ')).collect();
    let storm = lab.start("c1", &storm);
    wait_for("the storm", || {
        (drops(&lab, "lh1", "kernel_rate") > 1_000).then_some(())
    });
    let router = gateway(&lab, "c1");
    let said = lab.exec("c1", &["ping", "-q", "-c", "20", "-i", "0.01", &router]);
    assert!(said.contains("20 received"), "{said}");
    succeed(storm.finish());
    let taken = exchanged(&lab, "lh1", "c1").0 - before;
    let limit = 10_000.0 * began.elapsed().as_secs_f64();
    // What may come at once, and the pings.
    assert!(taken as f64 <= limit + 300.0, "{taken} of {limit}");
}

/// FRR's daemons in a router's namespace, which end with their `lab exec`.
struct Frr<'l> {
    lab: &'l Lab,
    router: &'static str,
    dir: PathBuf,
    _daemons: [Running; 2],
}

impl Frr<'_> {
    fn start<'l>(
        lab: &'l Lab,
        (router, number): (&'static str, u8),
        peers: &[&str],
        dir: &Path,
    ) -> Frr<'l> {
        let dir = dir.join(router);
        fs::create_dir(&dir).unwrap();
        // The daemons give up root for a user of their own.
        for dir in [dir.as_path(), dir.parent().unwrap()] {
            fs::set_permissions(dir, Permissions::from_mode(0o777)).unwrap();
        }
        let links = peers.iter().map(|peer| {
            // Nobody waits for the election of a designated router.
            format!(
                "interface tc-{peer}\n ip ospf network point-to-point\n ip ospf hello-interval 1\n"
            )
        });
        let conf = format!(
            "hostname {router}\n{}router ospf\n ospf router-id 10.255.0.{number}\n \
             network 10.0.0.0/8 area 0\n timers throttle spf 0 50 50\n",
            links.collect::<String>()
        );
        fs::write(dir.join("ospfd.conf"), conf).unwrap();
        fs::write(dir.join("zebra.conf"), "ip forwarding\n").unwrap();
        let daemon = |name: &str| {
            let program = format!("/usr/lib/frr/{name}");
            assert!(
                Path::new(&program).exists(),
                "{name} is in Debian's package frr"
            );
            let at = |file: &str| dir.join(file).display().to_string();
            let (conf, pid) = (at(&format!("{name}.conf")), at(&format!("{name}.pid")));
            let (zserv, vty) = (at("zserv"), dir.display().to_string());
            let args = [
                "-P",
                "0",
                "-z",
                &zserv,
                "-f",
                &conf,
                "-i",
                &pid,
                "--vty_socket",
                &vty,
            ];
            let daemon = lab.start(router, &[&[program.as_str()], &args[..]].concat());
            let socket = dir.join(format!("{name}.vty"));
            wait_for(name, || socket.exists().then_some(()));
            daemon
        };
        let daemons = [daemon("zebra"), daemon("ospfd")];
        Frr {
            lab,
            router,
            dir,
            _daemons: daemons,
        }
    }

    /// What its OSPF daemon answers.
    fn ask(&self, question: &str) -> String {
        let dir = self.dir.display().to_string();
        let args = ["vtysh", "--vty_socket", &dir, "-d", "ospfd", "-c", question];
        self.lab.exec(self.router, &args)
    }
}

#[test]
fn routers_speak_ospf_over_the_ports_of_the_tree_and_route_by_it() {
    let dir = tempfile::tempdir().unwrap();
    let lab = Lab::up(&topology(dir.path()), "--loss 0%");
    let frr = [
        Frr::start(&lab, ("ing", 1), &["core"], dir.path()),
        Frr::start(&lab, ("core", 2), &["ing", "lh1"], dir.path()),
        Frr::start(&lab, ("lh1", 3), &["core"], dir.path()),
    ];
    for (frr, neighbors) in frr.iter().zip([1, 2, 1]) {
        wait_for(&format!("{} to be adjacent", frr.router), || {
            let said = frr.ask("show ip ospf neighbor");
            (said.matches("Full/").count() == neighbors).then_some(())
        });
    }
    // A host far away, by the routes that OSPF has made: what is no session's is the kernels' to forward.
    let far = lab.clients()[0].clone();
    let (address, _) = far[2].split_once(':').unwrap();
    wait_for("a way to c1", || {
        let ping = lab.start("source", &["ping", "-q", "-c", "1", "-W", "1", address]);
        ping.finish().status.success().then_some(())
    });
    let said = lab.exec("source", &["ping", "-q", "-c", "20", "-i", "0.02", address]);
    assert!(said.contains("20 received, 0% packet loss"), "{said}");
}
