//! When to look at the ports' links: at once where the kernel says that an interface has changed, else every now and then.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often to look where nobody tells of changes, as of a NIC that DPDK drives: a third of the hellos' detection time.
const LOOK: Duration = Duration::from_millis(10);
/// How often to look where the kernel does: it drops what it has to say to those that do not listen for long.
const LOOK_TOLD: Duration = Duration::from_millis(200);

/// Tells when a port's link may have changed.
pub(super) struct LinkWatch {
    told: Arc<Notify>,
    look: Interval,
}

impl LinkWatch {
    /// A watch over ports that are all interfaces of the kernel, or not.
    pub(super) fn new(interfaces_only: bool) -> LinkWatch {
        let told = Arc::new(Notify::new());
        let listening = listen(&told);
        if let Err(error) = &listening {
            tracing::warn!("cannot hear of changes of interfaces, so they are looked at: {error}");
        }
        let is_told = interfaces_only && listening.is_ok();
        let mut look = interval(if is_told { LOOK_TOLD } else { LOOK });
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        LinkWatch { told, look }
    }

    /// Waits until it is time to look.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            () = self.told.notified() => {}
            _ = self.look.tick() => {}
        }
    }
}

/// Has `told` know whenever an interface of this network namespace comes, goes or changes.
fn listen(told: &Arc<Notify>) -> io::Result<()> {
    let (connection, handle, mut news) = new_multicast_connection(&[MulticastGroup::Link])?;
    tokio::spawn(connection);
    let told = Arc::clone(told);
    tokio::spawn(async move {
        // What exactly has changed does not matter: all ports are looked at.
        while news.recv().await.is_ok() {
            told.notify_one();
        }
        // The connection would end without it.
        drop(handle);
    });
    Ok(())
}
