//! The payload that `treecast recv` verifies.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| control::probe::fuzz_payload(bytes));
