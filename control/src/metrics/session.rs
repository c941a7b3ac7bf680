//! The metrics of sessions and their clients.

use dataplane::{ClientSnapshot, SessionSnapshot};

use super::family::{Families, Field, Labels};

/// The values of [`SessionSnapshot::mode`].
const OVERLAY_MODES: [&str; 3] = ["pull", "copy", "auto"];

/// Adds the metrics of the sessions.
pub(super) fn add(families: &mut Families, sessions: &[SessionSnapshot]) {
    add_balance(families, sessions);
    add_repairing(families, sessions);
    add_parity_and_history(families, sessions);
    add_mode(families, sessions);
    add_clients(families, sessions);
}

fn session_labels(session: &SessionSnapshot) -> Labels {
    vec![
        ("session", session.session.to_string()),
        ("name", session.name.clone()),
    ]
}

/// The balance, and what is kept.
fn add_balance(families: &mut Families, sessions: &[SessionSnapshot]) {
    const COUNTERS: [Field<SessionSnapshot>; 13] = [
        (
            "treecast_session_sent_packets_total",
            "Packets that the ingress has sent since this node joined.",
            |session| session.sent as f64,
        ),
        (
            "treecast_session_tree_packets_total",
            "Packets that came by a tree.",
            |session| session.tree as f64,
        ),
        (
            "treecast_session_second_tree_packets_total",
            "Packets of the tree that the second tree brought first.",
            |session| session.second_tree as f64,
        ),
        (
            "treecast_session_repaired_packets_total",
            "Packets that came otherwise first: as repairs or copies, or rebuilt from parity.",
            |session| session.repaired as f64,
        ),
        (
            "treecast_session_copied_packets_total",
            "Repaired packets that came as copies, before anybody asked.",
            |session| session.copied as f64,
        ),
        (
            "treecast_session_rebuilt_packets_total",
            "Repaired packets that were rebuilt from parity, without asking.",
            |session| session.rebuilt as f64,
        ),
        (
            "treecast_session_unrecovered_packets_total",
            "Packets given up when their deadline passed.",
            |session| session.unrecovered as f64,
        ),
        (
            "treecast_session_duplicate_packets_total",
            "Packets that came again.",
            |session| session.duplicates as f64,
        ),
        (
            "treecast_session_delivered_packets_total",
            "Packets passed on to the clients, each counted once however many clients there are.",
            |session| session.delivered as f64,
        ),
        (
            "treecast_session_undelivered_packets_total",
            "Packets held that went before they could be delivered.",
            |session| session.undelivered as f64,
        ),
        (
            "treecast_session_backfilled_packets_total",
            "Repairs from before the node joined, fetched for a child.",
            |session| session.backfilled as f64,
        ),
        (
            "treecast_session_evicted_packets_total",
            "Packets dropped from retention before their time, for lack of room.",
            |session| session.evicted_early as f64,
        ),
        (
            "treecast_session_resyncs_total",
            "Jumps of the sequence beyond the window that were followed.",
            |session| session.resyncs as f64,
        ),
    ];
    const GAUGES: [Field<SessionSnapshot>; 4] = [
        (
            "treecast_session_in_flight_packets",
            "Packets missing but not given up.",
            |session| session.in_flight as f64,
        ),
        (
            "treecast_session_retained_packets",
            "Packets kept to answer NAKs.",
            |session| session.retained as f64,
        ),
        (
            "treecast_session_synced",
            "Whether the node has heard from the session's ingress.",
            |session| f64::from(session.synced),
        ),
        (
            "treecast_session_ended",
            "Whether the ingress has said that the stream ended.",
            |session| f64::from(session.ended),
        ),
    ];
    families.counters(&COUNTERS, sessions, session_labels);
    families.gauges(&GAUGES, sessions, session_labels);
}

/// What is asked, answered, and spared.
fn add_repairing(families: &mut Families, sessions: &[SessionSnapshot]) {
    const COUNTERS: [Field<SessionSnapshot>; 13] = [
        (
            "treecast_session_naks_sent_total",
            "NAK packets sent.",
            |session| session.naks_sent as f64,
        ),
        (
            "treecast_session_naks_received_total",
            "NAK packets received.",
            |session| session.naks_received as f64,
        ),
        (
            "treecast_session_naks_unanswerable_total",
            "Sequences that a neighbor asked for and that are neither held nor to be had.",
            |session| session.naks_unanswerable as f64,
        ),
        (
            "treecast_session_naks_over_budget_total",
            "Sequences that a neighbor asked for beyond what is taken on at once.",
            |session| session.naks_over_budget as f64,
        ),
        (
            "treecast_session_naks_suppressed_total",
            "Sequences that a neighbor asked for while the answer was on its way.",
            |session| session.naks_suppressed as f64,
        ),
        (
            "treecast_session_confirms_sent_total",
            "NAK confirmations sent: this node asks already, its children need not.",
            |session| session.confirms_sent as f64,
        ),
        (
            "treecast_session_confirms_received_total",
            "NAK confirmations received: the parent asks already.",
            |session| session.confirms_received as f64,
        ),
        (
            "treecast_session_repairs_sent_total",
            "Repairs sent, each to one neighbor.",
            |session| session.repairs_sent as f64,
        ),
        (
            "treecast_session_repairs_received_total",
            "Repairs received, duplicates among them.",
            |session| session.repairs_received as f64,
        ),
        (
            "treecast_session_subcasts_sent_total",
            "Repairs sent down the tree, for several children at once.",
            |session| session.subcasts_sent as f64,
        ),
        (
            "treecast_session_copies_sent_total",
            "Copies sent to children.",
            |session| session.copies_sent as f64,
        ),
        (
            "treecast_session_copies_received_total",
            "Copies received, of packets that were here already among them.",
            |session| session.copies_received as f64,
        ),
        (
            "treecast_session_mode_changes_total",
            "How often overlay mode auto began or ceased to have copies sent.",
            |session| session.mode_changes as f64,
        ),
    ];
    families.counters(&COUNTERS, sessions, session_labels);
    families.latency(
        "treecast_session_repair_latency_seconds",
        "Time from the discovery of a gap to its repair.",
        sessions
            .iter()
            .map(|session| (session_labels(session), &session.repair_latency_us)),
    );
}

/// What comes down the tree beside the packets, and what is sent to those that join late.
fn add_parity_and_history(families: &mut Families, sessions: &[SessionSnapshot]) {
    const COUNTERS: [Field<SessionSnapshot>; 4] = [
        (
            "treecast_session_parity_sent_total",
            "Parity packets made and sent; at the ingress only.",
            |session| session.parity_sent as f64,
        ),
        (
            "treecast_session_parity_received_total",
            "Parity packets received, used or not.",
            |session| session.parity_received as f64,
        ),
        (
            "treecast_session_caught_up_packets_total",
            "Packets of the past sent to clients that catch up.",
            |session| session.caught_up as f64,
        ),
        (
            "treecast_session_catch_up_missed_packets_total",
            "Packets of the past that were gone when a client's turn came: raise retention.",
            |session| session.catch_up_missed as f64,
        ),
    ];
    families.counters(&COUNTERS, sessions, session_labels);
}

/// How the overlay is configured, and what it does now.
fn add_mode(families: &mut Families, sessions: &[SessionSnapshot]) {
    families.gauges(
        &[(
            "treecast_session_copying",
            "Whether the node has copies sent to it now.",
            |session: &SessionSnapshot| f64::from(session.copying),
        )],
        sessions,
        session_labels,
    );
    let modes = sessions.iter().flat_map(|session| {
        OVERLAY_MODES.map(|mode| {
            let mut labels = session_labels(session);
            labels.push(("mode", mode.to_owned()));
            (labels, f64::from(session.mode == mode))
        })
    });
    families.gauge(
        "treecast_session_overlay_mode",
        "1 for the overlay mode that is configured, 0 for the others.",
        modes,
    );
}

fn add_clients(families: &mut Families, sessions: &[SessionSnapshot]) {
    type Client<'a> = (&'a SessionSnapshot, &'a ClientSnapshot);
    let clients: Vec<Client<'_>> = sessions
        .iter()
        .flat_map(|session| session.clients.iter().map(move |client| (session, client)))
        .collect();
    let labels = |(session, client): &Client<'_>| {
        let mut labels = session_labels(session);
        labels.push(("client", client.client.clone()));
        labels
    };
    families.counters(
        &[
            (
                "treecast_client_packets_total",
                "Copies sent to the client.",
                |(_, client): &Client<'_>| client.packets as f64,
            ),
            (
                "treecast_client_dropped_packets_total",
                "Copies that could not be sent to the client.",
                |(_, client)| client.dropped as f64,
            ),
        ],
        &clients,
        labels,
    );
    families.gauges(
        &[
            (
                "treecast_client_resolved",
                "Whether the Ethernet address of the client's next hop is known.",
                |(_, client): &Client<'_>| f64::from(client.resolved),
            ),
            (
                "treecast_client_catching_up",
                "Whether the client still gets history, and is not yet served with the others.",
                |(_, client)| f64::from(client.catching_up),
            ),
        ],
        &clients,
        labels,
    );
}
