//! Bytes as choices.

/// A source of choices: of bytes, from the front.
#[derive(Debug)]
pub(super) struct Choices<'a>(pub(super) &'a [u8]);

impl Choices<'_> {
    /// A number below `end`, which is not 0; 0 when the bytes are used up.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        let width = match end {
            ..0x101 => 1,
            0x101..0x1_0001 => 2,
            _ => 8,
        };
        let (bytes, rest) = self.0.split_at(self.0.len().min(width));
        self.0 = rest;
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte));
        number % end
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0.is_empty()
    }

    /// One of `from`.
    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// Once in so many times.
    pub(super) fn rarely(&mut self, times: u64) -> bool {
        self.below(times) == times - 1
    }
}
