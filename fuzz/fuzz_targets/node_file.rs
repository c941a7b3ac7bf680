//! A node's configuration file: a value or errors, and the errors can be shown.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = control::config::parse("fuzz.toml", text) {
        let _ = (errors.render(true), errors.lines(), errors.to_json());
    }
});
