//! Clients that come late, with history: the splice must leave no gap and bring nothing twice.

use core::time::Duration;

use super::super::report::Rule;
use super::Network;
use crate::{CatchUp, Epoch, Session, SessionIndex};

/// A client that catches up.
#[derive(Debug)]
pub(in super::super) struct CatchingUp {
    client: u64,
    epoch: Option<Epoch>,
    /// The first and the last sequence that it has had, once it has had one.
    had: Option<(u64, u64)>,
}

impl Network {
    pub(super) fn client_joins(
        &mut self,
        now: u64,
        me: usize,
        (plan, client): (usize, u64),
        span: Duration,
    ) {
        let router = &mut self.routers[me];
        let local = router.local(now);
        let Some(attendance) = router.attendance(plan).filter(|known| known.delivers) else {
            return;
        };
        let index = attendance.index;
        attendance.catching_up.push(CatchingUp {
            client,
            epoch: None,
            had: None,
        });
        router.node.catch_up(local, index, client, span);
        self.drain(now, me);
    }

    pub(super) fn client_leaves(&mut self, me: usize, plan: usize, client: u64) {
        let router = &mut self.routers[me];
        let Some(attendance) = router.attendance(plan) else {
            return;
        };
        let index = attendance.index;
        attendance
            .catching_up
            .retain(|known| known.client != client);
        router.node.end_catch_up(index, client);
    }

    /// Gives clients that catch up what they are to get now.
    pub(super) fn serve_catch_up(&mut self, now: u64, me: usize) {
        let local = self.routers[me].local(now);
        while let Some((index, client, step)) = self.routers[me].node.poll_catch_up(local) {
            self.check_catch_up(now, me, (index, client), step);
        }
    }

    fn check_catch_up(
        &mut self,
        now: u64,
        me: usize,
        (index, client): (SessionIndex, u64),
        step: CatchUp,
    ) {
        let router = &mut self.routers[me];
        let Some(session) = router.node.session(index) else {
            return;
        };
        let mut sessions = router.sessions.iter_mut();
        let Some(attendance) = sessions.find(|attendance| attendance.index == index) else {
            return;
        };
        let clients = &mut attendance.catching_up;
        let place = clients.iter().position(|known| known.client == client);
        let verdict = self.verdict.step(now, me);
        verdict.check(Rule::Splice, place.is_some(), || {
            alloc::format!("{step:?} for client {client}, who does not catch up")
        });
        let Some(place) = place else {
            return;
        };
        let known = &mut clients[place];
        if known.epoch != session.epoch() {
            known.epoch = session.epoch();
            known.had = None;
        }
        let (CatchUp::Packet(seq) | CatchUp::Live(seq)) = step;
        let passed = passed_over(session, known.had, seq.0);
        verdict.check(Rule::Splice, passed.is_none(), || {
            alloc::format!(
                "client {client} had {:?}, then {step:?}, not {passed:?}",
                known.had
            )
        });
        if step == CatchUp::Live(seq) {
            let first = known.had.map_or(seq.0, |had| had.0);
            clients.swap_remove(place);
            self.report.spliced += 1;
            let watch = &mut attendance.watch;
            watch.splices(session.epoch(), (first, seq.0), verdict);
        } else {
            known.had = Some((known.had.map_or(seq.0, |had| had.0), seq.0));
            let held = session.packet(seq).is_some();
            verdict.check(Rule::Splice, held, || alloc::format!("{seq} is not here"));
            self.report.caught_up += 1;
        }
    }
}

/// What a client should have had between two sequences, or has twice.
fn passed_over(session: &Session<u64>, had: Option<(u64, u64)>, next: u64) -> Option<u64> {
    let (_, last) = had?;
    if next <= last {
        return Some(last);
    }
    (last + 1..next).find(|&seq| session.packet(crate::Seq(seq)).is_some())
}
