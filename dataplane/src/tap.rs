//! A TAP interface: the kernel's end of a port's exception path.

#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A TAP interface; it goes when this does.
#[derive(Debug)]
pub(crate) struct Tap {
    file: File,
}

impl Tap {
    /// Makes an interface of that name with the Ethernet address `mac`, still down, in the network namespace of the
    /// calling thread.
    pub(crate) fn open(name: &str, mac: [u8; 6]) -> io::Result<Tap> {
        let name = CString::new(name)?;
        // SAFETY: the name and the address outlive the call.
        let fd = unsafe { dpdk_sys::tc_tap_open(name.as_ptr(), mac.as_ptr()) };
        if fd < 0 {
            return Err(io::Error::from_raw_os_error(-fd));
        }
        // SAFETY: the shim has just opened it, and nobody else has it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Tap { file: fd.into() })
    }

    /// Has the kernel send no packets beyond this MTU by the interface of that name.
    pub(crate) fn set_mtu(name: &str, mtu: u16) -> io::Result<()> {
        let name = CString::new(name)?;
        // SAFETY: the name outlives the call.
        match unsafe { dpdk_sys::tc_interface_set_mtu(name.as_ptr(), mtu) } {
            0 => Ok(()),
            code => Err(io::Error::from_raw_os_error(-code)),
        }
    }

    /// Takes the next frame that the kernel sends; its length, or `None` if there is none now.
    pub(crate) fn read(&self, frame: &mut [u8]) -> Option<usize> {
        (&self.file).read(frame).ok()
    }

    /// Has the kernel receive a frame; `false` if its interface is down or takes no more now.
    pub(crate) fn write(&self, frame: &[u8]) -> bool {
        (&self.file).write(frame).is_ok()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
