//! Quantities as an operator reads them.

/// A duration in microseconds, to three digits: `250us`, `1.25ms`, `3.50s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{:.2}ms", us as f64 / 1e3),
        _ => format!("{:.2}s", us as f64 / 1e6),
    }
}

/// An age in milliseconds, in its two largest units: `0.4s`, `3m12s`, `2h05m`, `3d04h`.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}.{}s", ms % 1_000 / 100),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A share in percent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_short_and_have_units() {
        assert_eq!([0, 999, 1_250].map(micros), ["0us", "999us", "1.25ms"]);
        assert_eq!(micros(3_500_000), "3.50s");
        assert_eq!([450, 59_999, 192_000].map(age), ["0.4s", "59.9s", "3m12s"]);
        assert_eq!([7_500_000, 273_600_000].map(age), ["2h05m", "3d04h"]);
        assert_eq!([percent(1, 8), percent(0, 0)], ["12.5%", "-"]);
    }
}
