use super::{ClientReport, LastHopReport, SessionReport, problems};
use crate::lab::topology::Delivery;

/// A session of 100 packets that went well.
fn session() -> SessionReport {
    SessionReport {
        session: 1,
        name: "tv".to_string(),
        delivery: Delivery::Ordered,
        sent: 100,
        last_hops: vec![LastHopReport {
            node: "lh1".to_string(),
            sent: 100,
            tree: 98,
            repaired: 2,
            clients: vec![ClientReport {
                client: "c1".to_string(),
                copied: 100,
                received: 100,
                ..ClientReport::default()
            }],
            ..LastHopReport::default()
        }],
    }
}

#[test]
fn a_clean_session_passes() {
    assert_eq!(problems(&[session()]), Vec::<String>::new());
}

#[test]
fn a_balance_that_does_not_hold_is_spelled_out() {
    let mut session = session();
    session.last_hops[0].tree = 97;
    insta::assert_snapshot!(problems(&[session]).join("\n"), @"session 1 at lh1: the balance does not hold: 100 sent, but 99 = 97 tree + 2 repaired + 0 unrecovered + 0 in flight");
}

#[test]
fn a_tail_that_nobody_told_the_last_hop_of_is_noticed() {
    let mut session = session();
    session.sent = 103;
    insta::assert_snapshot!(problems(&[session]).join("\n"), @"session 1 at lh1: the source sent 103, the node knows of 100");
}

#[test]
fn what_is_given_up_or_open_does_not_pass() {
    let mut session = session();
    session.last_hops[0].tree = 95;
    session.last_hops[0].unrecovered = 2;
    session.last_hops[0].in_flight = 1;
    assert_eq!(problems(&[session]).len(), 2);
}

#[test]
fn each_fault_of_a_client_counts_by_itself() {
    let mut session = session();
    let client = &mut session.last_hops[0].clients[0];
    (client.missing, client.duplicate, client.reordered) = (1, 2, 3);
    (client.corrupt, client.foreign, client.kernel_dropped) = (4, 5, 1);
    insta::assert_snapshot!(problems(&[session]).join("\n"), @r"
    session 1 at client c1: 1 missing (its last hop sent 100 copies and dropped 0; the client's kernel dropped 1)
    session 1 at client c1: 2 duplicate
    session 1 at client c1: 3 reordered
    session 1 at client c1: 4 corrupt
    session 1 at client c1: 5 of another session
    ");
}

#[test]
fn immediate_delivery_may_reorder_but_not_lose() {
    let mut session = session();
    session.delivery = Delivery::Immediate;
    session.last_hops[0].clients[0].reordered = 3;
    assert_eq!(problems(&[session]), Vec::<String>::new());
}

#[test]
fn silence_does_not_pass() {
    let mut session = session();
    session.sent = 0;
    session.last_hops[0] = LastHopReport::default();
    assert_eq!(problems(&[session]), ["session 1: nothing was sent"]);
}
