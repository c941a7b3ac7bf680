//! The overlay's wire format: what is parsed is emitted as it was, in all that has a meaning.

#![no_main]

use libfuzzer_sys::fuzz_target;
use overlay::wire::{HEADER_LEN, Header, Hello, Kind, NakRanges, ParityHeader, emit_range};

fuzz_target!(|bytes: &[u8]| {
    let Ok((header, body)) = Header::parse(bytes) else {
        return;
    };
    let emitted = header.emit();
    assert_eq!(emitted, bytes[..HEADER_LEN]);
    assert_eq!(Header::parse(&emitted), Ok((header, &[][..])));
    match header.kind {
        Kind::Nak | Kind::NakConfirm => nak(body),
        Kind::Hello => hello(body),
        Kind::Parity => parity(body),
        Kind::Data | Kind::Repair | Kind::Heartbeat | Kind::Copy => {}
    }
});

fn nak(body: &[u8]) {
    let Ok(ranges) = NakRanges::parse(body) else {
        return;
    };
    let emitted: Vec<u8> = ranges.iter().flat_map(emit_range).collect();
    assert_eq!(emitted, body);
}

fn hello(body: &[u8]) {
    if let Ok(hello) = Hello::parse(body) {
        assert_eq!(Hello::parse(&hello.emit()), Ok(hello));
    }
}

fn parity(body: &[u8]) {
    let Ok((parity, coded)) = ParityHeader::parse(body) else {
        return;
    };
    let emitted = [&parity.emit()[..], coded].concat();
    assert_eq!(ParityHeader::parse(&emitted), Ok((parity, coded)));
}
