//! What DPDK needs to know to make a device, and what the device then needs of its buffers.

use crate::Device;
use crate::pool::HEADROOM;

/// An Ethernet header and one VLAN tag, which come on top of the MTU.
const LINK_HEADER: u16 = 14 + 4;

/// The kernel lays a received frame this far into a slot of an `AF_PACKET` ring (TPACKET_V2, Ethernet) …
const PACKET_RX_OFFSET: u16 = 66;
/// … and the driver counts all but this much of the slot as data.
const PACKET_SLOT_HEADER: u16 = 32;
/// What the driver takes if it is not told a slot's size.
const PACKET_DEFAULT_SLOT: u16 = 2048;

/// Slots of each ring of an `AF_PACKET` port: 80 ms of 25 kpps, so that a process that shares its core loses nothing.
const PACKET_SLOTS: u32 = 2048;
/// The kernel takes memory for each block of such a ring by powers of two: up to this much, which it always finds.
const PACKET_BLOCK: u32 = 256 << 10;
/// What blocks are multiples of.
const PAGE: u32 = 4096;
/// Slots are multiples of this much; those of more than a page of the second, so that blocks of them can be small.
const PACKET_SLOT_STEPS: [u32; 2] = [64, 512];

/// XDP leaves this much free before a packet, for its programs.
const XDP_HEADROOM: u16 = 256;
/// AF_XDP takes whole buffers, management included, of 2 KiB to a page.
const XDP_LEAST: u16 = 1920;

/// Buffers that an AF_XDP port keeps in its fill ring for good.
const XDP_FILL_RING: usize = 2048;

/// Bytes that a packet buffer needs for this device and MTU, headroom included.
#[must_use]
pub fn data_room(device: &Device, mtu: u16) -> u16 {
    let packet = mtu.saturating_add(LINK_HEADER);
    // net_af_packet refuses buffers that a slot's whole data would not fit in.
    let slot = packet_slot(device).map_or(0, |slot| slot.saturating_sub(PACKET_SLOT_HEADER));
    let xdp = if is_af_xdp(device) {
        packet.saturating_add(XDP_HEADROOM).max(XDP_LEAST)
    } else {
        0
    };
    packet.max(slot).max(xdp).saturating_add(HEADROOM)
}

/// Queues each way that a driver can be given for as many workers, where the device has them. AF_XDP sockets and memif
/// rings are one a queue, and are there only if the other side makes them.
pub(crate) fn queues(driver: &str, workers: u16) -> u16 {
    match driver {
        "net_af_xdp" | "net_memif" => 1,
        _ => workers,
    }
}

/// Packet buffers that the device holds of its own accord: in its rings, given `descriptors` for both ways together.
pub(crate) fn buffers_held(device: &Device, descriptors: usize) -> usize {
    match device {
        // Frames are copied from and to the kernel's ring.
        device if is_af_packet(device) => 0,
        Device::Vdev(_) if is_af_xdp(device) => descriptors + XDP_FILL_RING,
        Device::Vdev(_) | Device::Pci(_) => descriptors,
    }
}

/// Whether frames come by way of a packet socket: often off a link between namespaces, which has no frame check sequence.
#[must_use]
pub fn is_af_packet(device: &Device) -> bool {
    matches!(device, Device::Vdev(vdev) if vdev.starts_with("net_af_packet"))
}

fn is_af_xdp(device: &Device) -> bool {
    matches!(device, Device::Vdev(vdev) if vdev.starts_with("net_af_xdp"))
}

/// Largest MTU that the device takes with buffers of this data room, headroom included.
pub(crate) fn mtu_max(device: &Device, data_room: u16) -> u16 {
    let buffer = data_room.saturating_sub(HEADROOM);
    let packet = match packet_slot(device) {
        Some(slot) => slot.saturating_sub(PACKET_RX_OFFSET),
        None if is_af_xdp(device) => buffer.saturating_sub(XDP_HEADROOM),
        None => buffer,
    };
    packet.saturating_sub(LINK_HEADER)
}

/// Longest frame of packets of this MTU, in bytes.
pub(crate) fn frame_len(mtu: u16) -> usize {
    mtu.saturating_add(LINK_HEADER).into()
}

/// Size of a ring slot, if the device is an `AF_PACKET` one.
fn packet_slot(device: &Device) -> Option<u16> {
    let Device::Vdev(vdev) = device else {
        return None;
    };
    let mut arguments = vdev.strip_prefix("net_af_packet")?.split(',');
    let stated = arguments.find_map(|argument| argument.strip_prefix("framesz="));
    Some(
        stated
            .and_then(|size| size.parse().ok())
            .unwrap_or(PACKET_DEFAULT_SLOT),
    )
}

/// DPDK's `--vdev` string for a device as a config file writes it, `kind:rest`, such as `af_packet:eth1`. `index` makes
/// the name unique, `mtu` sizes rings, and each of `workers` gets a queue where that is up to the string. `None` if there
/// is no such kind or `rest` does not suit it.
#[must_use]
pub fn vdev_for(kind: &str, rest: &str, index: usize, mtu: u16, workers: usize) -> Option<String> {
    let interface = || (!rest.is_empty() && !rest.contains(',')).then_some(rest);
    Some(match kind {
        "af_packet" => af_packet(interface()?, index, mtu, workers),
        "af_xdp" => format!(
            "net_af_xdp{index},iface={},start_queue=0,queue_count=1",
            interface()?
        ),
        // The driver knows a ring by its device's name: two ports never share one by accident.
        "ring" => format!("net_ring_{}", interface()?),
        "null" if rest.is_empty() => format!("net_null{index}"),
        "null" => format!("net_null{index},{rest}"),
        "pcap" => pcap(rest, index)?,
        "vdev" if !rest.is_empty() => rest.to_string(),
        _ => return None,
    })
}

/// Slots that take the MTU, and blocks that are whole pages and whole slots: the driver walks the ring as one array. With
/// several queues the kernel spreads flows over them (PACKET_FANOUT_HASH).
fn af_packet(interface: &str, index: usize, mtu: u16, workers: usize) -> String {
    let frame = u32::from(mtu) + u32::from(LINK_HEADER + PACKET_RX_OFFSET);
    let slot = frame.next_multiple_of(PACKET_SLOT_STEPS[usize::from(frame > PAGE)]);
    // The fewest slots that make whole pages, and as many of these as a block has room for.
    let pages = PAGE >> slot.trailing_zeros().min(PAGE.trailing_zeros());
    let in_block = PACKET_BLOCK / slot / pages * pages;
    let block = slot * in_block;
    let slots = PACKET_SLOTS.next_multiple_of(in_block);
    let queues = match workers {
        1 => String::new(),
        _ => format!(",qpairs={workers}"),
    };
    format!(
        "net_af_packet{index},iface={interface},blocksz={block},framesz={slot},framecnt={slots}{queues}"
    )
}

/// `IN,OUT` (files), `IN` (a file, sent packets vanish) or `iface=eth1`.
fn pcap(rest: &str, index: usize) -> Option<String> {
    if let Some(interface) = rest.strip_prefix("iface=") {
        return Some(format!("net_pcap{index},iface={interface}"));
    }
    if rest.contains('=') {
        return Some(format!("net_pcap{index},{rest}"));
    }
    match rest.split_once(',') {
        None if rest.is_empty() => None,
        None => Some(format!("net_pcap{index},rx_pcap={rest}")),
        Some((input, output)) => Some(format!("net_pcap{index},rx_pcap={input},tx_pcap={output}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_rings_suit_driver_and_kernel() {
        for mtu in (68..=9600).step_by(4) {
            let vdev = vdev_for("af_packet", "eth1", 0, mtu, 1).unwrap();
            let argument = |key: &str| -> u32 {
                let found = vdev
                    .split(',')
                    .find_map(|argument| argument.strip_prefix(key));
                found.unwrap().parse().unwrap()
            };
            let (block, slot) = (argument("blocksz="), argument("framesz="));
            assert!(
                (PACKET_BLOCK / 2..=PACKET_BLOCK).contains(&block),
                "{block} wastes most of what the kernel takes for it"
            );
            assert_eq!(block % 4096, 0, "the kernel wants whole pages");
            assert_eq!(block % slot, 0, "the driver wants whole slots");
            assert_eq!(
                argument("framecnt=") % (block / slot),
                0,
                "the kernel wants whole blocks"
            );
            assert!(slot >= u32::from(mtu + LINK_HEADER + PACKET_RX_OFFSET));
            let device = Device::Vdev(vdev);
            let largest = mtu_max(&device, data_room(&device, mtu));
            let step = if slot > 4096 { 512 } else { 64 };
            assert!(
                (mtu..mtu + step).contains(&largest),
                "a slot is a multiple of so many bytes"
            );
            assert!(frame_len(largest) <= usize::from(packet_slot(&device).unwrap() - 32));
            assert!(data_room(&device, mtu) - HEADROOM >= packet_slot(&device).unwrap() - 32);
        }
    }

    #[test]
    fn kinds_become_vdev_strings() {
        let vdev = |kind, rest| vdev_for(kind, rest, 3, 1500, 1);
        let is = |kind, rest, wanted: &str| assert_eq!(vdev(kind, rest).as_deref(), Some(wanted));
        is(
            "af_xdp",
            "eth1",
            "net_af_xdp3,iface=eth1,start_queue=0,queue_count=1",
        );
        is("ring", "a", "net_ring_a");
        is("null", "", "net_null3");
        is("null", "size=128", "net_null3,size=128");
        is(
            "pcap",
            "in.pcap,out.pcap",
            "net_pcap3,rx_pcap=in.pcap,tx_pcap=out.pcap",
        );
        is("pcap", "in.pcap", "net_pcap3,rx_pcap=in.pcap");
        is("pcap", "iface=eth1", "net_pcap3,iface=eth1");
        is("vdev", "net_tap0,iface=t", "net_tap0,iface=t");
        for (kind, rest) in [
            ("af_packet", ""),
            ("af_packet", "a,b"),
            ("pcap", ""),
            ("tun", "x"),
        ] {
            assert_eq!(vdev(kind, rest), None, "{kind}:{rest}");
        }
    }

    #[test]
    fn raw_packet_devices_get_room_for_their_slots() {
        let device = Device::Vdev("net_af_packet7,iface=eth1".into());
        assert_eq!(data_room(&device, 1500), 2048 - 32 + 128);
        assert_eq!(mtu_max(&device, u16::MAX), 2048 - 66 - 18);
        let device = Device::Vdev("net_null0".into());
        assert_eq!(data_room(&device, 1500), 1500 + 18 + 128);
        assert_eq!(mtu_max(&device, 1500 + 18 + 128), 1500);
    }
}
