//! A port's link, as the worker follows it.

use super::{Reply, Worker};
use crate::drops::DropReason;
use crate::frame::PortIndex;

/// What the worker needs to know of a port's link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortLink {
    /// Whether it carries frames.
    pub(crate) up: bool,
    /// Largest IP packet that it takes, in bytes.
    pub(crate) mtu: u16,
}

impl Worker {
    /// Follows the link of a port: what no longer goes through ends here, and trees take no more than they carry.
    pub(super) fn set_link(&mut self, port: PortIndex, link: PortLink) -> Reply {
        let Some(this) = self.ports.get_mut(usize::from(port.0)) else {
            return Reply::Refused;
        };
        let resized = this.mtu != link.mtu;
        let dropped = this.set_link(link);
        self.drops.add(DropReason::PortDown, dropped);
        if resized {
            for route in self.routes.iter_mut().flatten() {
                route.set_mtu(port, link.mtu);
            }
        }
        Reply::Done
    }
}
