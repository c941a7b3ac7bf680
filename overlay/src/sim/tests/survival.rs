//! What may be lost with nothing unrecovered, and what that costs.

use core::time::Duration;

use super::super::*;
use super::{HOP, after, ms, run_clean};
use crate::SessionConfig;

const COUNT: u64 = 5000;

/// Two levels of three, all links alike.
fn nine_last_hops(seed: u64, link: Impairment) -> Scenario {
    let mut scenario = Scenario::fan_out(seed, 3, 2, link);
    scenario.sessions[0].source.count = COUNT;
    scenario
}

#[test]
fn a_fifth_lost_everywhere_and_half_on_one_link_is_survived() {
    let mut scenario = nine_last_hops(1, Impairment::lossy(HOP, 0.2));
    *scenario.link_mut(0, 2).unwrap() = Link::new(0, 2, Impairment::lossy(HOP, 0.5));
    run_clean(&scenario);
}

#[test]
fn blackouts_of_a_second_are_survived() {
    let mut scenario = nine_last_hops(2, Impairment::lossy(HOP, 0.02));
    scenario.blackout(after(1000), ms(1000), 0, 1);
    scenario.blackout(after(1500), ms(1000), 2, 7);
    run_clean(&scenario);
}

#[test]
fn long_bursts_are_survived() {
    let burst = Some(BurstLoss {
        loss: 0.05,
        mean: 50.0,
    });
    let link = Impairment {
        burst,
        ..Impairment::delay(HOP)
    };
    let report = run_clean(&nine_last_hops(3, link));
    assert!(report.repaired > 9 * COUNT / 20);
}

/// Packets delivered until shortly after the source has sent its last.
fn delivered_in_time(loss: f64) -> u64 {
    let packet_bytes = 1000;
    // Packets of 1,066 bytes, one each 200 µs: 42.64 Mbit/s, half as much again.
    let link = Impairment {
        rate_bps: 63_960_000,
        queue_bytes: 64_000,
        ..Impairment::lossy(HOP, loss)
    };
    let mut scenario = nine_last_hops(4, link);
    scenario.sessions[0].source.packet_bytes = packet_bytes;
    let end = scenario.sessions[0].source_end();
    let mut network = Network::new(&scenario);
    network.run_until(end + 10 * HOP);
    let delivered = network.report().delivered;
    run_clean(&scenario);
    delivered
}

#[test]
fn goodput_hardly_falls_on_links_with_half_as_much_again() {
    let clean = delivered_in_time(0.0);
    assert_eq!(clean, 9 * COUNT);
    for (loss, share) in [(0.01, 0.99), (0.1, 0.98)] {
        let delivered = delivered_in_time(loss) as f64 / clean as f64;
        assert!(delivered >= share, "{delivered} of it at {loss}");
    }
}

#[test]
fn repairs_cost_little_more_than_what_was_lost() {
    for loss in [0.01, 0.05, 0.1] {
        let report = run_clean(&nine_last_hops(5, Impairment::lossy(HOP, loss)));
        // What a link did not bring, because it was lost there or before, must come once more.
        let wanted = 12 * COUNT * (report.total.data.bytes / report.total.data.packets);
        let brought = report.total.data.bytes - report.total.data.lost_bytes;
        let ratio = report.total.repairs.bytes as f64 / (wanted - brought) as f64;
        assert!(ratio <= 1.3, "{ratio} at {loss}");
    }
}

/// 950,000 packets of 1,316 bytes a second, each hop 50 ms long: everything but `max_rate` is as it is by default.
#[test]
fn ten_gigabits_over_a_round_trip_of_100_ms_need_no_tuning() {
    const RATE: u32 = 950_000;
    let hop = Impairment::lossy(Duration::from_millis(50), 0.01);
    let mut scenario = Scenario::tree(1, &[&[] as &[usize], &[0], &[1]], hop);
    let session = &mut scenario.sessions[0];
    session.config = SessionConfig {
        max_rate_pps: RATE,
        ..SessionConfig::default()
    };
    session.source.interval = Duration::from_secs(1) / RATE;
    session.source.count = 200_000;
    scenario.node.repair_rate_pps = 2 * RATE;
    let report = run_clean(&scenario);
    let latency = report.recovery.quantile_us(0.5);
    assert!(latency < 110_000, "{latency} µs, not a round trip");
    assert!(
        report.total.repairs.packets < 2 * report.repaired,
        "and no repair in vain"
    );
}
