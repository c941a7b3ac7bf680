//! A lab's topology: a value or errors, and what is laid out from a value is files that nodes take.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| control::lab::fuzz_topology(text));
