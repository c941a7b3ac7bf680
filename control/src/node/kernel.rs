//! The kernel interfaces of ports: the dataplane makes them, their addresses are given to them here.

use std::fs;
use std::path::PathBuf;

use dataplane::{Device, PortConfig};
use nix::net::if_::if_nametoindex;
use rtnetlink::{Handle, LinkUnspec};
use thiserror::Error;

/// Why a kernel interface could not be set up.
#[derive(Debug, Error)]
#[error("port {port}: cannot {step} of its kernel interface {interface}: {reason}")]
pub(super) struct KernelError {
    port: String,
    interface: String,
    step: &'static str,
    reason: String,
}

/// Gives the kernel interface of a port, if it has one, its MTU and address, and brings it up.
pub(super) async fn configure(port: &PortConfig) -> Result<(), KernelError> {
    let Some(kernel) = &port.kernel else {
        return Ok(());
    };
    let failed = |step, reason: String| KernelError {
        port: port.name.clone(),
        interface: kernel.interface.clone(),
        step,
        reason,
    };
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|error| failed("ask the kernel for a change", error.to_string()))?;
    let connection = tokio::spawn(connection);
    let done = set_up(&handle, port, &kernel.interface).await;
    connection.abort();
    done.map_err(|(step, error)| failed(step, error.to_string()))?;
    leave_to_interface(port);
    tracing::info!("port {}: kernel interface {}", port.name, kernel.interface);
    Ok(())
}

async fn set_up(
    handle: &Handle,
    port: &PortConfig,
    interface: &str,
) -> Result<(), (&'static str, rtnetlink::Error)> {
    let index = if_nametoindex(interface).unwrap_or(0);
    let set = LinkUnspec::new_with_index(index).mtu(port.mtu.into()).up();
    let done = handle.link().set(set.build()).execute().await;
    done.map_err(|error| ("set the MTU and state", error))?;
    for own in &port.addresses {
        let request = handle.address().add(index, own.address, own.prefix_len);
        let done = request.execute().await;
        done.map_err(|error| ("set the address", error))?;
    }
    Ok(())
}

/// The kernel hears all that an `AF_PACKET` port hears, and would take frames for the port's address twice: by the kernel
/// interface, and by the port's own. With the reverse-path filter it takes none by the port's own, since the way back is
/// not by that.
fn leave_to_interface(port: &PortConfig) {
    let Some(device) = packet_interface(&port.device) else {
        return;
    };
    let file = |of: &str| PathBuf::from(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter"));
    let is_on = |of| fs::read_to_string(file(of)).is_ok_and(|value| value.trim() != "0");
    if is_on("all") || is_on(device) {
        return;
    }
    if let Err(error) = fs::write(file(device), "1") {
        tracing::warn!(
            "port {}: the kernel will take frames twice, cannot set rp_filter ({error}): \
             `sysctl net.ipv4.conf.{device}.rp_filter=1`",
            port.name
        );
    }
}

/// The interface below an `AF_PACKET` device.
fn packet_interface(device: &Device) -> Option<&str> {
    let Device::Vdev(vdev) = device else {
        return None;
    };
    let mut arguments = vdev.strip_prefix("net_af_packet")?.split(',');
    arguments.find_map(|argument| argument.strip_prefix("iface="))
}
