//! Runs of consecutive packets of one session: what holds for all of them is looked up once, and what follows from them
//! is seen to once, when the run is dropped.

use super::turns::Turns;
use super::{Entry, Node, SessionIndex};
use crate::Instant;
use crate::session::Reject;
use crate::wire::Header;

/// Packets of the source of a session that begins here, one after the other: see [`Node::source_run`].
#[derive(Debug)]
pub struct SourceRun<'a, P> {
    run: Run<'a, P>,
}

impl<P> SourceRun<'_, P> {
    /// The header of the data packet that the next packet becomes.
    #[must_use]
    #[inline]
    pub fn header(&self, timestamp: u64) -> Header {
        self.run.entry.session.source_header(timestamp)
    }

    /// Keeps the next packet, under the number that [`SourceRun::header`] gave it. Returns the packet that had to make
    /// room for it.
    #[inline]
    pub fn push(&mut self, packet: P) -> Option<P> {
        self.run.taken = true;
        self.run.entry.session.push_source(self.run.now, packet)
    }
}

/// Packets of a tree, of one session, one after the other: see [`Node::tree_run`].
#[derive(Debug)]
pub struct TreeRun<'a, P> {
    run: Run<'a, P>,
}

impl<P> TreeRun<'_, P> {
    /// The session.
    #[must_use]
    #[inline]
    pub fn index(&self) -> SessionIndex {
        self.run.index
    }

    /// Takes the next packet, whose header is of the same session. `Ok`: it is held, and to be sent on down the tree
    /// that its flags name, for the first time; with the packet that had to make room for it.
    ///
    /// # Errors
    /// Why the packet was dropped.
    #[inline]
    pub fn push(&mut self, header: &Header, packet: P) -> Result<Option<P>, Reject> {
        let run = &mut self.run;
        let in_order = run.entry.session.is_next(header);
        let evicted = run.entry.session.handle_data(run.now, header, packet)?;
        run.taken = true;
        if !in_order {
            run.in_order = false;
            run.turns.tell(&mut run.entry.session);
        }
        Ok(evicted)
    }
}

/// A session that takes packets.
#[derive(Debug)]
struct Run<'a, P> {
    now: Instant,
    index: SessionIndex,
    entry: &'a mut Entry<P>,
    turns: &'a mut Turns,
    /// It took one.
    taken: bool,
    /// All that it took came in order.
    in_order: bool,
}

impl<P> Drop for Run<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if self.taken && self.in_order {
            self.turns.touch_in_order(self.now, self.index, self.entry);
        } else if self.taken {
            self.turns.touch(self.index, self.entry);
        }
    }
}

impl<P> Node<P> {
    /// Begins to take packets of the source of a session. `None`: this node is not the session's ingress, or has ended
    /// it.
    #[inline]
    pub fn source_run(&mut self, now: Instant, index: SessionIndex) -> Option<SourceRun<'_, P>> {
        let run = self.run(now, index)?;
        let takes = run.entry.session.takes_source();
        takes.then_some(SourceRun { run })
    }

    /// Begins to take packets of the trees, of the session that `header` is of.
    ///
    /// # Errors
    /// [`Reject::SessionUnknown`].
    #[inline]
    pub fn tree_run(&mut self, now: Instant, header: &Header) -> Result<TreeRun<'_, P>, Reject> {
        let index = self.find(header.session).ok_or(Reject::SessionUnknown)?;
        let run = self.run(now, index).ok_or(Reject::SessionUnknown)?;
        Ok(TreeRun { run })
    }

    #[inline]
    fn run(&mut self, now: Instant, index: SessionIndex) -> Option<Run<'_, P>> {
        Some(Run {
            now,
            index,
            entry: self.entries.get_mut(index.0)?.as_mut()?,
            turns: &mut self.turns,
            taken: false,
            in_order: true,
        })
    }
}

#[cfg(test)]
mod tests;
