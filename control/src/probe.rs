//! The test source and the test client: plain UDP sockets that number, pace and verify.
//!
//! `treecast send` is any unicast source and `treecast recv` any unicast client: neither knows of treecast. What they
//! add is a verdict. Each payload carries its stream, its number, its time and a checksum over all of it, so the
//! receiver can tell exactly what is missing, came twice, came late or was damaged.

mod payload;
mod pieces;
mod recv;
mod send;
mod verdict;

use std::net::{IpAddr, SocketAddr};

pub use payload::{MAX_LEN, MIN_LEN};
pub use recv::RecvArgs;
pub use send::{SendArgs, SendReport, packets_per_second};
pub use verdict::{LatencyReport, RecvReport};

use crate::cli::{self, Failure};

/// Runs `treecast send`.
pub fn send(args: SendArgs) -> Result<(), Failure> {
    if args.die_with_parent {
        cli::die_with_parent()?;
    }
    send::run(&args)
}

/// Runs `treecast recv`.
pub fn recv(args: RecvArgs) -> Result<(), Failure> {
    if args.die_with_parent {
        cli::die_with_parent()?;
    }
    recv::run(&args)
}

/// Reads a payload, and writes again what it says. For a fuzz target.
///
/// # Panics
/// When another payload says the same.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn fuzz_payload(bytes: &[u8]) {
    let mut sealed = bytes.to_vec();
    payload::fuzz_seal(&mut sealed);
    for bytes in [bytes, &sealed] {
        if let Some(stamp) = payload::parse(bytes) {
            let mut written = vec![0; bytes.len()];
            payload::Writer::new(bytes.len()).write(stamp, &mut written);
            assert_eq!(payload::parse(&written), Some(stamp));
        }
    }
}

/// `ADDR` or `ADDR:PORT`; no port is port 0.
fn parse_local(text: &str) -> Result<SocketAddr, String> {
    text.parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|_| {
            "expected ADDR or ADDR:PORT, such as 10.0.0.2:4000 or [2001:db8::2]:4000".to_string()
        })
}

#[cfg(test)]
pub(crate) use {recv::receive, send::stream};

#[cfg(test)]
mod tests;
