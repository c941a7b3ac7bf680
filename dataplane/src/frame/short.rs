//! A short frame that is made whole: ARP or ND.

/// Longest of them, in bytes: Ethernet, IPv6, and a neighbor solicitation or advertisement with one option.
const LEN_MAX: usize = 14 + 40 + 24 + 8;
/// Ethernet's shortest frame without its checksum: not every device pads.
const LEN_MIN: usize = 60;

/// A whole frame of up to 86 bytes, padded to 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShortFrame {
    bytes: [u8; LEN_MAX],
    len: usize,
}

impl ShortFrame {
    /// The parts one after another, as far as there is room.
    pub(crate) fn of(parts: &[&[u8]]) -> ShortFrame {
        let mut frame = ShortFrame {
            bytes: [0; LEN_MAX],
            len: 0,
        };
        let all = parts.iter().copied().flatten();
        for (to, byte) in frame.bytes.iter_mut().zip(all) {
            *to = *byte;
            frame.len += 1;
        }
        frame.len = frame.len.max(LEN_MIN);
        frame
    }

    /// The frame.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}
