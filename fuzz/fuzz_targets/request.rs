//! What the API takes: a session, a client or an impairment, as JSON.

#![no_main]

use std::sync::LazyLock;

use control::config::{self, Config, ConfigErrors};
use libfuzzer_sys::fuzz_target;
use overlay::SessionId;

/// The file of a node with one session of number 1.
const NODE_FILE: &str = include_str!("../corpus/node_file/last-hop.toml");

static CONFIG: LazyLock<Config> =
    LazyLock::new(|| config::parse("node.toml", NODE_FILE).expect("a file of the corpus"));

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else {
        return;
    };
    show(CONFIG.with_session(&json));
    show(CONFIG.with_client(SessionId(1), &json));
    show(config::parse_impairment(&json));
});

fn show<T>(read: Result<T, ConfigErrors>) {
    if let Err(errors) = read {
        let _ = (errors.render(true), errors.lines(), errors.to_json());
    }
}
