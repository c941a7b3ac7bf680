//! The worker's part of the kernel exception path: which frames go to the kernel, and how many.

use std::sync::Arc;
use std::time::Duration;

use overlay::{Instant, TokenBucket};

use super::Worker;
use crate::drops::DropReason;
use crate::frame::{EthernetHeader, Local, Mac, PortIndex};
use crate::kernel::KernelLink;
use zerocopy::FromBytes;

/// Frames taken from the kernel in one turn, for each port: sessions have the rest of the time.
const BUDGET: usize = 32;
/// What may come at once beyond the rate: a TCP window's worth at the default one.
const BURST: Duration = Duration::from_millis(20);

/// A port's kernel interface, as its worker holds it.
pub(crate) struct KernelPort {
    link: Arc<KernelLink>,
    /// Frames for the port's own address.
    unicast: TokenBucket,
    /// Frames for groups and for everybody: a storm of them leaves the way free for the others.
    group: TokenBucket,
    /// Frames from the kernel.
    back: TokenBucket,
    /// Frames are on their way that the kernel's thread was not told of.
    sent: bool,
    from_kernel: u64,
    /// Frames that the kernel refused, as far as they are counted among the drops.
    refused: u64,
}

/// What a frame that ends here is to the kernel.
enum Addressed {
    Here,
    Group,
    Elsewhere,
}

impl KernelPort {
    pub(crate) fn new(link: Arc<KernelLink>, rate_pps: u32) -> KernelPort {
        let bucket = || TokenBucket::new(rate_pps.into(), BURST);
        KernelPort {
            link,
            unicast: bucket(),
            group: bucket(),
            back: bucket(),
            sent: false,
            from_kernel: 0,
            refused: 0,
        }
    }

    /// Frames to the kernel and from it.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.link.taken(), self.from_kernel)
    }

    /// Frames that the kernel has refused since the last call.
    pub(super) fn newly_refused(&mut self) -> u64 {
        let before = self.refused;
        self.refused = self.link.refused();
        self.refused - before
    }

    /// Sends a frame on its way to the kernel. `Ok(false)`: it is not for this machine.
    fn offer(&mut self, now: Instant, frame: &[u8], local: &Local) -> Result<bool, DropReason> {
        let bucket = match addressed(frame, local) {
            Addressed::Here => &mut self.unicast,
            Addressed::Group => &mut self.group,
            Addressed::Elsewhere => return Ok(false),
        };
        if !bucket.take(now) {
            return Err(DropReason::KernelRate);
        }
        if !self.link.send(frame) {
            return Err(DropReason::KernelFull);
        }
        self.sent = true;
        Ok(true)
    }
}

fn addressed(frame: &[u8], local: &Local) -> Addressed {
    match EthernetHeader::ref_from_prefix(frame) {
        Ok((header, _)) if header.destination == local.mac => Addressed::Here,
        Ok((
            EthernetHeader {
                destination: Mac([first, ..]),
                ..
            },
            _,
        )) if first & 1 != 0 => Addressed::Group,
        _ => Addressed::Elsewhere,
    }
}

impl Worker {
    /// A frame that is nothing to us: it goes to the kernel if it may be something to that, else it is dropped.
    #[cold]
    pub(super) fn end_here(
        &mut self,
        now: Instant,
        port: PortIndex,
        frame: &[u8],
        reason: DropReason,
    ) {
        if !self.offer_to_kernel(now, port, frame, reason) {
            self.drops.count(reason);
        }
    }

    /// Offers the kernel a frame that is nothing to us. `false`: it is nothing to the kernel either.
    pub(super) fn offer_to_kernel(
        &mut self,
        now: Instant,
        port: PortIndex,
        frame: &[u8],
        reason: DropReason,
    ) -> bool {
        let this = &mut self.ports[usize::from(port.0)];
        let kernel = this.kernel.as_mut().filter(|_| reason.is_for_kernel());
        let offered = kernel.map(|kernel| kernel.offer(now, frame, &this.local));
        match offered {
            Some(Ok(is_for_it)) => is_for_it,
            Some(Err(beyond)) => {
                self.drops.count(beyond);
                true
            }
            None => false,
        }
    }

    /// A frame that we have taken, and that the kernel should know of as well.
    pub(super) fn copy_to_kernel(&mut self, now: Instant, port: PortIndex, frame: &[u8]) {
        let this = &mut self.ports[usize::from(port.0)];
        if let Some(kernel) = &mut this.kernel
            && let Err(reason) = kernel.offer(now, frame, &this.local)
        {
            self.drops.count(reason);
        }
    }

    /// Tells the kernel what there is for it, and sends what it has sent; returns how many frames.
    pub(super) fn exchange_with_kernel(&mut self, now: Instant) -> usize {
        let mut work = 0;
        for place in 0..self.ports.len() {
            if self.ports[place].kernel.is_some() {
                work += self.exchange_on(now, place);
            }
        }
        work
    }

    fn exchange_on(&mut self, now: Instant, place: usize) -> usize {
        let port = &mut self.ports[place];
        let Some(mut kernel) = port.kernel.take() else {
            return 0;
        };
        if std::mem::take(&mut kernel.sent) {
            kernel.link.ring();
        }
        let mut frames = 0;
        while frames < BUDGET
            && kernel.link.is_waiting()
            && !port.is_full(now)
            && kernel.back.take(now)
        {
            let packets = &self.pools.packets;
            let copied = kernel.link.receive(|frame| packets.copy(frame));
            let sent = match copied {
                Some(Some(frame)) => port.send(frame.into()),
                Some(None) => Err(DropReason::NoPacketBuffer),
                None => break,
            };
            match sent {
                Ok(()) => kernel.from_kernel += 1,
                Err(reason) => self.drops.count(reason),
            }
            frames += 1;
        }
        if frames > 0 {
            self.idler.traffic(now);
        }
        port.kernel = Some(kernel);
        frames
    }
}
