//! A port's link: whether it is up, and how large packets it takes.

#![allow(unsafe_code)]

use dpdk_sys::tc_interface;
use nix::libc::{ENODEV, ENOTSUP};

use super::{Port, PortError};
use crate::eal::error_text;

/// A port's link, as the device sees it or, where the port is an interface of the kernel, as the kernel does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether it carries frames.
    pub up: bool,
    /// Largest IP packet that the kernel's interface takes, in bytes; `None` without one.
    pub interface_mtu: Option<u32>,
}

impl Port {
    /// Looks at the link. `None` where the device can't tell. Some system calls: not for the packet path.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        let Some(index) = self.interface else {
            // SAFETY: the port runs as long as the EAL.
            let said = unsafe { dpdk_sys::tc_port_link(self.id) };
            return (said >= 0).then_some(Link {
                up: said == 1,
                interface_mtu: None,
            });
        };
        match interface(index) {
            Ok(state) => Some(Link {
                up: state.running != 0,
                interface_mtu: Some(state.mtu),
            }),
            // It was removed.
            Err(code) if code == -ENODEV => Some(Link {
                up: false,
                interface_mtu: None,
            }),
            Err(_) => None,
        }
    }

    /// Whether the port is an interface of the kernel, which then tells of changes.
    #[must_use]
    pub fn is_interface(&self) -> bool {
        self.interface.is_some()
    }

    /// Largest MTU that the port's buffers take.
    #[must_use]
    pub fn mtu_max(&self) -> u16 {
        self.mtu_max
    }

    /// Whether the port can have this MTU while it runs.
    ///
    /// # Errors
    /// [`PortError::Buffers`], [`PortError::InterfaceMtu`].
    pub fn check_mtu(&self, mtu: u16) -> Result<(), PortError> {
        if mtu > self.mtu_max {
            return Err(PortError::Buffers {
                port: self.name.clone(),
                mtu,
                max: self.mtu_max,
            });
        }
        let found = self.interface.and_then(|index| interface(index).ok());
        check_interface(&self.name, mtu, found)
    }

    /// Has the device take packets of this MTU, which [`Port::check_mtu`] found possible. The MTU of a kernel's interface is
    /// its operator's: it is large enough.
    ///
    /// # Errors
    /// [`PortError::MtuRefused`].
    pub fn set_mtu(&self, mtu: u16) -> Result<(), PortError> {
        if self.interface.is_some() {
            return Ok(());
        }
        // SAFETY: the port runs as long as the EAL.
        match unsafe { dpdk_sys::tc_port_set_mtu(self.id, mtu) } {
            // A device without such a setting takes what fits its buffers.
            code if code == 0 || code == -ENOTSUP => Ok(()),
            code => Err(PortError::MtuRefused {
                port: self.name.clone(),
                driver: self.driver.clone(),
                mtu,
                reason: error_text(code),
            }),
        }
    }
}

/// The kernel drops what is longer than its interface takes.
pub(super) fn check_interface(
    name: &str,
    mtu: u16,
    found: Option<tc_interface>,
) -> Result<(), PortError> {
    match found {
        Some(found) if found.mtu < u32::from(mtu) => Err(PortError::InterfaceMtu {
            port: name.into(),
            found: found.mtu,
            mtu,
        }),
        _ => Ok(()),
    }
}

/// What the kernel says of an interface; an error is DPDK's.
pub(super) fn interface(index: u32) -> Result<tc_interface, i32> {
    let mut state = tc_interface { mtu: 0, running: 0 };
    // SAFETY: the struct outlives the call.
    match unsafe { dpdk_sys::tc_interface_state(index, &mut state) } {
        0 => Ok(state),
        code => Err(code),
    }
}
