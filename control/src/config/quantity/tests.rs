use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn what_is_printed_reads_back_the_same(value: u64) {
        prop_assert_eq!(duration(&print_duration(Duration::from_nanos(value))), Ok(Duration::from_nanos(value)));
        prop_assert_eq!(bytes(&print_bytes(value)), Ok(value));
        for rate_given in [Rate::Pps(value), Rate::Bps(value)] {
            prop_assert_eq!(rate(&rate_given.to_string()), Ok(rate_given));
        }
        prop_assert_eq!(packet_rate(&print_packet_rate(value)), Ok(value));
        prop_assert_eq!(bit_rate(&print_bit_rate(value)), Ok(value));
    }

    #[test]
    fn round_values_in_every_unit_read_back_the_same(count in 0u64..1000, unit in 0usize..5) {
        let nanos = count * u64::try_from(DURATION.units[unit].1).unwrap();
        prop_assert_eq!(duration(&print_duration(Duration::from_nanos(nanos))), Ok(Duration::from_nanos(nanos)));
    }

    #[test]
    fn every_share_reads_back_the_same(share in 0.0f64..=1.0) {
        prop_assert_eq!(percent(&print_percent(share)), Ok(share));
    }

    #[test]
    fn any_text_gives_a_value_or_a_reason(text in ".{0,40}") {
        let _ = (duration(&text), bytes(&text), rate(&text), percent(&text));
    }
}

#[test]
fn percentages_are_exact() {
    assert_eq!(percent("0.1%"), Ok(0.001));
    assert_eq!(percent("2%"), Ok(0.02));
    assert_eq!(percent("100%"), Ok(1.0));
    assert_eq!(percent("12.5 %"), Ok(0.125));
    assert_eq!(print_percent(0.001), "0.1%");
    assert_eq!(print_percent(1.0), "100%");
    assert_eq!(print_percent(0.0), "0%");
    assert_eq!(print_percent(0.07), "7%");
    assert_eq!(print_percent(0.00025), "0.025%");
}

#[test]
fn units_scale() {
    assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
    assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
    assert_eq!(bytes("64MiB"), Ok(64 << 20));
    assert_eq!(rate("5kpps"), Ok(Rate::Pps(5_000)));
    assert_eq!(rate("8Mbps"), Ok(Rate::Bps(8_000_000)));
    assert_eq!(packet_rate("2.5kpps"), Ok(2_500));
    assert_eq!(print_duration(Duration::from_millis(1500)), "1500ms");
}

#[test]
fn reasons_say_what_to_write() {
    let said = |e: QuantityError| e.to_string();
    assert_eq!(
        said(duration("20").unwrap_err()),
        "`20` has no unit, and a duration needs one; write \"20ms\""
    );
    assert_eq!(
        said(duration("20msec").unwrap_err()),
        "`msec` is not a unit of a duration; units are ns, us, ms, s, min"
    );
    assert_eq!(
        said(rate("fast").unwrap_err()),
        "`fast` is not a rate: it does not begin with a number; units are pps, kpps, Mpps, bps, kbps, Mbps, Gbps"
    );
    assert_eq!(
        said(duration("0.5ns").unwrap_err()),
        "`0.5ns` is not a whole number of ns"
    );
    assert_eq!(
        said(packet_rate("8Mbps").unwrap_err()),
        "`Mbps` is not a unit of a packet rate; units are pps, kpps, Mpps"
    );
}

#[test]
fn what_does_not_fit_is_too_large() {
    for text in [
        "18446744073709551616ns",
        "999999999999999999999999999999999999999999min",
    ] {
        assert!(
            matches!(duration(text), Err(QuantityError::TooLarge { .. })),
            "{text}"
        );
    }
    assert!(matches!(
        bytes("99999999999GiB"),
        Err(QuantityError::TooLarge { .. })
    ));
    assert_eq!(
        duration("18446744073709551615ns"),
        Ok(Duration::from_nanos(u64::MAX))
    );
}

#[test]
fn signs_and_stray_points_are_no_numbers() {
    for text in ["-1ms", "+1ms", ".5s", "1.s", "1.2.3s", "", "ms", "1e3s"] {
        assert!(duration(text).is_err(), "{text}");
    }
}
