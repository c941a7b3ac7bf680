//! A frame ready to be sent.

#![allow(unsafe_code)]

use crate::mbuf::{Mbuf, Raw};
use crate::payload::{Lent, SharedPayload};
use crate::pool::Pool;

/// Something to send: one linear buffer, or a header of its own chained to a shared payload.
///
/// May be sent to another thread, as what it is made of may.
#[repr(transparent)]
pub struct Frame {
    raw: Raw,
}

// SAFETY: an `Mbuf` and a reference to a `SharedPayload` are both `Send`.
unsafe impl Send for Frame {}

impl Frame {
    /// A buffer that is a whole frame.
    #[inline]
    pub(crate) fn from_raw(raw: Raw) -> Frame {
        Frame { raw }
    }

    /// `header` followed by `payload`, which is not copied; `None` where that [can't be](SharedPayload::can_be_chained).
    /// For ports that send chains.
    #[must_use]
    #[inline]
    pub fn chain(header: Mbuf, payload: &SharedPayload) -> Option<Frame> {
        if !payload.can_be_chained() {
            return None;
        }
        let raw = header.into_raw();
        payload.chain_to(raw);
        Some(Frame { raw })
    }

    /// A header that `write` writes, followed by the payload that was lent, in `mbuf`, whatever that was used for before;
    /// `None` if it is too small or no reference is left.
    #[inline(always)]
    pub(crate) fn chain_lent<const LEN: usize>(
        mut mbuf: Mbuf,
        payload: &mut Lent<'_>,
        write: impl FnOnce(&mut [u8; LEN]),
    ) -> Option<Frame> {
        write(mbuf.restart::<LEN>()?);
        let raw = mbuf.into_raw();
        let frame = Frame { raw };
        payload.chain_to(raw, LEN).then_some(frame)
    }

    /// `header` followed by a copy of `payload`, in one buffer: that of the header where it has the room, else one
    /// of `packets`. `None` if the pool is exhausted.
    #[must_use]
    pub fn linear(mut header: Mbuf, payload: &SharedPayload, packets: &Pool) -> Option<Frame> {
        if let Some(room) = header.append(payload.len()) {
            room.copy_from_slice(payload.data());
            return Some(header.into());
        }
        let mut whole = packets.copy(header.data())?;
        whole.append(payload.len())?.copy_from_slice(payload.data());
        Some(whole.into())
    }

    /// Bytes of the frame, over all its segments.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.raw.pkt_len() as usize
    }

    /// Whether it holds nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Mbuf> for Frame {
    #[inline]
    fn from(mbuf: Mbuf) -> Frame {
        Frame {
            raw: mbuf.into_raw(),
        }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.raw.free();
    }
}
