//! Ports: a device, set up and running.

#![allow(unsafe_code)]

mod link;

use std::ffi::{CStr, CString};

use thiserror::Error;

pub use link::Link;
use link::{check_interface, interface};

use crate::Device;
use crate::device::{frame_len, mtu_max, queues};
use crate::eal::{Eal, error_text};
use crate::pool::Pool;
use crate::rx::RxQueue;
use crate::tx::TxBuffer;

/// Descriptors of each ring, where the device takes as many: 40 ms of a 25 kpps session.
pub const DESCRIPTORS: u16 = 1024;

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum PortError {
    /// DPDK has no such device.
    #[error("port {port}: no DPDK driver has taken the device {device}")]
    NoDevice {
        /// Name of the port.
        port: String,
        /// Name or address of the device.
        device: String,
    },
    /// The device can't carry packets of that size.
    #[error("port {port}: {driver} takes an MTU of at most {max}, not {mtu}")]
    Mtu {
        /// Name of the port.
        port: String,
        /// The device's driver.
        driver: String,
        /// As configured.
        mtu: u16,
        /// The device's limit.
        max: u16,
    },
    /// The kernel interface below the port is narrower than the port.
    #[error(
        "port {port}: its interface has an MTU of {found}, the port one of {mtu}: `ip link set dev … mtu {mtu}`"
    )]
    InterfaceMtu {
        /// Name of the port.
        port: String,
        /// The interface's.
        found: u32,
        /// The port's.
        mtu: u16,
    },
    /// The port's buffers were made for smaller packets.
    #[error(
        "port {port}: its buffers take an MTU of at most {max}, not {mtu}: only a restart makes larger ones"
    )]
    Buffers {
        /// Name of the port.
        port: String,
        /// As asked for.
        mtu: u16,
        /// What fits.
        max: u16,
    },
    /// The device does not take another MTU while it runs.
    #[error(
        "port {port}: {driver} does not take an MTU of {mtu} while it runs ({reason}): only a restart sets it"
    )]
    MtuRefused {
        /// Name of the port.
        port: String,
        /// The device's driver.
        driver: String,
        /// As asked for.
        mtu: u16,
        /// DPDK's error.
        reason: String,
    },
    /// A step of the set-up failed.
    #[error("port {port}: {step} failed: {reason}")]
    SetUp {
        /// Name of the port.
        port: String,
        /// What was attempted.
        step: &'static str,
        /// DPDK's error.
        reason: String,
    },
}

/// The counters that a device keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets that the device dropped because its ring was full.
    pub rx_missed: u64,
    /// Packets that came damaged.
    pub rx_errors: u64,
    /// Times that the driver found the pool empty.
    pub rx_nombuf: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
}

/// A running device: what it is, its link and its counters. Its queues are separate, for the worker.
pub struct Port {
    id: u16,
    name: String,
    driver: String,
    mac: [u8; 6],
    /// Index of the kernel's interface that it is, if it is one.
    interface: Option<u32>,
    mtu_max: u16,
    chained: bool,
    rx_descriptors: u16,
    tx_descriptors: u16,
    _eal: Eal,
}

/// What a device says of itself, and whether it sends chains.
struct Info {
    raw: dpdk_sys::tc_port_info,
    driver: String,
    chained: bool,
}

impl Port {
    /// Opens and starts the device, with one receive and one transmit queue. Its packets come from `pool`, whose
    /// data room is at least [`data_room`](crate::data_room) of the device.
    pub fn open(
        name: &str,
        device: &Device,
        mtu: u16,
        pool: &Pool,
    ) -> Result<(Port, RxQueue, TxBuffer), PortError> {
        let (port, mut receive, mut transmit) = Port::open_for(name, device, mtu, (pool, 1))?;
        Ok((port, receive.swap_remove(0), transmit.swap_remove(0)))
    }

    /// Opens and starts the device for so many workers: with a queue each way for each of them, or as many as it has.
    /// What it receives is spread over its queues by addresses and UDP ports (RSS), where it can do that.
    pub(crate) fn open_for(
        name: &str,
        device: &Device,
        mtu: u16,
        (pool, workers): (&Pool, u16),
    ) -> Result<(Port, Vec<RxQueue>, Vec<TxBuffer>), PortError> {
        let id = find(name, device)?;
        let info = describe(id).map_err(|code| failed(name, "asking the device", code))?;
        // One of another namespace is not there for us.
        let index = Some(info.raw.interface).filter(|&index| index != 0);
        let kernel = index.and_then(|index| Some((index, interface(index).ok()?)));
        check_interface(name, mtu, kernel.map(|(_, state)| state))?;
        let mtu_max = info.mtu_max(mtu_max(device, pool.data_room()));
        let queues = queues(&info.driver, workers);
        let conf = configuration(name, (mtu, mtu_max), (&info, queues))?;
        let (rx, tx) = start(id, &conf, pool).map_err(|(step, code)| failed(name, step, code))?;
        let eal = pool.eal().clone();
        let receive =
            (0..conf.rx_queues).map(|queue| RxQueue::new(id, queue, pool.raw(), eal.clone()));
        let transmit =
            (0..conf.tx_queues).map(|queue| TxBuffer::new(id, queue, frame_len(mtu), eal.clone()));
        let (receive, transmit) = (receive.collect(), transmit.collect());
        let port = Port {
            id,
            name: name.to_string(),
            driver: info.driver,
            mac: info.raw.mac,
            interface: kernel.map(|(index, _)| index),
            mtu_max,
            chained: info.chained,
            rx_descriptors: rx,
            tx_descriptors: tx,
            _eal: eal,
        };
        Ok((port, receive, transmit))
    }

    /// The name it was opened under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The driver, such as `net_af_packet`.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        self.mac
    }

    /// Whether it sends chained frames; if not, it wants linear ones.
    #[must_use]
    pub fn chained(&self) -> bool {
        self.chained
    }

    /// Descriptors of its receive and transmit ring.
    #[must_use]
    pub fn descriptors(&self) -> (u16, u16) {
        (self.rx_descriptors, self.tx_descriptors)
    }

    /// The device's counters; all zero where it has none.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        // SAFETY: numbers, for which zero is a value.
        let mut raw: dpdk_sys::tc_port_stats = unsafe { std::mem::zeroed() };
        // SAFETY: the port runs as long as the EAL, and the struct outlives the call.
        if unsafe { dpdk_sys::tc_port_stats(self.id, &mut raw) } != 0 {
            return PortStats::default();
        }
        PortStats {
            rx_packets: raw.rx_packets,
            rx_bytes: raw.rx_bytes,
            rx_missed: raw.rx_missed,
            rx_errors: raw.rx_errors,
            rx_nombuf: raw.rx_nombuf,
            tx_packets: raw.tx_packets,
            tx_bytes: raw.tx_bytes,
            tx_errors: raw.tx_errors,
        }
    }
}

fn find(name: &str, device: &Device) -> Result<u16, PortError> {
    let wanted = match device {
        Device::Pci(address) if address.matches(':').count() == 1 => format!("0000:{address}"),
        Device::Pci(address) => address.clone(),
        Device::Vdev(vdev) => vdev.split(',').next().unwrap_or_default().to_string(),
    };
    let missing = || PortError::NoDevice {
        port: name.into(),
        device: wanted.clone(),
    };
    let c_name = CString::new(wanted.as_str()).map_err(|_| missing())?;
    let mut id = 0;
    // SAFETY: the EAL runs; the name and the number outlive the call.
    match unsafe { dpdk_sys::tc_port_find(c_name.as_ptr(), &mut id) } {
        0 => Ok(id),
        _ => Err(missing()),
    }
}

fn describe(id: u16) -> Result<Info, i32> {
    // SAFETY: numbers and bytes, for which zero is a value.
    let mut raw: dpdk_sys::tc_port_info = unsafe { std::mem::zeroed() };
    // SAFETY: the EAL runs, the port exists, the struct outlives the call.
    let code = unsafe { dpdk_sys::tc_port_info(id, &mut raw) };
    if code != 0 {
        return Err(code);
    }
    // SAFETY: the shim ends it with a NUL.
    let driver = unsafe { CStr::from_ptr(raw.driver.as_ptr()) }
        .to_string_lossy()
        .into_owned();
    // net_af_xdp sends only the first segment's bytes right, net_memif mangles chains on receipt.
    let breaks_chains = ["net_af_xdp", "net_memif"].contains(&driver.as_str());
    // net_null frees whatever it is given, and does not say so on 22.11.
    let chained = driver == "net_null" || raw.multi_segs != 0 && !breaks_chains;
    Ok(Info {
        raw,
        driver,
        chained,
    })
}

impl Info {
    /// The largest MTU, where buffers take `buffers`.
    fn mtu_max(&self, buffers: u16) -> u16 {
        // net_af_packet states 1500 whatever its ring takes, and never looks at it again.
        if self.driver == "net_af_packet" {
            return buffers;
        }
        self.raw.max_mtu.min(buffers)
    }
}

fn configuration(
    name: &str,
    (mtu, max): (u16, u16),
    (info, queues): (&Info, u16),
) -> Result<dpdk_sys::tc_port_conf, PortError> {
    if mtu > max {
        return Err(PortError::Mtu {
            port: name.into(),
            driver: info.driver.clone(),
            mtu,
            max,
        });
    }
    Ok(dpdk_sys::tc_port_conf {
        rx_queues: queues.min(info.raw.rx_queues_max).max(1),
        tx_queues: queues.min(info.raw.tx_queues_max).max(1),
        mtu: mtu.min(info.raw.max_mtu),
        multi_segs: u8::from(info.chained && info.raw.multi_segs != 0),
    })
}

/// Sets the device up and starts it; returns the sizes of its rings, or the step that failed and its error.
fn start(
    id: u16,
    conf: &dpdk_sys::tc_port_conf,
    pool: &Pool,
) -> Result<(u16, u16), (&'static str, i32)> {
    let done = |step, code| if code < 0 { Err((step, code)) } else { Ok(()) };
    // SAFETY: the EAL runs, the port exists and is not yet started, the struct outlives the call.
    done("configuring", unsafe {
        dpdk_sys::tc_port_configure(id, conf)
    })?;
    let (mut rx, mut tx) = (DESCRIPTORS, DESCRIPTORS);
    // SAFETY: as above.
    let code = unsafe { dpdk_sys::tc_port_adjust_descriptors(id, &mut rx, &mut tx) };
    done("sizing the rings", code)?;
    for queue in 0..conf.rx_queues {
        // SAFETY: as above, and the pool lives as long as the EAL.
        let code = unsafe { dpdk_sys::tc_port_rx_queue(id, queue, rx, pool.raw().as_ptr()) };
        done("making the receive queue", code)?;
    }
    for queue in 0..conf.tx_queues {
        // SAFETY: as above.
        done("making the transmit queue", unsafe {
            dpdk_sys::tc_port_tx_queue(id, queue, tx)
        })?;
    }
    // SAFETY: the port is set up.
    done("starting", unsafe { dpdk_sys::tc_port_start(id) })?;
    // Groups of trees must come in. A device that has no such filter passes everything anyway.
    // SAFETY: the port runs.
    let _ = unsafe { dpdk_sys::tc_port_all_multicast(id) };
    Ok((rx, tx))
}

fn failed(port: &str, step: &'static str, code: i32) -> PortError {
    PortError::SetUp {
        port: port.into(),
        step,
        reason: error_text(code),
    }
}
