//! How far it is, for people who wait.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often it is said.
const EVERY: Duration = Duration::from_millis(200);

/// A line on stderr that is written over again and again; nothing where that is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    said: Option<Mutex<Instant>>,
}

impl Progress {
    /// Says something if there is a terminal.
    pub(super) fn new() -> Progress {
        let terminal = io::stderr().is_terminal();
        Progress {
            said: terminal.then(|| Mutex::new(Instant::now())),
        }
    }

    /// Says `text` unless something was said just before.
    pub(super) fn say(&self, text: impl FnOnce() -> String) {
        let Some(said) = &self.said else { return };
        // Another thread that is saying something is as good.
        let Ok(mut said) = said.try_lock() else {
            return;
        };
        if said.elapsed() >= EVERY {
            *said = Instant::now();
            self.write(&text());
        }
    }

    /// Takes away what was said last.
    pub(super) fn clear(&self) {
        if self.said.is_some() {
            self.write("");
        }
    }

    fn write(&self, text: &str) {
        // A terminal that has gone away wants no more of it.
        let _ = write!(io::stderr(), "\r\x1b[K{text}");
        let _ = io::stderr().flush();
    }
}
