//! The verdict of a test client on what it received.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use overlay::LatencyHistogram;
use serde::{Deserialize, Serialize};

use super::payload;

/// What a client received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecvReport {
    /// Whether all is as sent: something came, nothing missing, duplicate, reordered, corrupt, foreign or dropped here.
    pub clean: bool,
    /// Number of the stream; absent when nothing came or with `--file`.
    pub stream: Option<u32>,
    /// Packets received, each counted once.
    pub received: u64,
    /// Numbers that never came, of those expected or, without `--expect`, between first and last.
    pub missing: u64,
    /// Packets that came again.
    pub duplicate: u64,
    /// Packets that came after one with a higher number.
    pub reordered: u64,
    /// Packets that failed the checksum or are not of `treecast send`.
    pub corrupt: u64,
    /// Packets of another stream.
    pub foreign: u64,
    /// Lowest number received; 0 when nothing came.
    pub first: u64,
    /// Highest number received.
    pub last: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Packets that this machine's kernel dropped because the socket's buffer was full.
    pub kernel_dropped: u64,
    /// Time from the sender's stamp to arrival in this kernel.
    pub latency_us: LatencyReport,
}

/// Percentiles of a latency, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencyReport {
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// Longest.
    pub max: u64,
}

impl From<&LatencyHistogram> for LatencyReport {
    fn from(latency: &LatencyHistogram) -> LatencyReport {
        LatencyReport {
            p50: latency.quantile_us(0.5),
            p99: latency.quantile_us(0.99),
            p999: latency.quantile_us(0.999),
            max: latency.max_us(),
        }
    }
}

/// Judges payloads as they come.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    stream: Option<u32>,
    seen: NumberSet,
    duplicate: u64,
    reordered: u64,
    corrupt: u64,
    foreign: u64,
    bytes: u64,
    latency: LatencyHistogram,
}

impl Verdict {
    /// A verdict on `stream`, or on the first stream that comes.
    pub(super) fn new(stream: Option<u32>) -> Verdict {
        Verdict {
            stream,
            ..Verdict::default()
        }
    }

    /// Takes one payload that arrived at `arrived_ns`, in ns since 1970.
    pub(super) fn handle(&mut self, arrived_ns: u64, bytes: &[u8]) {
        let Some(stamp) = payload::parse(bytes) else {
            self.corrupt += 1;
            return;
        };
        if *self.stream.get_or_insert(stamp.stream) != stamp.stream {
            self.foreign += 1;
            return;
        }
        let late = stamp.number < self.seen.last();
        if !self.seen.insert(stamp.number) {
            self.duplicate += 1;
            return;
        }
        self.reordered += u64::from(late);
        self.bytes += bytes.len() as u64;
        let latency_ns = arrived_ns.saturating_sub(stamp.sent_ns);
        self.latency.record(Duration::from_nanos(latency_ns));
    }

    /// How many different packets have come.
    pub(super) fn received(&self) -> u64 {
        self.seen.len
    }

    /// The report, when `expect` packets were expected.
    pub(super) fn report(&self, expect: Option<u64>, kernel_dropped: u64) -> RecvReport {
        let span = match self.seen.len {
            0 => 0,
            _ => self.seen.last() - self.seen.first() + 1,
        };
        let missing = expect.unwrap_or(span).saturating_sub(self.seen.len);
        let faults = kernel_dropped
            + missing
            + self.duplicate
            + self.reordered
            + self.corrupt
            + self.foreign;
        RecvReport {
            clean: faults == 0 && (self.seen.len > 0 || expect == Some(0)),
            stream: self.stream,
            received: self.seen.len,
            missing,
            duplicate: self.duplicate,
            reordered: self.reordered,
            corrupt: self.corrupt,
            foreign: self.foreign,
            first: self.seen.first(),
            last: self.seen.last(),
            bytes: self.bytes,
            kernel_dropped,
            latency_us: LatencyReport::from(&self.latency),
        }
    }
}

impl RecvReport {
    /// Prints the report for people or as one line of JSON.
    pub(super) fn print(&self, json: bool, out: &mut impl io::Write) -> io::Result<()> {
        if json {
            serde_json::to_writer(&mut *out, self)?;
            return writeln!(out);
        }
        writeln!(
            out,
            "received {} packets ({} to {}), {} bytes",
            self.received, self.first, self.last, self.bytes
        )?;
        if self.stream.is_none() {
            return self.print_kernel_drops(out);
        }
        writeln!(
            out,
            "missing {}, duplicate {}, reordered {}, corrupt {}, foreign {}",
            self.missing, self.duplicate, self.reordered, self.corrupt, self.foreign
        )?;
        let latency = &self.latency_us;
        writeln!(
            out,
            "latency µs: p50 {}, p99 {}, p99.9 {}, max {}",
            latency.p50, latency.p99, latency.p999, latency.max
        )?;
        self.print_kernel_drops(out)?;
        writeln!(out, "{}", if self.clean { "clean" } else { "not clean" })
    }

    fn print_kernel_drops(&self, out: &mut impl io::Write) -> io::Result<()> {
        match self.kernel_dropped {
            0 => Ok(()),
            dropped => writeln!(
                out,
                "this kernel dropped {dropped} packets: the socket's buffer was full"
            ),
        }
    }
}

/// A set of numbers as disjoint intervals: memory grows with the holes, not with the stream.
#[derive(Debug, Default)]
struct NumberSet {
    /// First number → last number of each interval; no two touch.
    intervals: BTreeMap<u64, u64>,
    len: u64,
}

impl NumberSet {
    /// Adds `number`; false when it was there already.
    fn insert(&mut self, number: u64) -> bool {
        let below = self.intervals.range(..=number).next_back();
        let first = match below {
            Some((_, &last)) if last >= number => return false,
            Some((&first, &last)) if last + 1 == number => first,
            _ => number,
        };
        let above = number
            .checked_add(1)
            .and_then(|next| self.intervals.remove(&next));
        self.intervals.insert(first, above.unwrap_or(number));
        self.len += 1;
        true
    }

    /// The lowest number, 0 when empty.
    fn first(&self) -> u64 {
        self.intervals
            .first_key_value()
            .map_or(0, |(&first, _)| first)
    }

    /// The highest number, 0 when empty.
    fn last(&self) -> u64 {
        self.intervals.last_key_value().map_or(0, |(_, &last)| last)
    }
}
