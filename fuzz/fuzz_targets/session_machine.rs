//! A whole node under inputs that follow from the bytes: see `overlay/src/node/fuzz.rs`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| overlay::fuzz_session_machine(bytes));
