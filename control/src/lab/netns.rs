//! Network namespaces that live as long as a thread, and the veth pairs between them.
//!
//! A namespace is kept by nothing but its thread and the processes started on it: no name, no bind mount. When the lab's
//! process dies, by whatever means, its threads go, the kernel kills the processes that asked for it, and with the last
//! of them go the namespace and its interfaces.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;
use rtnetlink::{Handle, LinkUnspec, LinkVeth, RouteMessageBuilder};
use thiserror::Error;

/// Why a namespace or an interface could not be made.
#[derive(Debug, Error)]
pub enum NetnsError {
    /// The kernel refused a namespace.
    #[error("make a network namespace for {name}: {source}")]
    Unshare {
        /// Whose.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel refused a change to an interface.
    #[error("{what} in the namespace of {name}: {source}")]
    Netlink {
        /// Whose namespace.
        name: String,
        /// What was attempted.
        what: String,
        /// Why.
        source: rtnetlink::Error,
    },
    /// Some other operation failed.
    #[error("{what} in the namespace of {name}: {source}")]
    Io {
        /// Whose namespace.
        name: String,
        /// What was attempted.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// `ethtool` failed.
    #[error("turn TX checksum offload off on {device} of {name}: {reason}")]
    Ethtool {
        /// Whose namespace.
        name: String,
        /// Which interface.
        device: String,
        /// What it said.
        reason: String,
    },
}

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace and the thread that lives in it.
#[derive(Debug)]
pub(super) struct Netns {
    name: String,
    tid: i32,
    /// Keeps the namespace reachable for moving interfaces into it.
    file: File,
    jobs: mpsc::Sender<Job>,
}

/// One end of a veth pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct VethEnd<'a> {
    /// The namespace it is in.
    pub netns: &'a Netns,
    /// Its name there.
    pub device: &'a str,
}

impl Netns {
    /// A new namespace, named for messages, with loopback up and IPv6 off.
    pub(super) fn new(name: &str) -> Result<Netns, NetnsError> {
        let failed = |source| NetnsError::Unshare {
            name: name.to_string(),
            source,
        };
        let (jobs, queue) = mpsc::channel::<Job>();
        let (ready, is_ready) = mpsc::channel();
        thread::Builder::new()
            .name(format!("ns-{name}"))
            .spawn(move || {
                let _ = ready.send(enter());
                while let Ok(job) = queue.recv() {
                    job();
                }
            })
            .map_err(failed)?;
        let (tid, file) = is_ready
            .recv()
            .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))
            .map_err(failed)?;
        let netns = Netns {
            name: name.to_string(),
            tid,
            file,
            jobs,
        };
        netns.netlink("bring loopback up", async |handle| {
            let lo = LinkUnspec::new_with_name("lo").up().build();
            handle.link().set(lo).execute().await
        })?;
        Ok(netns)
    }

    /// The thread whose `/proc/…/ns/net` is this namespace.
    #[must_use]
    pub(super) fn tid(&self) -> i32 {
        self.tid
    }

    /// Runs `job` on the namespace's thread and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (answer, result) = mpsc::sync_channel(1);
        let gone = |_| io::Error::other("the namespace's thread is gone");
        self.jobs
            .send(Box::new(move || {
                let _ = answer.send(job());
            }))
            .map_err(|error| gone(error.to_string()))?;
        result.recv().map_err(|error| gone(error.to_string()))
    }

    /// Starts a process in the namespace; it can ask to die with the namespace's thread.
    pub(super) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        self.run(move || command.spawn())?
    }

    /// Gives an interface its MTU and address and brings it up.
    pub(super) fn configure(
        &self,
        device: &str,
        mtu: u16,
        address: Option<(IpAddr, u8)>,
    ) -> Result<(), NetnsError> {
        if let Some((IpAddr::V6(_), _)) = address {
            self.speak_ipv6(device)?;
        }
        let name = device.to_string();
        self.netlink(&format!("configure {device}"), async move |handle| {
            let link = LinkUnspec::new_with_name(&name)
                .mtu(mtu.into())
                .up()
                .build();
            handle.link().set(link).execute().await?;
            if let Some((address, prefix_len)) = address {
                let index = if_nametoindex(name.as_str()).unwrap_or(0);
                let request = handle.address().add(index, address, prefix_len);
                request.execute().await?;
            }
            Ok(())
        })
    }

    /// Routes everything by `gateway`.
    pub(super) fn route_by(&self, gateway: IpAddr) -> Result<(), NetnsError> {
        self.netlink(&format!("route by {gateway}"), async move |handle| {
            let route = match gateway {
                IpAddr::V4(gateway) => RouteMessageBuilder::<Ipv4Addr>::new()
                    .gateway(gateway)
                    .build(),
                IpAddr::V6(gateway) => RouteMessageBuilder::<Ipv6Addr>::new()
                    .gateway(gateway)
                    .build(),
            };
            handle.route().add(route).execute().await
        })
    }

    /// Turns IPv6 on for one interface, whose addresses are good at once: nobody else on the link can have them.
    fn speak_ipv6(&self, device: &str) -> Result<(), NetnsError> {
        let settings = [
            ("accept_dad", "0"),
            ("accept_ra", "0"),
            ("disable_ipv6", "0"),
        ];
        let folder = format!("/proc/sys/net/ipv6/conf/{device}");
        let write = move || {
            let mut settings = settings.iter();
            settings.try_for_each(|(key, value)| std::fs::write(format!("{folder}/{key}"), value))
        };
        let written = self.run(write).and_then(|written| written);
        written.map_err(|source| NetnsError::Io {
            name: self.name.clone(),
            what: format!("turn IPv6 on for {device}"),
            source,
        })
    }

    /// Makes the kernel compute UDP checksums itself: a checksum left to the device would reach the next router undone.
    pub(super) fn checksum_in_software(&self, device: &str) -> Result<(), NetnsError> {
        let failed = |reason: String| NetnsError::Ethtool {
            name: self.name.clone(),
            device: device.to_string(),
            reason,
        };
        let mut command = Command::new("ethtool");
        command
            .args(["-K", device, "tx", "off"])
            .stdin(Stdio::null());
        let output = self
            .run(move || command.output())
            .and_then(|output| output)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => {
                    failed("there is no ethtool command: install the package ethtool".to_string())
                }
                _ => failed(error.to_string()),
            })?;
        if output.status.success() {
            Ok(())
        } else {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
            Err(failed(said))
        }
    }

    /// Runs an rtnetlink request in the namespace.
    fn netlink<F>(&self, what: &str, request: F) -> Result<(), NetnsError>
    where
        F: AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error> + Send + 'static,
    {
        let done = self
            .run(move || block_on_netlink(request))
            .and_then(|done| done);
        match done {
            Ok(Ok(())) => Ok(()),
            Ok(Err(source)) => Err(NetnsError::Netlink {
                name: self.name.clone(),
                what: what.to_string(),
                source,
            }),
            Err(source) => Err(NetnsError::Io {
                name: self.name.clone(),
                what: what.to_string(),
                source,
            }),
        }
    }
}

/// Makes a veth pair with an end in each namespace. Both are down, with the kernel's default MTU.
pub(super) fn connect(a: VethEnd<'_>, b: VethEnd<'_>) -> Result<(), NetnsError> {
    // The pair is born in the first namespace; the far end has a name there that no device of the lab bears.
    const FAR_END: &str = "moving";
    let near = a.device.to_string();
    let far = b.device.to_string();
    let target = b.netns.file.as_raw_fd();
    let what = format!("connect {} to {}", a.device, b.netns.name);
    a.netns.netlink(&what, async move |handle| {
        let pair = LinkVeth::new(&near, FAR_END).build();
        handle.link().add(pair).execute().await?;
        let index = if_nametoindex(FAR_END).unwrap_or(0);
        let moved = LinkUnspec::new_with_index(index)
            .setns_by_fd(target)
            .name(far)
            .build();
        handle.link().set(moved).execute().await
    })
}

/// On a new thread: takes it into a namespace of its own.
fn enter() -> io::Result<(i32, File)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    // Where /proc/sys is read-only IPv6 stays on, which only means some neighbor discovery on the links.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    Ok((gettid().as_raw(), File::open("/proc/thread-self/ns/net")?))
}

fn block_on_netlink<F>(request: F) -> io::Result<Result<(), rtnetlink::Error>>
where
    F: AsyncFnOnce(Handle) -> Result<(), rtnetlink::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        let connection = tokio::spawn(connection);
        let done = request(handle).await;
        connection.abort();
        Ok(done)
    })
}
