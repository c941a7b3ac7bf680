//! Who owns a buffer, under Miri: the types that own buffers, on a fake of DPDK whose pools give each buffer an allocation of
//! its own. So a buffer that is used after it went back, freed twice or leaked is an error, and so is a write to what is shared.

mod fake;

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::EalConfig;
use crate::chain::Frame;
use crate::eal::Eal;
use crate::mbuf::Mbuf;
use crate::payload::{PayloadMeta, Place, SharedPayload, Spent};
use crate::pool::Pool;
use crate::rx::{Burst, RxQueue};
use crate::tx::TxBuffer;

/// Length of inner headers, and of those that go before a payload.
const INNER: usize = 28;
const HEADER: usize = 42;

struct Bench {
    packets: Pool,
    headers: Pool,
    eal: Eal,
}

impl Bench {
    fn payload(&self, len: usize) -> SharedPayload {
        let mut mbuf = self.packets.copy(&[1; 100 + INNER]).unwrap();
        mbuf.append(len).unwrap().fill(7);
        mbuf.trim_front(100 + INNER);
        mbuf.share(PayloadMeta {
            ingress_ns: 5,
            inner_header_len: INNER as u16,
        })
    }

    fn header(&self) -> Mbuf {
        self.headers.copy(&[9; HEADER]).unwrap()
    }

    fn tx(&self) -> TxBuffer {
        TxBuffer::new(0, 0, 2000, self.eal.clone())
    }

    fn buffers_grow_and_shrink(&self) {
        let mut mbuf = self.packets.copy(b"payload").unwrap();
        mbuf.prepend(4).unwrap().copy_from_slice(b"head");
        mbuf.append(4).unwrap().copy_from_slice(b"tail");
        mbuf.trim_front(4);
        mbuf.trim_back_to(7);
        assert_eq!(mbuf.data(), b"payload");
        mbuf.data_mut().fill(0);
        assert_eq!(mbuf.restart::<HEADER>().unwrap().len(), HEADER);
        let mut many = Vec::new();
        assert!(self.packets.alloc_bulk(&mut many, 9));
        assert!(!self.packets.alloc_bulk(&mut many, 4096));
    }

    fn a_payload_outlives_all_its_frames_and_the_other_way_round(&self) {
        let payload = self.payload(50);
        let other = payload.clone();
        let frames = [0, 1, 2].map(|_| Frame::chain(self.header(), &payload).unwrap());
        drop(payload);
        assert_eq!(other.data(), [7; 50]);
        drop(frames);
        assert_eq!(other.headers(), [1; INNER]);
        let linear = Frame::linear(self.header(), &other, &self.packets).unwrap();
        assert_eq!(linear.len(), HEADER + 50);
        let last = Frame::chain(self.header(), &other).unwrap();
        drop(other);
        assert_eq!(last.len(), HEADER + 50);
    }

    /// What is lent and not taken goes back, on another thread as well.
    fn references_are_counted_across_threads(&self) {
        let payload = self.payload(20);
        let mut lent = payload.lend(4);
        let buffers = self.headers.take::<4>(3).unwrap();
        let frames = buffers
            .map(|mbuf| Frame::chain_lent::<HEADER>(mbuf, &mut lent, |area| area.fill(3)).unwrap());
        let frames: Vec<Frame> = frames.collect();
        drop(lent);
        let elsewhere = payload.clone();
        let freed = std::thread::spawn(move || {
            assert_eq!(elsewhere.data(), [7; 20]);
            drop((frames, elsewhere));
        });
        assert_eq!(payload.data(), [7; 20]);
        freed.join().unwrap();
        drop(payload);
    }

    fn a_frame_lies_where_it_came(&self) {
        let frame = self.packets.copy(&[6; 90]).unwrap();
        let place = Place {
            headers_at: 40,
            headers_len: INNER,
        };
        let (payload, frame) = frame.share_as_frame(place, 5);
        assert!(!payload.can_be_chained());
        let copy = payload.copy(&self.packets).unwrap();
        drop(payload);
        assert_eq!((frame.len(), copy.data()), (90, &[6; 22][..]));

        let mut payload = self.payload(30);
        let frame = payload.frame_in_place::<66>(|area| area.fill(4)).unwrap();
        assert_eq!(
            (payload.data(), payload.headers()),
            (&[7; 30][..], &[1; INNER][..])
        );
        assert!(
            payload.frame_in_place::<66>(|_| ()).is_none(),
            "it was sent"
        );
        drop(payload);
        assert_eq!(frame.len(), 96);
    }

    /// What the device takes is its own, what it leaves is ours.
    fn a_device_takes_a_part_of_each_burst(&self) {
        let mut tx = self.tx();
        let payload = self.payload(10);
        for _ in 0..3 {
            for _ in 0..9 {
                assert!(
                    tx.push(Frame::chain(self.header(), &payload).unwrap())
                        .is_ok()
                );
            }
            let buffers = self.headers.take::<64>(9).unwrap();
            let write = std::iter::repeat_n(|area: &mut [u8; HEADER]| area.fill(2), 9);
            tx.push_chains::<HEADER, 64>(buffers, &payload, write);
            tx.flush();
        }
        assert!(!tx.is_empty() && tx.counters().packets > 0);
        tx.drop_all();
        assert!(tx.push(self.header().into()).is_ok());
        drop(payload);
    }

    fn what_comes_is_made_unique_and_linear(&self) {
        let mut rx = RxQueue::new(0, 0, self.packets.raw(), self.eal.clone());
        let mut burst = Burst::<8>::new();
        assert!(rx.recv(&mut burst) > 2 && rx.counters().copied > 0);
        let mut first = burst.next().unwrap();
        first.data_mut().fill(0);
        // What nobody takes of it goes with it.
        drop(burst);
        rx.discard();
    }

    fn windows_give_back_many_at_a_time(&self) {
        let mut spent = Spent::new();
        let payload = self.payload(10);
        for _ in 0..40 {
            spent.push(payload.clone());
        }
        spent.give_back();
        assert_eq!(payload.data(), [7; 10]);
        let relay = Arc::new(ArrayQueue::new(4));
        assert!(
            relay
                .push(Frame::chain(self.header(), &payload).unwrap())
                .is_ok()
        );
        drop((payload, relay));
    }
}

#[test]
fn every_buffer_has_one_who_frees_it() {
    let eal = Eal::start(&EalConfig::default(), "miri", &[], 1).unwrap();
    let bench = Bench {
        packets: Pool::new(&eal, "packets", 128, 512).unwrap(),
        headers: Pool::new(&eal, "headers", 128, 256).unwrap(),
        eal,
    };
    let cases: [fn(&Bench); 7] = [
        Bench::buffers_grow_and_shrink,
        Bench::a_payload_outlives_all_its_frames_and_the_other_way_round,
        Bench::references_are_counted_across_threads,
        Bench::a_frame_lies_where_it_came,
        Bench::a_device_takes_a_part_of_each_burst,
        Bench::what_comes_is_made_unique_and_linear,
        Bench::windows_give_back_many_at_a_time,
    ];
    for case in cases {
        case(&bench);
        assert_eq!((bench.packets.in_use(), bench.headers.in_use()), (0, 0));
    }
}
