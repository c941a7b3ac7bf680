//! Following the ports' links: what changes is told to the workers, and to whoever asks for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam::channel::bounded;

use super::model::Model;
use super::{ANSWER_WITHIN, CommandError, Dataplane};
use crate::event::{Event, EventKind};
use crate::frame::PortIndex;
use crate::port::{Link, Port};
use crate::tap::Tap;
use crate::worker::{Command, PortLink};

impl Dataplane {
    /// Looks at the ports' links, has the workers follow what has changed, and says what that was. Some system calls a
    /// port, and no waiting: to be called whenever something may have changed, and every now and then.
    pub fn follow_links(&self) -> Vec<Event> {
        let mut model = self.lock();
        let mut events = Vec::new();
        for (place, port) in self.ports.iter().enumerate() {
            // A worker that can't be told now is told by the next look.
            if let Some(link) = port.link() {
                let followed = self.follow_link(&mut model, (place, link), Duration::ZERO);
                events.extend(followed.into_iter().flatten());
            }
        }
        events.into_iter().map(now).collect()
    }

    /// Whether the kernel tells of all that may happen to the ports' links: they are interfaces of it.
    pub fn has_interfaces_only(&self) -> bool {
        self.ports.iter().all(Port::is_interface)
    }

    /// Sets the MTUs of ports, by name: all of them, or, where one can't be set while the node runs, none. What is sent
    /// from then on keeps to them. Says what has changed.
    ///
    /// # Errors
    /// [`CommandError::Unknown`], [`CommandError::Port`], [`CommandError::Stopped`].
    pub fn set_mtus(&self, mtus: &[(String, u16)]) -> Result<Vec<Event>, CommandError> {
        let mut model = self.lock();
        let mut places = Vec::with_capacity(mtus.len());
        for (name, mtu) in mtus {
            let place = self.place_of(name)?;
            self.ports[place].check_mtu(*mtu)?;
            places.push((place, *mtu));
        }
        let mut events = Vec::new();
        for (place, mtu) in places {
            self.ports[place].set_mtu(mtu)?;
            model.set_configured_mtu(place, mtu);
            let link = self.ports[place].link().unwrap_or(Link {
                up: model.link(place).up,
                interface_mtu: None,
            });
            let followed = self.follow_link(&mut model, (place, link), ANSWER_WITHIN);
            events.extend(followed.ok_or(CommandError::Stopped)?);
        }
        Ok(events.into_iter().map(now).collect())
    }

    /// Where the port of that name is among the ports.
    pub(super) fn place_of(&self, port: &str) -> Result<usize, CommandError> {
        let place = self.ports.iter().position(|known| known.name() == port);
        place.ok_or_else(|| CommandError::Unknown {
            what: "port",
            name: port.into(),
        })
    }

    /// Has the workers follow one link, and says what has changed; `None` if one does not in that time. Without any, it is
    /// enough that it will.
    fn follow_link(
        &self,
        model: &mut Model,
        (place, link): (usize, Link),
        patience: Duration,
    ) -> Option<Vec<EventKind>> {
        let old = model.link(place);
        let configured = model.configured_mtu(place);
        let narrower = link.interface_mtu.and_then(|mtu| u16::try_from(mtu).ok());
        let new = PortLink {
            up: link.up,
            mtu: narrower.map_or(configured, |mtu| mtu.min(configured)),
        };
        if new == old {
            return Some(Vec::new());
        }
        // All of them before any is waited for. One that was told of it already is told once more by the next look.
        let (to, done) = bounded(self.commands.len());
        for commands in &self.commands {
            let command = Command::SetLink(PortIndex(place as u16), new, to.clone());
            commands.send_timeout(command, patience).ok()?;
        }
        for _ in self.commands.iter().filter(|_| !patience.is_zero()) {
            done.recv_timeout(patience).ok()?;
        }
        model.set_link(place, new);
        if let Some(kernel) = &model.config().ports[place].kernel
            && new.mtu != old.mtu
        {
            // If it can't be set, what the kernel sends beyond it is dropped, and counted at the port.
            let _ = Tap::set_mtu(&kernel.interface, new.mtu);
        }
        let name = || self.ports[place].name().to_owned();
        let up = (new.up != old.up).then(|| EventKind::PortLink {
            name: name(),
            up: new.up,
        });
        let mtu = (new.mtu != old.mtu).then(|| EventKind::PortMtu {
            name: name(),
            mtu: new.mtu,
            configured,
        });
        Some(up.into_iter().chain(mtu).collect())
    }
}

/// An event of this moment.
fn now(kind: EventKind) -> Event {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Event {
        unix_ms: since_1970.as_millis() as u64,
        kind,
    }
}
