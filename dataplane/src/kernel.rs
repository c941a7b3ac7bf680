//! The kernel exception path: what a port receives that is not ours goes to the kernel by a TAP interface, and what the
//! kernel sends there goes out of the port.
//!
//! The worker never makes a system call for it. A thread of its own reads and writes the TAPs; frames go between the two
//! in buffers that go round, a fixed number for each port and way. A way that is full holds up nothing: towards the
//! kernel frames are dropped, from it they wait in the TAP's own queue.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{Builder, JoinHandle};

use crossbeam::queue::ArrayQueue;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::tap::Tap;

/// Frames on their way at most, each way: 25 ms of the default rate.
const FRAMES: usize = 256;
/// Frames moved for one TAP before the next has its turn.
const TURN: usize = 32;
/// When to look again for a buffer, where all are with the worker: it may be saving up for its rate.
const STARVED_MS: u16 = 1;

/// Frames that go one way.
struct Lane {
    full: ArrayQueue<Vec<u8>>,
    empty: ArrayQueue<Vec<u8>>,
}

impl Lane {
    fn new(frame_len_max: usize) -> Lane {
        let lane = Lane {
            full: ArrayQueue::new(FRAMES),
            empty: ArrayQueue::new(FRAMES),
        };
        for _ in 0..FRAMES {
            lane.give_back(Vec::with_capacity(frame_len_max));
        }
        lane
    }

    fn give_back(&self, mut frame: Vec<u8>) {
        frame.clear();
        // As many buffers as there are places.
        let _ = self.empty.push(frame);
    }
}

/// The two ways between a port's worker and the kernel.
pub(crate) struct KernelLink {
    to_kernel: Lane,
    from_kernel: Lane,
    frame_len_max: usize,
    /// Frames that the kernel took, and that it did not take.
    taken: AtomicU64,
    refused: AtomicU64,
    bell: Arc<Bell>,
}

impl KernelLink {
    /// Puts a frame on its way to the kernel, which must be told by [`KernelLink::ring`]; `false` if there is no room.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        if frame.len() > self.frame_len_max {
            return false;
        }
        let Some(mut buffer) = self.to_kernel.empty.pop() else {
            return false;
        };
        buffer.extend_from_slice(frame);
        self.to_kernel.full.push(buffer).is_ok()
    }

    /// Lets `take` have the next frame from the kernel; `None` if there is none.
    pub(crate) fn receive<T>(&self, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let frame = self.from_kernel.full.pop()?;
        let taken = take(&frame);
        self.from_kernel.give_back(frame);
        Some(taken)
    }

    /// Whether a frame from the kernel waits.
    #[inline]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.from_kernel.full.is_empty()
    }

    /// Has frames that were sent go on. A system call only where nothing has gone on for a while.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Frames that the kernel has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Frames that the kernel has not taken.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// Wakes the thread.
struct Bell {
    event: EventFd,
    /// The thread sleeps, or is about to.
    asleep: AtomicBool,
    stop: AtomicBool,
}

impl Bell {
    fn ring(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // Fails where the count is full, which wakes as well.
            let _ = self.event.write(1);
        }
    }
}

/// A TAP and the port that it belongs to.
struct Exchange {
    tap: Tap,
    link: Arc<KernelLink>,
    /// All buffers for frames from the kernel are under way.
    starved: bool,
    /// Somebody has removed the interface.
    gone: bool,
}

impl Exchange {
    /// Moves some frames each way; whether there were any.
    fn turn(&mut self) -> bool {
        let written = (0..TURN).take_while(|_| self.write_one()).count();
        let read = (0..TURN).take_while(|_| self.read_one()).count();
        written + read > 0
    }

    /// Whether the worker has something for the kernel.
    fn is_called(&self) -> bool {
        !self.link.to_kernel.full.is_empty()
    }

    fn write_one(&self) -> bool {
        let Some(frame) = self.link.to_kernel.full.pop() else {
            return false;
        };
        let counter = match self.tap.write(&frame) {
            true => &self.link.taken,
            false => &self.link.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.link.to_kernel.give_back(frame);
        true
    }

    fn read_one(&mut self) -> bool {
        let lane = &self.link.from_kernel;
        let buffer = lane.empty.pop();
        self.starved = buffer.is_none();
        let Some(mut frame) = buffer else {
            return false;
        };
        frame.resize(self.link.frame_len_max, 0);
        let Some(len) = self.tap.read(&mut frame) else {
            lane.give_back(frame);
            return false;
        };
        frame.truncate(len);
        lane.full.push(frame).is_ok()
    }
}

/// The thread that reads and writes the TAPs of a node; they go when this does.
pub(crate) struct KernelThread {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// The TAPs of a node before their thread runs.
pub(crate) struct Kernel {
    bell: Arc<Bell>,
    exchanges: Vec<Exchange>,
}

impl Kernel {
    pub(crate) fn new() -> io::Result<Kernel> {
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        Ok(Kernel {
            bell: Arc::new(Bell {
                event,
                asleep: AtomicBool::new(false),
                stop: AtomicBool::new(false),
            }),
            exchanges: Vec::new(),
        })
    }

    /// Makes the interface of a port whose frames are `frame_len_max` bytes long at most.
    pub(crate) fn open(
        &mut self,
        interface: &str,
        mac: [u8; 6],
        frame_len_max: usize,
    ) -> io::Result<Arc<KernelLink>> {
        let tap = Tap::open(interface, mac)?;
        let link = Arc::new(KernelLink {
            to_kernel: Lane::new(frame_len_max),
            from_kernel: Lane::new(frame_len_max),
            frame_len_max,
            taken: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            bell: Arc::clone(&self.bell),
        });
        self.exchanges.push(Exchange {
            tap,
            link: Arc::clone(&link),
            starved: false,
            gone: false,
        });
        Ok(link)
    }

    /// Starts the thread; `None` where no port needs it.
    pub(crate) fn start(self) -> io::Result<Option<KernelThread>> {
        if self.exchanges.is_empty() {
            return Ok(None);
        }
        let Kernel { bell, exchanges } = self;
        let for_thread = Arc::clone(&bell);
        let thread = Builder::new()
            .name("kernel".into())
            .spawn(move || exchange_all(exchanges, &for_thread))?;
        Ok(Some(KernelThread {
            bell,
            thread: Some(thread),
        }))
    }
}

impl Drop for KernelThread {
    fn drop(&mut self) {
        self.bell.stop.store(true, Ordering::SeqCst);
        let _ = self.bell.event.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn exchange_all(mut exchanges: Vec<Exchange>, bell: &Bell) {
    while !bell.stop.load(Ordering::SeqCst) {
        let mut moved = false;
        for exchange in &mut exchanges {
            moved |= exchange.turn();
        }
        if !moved {
            sleep(&mut exchanges, bell);
        }
    }
}

/// Sleeps until the kernel sends something or the bell rings.
fn sleep(exchanges: &mut [Exchange], bell: &Bell) {
    bell.asleep.store(true, Ordering::SeqCst);
    // What came before the worker could see that this thread sleeps.
    if !exchanges.iter().any(Exchange::is_called) {
        let starved = exchanges.iter().any(|exchange| exchange.starved);
        let timeout = match starved {
            true => PollTimeout::from(STARVED_MS),
            false => PollTimeout::NONE,
        };
        wait(exchanges, bell, timeout);
    }
    bell.asleep.store(false, Ordering::SeqCst);
}

fn wait(exchanges: &mut [Exchange], bell: &Bell, timeout: PollTimeout) {
    let readable = |exchange: &&mut Exchange| !exchange.starved && !exchange.gone;
    let mut polled: Vec<_> = exchanges.iter_mut().filter(readable).collect();
    let taps = polled.iter().map(|exchange| exchange.tap.as_fd());
    let mut fds: Vec<_> = taps
        .chain([bell.event.as_fd()])
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
        .collect();
    // Interrupted or not: the next turn looks at everything.
    let _ = poll(&mut fds, timeout);
    let failed = |fd: &PollFd<'_>| {
        fd.revents()
            .is_some_and(|events| events.contains(PollFlags::POLLERR))
    };
    let failed: Vec<_> = fds.iter().map(failed).collect();
    for (exchange, failed) in polled.iter_mut().zip(failed) {
        exchange.gone = failed;
    }
    let _ = bell.event.read();
}

#[cfg(test)]
mod tests;
