//! The test source.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg};
use serde::{Deserialize, Serialize};

use super::payload::{MAX_LEN, MIN_LEN};
use super::pieces::Pieces;
use crate::cli::Failure;
use crate::config::quantity::{self, Rate};

/// Most packets given to the kernel at once.
const BATCH: usize = 64;
/// Shortest pause between two batches, so that a fast source does not take a whole core.
const MIN_PAUSE: Duration = Duration::from_micros(100);
/// A source that was held up makes up for at most this much time in one batch: it catches up without a burst that no
/// receive ring holds.
const CATCH_UP: Duration = Duration::from_micros(400);

/// Send a numbered, paced UDP stream, or a file, to one address.
#[derive(Clone, Debug, clap::Args)]
pub struct SendArgs {
    /// Where to send to, ADDR:PORT.
    #[arg(long, value_name = "ADDR:PORT")]
    pub to: SocketAddr,
    /// Where to send from.
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = super::parse_local)]
    pub from: Option<SocketAddr>,
    /// How fast: packets (`5kpps`) or bits of payload (`8Mbps`) per second.
    #[arg(long, default_value = "1kpps", value_parser = quantity::rate)]
    pub rate: Rate,
    /// Bytes of each payload.
    #[arg(long, default_value_t = 1316)]
    pub size: usize,
    /// Stop after this many packets.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this long [default: 10s, unless --count or --file says when].
    #[arg(long, value_parser = quantity::duration)]
    pub duration: Option<Duration>,
    /// Send the bytes of this file, nothing added, instead of numbered payloads.
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Number of the stream, which the receiver checks.
    #[arg(long, default_value_t = 1)]
    pub stream: u32,
    /// Report as JSON.
    #[arg(long)]
    pub json: bool,
    /// End when the process that started this one ends.
    #[arg(long, hide = true)]
    pub die_with_parent: bool,
}

/// What a source did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SendReport {
    /// Number of the stream.
    pub stream: u32,
    /// Packets handed to the kernel.
    pub sent: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Time from the first packet to the last, in seconds.
    pub duration_s: f64,
    /// Packets per second over that time.
    pub rate_pps: f64,
    /// Furthest that a packet left behind its schedule, in microseconds.
    pub late_max_us: u64,
}

/// Runs `treecast send`.
pub(super) fn run(args: &SendArgs) -> Result<(), Failure> {
    let fail = |message: String, status: u8| Failure {
        status,
        message,
        json: args.json,
    };
    check(args).map_err(|message| fail(message, 2))?;
    let report = stream(args).map_err(|message| fail(message, 1))?;
    let mut out = io::stdout().lock();
    print(&report, args.json, &mut out).map_err(|error| fail(format!("print: {error}"), 1))
}

/// Packets per second of a rate, when each carries `size` bytes.
#[must_use]
pub fn packets_per_second(rate: Rate, size: usize) -> f64 {
    match rate {
        Rate::Pps(pps) => pps as f64,
        Rate::Bps(bps) => bps as f64 / (size as f64 * 8.0),
    }
}

fn check(args: &SendArgs) -> Result<(), String> {
    let least = if args.file.is_some() { 1 } else { MIN_LEN };
    if packets_per_second(args.rate, args.size) <= 0.0 {
        return Err("--rate must be more than 0".to_string());
    }
    if (least..=MAX_LEN).contains(&args.size) {
        Ok(())
    } else {
        Err(format!("--size must be {least} to {MAX_LEN} bytes"))
    }
}

/// Sends until a count, a time or a signal says to stop.
pub(crate) fn stream(args: &SendArgs) -> Result<SendReport, String> {
    let mut pieces = match &args.file {
        Some(path) => Pieces::file(path)?,
        None => Pieces::numbered(args.stream, args.size),
    };
    let stop = stop_flag()?;
    // Sleeps end within a microsecond of the schedule instead of fifty.
    prctl::set_timerslack(1).map_err(|error| format!("set the timer slack: {error}"))?;
    let mut sender = Sender::new(args)?;
    sender.run(&mut pieces, &stop)
}

/// A flag that SIGTERM and SIGINT raise.
fn stop_flag() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    super::recv::on_stop_signal({
        let stop = Arc::clone(&stop);
        move || stop.store(true, Ordering::Relaxed)
    })?;
    Ok(stop)
}

struct Sender {
    socket: UdpSocket,
    to: SockaddrStorage,
    size: usize,
    rate_pps: f64,
    /// Packets to send in all.
    limit: u64,
    report: SendReport,
}

impl Sender {
    fn new(args: &SendArgs) -> Result<Sender, String> {
        let anywhere = match args.to {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let from = args.from.unwrap_or(SocketAddr::new(anywhere, 0));
        let socket = UdpSocket::bind(from).map_err(|error| format!("bind to {from}: {error}"))?;
        let rate_pps = packets_per_second(args.rate, args.size);
        let by_time = match (args.duration, args.count, &args.file) {
            (Some(duration), ..) => Some(duration),
            (None, None, None) => Some(Duration::from_secs(10)),
            _ => None,
        };
        let by_time = by_time.map(|duration| (duration.as_secs_f64() * rate_pps).ceil() as u64);
        let limit = by_time
            .unwrap_or(u64::MAX)
            .min(args.count.unwrap_or(u64::MAX));
        Ok(Sender {
            socket,
            to: args.to.into(),
            size: args.size,
            rate_pps,
            limit,
            report: SendReport {
                stream: args.stream,
                ..SendReport::default()
            },
        })
    }

    /// Sends on the schedule `start + number / rate` until the limit, the end of the pieces or a signal.
    fn run(&mut self, pieces: &mut Pieces, stop: &AtomicBool) -> Result<SendReport, String> {
        let most = ((self.rate_pps * CATCH_UP.as_secs_f64()).ceil() as u64).clamp(2, BATCH as u64);
        let mut buffers = vec![vec![0; self.size]; most as usize];
        let start = Instant::now();
        while self.report.sent < self.limit && !stop.load(Ordering::Relaxed) {
            let elapsed = start.elapsed();
            let due = (elapsed.as_secs_f64() * self.rate_pps) as u64 + 1;
            if due <= self.report.sent {
                let next = Duration::from_secs_f64(self.report.sent as f64 / self.rate_pps);
                // Never sleep through a signal for long, however slow the stream.
                let pause = next.saturating_sub(elapsed).max(MIN_PAUSE);
                thread::sleep(pause.min(Duration::from_millis(100)));
                continue;
            }
            let late = elapsed.as_secs_f64() - self.report.sent as f64 / self.rate_pps;
            self.report.late_max_us = self.report.late_max_us.max((late * 1e6) as u64);
            let wanted = (due.min(self.limit) - self.report.sent).min(most);
            let lens = fill(pieces, &mut buffers[..wanted as usize])?;
            self.send_all(&buffers, &lens)?;
            if (lens.len() as u64) < wanted {
                break;
            }
            if wanted == most {
                thread::sleep(MIN_PAUSE);
            }
        }
        Ok(self.finish(start))
    }

    fn finish(&mut self, start: Instant) -> SendReport {
        self.report.duration_s = start.elapsed().as_secs_f64();
        self.report.rate_pps = self.report.sent as f64 / self.report.duration_s.max(1e-9);
        self.report.clone()
    }

    fn send_all(&mut self, buffers: &[Vec<u8>], lens: &[usize]) -> Result<(), String> {
        let mut done = 0;
        while done < lens.len() {
            match self.send_batch(&buffers[done..], &lens[done..]) {
                Ok(sent) => {
                    self.report.bytes += lens[done..done + sent].iter().sum::<usize>() as u64;
                    self.report.sent += sent as u64;
                    done += sent;
                }
                // The device queue is full or a signal came: the rest goes out a moment later.
                Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => thread::sleep(MIN_PAUSE),
                Err(error) => return Err(format!("send to {}: {error}", self.to)),
            }
        }
        Ok(())
    }

    fn send_batch(&self, buffers: &[Vec<u8>], lens: &[usize]) -> Result<usize, Errno> {
        let slices: Vec<[IoSlice<'_>; 1]> = buffers
            .iter()
            .zip(lens)
            .map(|(buffer, len)| [IoSlice::new(&buffer[..*len])])
            .collect();
        let addresses = vec![Some(self.to); slices.len()];
        let mut headers = MultiHeaders::preallocate(slices.len(), None);
        let no_control: [ControlMessage<'_>; 0] = [];
        let sent = sendmmsg(
            self.socket.as_raw_fd(),
            &mut headers,
            &slices,
            addresses,
            no_control,
            MsgFlags::empty(),
        )?;
        Ok(sent.count())
    }
}

/// Fills buffers with the next pieces and returns their lengths; fewer than buffers at the end.
fn fill(pieces: &mut Pieces, buffers: &mut [Vec<u8>]) -> Result<Vec<usize>, String> {
    let mut lens = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let len = pieces
            .fill(buffer)
            .map_err(|error| format!("read the file: {error}"))?;
        if len == 0 {
            break;
        }
        lens.push(len);
    }
    Ok(lens)
}

fn print(report: &SendReport, json: bool, out: &mut impl io::Write) -> io::Result<()> {
    if json {
        serde_json::to_writer(&mut *out, report)?;
        return writeln!(out);
    }
    writeln!(
        out,
        "sent {} packets, {} bytes in {:.3} s: {:.0} packets/s, at most {} µs behind",
        report.sent, report.bytes, report.duration_s, report.rate_pps, report.late_max_us
    )
}
