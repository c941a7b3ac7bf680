use std::net::{Ipv4Addr, SocketAddr};

use super::payload::{Stamp, Writer, parse};
use super::verdict::Verdict;
use super::{MIN_LEN, packets_per_second, parse_local};
use crate::config::quantity::Rate;

fn payload(stream: u32, number: u64, len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len];
    let stamp = Stamp {
        stream,
        number,
        sent_ns: 1_000,
    };
    Writer::new(len).write(stamp, &mut buffer);
    buffer
}

fn judge(numbers: &[u64]) -> Verdict {
    let mut verdict = Verdict::new(None);
    for &number in numbers {
        verdict.handle(201_000, &payload(7, number, 100));
    }
    verdict
}

#[test]
fn a_payload_reads_back_at_every_length() {
    for len in [MIN_LEN, MIN_LEN + 1, 1316, 9000] {
        let stamp = parse(&payload(3, 70_000, len)).unwrap();
        assert_eq!((stamp.stream, stamp.number), (3, 70_000));
    }
}

#[test]
fn any_damage_is_noticed() {
    let good = payload(3, 9, 80);
    for len in 0..good.len() {
        assert_eq!(parse(&good[..len]), None, "cut to {len}");
    }
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(parse(&bad), None, "bit {bit}");
    }
}

#[test]
fn a_stream_in_order_is_clean() {
    let report = judge(&[1, 2, 3, 4]).report(None, 0);
    assert!(report.clean);
    assert_eq!((report.received, report.first, report.last), (4, 1, 4));
    assert_eq!(report.latency_us.p50, 200);
}

#[test]
fn a_gap_that_closes_late_is_reordered_and_not_missing() {
    let report = judge(&[1, 4, 2, 3, 5]).report(None, 0);
    assert_eq!((report.missing, report.reordered), (0, 2));
    assert!(!report.clean);
}

#[test]
fn duplicates_and_holes_are_counted_exactly() {
    let report = judge(&[3, 4, 4, 8, 3, 8]).report(None, 0);
    assert_eq!(
        (report.received, report.duplicate, report.missing),
        (3, 3, 3)
    );
    assert_eq!(report.reordered, 0);
    let report = judge(&[3, 4, 8]).report(Some(10), 0);
    assert_eq!(report.missing, 7);
}

#[test]
fn a_lost_tail_is_missing_when_the_count_is_known() {
    assert_eq!(judge(&[1, 2, 3]).report(Some(5), 0).missing, 2);
    assert!(!judge(&[]).report(None, 0).clean);
}

#[test]
fn the_verdict_agrees_with_a_shuffled_model() {
    // A fixed linear congruence visits 1..=997 in a scattered order; every third number is left out, every fifth comes twice.
    let mut verdict = Verdict::new(None);
    let mut expected = (0, 0);
    for step in 0u64..997 {
        let number = step * 361 % 997 + 1;
        if number % 3 == 0 {
            continue;
        }
        expected.0 += 1;
        verdict.handle(0, &payload(1, number, 40));
        if number % 5 == 0 {
            expected.1 += 1;
            verdict.handle(0, &payload(1, number, 40));
        }
    }
    let report = verdict.report(Some(997), 0);
    assert_eq!((report.received, report.duplicate), expected);
    assert_eq!(report.missing, 997 / 3);
}

#[test]
fn another_stream_is_foreign() {
    let mut verdict = judge(&[1, 2]);
    verdict.handle(0, &payload(8, 3, 100));
    let report = verdict.report(None, 0);
    assert_eq!((report.foreign, report.received), (1, 2));
    assert!(!report.clean);
}

#[test]
fn a_bit_rate_counts_payload() {
    assert_eq!(packets_per_second(Rate::Bps(8_000_000), 1000), 1000.0);
    assert_eq!(packets_per_second(Rate::Pps(5000), 1000), 5000.0);
}

#[test]
fn a_local_address_may_lack_its_port() {
    let expected = SocketAddr::new(Ipv4Addr::new(10, 0, 0, 2).into(), 0);
    assert_eq!(parse_local("10.0.0.2"), Ok(expected));
    let expected: SocketAddr = "[2001:db8::2]:0".parse().unwrap();
    assert_eq!(parse_local("2001:db8::2"), Ok(expected));
    assert_eq!(parse_local("[2001:db8::2]:0"), Ok(expected));
    assert!(parse_local("10.0.0").is_err());
}
