//! The dataplane: any frame that a port receives.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| dataplane::fuzzing::frame(frame));
