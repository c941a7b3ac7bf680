//! What is wrong with a configuration, and where.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode,
};

use super::source::Source;
use crate::cli::Failure;

/// One thing that is wrong, or looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// A warning does not keep the configuration from being used.
    pub warning: bool,
    /// The key it is about: `session[0].retention`; empty for the whole file.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The places in the text, the first one the place of the problem, with a word on each.
    pub(super) labels: Vec<(Range<usize>, String)>,
}

/// Everything that is wrong with one file or request.
#[derive(Debug)]
pub struct ConfigErrors {
    source: Source,
    /// The problems, in the order of the text.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// The problems of a text, which is empty for what has none.
    pub(super) fn new(source: Source, mut problems: Vec<Problem>) -> ConfigErrors {
        problems.sort_by_key(|problem| problem.labels.first().map(|(span, _)| span.start));
        ConfigErrors { source, problems }
    }

    /// A single problem that is not about a place in a text.
    pub(super) fn whole(name: &str, message: String) -> ConfigErrors {
        let problem = Problem {
            warning: false,
            key: String::new(),
            message,
            hint: None,
            labels: Vec::new(),
        };
        ConfigErrors::new(Source::without_text(name), vec![problem])
    }

    /// How many of the problems are errors.
    #[must_use]
    pub fn error_count(&self) -> usize {
        self.problems.iter().filter(|p| !p.warning).count()
    }

    /// All problems with file, line, column, caret, reason and hint; `fancy` for a terminal, with colours.
    #[must_use]
    pub fn render(&self, fancy: bool) -> String {
        let theme = if fancy {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::none()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(110)
            .with_context_lines(1);
        let mut out = String::new();
        for problem in &self.problems {
            let located = Located {
                problem,
                source: &self.source,
            };
            if handler.render_report(&mut out, &located).is_err() {
                out.push_str(&problem.message);
            }
            out.push('\n');
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// What stderr gets: how many errors there are, and all of them, fancy if it is a terminal.
    #[must_use]
    pub fn report(&self) -> String {
        let errors = super::count(self.error_count(), "error");
        // https://no-color.org
        let fancy = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        format!("{}: {errors}\n{}", self.source.name, self.render(fancy))
    }

    /// The problems as one line each: line of the text or key, reason, hint.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let line = |problem: &Problem| {
            let place = match problem.labels.first() {
                Some((span, _)) => {
                    format!("{}:{}: ", self.source.name, self.source.place(span.start).0)
                }
                None if problem.key.is_empty() => String::new(),
                None => format!("{}: ", problem.key),
            };
            let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})"));
            format!("{place}{}{}", problem.message, hint.unwrap_or_default())
        };
        self.problems.iter().map(line).collect()
    }

    /// The problems as the API and `--json` give them: file, line, column, key, message, hint.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let problems = self.problems.iter().map(|problem| {
            let place = problem
                .labels
                .first()
                .map(|(span, _)| self.source.place(span.start));
            serde_json::json!({
                "severity": if problem.warning { "warning" } else { "error" },
                "line": place.map(|(line, _)| line),
                "column": place.map(|(_, column)| column),
                "key": problem.key,
                "message": problem.message,
                "hint": problem.hint,
            })
        });
        serde_json::Value::Array(problems.collect())
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure {
            status: 2,
            message: errors.report(),
            json: false,
        }
    }
}

/// A problem together with its text, as miette draws it.
#[derive(Debug)]
struct Located<'a> {
    problem: &'a Problem,
    source: &'a Source,
}

impl fmt::Display for Located<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problem.labels.is_empty() && !self.problem.key.is_empty() {
            write!(f, "{}: ", self.problem.key)?;
        }
        f.write_str(&self.problem.message)
    }
}

impl std::error::Error for Located<'_> {}

impl Diagnostic for Located<'_> {
    fn severity(&self) -> Option<Severity> {
        Some(if self.problem.warning {
            Severity::Warning
        } else {
            Severity::Error
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.problem.hint.as_ref()?;
        Some(Box::new(hint))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.problem.labels.is_empty()).then_some(self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let labels = self.problem.labels.iter().enumerate().map(|(i, label)| {
            let (span, word) = label;
            let word = (!word.is_empty()).then(|| word.clone());
            if i == 0 {
                LabeledSpan::new_primary_with_span(word, span.clone())
            } else {
                LabeledSpan::new_with_span(word, span.clone())
            }
        });
        Some(Box::new(labels))
    }
}
