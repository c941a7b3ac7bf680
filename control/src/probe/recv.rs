//! The test client.

use std::fs::File;
use std::io::{self, IoSliceMut, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::payload::{MAX_LEN, now_ns};
use super::verdict::{RecvReport, Verdict};
use crate::cli::Failure;
use crate::config::quantity;

/// Most packets taken from the kernel at once.
const BATCH: usize = 64;
/// Socket buffer asked for: a second of 10,000 packets, so that a burst of repairs is not lost here.
const BUFFER_BYTES: usize = 16 << 20;
/// Pause after a batch that was not full, so that packets gather instead of waking this process one by one.
const GATHER: Duration = Duration::from_millis(1);
/// A buffer below this is too small to let packets gather.
const GATHER_BUFFER_BYTES: usize = 4 << 20;

/// Receive a numbered UDP stream and judge it, or write what comes to a file.
#[derive(Clone, Debug, clap::Args)]
pub struct RecvArgs {
    /// Address and port to listen on.
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: SocketAddr,
    /// Expect the numbers 1 to N, and stop when all have come.
    #[arg(long, value_name = "N")]
    pub expect: Option<u64>,
    /// Stop after this long.
    #[arg(long, value_parser = quantity::duration)]
    pub duration: Option<Duration>,
    /// Stop when nothing came for this long after the first packet [default: go on until a signal].
    #[arg(long, value_parser = quantity::duration)]
    pub idle: Option<Duration>,
    /// Write the payloads' bytes to this file as they come, unverified.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Number of the stream to judge [default: that of the first packet].
    #[arg(long)]
    pub stream: Option<u32>,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

/// Runs `treecast recv`.
pub(super) fn run(args: &RecvArgs) -> Result<(), Failure> {
    let fail = |message: String| Failure {
        status: 1,
        message,
        json: args.json,
    };
    let report = receive(args).map_err(fail)?;
    report
        .print(args.json, &mut io::stdout().lock())
        .map_err(|error| fail(format!("print: {error}")))?;
    if report.clean {
        Ok(())
    } else {
        Err(fail("what was received is not what was sent".to_string()))
    }
}

/// Calls `action` on the first SIGTERM or SIGINT. Signals are blocked for all threads and taken by one of their own.
pub(super) fn on_stop_signal(action: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    signals
        .thread_block()
        .map_err(|error| format!("block signals: {error}"))?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            action();
        }
    });
    Ok(())
}

/// Receives until a count, a time or a signal says to stop.
pub(crate) fn receive(args: &RecvArgs) -> Result<RecvReport, String> {
    let (stopped, stop) = UnixStream::pair().map_err(|error| format!("make a pipe: {error}"))?;
    on_stop_signal(move || drop(stop))?;
    let mut receiver = Receiver::new(args, stopped)?;
    eprintln!("ready: listening on {}", args.listen);
    receiver.run()?;
    receiver.report()
}

/// Where the payloads go.
enum Sink {
    Verdict(Box<Verdict>),
    File { file: File, report: RecvReport },
}

struct Receiver<'a> {
    args: &'a RecvArgs,
    socket: UdpSocket,
    /// Readable once a signal came.
    stopped: UnixStream,
    sink: Sink,
    gather: bool,
    start: Instant,
    last_packet: Option<Instant>,
}

impl<'a> Receiver<'a> {
    fn new(args: &'a RecvArgs, stopped: UnixStream) -> Result<Receiver<'a>, String> {
        let (socket, gather) =
            listen(args.listen).map_err(|error| format!("listen on {}: {error}", args.listen))?;
        let sink = match &args.file {
            Some(path) => Sink::File {
                file: File::create(path)
                    .map_err(|error| format!("create {}: {error}", path.display()))?,
                report: RecvReport::default(),
            },
            None => Sink::Verdict(Box::new(Verdict::new(args.stream))),
        };
        Ok(Receiver {
            args,
            socket,
            stopped,
            sink,
            gather,
            start: Instant::now(),
            last_packet: None,
        })
    }

    fn run(&mut self) -> Result<(), String> {
        let mut buffers = vec![vec![0; MAX_LEN]; BATCH];
        // Every packet brings exactly one control message, its time of arrival, so the space never has to be renewed.
        let mut headers = MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec)));
        while !self.is_done() {
            if !self.wait()? {
                continue;
            }
            let count = self.take_batch(&mut headers, &mut buffers)?;
            if count > 0 {
                self.last_packet = Some(Instant::now());
            }
            if self.gather && count < BATCH {
                thread::sleep(GATHER);
            }
        }
        // What is already in the buffer came before the stop.
        while self.take_batch(&mut headers, &mut buffers)? > 0 && !self.has_all() {}
        Ok(())
    }

    fn has_all(&self) -> bool {
        matches!(&self.sink, Sink::Verdict(verdict) if self.args.expect.is_some_and(|expect| verdict.received() >= expect))
    }

    fn is_done(&self) -> bool {
        let stopped = poll(
            &mut [PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN)],
            PollTimeout::ZERO,
        );
        let over = self
            .args
            .duration
            .is_some_and(|duration| self.start.elapsed() >= duration);
        let idle = match (self.args.idle, self.last_packet) {
            (Some(idle), Some(last)) => last.elapsed() >= idle,
            _ => false,
        };
        stopped != Ok(0) || over || idle || self.has_all()
    }

    /// Waits for a packet, a signal or a moment in which to look at the clock; true when there is a packet.
    fn wait(&self) -> Result<bool, String> {
        let mut fds = [
            PollFd::new(self.socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, 20u8) {
            Ok(_) | Err(Errno::EINTR) => Ok(fds[0].any().unwrap_or(false)),
            Err(error) => Err(format!("wait for packets: {error}")),
        }
    }

    fn take_batch(
        &mut self,
        headers: &mut MultiHeaders<SockaddrStorage>,
        buffers: &mut [Vec<u8>],
    ) -> Result<usize, String> {
        let arrivals = match receive_batch(&self.socket, headers, buffers) {
            Ok(arrivals) => arrivals,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(0),
            Err(error) => return Err(format!("receive: {error}")),
        };
        for ((len, arrived_ns), buffer) in arrivals.iter().zip(buffers) {
            self.sink.take(*arrived_ns, &buffer[..*len])?;
        }
        Ok(arrivals.len())
    }

    fn report(self) -> Result<RecvReport, String> {
        let kernel_dropped = kernel_drops(self.args.listen);
        match self.sink {
            Sink::Verdict(verdict) => Ok(verdict.report(self.args.expect, kernel_dropped)),
            Sink::File { mut file, report } => {
                file.flush()
                    .map_err(|error| format!("write the file: {error}"))?;
                Ok(RecvReport {
                    kernel_dropped,
                    clean: kernel_dropped == 0 && report.received > 0,
                    ..report
                })
            }
        }
    }
}

impl Sink {
    fn take(&mut self, arrived_ns: u64, bytes: &[u8]) -> Result<(), String> {
        match self {
            Sink::Verdict(verdict) => verdict.handle(arrived_ns, bytes),
            Sink::File { file, report } => {
                report.received += 1;
                report.bytes += bytes.len() as u64;
                file.write_all(bytes)
                    .map_err(|error| format!("write the file: {error}"))?;
            }
        }
        Ok(())
    }
}

/// A socket with a large buffer and arrival times, set before the first packet can come. `true`: the buffer is large
/// enough to let packets gather.
fn listen(address: SocketAddr) -> io::Result<(UdpSocket, bool)> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    // Beyond the system's limit with CAP_NET_ADMIN, up to it without.
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER_BYTES)
        .or_else(|_| setsockopt(&socket, sockopt::RcvBuf, &BUFFER_BYTES))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    socket.bind(&address.into())?;
    let gather = socket.recv_buffer_size()? >= GATHER_BUFFER_BYTES;
    Ok((socket.into(), gather))
}

/// Takes what is there: the length and the time of arrival of each packet.
fn receive_batch(
    socket: &UdpSocket,
    headers: &mut MultiHeaders<SockaddrStorage>,
    buffers: &mut [Vec<u8>],
) -> Result<Vec<(usize, u64)>, Errno> {
    let mut slices: Vec<[IoSliceMut<'_>; 1]> = buffers
        .iter_mut()
        .map(|buffer| [IoSliceMut::new(buffer)])
        .collect();
    let messages = recvmmsg(
        socket.as_raw_fd(),
        headers,
        slices.iter_mut(),
        MsgFlags::MSG_DONTWAIT,
        None,
    )?;
    let arrivals = messages.map(|message| {
        let stamp = message.cmsgs().ok().and_then(|mut control| {
            control.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(time) => Some(time),
                _ => None,
            })
        });
        let arrived_ns = stamp.map_or_else(now_ns, |time| {
            time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
        });
        (message.bytes, arrived_ns)
    });
    Ok(arrivals.collect())
}

/// What the kernel dropped at the socket bound to `local`, from its own table; 0 where it does not say.
fn kernel_drops(local: SocketAddr) -> u64 {
    let (table, octets) = match local.ip() {
        IpAddr::V4(address) => ("udp", address.octets().to_vec()),
        IpAddr::V6(address) => ("udp6", address.octets().to_vec()),
    };
    let path = format!("/proc/thread-self/net/{table}");
    let table = std::fs::read_to_string(path).unwrap_or_default();
    // The kernel prints an address word by word as it lies in memory.
    let words = octets.as_chunks::<4>().0.iter();
    let address: String = words
        .map(|word| format!("{:08X}", u32::from_ne_bytes(*word)))
        .collect();
    let local = format!("{address}:{:04X}", local.port());
    table
        .lines()
        .filter(|line| line.split_whitespace().nth(1) == Some(local.as_str()))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}
