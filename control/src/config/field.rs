//! Readers of single values: each gives the value or says what is wrong with it.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use dataplane::PortAddress;

use super::findings::Fault;
use super::quantity::{self, QuantityError};
use super::value::{Kind, Value};

/// Longest name that Linux lets an interface have (`IFNAMSIZ`).
const INTERFACE_LEN_MAX: usize = 15;

/// Any text.
pub(super) fn text(value: &Value) -> Result<String, Fault> {
    str_of(value, "a string").map(str::to_owned)
}

/// A name: it appears in file names, metrics and thread names, so no spaces or slashes.
pub(super) fn name(value: &Value) -> Result<String, Fault> {
    let text = str_of(value, "a name in quotes")?;
    let fits = !text.is_empty()
        && text.len() <= 63
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !text.starts_with(['.', '-']);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(Fault::new(format!("`{text}` can't be a name"))
            .hint("names are 1 to 63 letters, digits, `-`, `_` and `.`, and begin with none of `-` and `.`"))
    }
}

/// `true` or `false`.
pub(super) fn flag(value: &Value) -> Result<bool, Fault> {
    match value.kind {
        Kind::Bool(flag) => Ok(flag),
        _ => Err(wrong_kind(value, "true or false")),
    }
}

/// A whole number within a range.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Value) -> Result<T, Fault>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let Kind::Integer(number) = value.kind else {
            return Err(wrong_kind(value, "a whole number without quotes"));
        };
        T::try_from(number)
            .ok()
            .filter(|number| range.contains(number))
            .ok_or_else(|| out_of_range(&number.to_string(), range.start(), range.end()))
    }
}

/// A number, whole or not, of at least 1.
pub(super) fn at_least_one(value: &Value) -> Result<f64, Fault> {
    let number = match value.kind {
        Kind::Integer(number) => number as f64,
        Kind::Float(number) => number,
        _ => return Err(wrong_kind(value, "a number without quotes")),
    };
    if (1.0..=1e6).contains(&number) {
        Ok(number)
    } else {
        Err(out_of_range(&number.to_string(), &"1", &"1000000"))
    }
}

/// One of several words.
pub(super) fn choice<T: Copy>(
    words: &'static [(&'static str, T)],
) -> impl Fn(&Value) -> Result<T, Fault> {
    move |value| {
        let text = str_of(value, "a string")?;
        if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text) {
            return Ok(*meaning);
        }
        let words: Vec<_> = words
            .iter()
            .map(|(word, _)| format!("\"{word}\""))
            .collect();
        Err(Fault::new(format!("`{text}` is not known here"))
            .hint(format!("write {}", words.join(" or "))))
    }
}

/// What `read` takes, or a list of it.
pub(super) fn one_or_more<T>(
    read: impl Fn(&Value) -> Result<T, Fault>,
) -> impl Fn(&Value) -> Result<Vec<T>, Fault> {
    move |value| match &value.kind {
        Kind::Array(items) if items.is_empty() => Err(Fault::new("the list is empty")),
        Kind::Array(items) => items.iter().map(&read).collect(),
        _ => Ok(vec![read(value)?]),
    }
}

/// An IP address.
pub(super) fn address(value: &Value) -> Result<IpAddr, Fault> {
    let text = str_of(value, "an IP address in quotes")?;
    text.parse().map_err(|_| {
        let fault = Fault::new(format!("`{text}` is not an IP address"));
        if text.contains('/') {
            fault.hint("leave out the prefix length")
        } else {
            fault.hint("write it like \"10.0.1.1\" or \"2001:db8::1\"")
        }
    })
}

/// An IP address with the length of its prefix.
pub(super) fn address_and_prefix(value: &Value) -> Result<PortAddress, Fault> {
    let text = str_of(value, "an IP address in quotes")?;
    let fault = || {
        Fault::new(format!(
            "`{text}` is not an IP address with a prefix length"
        ))
        .hint("write it like \"10.0.1.2/30\" or \"2001:db8::2/64\"")
    };
    let (address, len) = text.split_once('/').ok_or_else(fault)?;
    let address: IpAddr = address.parse().map_err(|_| fault())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let len = len.parse().ok().filter(|len| (1..=most).contains(len));
    Ok(PortAddress {
        address,
        prefix_len: len.ok_or_else(fault)?,
    })
}

/// The kernel interface of a port: its name, or whether there is one, which is then named after the port.
pub(super) fn kernel_interface(port: &str) -> impl Fn(&Value) -> Result<Option<String>, Fault> {
    let after_port: String = format!("tc-{port}")
        .chars()
        .take(INTERFACE_LEN_MAX)
        .collect();
    move |value| match &value.kind {
        Kind::Bool(wanted) => Ok(wanted.then(|| after_port.clone())),
        Kind::String(name) => {
            let legal = |c: char| c.is_ascii_graphic() && !"/:%".contains(c);
            let fits = (1..=INTERFACE_LEN_MAX).contains(&name.len())
                && name.chars().all(legal)
                && name != "."
                && name != "..";
            if fits {
                return Ok(Some(name.clone()));
            }
            Err(
                Fault::new(format!("`{name}` can't be the name of an interface"))
                    .hint("names are 1 to 15 characters, none of them a space, `/`, `:` or `%`"),
            )
        }
        _ => Err(wrong_kind(
            value,
            "true or the name of an interface in quotes",
        )),
    }
}

/// An IP address and a UDP port, not 0.
pub(super) fn endpoint(value: &Value) -> Result<SocketAddr, Fault> {
    let text = str_of(value, "an address and port in quotes")?;
    let endpoint = text.parse::<SocketAddr>().ok();
    endpoint
        .filter(|endpoint| endpoint.port() != 0)
        .ok_or_else(|| {
            Fault::new(format!("`{text}` is not an IP address and UDP port"))
                .hint("write it like \"198.51.100.1:5004\" or \"[2001:db8::1]:5004\"")
        })
}

/// The path of a Unix socket.
pub(super) fn socket_path(value: &Value) -> Result<PathBuf, Fault> {
    let text = str_of(value, "a path in quotes")?;
    // The kernel takes 108 bytes, the last of them zero.
    if text.starts_with('/') && text.len() <= 107 {
        Ok(PathBuf::from(text))
    } else {
        Err(
            Fault::new(format!("`{text}` can't be the path of a socket"))
                .hint("write an absolute path of at most 107 bytes"),
        )
    }
}

/// A TCP address to listen on.
pub(super) fn listen_address(value: &Value) -> Result<SocketAddr, Fault> {
    let text = str_of(value, "an address and port in quotes")?;
    text.parse().map_err(|_| {
        Fault::new(format!("`{text}` is not an address and TCP port"))
            .hint("write it like \"127.0.0.1:7450\"")
    })
}

/// A duration within a range.
pub(super) fn duration(
    range: RangeInclusive<Duration>,
) -> impl Fn(&Value) -> Result<Duration, Fault> {
    move |value| {
        let text = quantity_text(value, "a duration")?;
        let duration = quantity::duration(&text).map_err(fault_of)?;
        if range.contains(&duration) {
            return Ok(duration);
        }
        let print = |duration: &Duration| quantity::print_duration(*duration);
        Err(out_of_range(
            &text,
            &print(range.start()),
            &print(range.end()),
        ))
    }
}

/// A packet rate within a range, in packets per second.
pub(super) fn packet_rate(range: RangeInclusive<u32>) -> impl Fn(&Value) -> Result<u32, Fault> {
    move |value| {
        let text = quantity_text(value, "a packet rate")?;
        let rate = quantity::packet_rate(&text).map_err(fault_of)?;
        let print = |pps: u32| quantity::print_packet_rate(pps.into());
        u32::try_from(rate)
            .ok()
            .filter(|rate| range.contains(rate))
            .ok_or_else(|| out_of_range(&text, &print(*range.start()), &print(*range.end())))
    }
}

/// A bit rate within a range, in bits per second.
pub(super) fn bit_rate(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, Fault> {
    move |value| {
        let text = quantity_text(value, "a bit rate")?;
        let rate = quantity::bit_rate(&text).map_err(fault_of)?;
        if range.contains(&rate) {
            return Ok(rate);
        }
        let print = quantity::print_bit_rate;
        Err(out_of_range(
            &text,
            &print(*range.start()),
            &print(*range.end()),
        ))
    }
}

/// A percentage from 0% to 100%, as a share.
pub(super) fn percent(value: &Value) -> Result<f64, Fault> {
    if let Kind::Float(share) = value.kind
        && (0.0..=1.0).contains(&share)
    {
        let fault = Fault::new("a bare number has no unit, and a percentage needs one");
        return Err(fault.hint(format!("write \"{}\"", quantity::print_percent(share))));
    }
    let text = quantity_text(value, "a percentage")?;
    let share = quantity::percent(&text).map_err(fault_of)?;
    if (0.0..=1.0).contains(&share) {
        Ok(share)
    } else {
        Err(out_of_range(&text, &"0%", &"100%"))
    }
}

/// The text of a quantity. A bare number reads as its digits, so that the quantity's parser says what is missing.
fn quantity_text(value: &Value, wanted: &str) -> Result<String, Fault> {
    match &value.kind {
        Kind::String(text) => Ok(text.clone()),
        Kind::Integer(number) if *number >= 0 => Ok(number.to_string()),
        Kind::Float(number) if *number >= 0.0 => Ok(number.to_string()),
        _ => Err(wrong_kind(value, &format!("{wanted} in quotes"))),
    }
}

fn fault_of(error: QuantityError) -> Fault {
    let fault = Fault::new(error.reason());
    match error.hint() {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

pub(super) fn str_of<'v>(value: &'v Value, wanted: &str) -> Result<&'v str, Fault> {
    match &value.kind {
        Kind::String(text) => Ok(text),
        _ => Err(wrong_kind(value, wanted)),
    }
}

fn wrong_kind(value: &Value, wanted: &str) -> Fault {
    Fault::new(format!("this is {}, not {wanted}", value.kind_name()))
}

fn out_of_range(text: &str, low: &dyn std::fmt::Display, high: &dyn std::fmt::Display) -> Fault {
    Fault::new(format!("`{text}` is out of range")).hint(format!("from {low} to {high}"))
}
