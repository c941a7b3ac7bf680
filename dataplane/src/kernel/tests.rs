use std::time::{Duration, Instant};

use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

fn link(frame_len_max: usize) -> (Kernel, Arc<KernelLink>) {
    let kernel = Kernel::new().unwrap();
    let link = Arc::new(KernelLink {
        to_kernel: Lane::new(frame_len_max),
        from_kernel: Lane::new(frame_len_max),
        frame_len_max,
        taken: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        bell: Arc::clone(&kernel.bell),
    });
    (kernel, link)
}

#[test]
fn a_way_that_is_full_takes_no_more_and_allocates_nothing() {
    let (_kernel, link) = link(64);
    assert!(!link.send(&[1; 65]), "longer than any frame of the port");
    for _ in 0..FRAMES {
        assert!(link.send(&[1; 64]));
    }
    assert!(!link.send(&[1; 64]));
    let frame = link.to_kernel.full.pop().unwrap();
    assert_eq!((frame.len(), frame.capacity()), (64, 64));
    link.to_kernel.give_back(frame);
    assert!(link.send(&[2; 10]), "the buffer went round");
}

#[test]
fn the_bell_wakes_a_thread_that_sleeps_and_costs_nothing_otherwise() {
    let (kernel, link) = link(64);
    link.ring();
    assert!(kernel.bell.event.read().is_err(), "nobody slept");
    let bell = Arc::clone(&kernel.bell);
    let sleeper = std::thread::spawn(move || sleep(&mut [], &bell));
    let deadline = Instant::now() + PATIENCE;
    while !sleeper.is_finished() {
        assert!(Instant::now() < deadline, "it sleeps on");
        link.ring();
        std::thread::yield_now();
    }
    sleeper.join().unwrap();
}
