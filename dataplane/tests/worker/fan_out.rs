//! What the clients of large sessions get. The stations verify the checksums of every copy.

use std::collections::BTreeMap;
use std::time::Instant;

use dataplane::{ClientConfig, SessionConfig};
use overlay::SessionId;

use crate::station::Datagram;
use crate::stream::payload;
use crate::{Bench, PATIENCE, client, session};

/// UDP port of the first client.
const FIRST_PORT: u16 = 6000;
/// Around what the node does at once: a vector, a chunk, a turn's copies, several turns'.
const COUNTS: [u16; 12] = [31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 4095, 4096, 4097];
/// Clients of a session whose copies take more than one turn.
const MANY: u16 = 1500;
/// Changes of the table, each with a packet before it.
const CHANGES: u16 = 16;

fn clients(ports: impl IntoIterator<Item = u16>) -> Vec<ClientConfig> {
    ports.into_iter().map(client).collect()
}

/// The sequences that each client had, by its port, in the order in which they came; once those at `ports` had `last`.
fn had(bench: &mut Bench, ports: &[u16], last: u64) -> BTreeMap<u16, Vec<u64>> {
    let deadline = Instant::now() + PATIENCE;
    let sequence = |came: &Datagram| {
        let sequence = u64::from_be_bytes(*came.payload.first_chunk()?);
        assert!(came.payload == payload(sequence), "as it was sent");
        (came.port >= FIRST_PORT).then_some((came.port, sequence))
    };
    loop {
        bench.host.pump();
        let mut had: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for (port, sequence) in bench.host.all(sequence) {
            had.entry(port).or_default().push(sequence);
        }
        let had_last = |port: &u16| had.get(port).is_some_and(|had| had.contains(&last));
        if ports.iter().all(had_last) {
            return had;
        }
        assert!(Instant::now() < deadline, "not all copies came");
    }
}

pub(crate) fn each_client_gets_each_packet_once_however_many_there_are(bench: &mut Bench) {
    for count in COUNTS {
        let ports = FIRST_PORT..FIRST_PORT + count;
        let config = SessionConfig {
            clients: clients(ports.clone()),
            ..session(20)
        };
        let stream = bench.begin(&config);
        bench.send_data(&stream, [1, 2]);
        let said = bench.until_session(20, "all copies are sent", |said| {
            said.clients.iter().all(|client| client.packets == 2)
        });
        assert!(said.clients.iter().all(|client| client.dropped == 0));
        let had = had(bench, &Vec::from_iter(ports.clone()), 2);
        assert!(had.keys().copied().eq(ports), "{count} clients");
        assert!(had.values().all(|had| had == &[1, 2]), "{count} clients");
        bench.node.remove_session(SessionId(20)).unwrap();
    }
}

/// The table changes while packets go out to it, most of the time with some copies of one sent and others not.
pub(crate) fn a_table_changes_in_the_middle_of_a_packet(bench: &mut Bench) {
    let mut config = SessionConfig {
        clients: clients(FIRST_PORT..FIRST_PORT + MANY),
        ..session(21)
    };
    let stream = bench.begin(&config);
    let last = u64::from(CHANGES) + 1;
    for change in 0..CHANGES {
        bench.send_data(&stream, [u64::from(change) + 1]);
        bench.until_session(21, "the packet is there", |said| {
            said.lead == u64::from(change) + 1
        });
        // One goes, from anywhere in the list, and one comes.
        let place = usize::from(change) * usize::from(MANY / CHANGES);
        config.clients.remove(place);
        config.clients.extend(clients([FIRST_PORT + MANY + change]));
        bench.node.update_session(config.clone()).unwrap();
    }
    bench.send_data(&stream, [last]);
    let newest = FIRST_PORT + MANY..FIRST_PORT + MANY + CHANGES;
    bench.until_session(21, "those that stay have all", |said| {
        let stay = |client: &&dataplane::ClientSnapshot| client.packets > 0;
        let each = said.clients.iter().filter(stay);
        each.count() == usize::from(MANY) && said.delivered == last
    });
    let ports = Vec::from_iter(config.clients.iter().map(|client| client.port));
    for (port, had) in had(bench, &ports, last) {
        let (first, end) = (had[0], *had.last().unwrap());
        assert!(had.iter().copied().eq(first..=end), "{port} had {had:?}");
        if newest.contains(&port) {
            // All that was sent after it was there, and nothing from before.
            assert_eq!((first, end), (u64::from(port - newest.start) + 2, last));
        } else if ports.contains(&port) {
            assert_eq!((first, end), (1, last), "{port}");
        } else {
            assert_eq!(first, 1, "{port}");
        }
    }
    bench.node.remove_session(SessionId(21)).unwrap();
}
