use super::*;

const FRAME: usize = 1000;

fn link(settings: Impairment) -> Impaired<u32> {
    Impaired::new(
        &Impairment {
            seed: 7,
            ..settings
        },
        ImpairmentSnapshot::default(),
    )
}

/// Offers `0..count`, one each `gap`, and polls whenever something is due; returns (arrival, item).
fn run(link: &mut Impaired<u32>, count: u32, gap: Duration) -> Vec<(Instant, u32)> {
    let mut out = Vec::new();
    let collect = |link: &mut Impaired<u32>, until: Instant, out: &mut Vec<(Instant, u32)>| {
        while let Some(due) = link.next_due().filter(|&due| due <= until) {
            out.push((due, link.poll(due).unwrap()));
        }
    };
    for number in 0..count {
        let now = Instant(0) + gap * number;
        collect(link, now, &mut out);
        let _ = link.offer(now, number, FRAME, |&number| Some(number));
    }
    collect(link, Instant(u64::MAX), &mut out);
    out
}

fn numbers(out: &[(Instant, u32)]) -> Vec<u32> {
    out.iter().map(|&(_, number)| number).collect()
}

const GAP: Duration = Duration::from_micros(200);

#[test]
fn a_link_without_impairment_passes_all_at_once() {
    let out = run(&mut link(Impairment::default()), 1000, GAP);
    let expected: Vec<_> = (0..1000)
        .map(|number| (Instant(0) + GAP * number, number))
        .collect();
    assert_eq!(out, expected);
}

#[test]
fn the_same_seed_means_the_same_fate() {
    let settings = Impairment {
        loss: 0.1,
        burst_loss: Some(BurstLoss {
            loss: 0.05,
            mean_len: 5.0,
        }),
        delay: Duration::from_millis(1),
        jitter: Duration::from_millis(2),
        reorder: 0.1,
        duplicate: 0.1,
        rate_bps: Some(30_000_000),
        ..Impairment::default()
    };
    let once = run(&mut link(settings.clone()), 5000, GAP);
    assert_eq!(once, run(&mut link(settings.clone()), 5000, GAP));
    let mut other = Impaired::new(
        &Impairment {
            seed: 8,
            ..settings
        },
        ImpairmentSnapshot::default(),
    );
    assert_ne!(numbers(&once), numbers(&run(&mut other, 5000, GAP)));
}

#[test]
fn random_loss_has_its_share() {
    for loss in [0.0, 0.01, 0.2, 1.0] {
        let count = 100_000u32;
        let mut link = link(Impairment {
            loss,
            ..Impairment::default()
        });
        let passed = run(&mut link, count, GAP).len() as u64;
        let stats = link.stats();
        assert_eq!(
            (stats.offered, stats.dropped),
            (u64::from(count), u64::from(count) - passed)
        );
        // Four standard deviations of a binomial.
        let tolerance = 4.0 * (f64::from(count) * loss * (1.0 - loss)).sqrt();
        let expected = f64::from(count) * loss;
        assert!(
            (stats.dropped as f64 - expected).abs() <= tolerance,
            "{stats:?}"
        );
    }
}

#[test]
fn burst_loss_has_its_share_and_its_mean_length() {
    for (loss, mean_len) in [(0.01, 50.0), (0.1, 5.0), (0.5, 10.0)] {
        let burst = BurstLoss { loss, mean_len };
        let count = 2_000_000u32;
        let mut link = link(Impairment {
            burst_loss: Some(burst),
            ..Impairment::default()
        });
        let out = numbers(&run(&mut link, count, GAP));
        let gaps = out.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        let lost = f64::from(count) - out.len() as f64;
        let share = lost / f64::from(count);
        let mean = lost / gaps as f64;
        assert!(
            (share / loss - 1.0).abs() < 0.2,
            "share {share} for {burst:?}"
        );
        assert!(
            (mean / mean_len - 1.0).abs() < 0.2,
            "mean {mean} for {burst:?}"
        );
    }
}

#[test]
fn a_share_that_short_bursts_cannot_reach_makes_them_longer() {
    let burst_loss = Some(BurstLoss {
        loss: 0.9,
        mean_len: 1.0,
    });
    let passed = run(
        &mut link(Impairment {
            burst_loss,
            ..Impairment::default()
        }),
        200_000,
        GAP,
    )
    .len();
    assert!((19_000..21_000).contains(&passed), "{passed}");
    let all = Some(BurstLoss {
        loss: 1.0,
        mean_len: 3.0,
    });
    assert!(
        run(
            &mut link(Impairment {
                burst_loss: all,
                ..Impairment::default()
            }),
            1000,
            GAP
        )
        .is_empty()
    );
    let none = Some(BurstLoss {
        loss: 0.0,
        mean_len: 3.0,
    });
    assert_eq!(
        run(
            &mut link(Impairment {
                burst_loss: none,
                ..Impairment::default()
            }),
            1000,
            GAP
        )
        .len(),
        1000
    );
}

#[test]
fn delay_is_exact_and_jitter_keeps_the_order() {
    let delay = Duration::from_millis(5);
    let jitter = Duration::from_millis(3);
    let out = run(
        &mut link(Impairment {
            delay,
            ..Impairment::default()
        }),
        1000,
        GAP,
    );
    assert!(
        out.iter()
            .all(|&(at, number)| at == Instant(0) + GAP * number + delay)
    );
    // With frames further apart than the jitter, each shows its own.
    let apart = Duration::from_millis(4);
    let out = run(
        &mut link(Impairment {
            delay,
            jitter,
            ..Impairment::default()
        }),
        1000,
        apart,
    );
    let extra: Vec<Duration> = out
        .iter()
        .map(|&(at, number)| at.since(Instant(0) + apart * number + delay))
        .collect();
    let mean = extra.iter().sum::<Duration>() / 1000;
    assert!(extra.iter().all(|&extra| extra <= jitter));
    assert!((1350..1650).contains(&mean.as_micros()), "{mean:?}");
    let close = run(
        &mut link(Impairment {
            delay,
            jitter,
            ..Impairment::default()
        }),
        1000,
        GAP,
    );
    assert_eq!(numbers(&close), (0..1000).collect::<Vec<_>>());
}

#[test]
fn reordering_loses_nothing_and_happens_with_and_without_delay() {
    for delay in [Duration::ZERO, Duration::from_millis(2)] {
        let mut link = link(Impairment {
            delay,
            reorder: 0.05,
            ..Impairment::default()
        });
        let out = run(&mut link, 10_000, GAP);
        let mut sorted = numbers(&out);
        let late = sorted.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!((400..600).contains(&late), "{late}");
        assert!((400..600).contains(&link.stats().reordered));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10_000).collect::<Vec<_>>());
        assert!(out.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }
}

#[test]
fn duplicates_follow_their_originals() {
    let mut link = link(Impairment {
        duplicate: 0.1,
        ..Impairment::default()
    });
    let out = numbers(&run(&mut link, 10_000, GAP));
    let doubles = out.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    assert_eq!(out.len() as u64, 10_000 + doubles);
    assert_eq!(link.stats().duplicated, doubles);
    assert!((880..1120).contains(&doubles), "{doubles}");
    // Without a buffer for the double there is just the original.
    let mut poor = Impaired::new(
        &Impairment {
            duplicate: 1.0,
            ..Impairment::default()
        },
        ImpairmentSnapshot::default(),
    );
    assert_eq!(poor.offer(Instant(0), 1, FRAME, |_| None), Fate::Held);
    assert_eq!(
        (poor.poll(Instant(0)), poor.poll(Instant(0))),
        (Some(1), None)
    );
}

#[test]
fn a_rate_limit_queues_100_ms_and_drops_the_rest() {
    // 40 Mbit/s offered, 10 Mbit/s carried.
    let mut link = link(Impairment {
        rate_bps: Some(10_000_000),
        ..Impairment::default()
    });
    let out = run(&mut link, 10_000, GAP);
    let stats = link.stats();
    assert_eq!(stats.dropped, stats.rate_dropped);
    // 2 s at 1250 frames a second, and the queue's 125.
    assert!((2622..=2626).contains(&out.len()), "{}", out.len());
    let slot = Duration::from_micros(800);
    assert!(
        out.windows(2)
            .all(|pair| pair[1].0.since(pair[0].0) == slot)
    );
    assert!(
        out.iter()
            .all(|&(at, number)| at.since(Instant(0) + GAP * number) <= RATE_QUEUE)
    );
}

#[test]
fn what_is_held_is_bounded_and_given_back() {
    let delay = Duration::from_secs(10);
    let mut link = link(Impairment {
        delay,
        duplicate: 1.0,
        ..Impairment::default()
    });
    // One alone, so that the last double is the one that has no room.
    assert_eq!(link.offer(Instant(5), 0, FRAME, |_| None), Fate::Held);
    let count = 10_000u32;
    let held = (0..count)
        .filter(|&number| link.offer(Instant(5), number, FRAME, |&n| Some(n)) == Fate::Held);
    let held = held.count();
    assert_eq!(link.held(), MAX_HELD);
    assert_eq!(held, MAX_HELD / 2);
    assert_eq!(link.stats().dropped, u64::from(count) - held as u64);
    assert_eq!(
        link.poll(Instant(5) + delay - Duration::from_nanos(1)),
        None
    );
    let given_back: Vec<u32> = link.drain().collect();
    assert_eq!(given_back.len(), MAX_HELD);
    assert!(given_back.is_sorted());
}

#[test]
fn a_change_keeps_what_is_held_and_its_order() {
    let mut link = link(Impairment {
        delay: Duration::from_millis(5),
        ..Impairment::default()
    });
    assert_eq!(link.offer(Instant(0), 1, FRAME, |_| None), Fate::Held);
    link.change(&Impairment::default());
    assert_eq!(link.offer(Instant(10), 2, FRAME, |_| None), Fate::Held);
    assert_eq!(link.poll(Instant(10)), None);
    let due = Instant(5_000_000);
    assert_eq!(
        (link.poll(due), link.poll(due), link.poll(due)),
        (Some(1), Some(2), None)
    );
    assert_eq!(link.stats().offered, 2);
}
