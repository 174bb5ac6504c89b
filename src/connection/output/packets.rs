//! Output that keeps its packet boundaries (`SOCK_SEQPACKET`).

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Output, SHARE_FROM};
use crate::buffer::Buffer;

/// A packet socket's pending output: each push is one packet, and packets are never joined or split.
///
/// The copied packets lie one after the other in one buffer, so that queueing a small packet allocates nothing once
/// the queue has been in use. An empty packet is a packet too: bound the queue by [`packets`](Self::packets) as well
/// as by [`len`](Self::len).
#[derive(Debug, Default)]
pub(crate) struct PacketQueue {
    copied: Buffer,
    packets: VecDeque<Packet>,
    /// Bytes in all packets.
    len: usize,
}

#[derive(Debug)]
enum Packet {
    /// As many of the copied bytes, after those of the packets before.
    Copied(usize),
    Shared(Bytes),
}

impl PacketQueue {
    /// Number of bytes that wait, in all packets together.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Number of packets that wait.
    pub(crate) fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Queues `output` as one packet.
    pub(crate) fn push(&mut self, output: Output<'_>) {
        self.len += output.len();
        let packet = match output {
            Output::Shared(bytes) if bytes.len() >= SHARE_FROM => Packet::Shared(bytes),
            Output::Owned(bytes) if bytes.len() >= SHARE_FROM => Packet::Shared(Bytes::from(bytes)),
            small_or_borrowed => {
                self.copied.append(small_or_borrowed.as_slice());
                Packet::Copied(small_or_borrowed.len())
            }
        };
        self.packets.push_back(packet);
    }

    /// The packet to be sent next, which may be empty; `None` if there is none.
    pub(crate) fn first(&self) -> Option<&[u8]> {
        self.packets.front().map(|packet| match packet {
            Packet::Copied(length) => &self.copied.peek()[..*length],
            Packet::Shared(bytes) => &bytes[..],
        })
    }

    /// Drops the first packet, which has been sent or can't be, and tells its length.
    pub(crate) fn pop(&mut self) -> Option<usize> {
        let length = match self.packets.pop_front()? {
            Packet::Copied(length) => {
                self.copied.retrieve(length);
                length
            }
            Packet::Shared(bytes) => bytes.len(),
        };
        self.len -= length;
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_packet_is_a_packet() {
        let mut queue = PacketQueue::default();
        assert_eq!(queue.first(), None);
        queue.push("".into());
        queue.push("next".into());
        assert_eq!((queue.packets(), queue.len()), (2, 4));
        assert_eq!(queue.first(), Some(&b""[..]));
        assert_eq!(queue.pop(), Some(0));
        assert_eq!(queue.first(), Some(&b"next"[..]));
        assert_eq!(queue.pop(), Some(4));
        assert_eq!(queue.pop(), None);
        assert_eq!(queue.packets(), 0);
    }

    #[test]
    fn a_large_packet_is_shared_and_not_copied() {
        let packet = Bytes::from(vec![1; SHARE_FROM]);
        let mut queue = PacketQueue::default();
        queue.push("small".into());
        queue.push((&packet).into());
        queue.pop();
        assert_eq!(queue.first().map(<[u8]>::as_ptr), Some(packet.as_ptr()));
    }

    /// Bytes of which none equals its neighbours, so that a byte lost or repeated shows.
    fn pattern(first: u8, length: usize) -> Vec<u8> {
        std::iter::successors(Some(first), |byte| Some(byte.wrapping_add(3))).take(length).collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Slice(Vec<u8>),
        Owned(Vec<u8>),
        Shared(Vec<u8>),
        Pop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let content = || {
            let length = prop_oneof![4 => 0..40_usize, 2 => 500..530_usize];
            (any::<u8>(), length).prop_map(|(first, length)| pattern(first, length))
        };
        let step = prop_oneof![
            3 => content().prop_map(Step::Slice),
            2 => content().prop_map(Step::Owned),
            2 => content().prop_map(Step::Shared),
            5 => Just(Step::Pop),
        ];
        prop::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn packets_leave_whole_and_in_order(steps in steps()) {
            let mut queue = PacketQueue::default();
            let mut model = VecDeque::<Vec<u8>>::new();
            for step in steps {
                match step {
                    Step::Slice(packet) => {
                        queue.push((&packet[..]).into());
                        model.push_back(packet);
                    }
                    Step::Owned(packet) => {
                        queue.push(packet.clone().into());
                        model.push_back(packet);
                    }
                    Step::Shared(packet) => {
                        queue.push(Bytes::from(packet.clone()).into());
                        model.push_back(packet);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop(), model.pop_front().map(|packet| packet.len())),
                }
                prop_assert_eq!(queue.first(), model.front().map(Vec::as_slice));
                prop_assert_eq!(queue.packets(), model.len());
                prop_assert_eq!(queue.len(), model.iter().map(Vec::len).sum::<usize>());
            }
            while let Some(packet) = model.pop_front() {
                prop_assert_eq!(queue.first(), Some(&packet[..]));
                queue.pop();
            }
            prop_assert_eq!(queue.first(), None);
        }
    }
}
