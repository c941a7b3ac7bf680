//! Quantities as people write them: a number and a unit, read and printed exactly.
//!
//! A number without a unit is an error everywhere, since `20` has been milliseconds to one reader and seconds to the
//! next. Decimals are allowed where the result is whole: `1.5s`, `2.5kpps`, `0.1%`.

use std::fmt;
use std::time::Duration;

#[cfg(test)]
mod tests;

/// What is measured: its units, smallest first, with the factor to the smallest.
#[derive(Debug)]
struct Measure {
    /// As in "a … needs a unit".
    what: &'static str,
    units: &'static [(&'static str, u128)],
    /// The unit that a bare number most likely meant.
    usual: &'static str,
}

static DURATION: Measure = Measure {
    what: "duration",
    units: &[
        ("ns", 1),
        ("us", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("min", 60_000_000_000),
    ],
    usual: "ms",
};

static BYTES: Measure = Measure {
    what: "size",
    units: &[
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
    ],
    usual: "B",
};

static PACKET_RATE: Measure = Measure {
    what: "packet rate",
    units: &[("pps", 1), ("kpps", 1_000), ("Mpps", 1_000_000)],
    usual: "pps",
};

static BIT_RATE: Measure = Measure {
    what: "bit rate",
    units: &[
        ("bps", 1),
        ("kbps", 1_000),
        ("Mbps", 1_000_000),
        ("Gbps", 1_000_000_000),
    ],
    usual: "bps",
};

static RATE: Measure = Measure {
    what: "rate",
    units: &[
        ("pps", 1),
        ("kpps", 1_000),
        ("Mpps", 1_000_000),
        ("bps", 1),
        ("kbps", 1_000),
        ("Mbps", 1_000_000),
        ("Gbps", 1_000_000_000),
    ],
    usual: "pps",
};

static PERCENT: Measure = Measure {
    what: "percentage",
    units: &[("%", 1)],
    usual: "%",
};

/// Why a text is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuantityError {
    /// It does not begin with a number.
    NoNumber {
        /// The text.
        text: String,
        /// What was expected.
        what: &'static str,
        /// The units to choose from.
        units: String,
    },
    /// A number and nothing else.
    NoUnit {
        /// The bare number.
        number: String,
        /// What was expected.
        what: &'static str,
        /// The unit that was most likely meant.
        usual: &'static str,
    },
    /// A number and something that is no unit of this measure.
    UnknownUnit {
        /// The text after the number.
        unit: String,
        /// What was expected.
        what: &'static str,
        /// The units to choose from.
        units: String,
    },
    /// More than 64 bits hold.
    TooLarge {
        /// The text.
        text: String,
    },
    /// Not a whole number of the smallest unit.
    TooFine {
        /// The text.
        text: String,
        /// The smallest unit.
        smallest: &'static str,
    },
}

impl QuantityError {
    /// What is wrong, without the hint.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            QuantityError::NoNumber { text, what, .. } => {
                format!("`{text}` is not a {what}: it does not begin with a number")
            }
            QuantityError::NoUnit { number, what, .. } => {
                format!("`{number}` has no unit, and a {what} needs one")
            }
            QuantityError::UnknownUnit { unit, what, .. } => {
                format!("`{unit}` is not a unit of a {what}")
            }
            QuantityError::TooLarge { text, .. } => {
                format!("`{text}` is too large")
            }
            QuantityError::TooFine { text, smallest, .. } => {
                format!("`{text}` is not a whole number of {smallest}")
            }
        }
    }

    /// What to write instead, where that can be told.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            QuantityError::NoUnit { number, usual, .. } => {
                Some(format!("write \"{number}{usual}\""))
            }
            QuantityError::NoNumber { units, .. } | QuantityError::UnknownUnit { units, .. } => {
                Some(format!("units are {units}"))
            }
            QuantityError::TooLarge { .. } | QuantityError::TooFine { .. } => None,
        }
    }
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())?;
        match self.hint() {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for QuantityError {}

/// A rate in packets or in bits, as `treecast send --rate` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// Packets per second.
    Pps(u64),
    /// Bits per second.
    Bps(u64),
}

/// Reads a duration: `20ms`, `1.5s`, `250us`, `2min`. Exact to the nanosecond, up to 584 years.
pub fn duration(text: &str) -> Result<Duration, QuantityError> {
    scaled(text, &DURATION).map(Duration::from_nanos)
}

/// Reads a number of bytes: `64MiB`, `1500B`.
pub fn bytes(text: &str) -> Result<u64, QuantityError> {
    scaled(text, &BYTES)
}

/// Reads a packet rate: `5kpps`, in packets per second.
pub fn packet_rate(text: &str) -> Result<u64, QuantityError> {
    scaled(text, &PACKET_RATE)
}

/// Reads a bit rate: `8Mbps`, in bits per second.
pub fn bit_rate(text: &str) -> Result<u64, QuantityError> {
    scaled(text, &BIT_RATE)
}

/// Reads a packet rate or a bit rate.
pub fn rate(text: &str) -> Result<Rate, QuantityError> {
    let value = scaled(text, &RATE)?;
    if text.ends_with("pps") {
        Ok(Rate::Pps(value))
    } else {
        Ok(Rate::Bps(value))
    }
}

/// Reads a percentage as a share: `2%` is 0.02. The result is the double nearest to what is written.
pub fn percent(text: &str) -> Result<f64, QuantityError> {
    let (number, _) = split(text, &PERCENT)?;
    // Left to the standard parser, which rounds correctly: 0.1 / 100.0 would be rounded twice.
    let share: f64 = format!("{number}e-2")
        .parse()
        .map_err(|_| no_number(text, &PERCENT))?;
    if share.is_finite() {
        Ok(share)
    } else {
        Err(QuantityError::TooLarge { text: text.into() })
    }
}

/// The duration in the largest unit that leaves it whole.
#[must_use]
pub fn print_duration(duration: Duration) -> String {
    print(duration.as_nanos(), &DURATION)
}

/// The bytes in the largest unit that leaves them whole.
#[must_use]
pub fn print_bytes(bytes: u64) -> String {
    print(bytes.into(), &BYTES)
}

/// The packet rate in the largest unit that leaves it whole.
#[must_use]
pub fn print_packet_rate(pps: u64) -> String {
    print(pps.into(), &PACKET_RATE)
}

/// The bit rate in the largest unit that leaves it whole.
#[must_use]
pub fn print_bit_rate(bps: u64) -> String {
    print(bps.into(), &BIT_RATE)
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&match *self {
            Rate::Pps(pps) => print_packet_rate(pps),
            Rate::Bps(bps) => print_bit_rate(bps),
        })
    }
}

/// The share as a percentage, with as many digits as it takes to read back the same double.
#[must_use]
pub fn print_percent(share: f64) -> String {
    if share == 0.0 {
        return "0%".to_owned();
    }
    // `{:e}` gives the shortest digits; moving the point in the text is exact where a product would not be.
    let text = format!("{share:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0) + 2;
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", digits),
    };
    let digits = digits.replace('.', "");
    let point = usize::try_from(exponent + 1).unwrap_or(0);
    let zeros = usize::try_from(-(exponent + 1)).unwrap_or(0);
    if point == 0 {
        format!("{sign}0.{}{digits}%", "0".repeat(zeros))
    } else if point >= digits.len() {
        format!("{sign}{digits}{}%", "0".repeat(point - digits.len()))
    } else {
        format!("{sign}{}.{}%", &digits[..point], &digits[point..])
    }
}

fn print(value: u128, measure: &Measure) -> String {
    let (unit, factor) = measure
        .units
        .iter()
        .rev()
        .find(|(_, factor)| value >= *factor && value.is_multiple_of(*factor))
        .unwrap_or(&measure.units[0]);
    format!("{}{unit}", value / factor)
}

fn scaled(text: &str, measure: &Measure) -> Result<u64, QuantityError> {
    let (number, factor) = split(text, measure)?;
    let too_large = || QuantityError::TooLarge { text: text.into() };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = fraction.trim_end_matches('0');
    let digits: u128 = format!("{whole}{fraction}")
        .parse()
        .map_err(|_| too_large())?;
    let product = digits.checked_mul(factor).ok_or_else(too_large)?;
    // No factor has more than 12 digits, so a longer fraction can't come out whole.
    let divisor = 10u128.pow(fraction.len().min(30) as u32);
    if product % divisor != 0 {
        return Err(QuantityError::TooFine {
            text: text.into(),
            smallest: measure.units[0].0,
        });
    }
    u64::try_from(product / divisor).map_err(|_| too_large())
}

/// The number as written, and the factor of its unit.
fn split<'t>(text: &'t str, measure: &Measure) -> Result<(&'t str, u128), QuantityError> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start();
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.contains('.') {
        return Err(no_number(text, measure));
    }
    if unit.is_empty() {
        return Err(no_unit(number, measure));
    }
    match measure.units.iter().find(|(name, _)| *name == unit) {
        Some((_, factor)) => Ok((number, *factor)),
        None => Err(QuantityError::UnknownUnit {
            unit: unit.into(),
            what: measure.what,
            units: units(measure),
        }),
    }
}

fn no_number(text: &str, measure: &Measure) -> QuantityError {
    QuantityError::NoNumber {
        text: text.into(),
        what: measure.what,
        units: units(measure),
    }
}

fn no_unit(number: &str, measure: &Measure) -> QuantityError {
    QuantityError::NoUnit {
        number: number.into(),
        what: measure.what,
        usual: measure.usual,
    }
}

fn units(measure: &Measure) -> String {
    let names: Vec<_> = measure.units.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
