//! The kernel's queue of packets that wait for a verdict, over a netlink socket: bind, receive, let go. Knows the messages'
//! form (linux/netfilter/nfnetlink_queue.h) and nothing of why a packet waits; that is for [`super::delay`].

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::sys::socket::sockopt::{RcvBuf, RcvBufForce};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
    socket,
};

/// A packet of a connection, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Who sends.
    pub from: Ipv4Addr,
    /// Who would hear it.
    pub to: Ipv4Addr,
    /// Both ports.
    pub ports: [u8; 4],
}

/// A packet that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its name in its queue.
    pub id: u32,
    /// The connection that it belongs to.
    pub flow: Flow,
}

/// One queue of one namespace.
pub struct Queue {
    socket: OwnedFd,
    number: u16,
}

const SUBSYSTEM: u16 = 3;
const PACKET: u16 = 0;
const VERDICT: u16 = 1;
const CONFIG: u16 = 2;
const NLMSG_ERROR: u16 = 2;
const REQUEST: u16 = 1;
const REQUEST_AND_ACK: u16 = 5;
/// Enough of a packet for the headers of IP and TCP.
const COPIED_BYTES: u32 = 64;
/// Packets that may wait; the kernel drops what comes beyond, as a full switch does, and the senders slow down.
const WAITING_MAX: u32 = 8_192;
/// Large segments pass whole: nothing is cut up on our account.
const FLAG_WHOLE_SEGMENTS: u32 = 4;
const RECEIVE_BYTES: usize = 8 << 20;

impl Queue {
    /// Takes up queue `number` of the calling thread's namespace.
    pub fn bind(number: u16) -> io::Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        // Above the system's limit where we may; else the limit.
        if setsockopt(&socket, RcvBufForce, &RECEIVE_BYTES).is_err() {
            setsockopt(&socket, RcvBuf, &RECEIVE_BYTES)?;
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        let queue = Queue { socket, number };
        // BIND, for any protocol.
        queue.configure(&[(1, &[1, 0, 0, 0])])?;
        // Copy the beginnings of packets.
        let [a, b, c, d] = COPIED_BYTES.to_be_bytes();
        queue.configure(&[(2, &[a, b, c, d, 2])])?;
        queue.configure(&[(3, &WAITING_MAX.to_be_bytes())])?;
        let flags = FLAG_WHOLE_SEGMENTS.to_be_bytes();
        queue.configure(&[(4, &flags), (5, &flags)])?;
        Ok(queue)
    }

    fn configure(&self, attributes: &[(u16, &[u8])]) -> io::Result<()> {
        let message = message(CONFIG, REQUEST_AND_ACK, self.number, attributes);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut buffer = [0; 4096];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        match acknowledged(&buffer[..length]) {
            Some(0) => Ok(()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::Error::other("the kernel's answer about a queue cannot be read")),
        }
    }

    /// The packets that have arrived; none if there is nothing.
    pub fn receive(&self) -> io::Result<Vec<Packet>> {
        let mut buffer = [0; 8192];
        match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(packets(&buffer[..length])),
            // Lost for want of room: the kernel has dropped them.
            Err(nix::Error::EAGAIN | nix::Error::EINTR | nix::Error::ENOBUFS) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets a packet go. One that the kernel has dropped meanwhile is no error.
    pub fn let_go(&self, id: u32) -> io::Result<()> {
        let [a, b, c, d] = id.to_be_bytes();
        let accept = [0, 0, 0, 1, a, b, c, d];
        let message = message(VERDICT, REQUEST, self.number, &[(2, &accept)]);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A netlink message for a queue.
fn message(kind: u16, flags: u16, queue: u16, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(queue.to_be_bytes());
    for (kind, value) in attributes {
        let length = u16::try_from(4 + value.len()).expect("attributes are a few bytes");
        body.extend(length.to_ne_bytes());
        body.extend(kind.to_ne_bytes());
        body.extend(*value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let length = u32::try_from(HEADER + body.len()).expect("messages are a few bytes");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    // Sequence and port: nobody asks for them.
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// The length of a message's header.
const HEADER: usize = 16;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The code of an acknowledgement: 0, or an error's number below it.
fn acknowledged(bytes: &[u8]) -> Option<i32> {
    if u16_at(bytes, 4)? != NLMSG_ERROR {
        return None;
    }
    Some(i32::from_ne_bytes(bytes.get(HEADER..HEADER + 4)?.try_into().ok()?))
}

/// The packets in what was received. What cannot be read is left out: it stays in the kernel's queue and is lost.
fn packets(mut bytes: &[u8]) -> Vec<Packet> {
    let mut found = Vec::new();
    while let Some(length) = bytes.get(..4).and_then(|length| length.try_into().ok()) {
        let length = u32::from_ne_bytes(length) as usize;
        let Some(message) = bytes.get(..length).filter(|message| message.len() > HEADER) else { break };
        if u16_at(message, 4) == Some(SUBSYSTEM << 8 | PACKET) {
            found.extend(packet(message.get(HEADER + 4..).unwrap_or_default()));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The packet in the attributes of a message.
fn packet(mut attributes: &[u8]) -> Option<Packet> {
    let (mut id, mut flow) = (None, None);
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        match kind & 0x3fff {
            1 => id = value.get(..4).and_then(|id| id.try_into().ok()).map(u32::from_be_bytes),
            10 => flow = read_flow(value),
            _ => {}
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    Some(Packet { id: id?, flow: flow? })
}

/// The connection, in the beginning of a packet.
fn read_flow(packet: &[u8]) -> Option<Flow> {
    let four = |at: usize| packet.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok());
    let header = usize::from(packet.first()? & 0x0f) * 4;
    Some(Flow {
        from: four(12)?.into(),
        to: four(16)?.into(),
        // A packet without ports is of a connection of its own kind.
        ports: four(header).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut ip = vec![0x45, 0, 0, 52, 0, 0, 0, 0, 64, 6, 0, 0, 10, 99, 1, 10, 10, 99, 2, 12];
        ip.extend([0xc0, 0x01, 0x1b, 0xbd, 0, 0, 0, 0]);
        message(PACKET, 0, 0, &[(1, &[0, 0, 0, 7, 8, 0, 4]), (10, &ip)])
    }

    #[test]
    fn a_packet_is_read_with_its_connection() {
        let flow = Flow {
            from: Ipv4Addr::new(10, 99, 1, 10),
            to: Ipv4Addr::new(10, 99, 2, 12),
            ports: [0xc0, 0x01, 0x1b, 0xbd],
        };
        let expected = Packet { id: 7, flow };
        assert_eq!(packets(&sample()), [expected]);
        assert_eq!(packets(&[sample(), sample()].concat()), [expected, expected]);
    }

    #[test]
    fn what_is_cut_short_is_no_packet() {
        let whole = sample();
        for length in 0..whole.len() {
            assert_eq!(packets(&whole[..length]), [], "{length}");
            let mut lying = whole[..length].to_vec();
            if length >= 4 {
                lying[..4].copy_from_slice(&(length as u32).to_ne_bytes());
            }
            // Whatever it makes of it, it comes back.
            packets(&lying);
        }
    }

    #[test]
    fn a_refusal_of_the_kernel_is_told_from_its_consent() {
        let answer = |code: i32| {
            let mut bytes = message(0, 0, 0, &[]);
            bytes[4..6].copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            bytes[HEADER..HEADER + 4].copy_from_slice(&code.to_ne_bytes());
            acknowledged(&bytes)
        };
        assert_eq!(answer(0), Some(0));
        assert_eq!(answer(-1), Some(-1));
        assert_eq!(acknowledged(&sample()), None);
        assert_eq!(acknowledged(&[]), None);
    }
}
