//! The dataplane's FEC: any bytes as the parity of a block.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| dataplane::fuzzing::rebuild(bytes));
