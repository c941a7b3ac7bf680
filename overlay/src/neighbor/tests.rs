use super::*;

const INTERVAL: Duration = Duration::from_millis(10);

fn neighbor(now: Instant) -> Neighbor {
    let config = NeighborConfig {
        hello_interval: INTERVAL,
        detect_mult: 3,
        repair_rate_pps: 50_000,
    };
    Neighbor::new(now, config)
}

/// Two ends of one adjacency with a one-way delay, in virtual time.
struct Adjacency {
    ends: [Neighbor; 2],
    epochs: [Epoch; 2],
    delay: Duration,
    now: Instant,
}

impl Adjacency {
    fn new(delay: Duration) -> Adjacency {
        let now = Instant(1_000_000_000);
        // Half an interval apart, so that a hello arrives before the next one leaves.
        Adjacency {
            ends: [neighbor(now), neighbor(now + INTERVAL / 2)],
            epochs: [Epoch(1), Epoch(9)],
            delay,
            now,
        }
    }

    /// Runs for `span`; hellos sent by end `i` arrive only if `heard[i]`.
    fn run(&mut self, span: Duration, heard: [bool; 2]) {
        let end = self.now + span;
        while self.now < end {
            for (from, heard) in heard.into_iter().enumerate() {
                self.ends[from].handle_timeout(self.now);
                let hello = self.ends[from].poll_hello(self.now, self.epochs[from]);
                if let Some((header, hello)) = hello.filter(|_| heard) {
                    assert!(self.ends[1 - from].handle_hello(
                        self.now + self.delay,
                        &header,
                        &hello
                    ));
                }
            }
            self.now = self.now + Duration::from_millis(1);
        }
    }

    fn states(&self) -> [HelloState; 2] {
        [self.ends[0].state, self.ends[1].state]
    }
}

#[test]
fn two_ends_come_up_and_measure_the_round_trip() {
    let mut adjacency = Adjacency::new(Duration::from_micros(300));
    adjacency.run(INTERVAL * 10, [true, true]);
    assert_eq!(adjacency.states(), [HelloState::Up; 2]);
    let rtt = adjacency.ends[0].rtt().as_micros();
    assert!((590..=610).contains(&rtt), "{rtt} µs");
}

#[test]
fn one_deaf_end_takes_both_down() {
    let mut adjacency = Adjacency::new(Duration::ZERO);
    adjacency.run(INTERVAL * 5, [true, true]);
    adjacency.run(INTERVAL * 5, [false, true]);
    assert_eq!(adjacency.states(), [HelloState::Init, HelloState::Down]);
    assert_eq!(adjacency.ends[1].reason, StateReason::Silent);
    assert_eq!(adjacency.ends[0].reason, StateReason::Unheard);
    adjacency.run(INTERVAL * 5, [true, true]);
    assert_eq!(adjacency.states(), [HelloState::Up; 2]);
    assert_eq!(adjacency.ends[1].stats.downs, 1);
}

#[test]
fn silence_is_noticed_within_the_detection_time() {
    let mut adjacency = Adjacency::new(Duration::ZERO);
    adjacency.run(INTERVAL * 5, [true, true]);
    adjacency.run(INTERVAL * 2, [false, true]);
    assert_eq!(adjacency.ends[1].state, HelloState::Up);
    adjacency.run(INTERVAL * 2, [false, true]);
    assert_eq!(adjacency.ends[1].state, HelloState::Down);
}

#[test]
fn a_restart_is_noticed_and_healed() {
    let mut adjacency = Adjacency::new(Duration::ZERO);
    adjacency.run(INTERVAL * 5, [true, true]);
    adjacency.ends[0] = neighbor(adjacency.now);
    adjacency.epochs[0] = Epoch(2);
    adjacency.run(INTERVAL * 5, [true, true]);
    assert_eq!(adjacency.states(), [HelloState::Up; 2]);
    assert_eq!(adjacency.ends[1].stats.downs, 1);
}

#[test]
fn a_replayed_hello_changes_nothing() {
    let mut adjacency = Adjacency::new(Duration::ZERO);
    let old = adjacency.ends[0]
        .poll_hello(adjacency.now, Epoch(1))
        .unwrap();
    adjacency.run(INTERVAL * 5, [true, true]);
    let silent_from = adjacency.now;
    adjacency.run(INTERVAL * 2, [false, true]);
    assert!(!adjacency.ends[1].handle_hello(adjacency.now, &old.0, &old.1));
    let older_life = Header {
        epoch: Epoch(0),
        ..old.0
    };
    assert!(!adjacency.ends[1].handle_hello(adjacency.now, &older_life, &old.1));
    adjacency.run(INTERVAL * 2, [false, true]);
    assert_eq!(
        adjacency.ends[1].state,
        HelloState::Down,
        "replays kept it alive"
    );
    assert!(adjacency.ends[1].since.since(silent_from) <= INTERVAL * 3);
}

#[test]
fn a_forged_hello_does_not_shut_a_neighbor_out_for_good() {
    let mut adjacency = Adjacency::new(Duration::ZERO);
    adjacency.run(INTERVAL * 5, [true, true]);
    let (header, hello) = adjacency.ends[0]
        .poll_hello(adjacency.now + INTERVAL, Epoch(1))
        .unwrap();
    let forged = Header {
        sequence: Seq(u64::MAX),
        ..header
    };
    let end = &mut adjacency.ends[1];
    assert!(end.handle_hello(adjacency.now, &forged, &hello));
    let mut now = adjacency.now;
    while end.state == HelloState::Up {
        assert!(now < adjacency.now + INTERVAL * 5, "never silent");
        now = now + INTERVAL;
        end.handle_timeout(now);
        if end.state == HelloState::Up {
            assert!(!end.handle_hello(now, &header, &hello));
        }
    }
    adjacency.now = now;
    adjacency.run(INTERVAL * 5, [true, true]);
    assert_eq!(adjacency.states(), [HelloState::Up; 2]);
}
