//! What was learned while a document is read: where each key stands, which are unusable, what is wrong.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::problem::Problem;
use super::source::Source;

/// Why a value is not usable: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Fault {
    /// The message is one line, whatever text it quotes.
    pub(super) fn new(message: impl Into<String>) -> Fault {
        let mut line = String::new();
        for c in message.into().chars() {
            if c.is_control() {
                line.extend(c.escape_default());
            } else {
                line.push(c);
            }
        }
        Fault {
            message: line,
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into());
        self
    }
}

/// Collects problems by key path, such as `session[0].upstream[1]`.
///
/// A key whose value could not be read is *broken*: the reader goes on with a blank in its place, and whatever is
/// found later about a broken key is not reported, since it would speak of the blank.
#[derive(Debug, Default)]
pub(super) struct Findings {
    spans: HashMap<String, Range<usize>>,
    broken: HashSet<String>,
    /// Lines that are no TOML, with their place: what was read from them is guesswork.
    bad_lines: Vec<(Range<usize>, String)>,
    pub(super) problems: Vec<Problem>,
}

impl Findings {
    /// A syntax error.
    pub(super) fn syntax_error(&mut self, message: &str, span: Range<usize>, source: &Source) {
        let line = source.lines(span.clone());
        let text = source.text.get(line.clone()).unwrap_or_default();
        // `hello = 10ms`, `address = 10.0.1.1`: by far the most common slip.
        let unquoted = text.split_once('=').is_some_and(|(_, value)| {
            value
                .trim_start()
                .starts_with(|c: char| c.is_ascii_alphanumeric())
        });
        let hint = unquoted.then(|| "names, addresses and quantities stand in quotes".to_owned());
        self.bad_lines.push((line, text.to_owned()));
        self.problems.push(Problem {
            warning: false,
            key: String::new(),
            message: format!("this is not TOML: {message}"),
            hint,
            labels: vec![(span, String::new())],
        });
    }

    /// Says where a key's value stands.
    pub(super) fn place(&mut self, path: &str, span: Option<Range<usize>>) {
        if let Some(span) = span {
            self.spans.insert(path.to_owned(), span);
        }
    }

    /// The value at `path` can't be used.
    pub(super) fn unusable(&mut self, path: &str, fault: Fault) {
        self.broken.insert(path.to_owned());
        let on_bad_line = self.span(path).is_some_and(|span| {
            let mut lines = self.bad_lines.iter();
            lines.any(|(line, _)| span.start < line.end && line.start < span.end)
        });
        if !on_bad_line {
            self.push(false, &[(path, "")], fault);
        }
    }

    /// The value at `path` is not what the file says; the reason has been given already.
    pub(super) fn break_silently(&mut self, path: &str) {
        self.broken.insert(path.to_owned());
    }

    /// A key that has to be in `table` is not. If it stands on a line that is no TOML, nothing is said.
    pub(super) fn missing(&mut self, table: &str, key: &str, fault: Fault) {
        let path = join(table, key);
        let is_unreadable = self.bad_lines.iter().any(|(_, text)| text.contains(key));
        if !is_unreadable {
            self.push(false, &[(table, "")], fault);
        }
        self.broken.insert(path);
    }

    /// Something that has no meaning here, but does no harm to what else is read.
    pub(super) fn stray(&mut self, path: &str, fault: Fault) {
        self.push(false, &[(path, "")], fault);
    }

    /// Two or more values that don't go together, the first at fault; each with a word about it.
    pub(super) fn error(&mut self, places: &[(&str, &str)], fault: Fault) {
        self.unless_broken(false, places, fault);
    }

    /// As [`Findings::error`], for what may be meant so.
    pub(super) fn warning(&mut self, places: &[(&str, &str)], fault: Fault) {
        self.unless_broken(true, places, fault);
    }

    /// Whether the value at `path`, or what holds it, could not be read.
    pub(super) fn is_broken(&self, path: &str) -> bool {
        ancestors(path).any(|path| self.broken.contains(path))
    }

    fn unless_broken(&mut self, warning: bool, places: &[(&str, &str)], fault: Fault) {
        if !places.iter().any(|(path, _)| self.is_broken(path)) {
            self.push(warning, places, fault);
        }
    }

    fn push(&mut self, warning: bool, places: &[(&str, &str)], fault: Fault) {
        let labels = places.iter().filter_map(|(path, word)| {
            let span = self.span(path)?;
            Some((span, (*word).to_owned()))
        });
        let problem = Problem {
            warning,
            key: places
                .first()
                .map_or_else(String::new, |(path, _)| (*path).to_owned()),
            message: fault.message,
            hint: fault.hint,
            labels: labels.collect(),
        };
        self.problems.push(problem);
    }

    /// Where the value stands, or, if it was left out, what it belongs to.
    fn span(&self, path: &str) -> Option<Range<usize>> {
        ancestors(path).find_map(|path| self.spans.get(path).cloned())
    }
}

/// The path of a key in a table; the whole document has no path.
pub(super) fn join(table: &str, key: &str) -> String {
    if table.is_empty() {
        key.to_owned()
    } else {
        format!("{table}.{key}")
    }
}

/// The path itself, then the path of what holds it, and so on.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        path.rfind(['.', '[']).map(|end| &path[..end])
    })
}
