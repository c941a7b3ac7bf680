//! DPDK's environment abstraction layer: started once, on a thread of its own.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::{env, fs, io, process};

use thiserror::Error;

use crate::{Device, EalConfig};

/// Why the EAL did not start, or a thread could not join it.
#[derive(Debug, Error)]
pub enum EalError {
    /// DPDK can't be started twice in one process, not even after it was stopped.
    #[error("DPDK was already started in this process")]
    AlreadyStarted,
    /// Fewer hugepages are free than the pools need.
    #[error(
        "{free_mb} MiB of hugepages are free, {needed_mb} MiB are needed: `sysctl vm.nr_hugepages={}` sets them \
         (2 MiB each), `hugepages = false` does without",
        .needed_mb.div_ceil(2)
    )]
    Hugepages {
        /// What the pools take.
        needed_mb: usize,
        /// What is there.
        free_mb: usize,
    },
    /// DPDK refused to start; its own log on stderr says more.
    #[error("DPDK did not start ({reason}); arguments: {arguments}")]
    Init {
        /// DPDK's error.
        reason: String,
        /// The EAL's command line.
        arguments: String,
    },
    /// A virtual device could not be made.
    #[error("device {device}: {reason}")]
    Device {
        /// The `--vdev` string.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An argument holds a NUL byte.
    #[error("EAL argument {0:?} holds a NUL byte")]
    Argument(String),
    /// The thread could not be started.
    #[error("the EAL's thread could not be started")]
    Thread(#[from] io::Error),
    /// The thread could not be registered.
    #[error("this thread could not be registered with DPDK: {0}")]
    Register(String),
}

/// The running EAL. Clones are handles to the same one; whatever holds memory or devices of DPDK keeps one, and the
/// last to go closes the devices and gives the memory back.
///
/// The EAL pins the thread it starts on, and threads inherit that: it has its own, which then waits for the end.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

struct Inner {
    pools: Pools,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

type Pools = Arc<Mutex<Vec<RawPool>>>;

/// A pool, for the count at the end.
struct RawPool(NonNull<dpdk_sys::rte_mempool>);

// SAFETY: a mempool may be used from any thread; nothing here is bound to the one that made it.
unsafe impl Send for RawPool {}

impl RawPool {
    fn is_full(&self) -> bool {
        // SAFETY: pools live until the EAL's clean-up.
        unsafe { dpdk_sys::tc_pool_in_use(self.0.as_ptr()) == 0 }
    }
}

static STARTED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK with `memory_mb` MiB for pools, and makes the virtual ones of `devices`, in the network namespace
    /// of the calling thread. `node` goes into the file prefix: several nodes run side by side.
    pub fn start(
        config: &EalConfig,
        node: &str,
        devices: &[Device],
        memory_mb: usize,
    ) -> Result<Eal, EalError> {
        if config.hugepages {
            require_hugepages(memory_mb)?;
        }
        let prefix = file_prefix(node);
        let arguments = arguments(config, &prefix, devices, memory_mb)?;
        let vdevs = vdevs(devices)?;
        if STARTED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        let pools = Pools::default();
        let (stop, stopped) = channel();
        let (ready, started) = channel();
        let for_thread = Arc::clone(&pools);
        let thread = Builder::new().name("eal".into()).spawn(move || {
            let result = init(&arguments).and_then(|()| probe(&vdevs));
            remove_runtime_dir(&prefix);
            let up = result.is_ok();
            let _ = ready.send(result);
            if up {
                wait_and_clean_up(&stopped, &for_thread);
            }
        })?;
        let inner = Inner {
            pools,
            stop: Some(stop),
            thread: Some(thread),
        };
        match started.recv() {
            Ok(Ok(())) => Ok(Eal {
                inner: Arc::new(inner),
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(EalError::Thread(io::Error::other("it ended early"))),
        }
    }

    /// Makes the calling thread one of DPDK's, with its own caches, until the guard is dropped.
    pub fn register_thread(&self) -> Result<ThreadRegistration, EalError> {
        // SAFETY: the EAL runs as long as `self` lives, and the guard keeps it.
        let code = unsafe { dpdk_sys::tc_thread_register() };
        if code < 0 {
            return Err(EalError::Register(error_text(code)));
        }
        Ok(ThreadRegistration {
            _eal: self.clone(),
            _here: PhantomData,
        })
    }

    pub(crate) fn keep_pool(&self, pool: NonNull<dpdk_sys::rte_mempool>) {
        let pool = RawPool(pool);
        self.inner
            .pools
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(pool);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Says that the thread that holds it is registered with DPDK.
pub struct ThreadRegistration {
    _eal: Eal,
    // Unregistering acts on the calling thread: the guard stays on it.
    _here: PhantomData<*const ()>,
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // SAFETY: this thread was registered when the guard was made.
        unsafe { dpdk_sys::tc_thread_unregister() }
    }
}

/// Cycles of the processor's time stamp counter, read when all that came before is done. Needs no EAL.
pub(crate) fn cycles() -> u64 {
    // SAFETY: reads a register.
    unsafe { dpdk_sys::tc_cycles() }
}

/// DPDK's text for an error code.
pub(crate) fn error_text(code: i32) -> String {
    // SAFETY: returns a string that stays valid until this thread's next call.
    let text = unsafe { dpdk_sys::tc_strerror(code) };
    // SAFETY: it ends with a NUL.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}

fn file_prefix(node: &str) -> String {
    let node: String = node
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .collect();
    format!("treecast-{node}-{}", process::id())
}

fn arguments(
    config: &EalConfig,
    prefix: &str,
    devices: &[Device],
    memory_mb: usize,
) -> Result<Vec<CString>, EalError> {
    let mut arguments = vec![
        "treecast".to_string(),
        format!("--file-prefix={prefix}"),
        // One lcore, which never runs a packet, wherever this process may run.
        format!("--lcores=0@({})", allowed_cpus()),
        "--no-telemetry".into(),
        "--log-level=*:warning".into(),
    ];
    if config.hugepages {
        arguments.push("--in-memory".into());
    } else {
        arguments.extend(["--no-huge", "-m"].map(String::from));
        arguments.push(memory_mb.to_string());
        arguments.extend(["--no-shconf", "--iova-mode=va"].map(String::from));
    }
    let before_pci = arguments.len();
    for device in devices {
        if let Device::Pci(address) = device {
            arguments.extend(["-a".to_string(), address.clone()]);
        }
    }
    if arguments.len() == before_pci {
        arguments.push("--no-pci".into());
    }
    arguments.extend(config.args.iter().cloned());
    arguments.into_iter().map(c_string).collect()
}

/// The CPUs this thread may run on, as the kernel and the EAL both write them: `0-3,8`.
fn allowed_cpus() -> String {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or("0", str::trim).to_string()
}

fn vdevs(devices: &[Device]) -> Result<Vec<CString>, EalError> {
    devices
        .iter()
        .filter_map(|device| match device {
            Device::Vdev(vdev) => Some(c_string(vdev.clone())),
            Device::Pci(_) => None,
        })
        .collect()
}

fn c_string(text: String) -> Result<CString, EalError> {
    CString::new(text.clone()).map_err(|_| EalError::Argument(text))
}

fn init(arguments: &[CString]) -> Result<(), EalError> {
    let mut argv: Vec<_> = arguments
        .iter()
        .map(|argument| argument.as_ptr().cast_mut())
        .collect();
    let count = i32::try_from(argv.len()).unwrap_or(i32::MAX);
    // SAFETY: `argv` holds `count` strings that outlive the call; EAL permutes the array and copies what it keeps.
    let code = unsafe { dpdk_sys::tc_eal_init(count, argv.as_mut_ptr()) };
    if code < 0 {
        let arguments: Vec<_> = arguments
            .iter()
            .map(|argument| argument.to_string_lossy())
            .collect();
        return Err(EalError::Init {
            reason: error_text(code),
            arguments: arguments.join(" "),
        });
    }
    Ok(())
}

/// Makes the virtual devices one by one, so that the one that fails is known.
fn probe(vdevs: &[CString]) -> Result<(), EalError> {
    for vdev in vdevs {
        // SAFETY: the EAL runs, and the string outlives the call.
        let code = unsafe { dpdk_sys::tc_device_probe(vdev.as_ptr()) };
        if code < 0 {
            let device = vdev.to_string_lossy().into_owned();
            let reason = explain(&device).unwrap_or_else(|| error_text(code));
            return Err(EalError::Device { device, reason });
        }
    }
    Ok(())
}

/// The usual reasons why a device over a kernel interface can't be made.
fn explain(vdev: &str) -> Option<String> {
    let interface = vdev
        .split(',')
        .find_map(|argument| argument.strip_prefix("iface="))?;
    let name = CString::new(interface).ok()?;
    // SAFETY: the string outlives the call.
    match unsafe { dpdk_sys::tc_interface_check(name.as_ptr()) } {
        code if code == -ENODEV => Some(format!("there is no interface {interface}")),
        code if code == -EPERM => Some(format!(
            "opening a packet socket on {interface} needs CAP_NET_RAW"
        )),
        _ => None,
    }
}

// Linux gives these two the same number on every architecture.
const EPERM: i32 = 1;
const ENODEV: i32 = 19;

fn wait_and_clean_up(stopped: &Receiver<()>, pools: &Pools) {
    // Ends when the last handle drops its sender.
    let _ = stopped.recv();
    // SAFETY: no handle is left, so no queue can be polled any more.
    unsafe { dpdk_sys::tc_ports_close() }
    // A buffer that somebody still holds must not lose its memory below it; net_af_xdp never gives back what it had
    // ready to receive into. The process is about to end anyway.
    if pools
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .all(RawPool::is_full)
    {
        // SAFETY: nothing of DPDK is in use any more.
        unsafe { dpdk_sys::tc_eal_cleanup() }
    }
}

fn require_hugepages(needed_mb: usize) -> Result<(), EalError> {
    let free_mb = free_hugepages_mb();
    if free_mb < needed_mb {
        return Err(EalError::Hugepages { needed_mb, free_mb });
    }
    Ok(())
}

fn free_hugepages_mb() -> usize {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else {
        return 0;
    };
    let free_kb = sizes.flatten().filter_map(|size| {
        let name = size.file_name();
        let page_kb: usize = name
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let free: usize = fs::read_to_string(size.path().join("free_hugepages"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(page_kb * free)
    });
    free_kb.sum::<usize>() / 1024
}

/// The EAL makes a folder that it neither uses nor removes when it shares nothing with other processes.
fn remove_runtime_dir(prefix: &str) {
    let candidates = ["RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"]
        .into_iter()
        .filter_map(|name| env::var(name).ok());
    for parent in candidates.chain(["/var/run".into(), "/tmp".into()]) {
        // Either fails where the folder is not there or not empty, which is what is wanted.
        let _ = fs::remove_dir(format!("{parent}/dpdk/{prefix}"));
        let _ = fs::remove_dir(format!("{parent}/dpdk"));
    }
}
