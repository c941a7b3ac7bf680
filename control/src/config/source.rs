//! A text with its name, by lines.

use std::ops::Range;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// What was read, and what errors call it.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// The name alone: for what has no text to point into.
    pub(super) fn without_text(name: &str) -> Source {
        Source {
            name: name.to_owned(),
            text: String::new(),
        }
    }

    /// Line and column of a byte, both from 1.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before[line_start..].chars().count();
        (before.matches('\n').count() + 1, column + 1)
    }

    /// The span widened to whole lines, without the last line's end.
    pub(super) fn lines(&self, span: Range<usize>) -> Range<usize> {
        let before = self.text.get(..span.start).unwrap_or(&self.text);
        let after = self.text.get(span.end..).unwrap_or_default();
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after
            .find('\n')
            .map_or(self.text.len(), |len| span.end + len);
        start..end
    }
}

/// miette asks without context for the place that a snippet's head names, and with context for the snippet. The
/// snippet is the whole lines of the span and nothing around them: with many problems in one file, less is more.
impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _lines_after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let exact = span.offset()..span.offset() + span.len();
        let (line, column) = self.place(exact.start);
        let (range, column) = if lines_before == 0 {
            (exact, column)
        } else {
            (self.lines(exact), 1)
        };
        let snippet = self
            .text
            .get(range.clone())
            .ok_or(MietteError::OutOfBounds)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            snippet.as_bytes(),
            range.into(),
            line - 1,
            column - 1,
            snippet.matches('\n').count() + 1,
        )))
    }
}
