//! What the kernel knows about a TCP connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt};

use super::stream::{Socket, retry};

/// The kernel's figures of one TCP connection (`TCP_INFO`), as they were at one moment.
///
/// Figures that an older kernel doesn't have are zero.
///
/// ```
/// use campana::socket::{ListenOptions, Listener, Socket, SocketOptions, TcpState};
///
/// # fn wait(fd: &impl std::os::fd::AsFd, flags: rustix::event::PollFlags) {
/// # rustix::event::poll(&mut [rustix::event::PollFd::new(fd, flags)], None).unwrap();
/// # }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let listener = Listener::bind(&"127.0.0.1:0".parse()?, &ListenOptions::default())?;
/// let (client, _) = Socket::connect(&listener.local_address()?, &SocketOptions::default())?;
/// # wait(&client, rustix::event::PollFlags::OUT);
/// let info = client.tcp_info()?;
/// assert_eq!(info.state, TcpState::Established);
/// println!("round trip {:?} +- {:?}, {} segments lost", info.rtt, info.rtt_var, info.lost);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// Where the connection is in its life.
    pub state: TcpState,
    /// How often the segment that is due has been retransmitted in a row; 0 if all is well.
    pub retransmits: u8,
    /// The retransmission time-out.
    pub rto: Duration,
    /// The smoothed round-trip time.
    pub rtt: Duration,
    /// The mean deviation of the round-trip time.
    pub rtt_var: Duration,
    /// The shortest round-trip time of late; zero as long as none was measured.
    pub min_rtt: Duration,
    /// The maximum segment size for sending, in bytes.
    pub snd_mss: u32,
    /// The maximum segment size seen in receiving, in bytes.
    pub rcv_mss: u32,
    /// The congestion window, in segments.
    pub snd_cwnd: u32,
    /// The slow-start threshold, in segments.
    pub snd_ssthresh: u32,
    /// The path's maximum transmission unit, in bytes.
    pub path_mtu: u32,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Segments that are taken for lost at the moment.
    pub lost: u32,
    /// Segments retransmitted since the connection began.
    pub total_retransmits: u32,
    /// The time since data was last sent.
    pub last_data_sent: Duration,
    /// The time since data last arrived.
    pub last_data_recv: Duration,
    /// The time since an acknowledgement last arrived.
    pub last_ack_recv: Duration,
    /// The rate at which the kernel paces its sending, in bytes per second; `u64::MAX` if it doesn't.
    pub pacing_rate: u64,
    /// The most recent rate of delivery, in bytes per second.
    pub delivery_rate: u64,
    /// Bytes sent and acknowledged. A connection that this side opened counts its SYN as one.
    pub bytes_acked: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Bytes of data sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes of data retransmitted.
    pub bytes_retransmitted: u64,
    /// Bytes in the send buffer that haven't been sent at all.
    pub notsent_bytes: u32,
    /// Segments sent, retransmissions included.
    pub segments_sent: u32,
    /// Segments received.
    pub segments_received: u32,
}

/// Where a TCP connection is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpState {
    /// Data flows.
    Established,
    /// This side asked to connect.
    SynSent,
    /// The peer asked to connect.
    SynReceived,
    /// This side has ended its output, which isn't acknowledged yet.
    FinWait1,
    /// This side has ended its output, and the peer knows.
    FinWait2,
    /// Both sides have ended; late segments are waited for.
    TimeWait,
    /// There is no connection.
    Closed,
    /// The peer has ended its output, this side hasn't.
    CloseWait,
    /// The peer ended first, and this side's end isn't acknowledged yet.
    LastAck,
    /// Connections are waited for.
    Listening,
    /// Both sides ended at the same time, and this side's end isn't acknowledged yet.
    Closing,
    /// A state that this version doesn't know, by the kernel's number.
    Other(u8),
}

impl Socket {
    /// Asks the kernel for its figures of this connection.
    ///
    /// They come through a diagnostics socket (`NETLINK_SOCK_DIAG`), which is opened and closed again:
    /// some eight system calls, none of which waits. It is meant for inspection, not for each read.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a Unix socket and where the kernel lacks TCP
    /// diagnostics (`CONFIG_INET_DIAG`); [`NotConnected`](io::ErrorKind::NotConnected) while it
    /// connects and once the connection is gone; [`NotFound`](io::ErrorKind::NotFound) if the socket is
    /// of another network namespace than the calling thread.
    pub fn tcp_info(&self) -> io::Result<TcpInfo> {
        if !self.is_tcp() {
            return Err(unsupported("only a TCP socket has TCP figures"));
        }
        let (Some(local), Some(peer)) = (self.local_address()?.as_inet(), self.peer_address()?.as_inet())
        else {
            return Err(Errno::NOTCONN.into());
        };
        let cookie = sockopt::socket_cookie(self.as_fd())?;
        let diagnostics = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        let request = request(local, peer, cookie);
        retry(|| rustix::net::send(&diagnostics, &request, SendFlags::empty()))?;
        // The kernel answers before the send returns, so there is nothing to wait for.
        let mut answer = Vec::with_capacity(4096);
        retry(|| rustix::net::recv(&diagnostics, spare_capacity(&mut answer), RecvFlags::empty()))?;
        read_answer(&answer)
    }
}

// From <linux/netlink.h>, <linux/sock_diag.h> and <linux/inet_diag.h>.
const NLMSG_HEADER: usize = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const DIAG_REQUEST: usize = 56;
const DIAG_ANSWER: usize = 72;
const DIAG_INFO: u16 = 2;
const PROTOCOL_TCP: u8 = 6;
const FAMILY_INET: u8 = 2;
const FAMILY_INET6: u8 = 10;

/// An exact look-up of one connection:
///
/// ```text
/// nlmsghdr          len:4 type:2 flags:2 seq:4 pid:4
/// inet_diag_req_v2  family:1 protocol:1 ext:1 pad:1 states:4
///                   sport:2 dport:2 src:16 dst:16 if:4 cookie:8
/// ```
///
/// Numbers are in the machine's order, ports and addresses in the network's.
fn request(local: SocketAddr, peer: SocketAddr, cookie: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NLMSG_HEADER + DIAG_REQUEST);
    bytes.extend(((NLMSG_HEADER + DIAG_REQUEST) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);

    let family = if local.is_ipv4() { FAMILY_INET } else { FAMILY_INET6 };
    bytes.extend([family, PROTOCOL_TCP, 1 << (DIAG_INFO - 1), 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(octets(local.ip()));
    bytes.extend(octets(peer.ip()));
    bytes.extend(interface(local).to_ne_bytes());
    bytes.extend((cookie as u32).to_ne_bytes());
    bytes.extend(((cookie >> 32) as u32).to_ne_bytes());
    bytes
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => {
            let mut padded = [0; 16];
            padded[..4].copy_from_slice(&v4.octets());
            padded
        }
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A link-local connection is found on its interface only.
fn interface(local: SocketAddr) -> u32 {
    match local {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(v6) => v6.scope_id(),
    }
}

fn read_answer(answer: &[u8]) -> io::Result<TcpInfo> {
    let fields = Fields(answer);
    let end = (fields.u32(0) as usize).min(answer.len());
    match fields.u16(4) {
        NLMSG_ERROR => Err(explain(fields.u32(NLMSG_HEADER).cast_signed())),
        SOCK_DIAG_BY_FAMILY => {
            let attributes = answer.get(NLMSG_HEADER + DIAG_ANSWER..end).unwrap_or(&[]);
            find_attribute(attributes, DIAG_INFO)
                .map(|info| read_info(Fields(info)))
                .ok_or_else(|| unsupported("the kernel's answer has no TCP figures"))
        }
        _ => Err(unsupported("the kernel's answer is of an unknown kind")),
    }
}

fn explain(negative_errno: i32) -> io::Error {
    let error = io::Error::from_raw_os_error(negative_errno.saturating_neg());
    match error.kind() {
        io::ErrorKind::NotFound => io::Error::new(
            io::ErrorKind::NotFound,
            "the kernel doesn't find this connection: it has ended, or is of another network namespace",
        ),
        _ => error,
    }
}

/// Attributes are `len:2 type:2 payload`, each padded to four bytes.
fn find_attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let fields = Fields(attributes);
        let len = usize::from(fields.u16(0));
        let payload = attributes.get(4..len)?;
        if fields.u16(2) == wanted {
            return Some(payload);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

/// `struct tcp_info`, which only ever grows at its end.
fn read_info(info: Fields<'_>) -> TcpInfo {
    TcpInfo {
        state: TcpState::from_number(info.u8(0)),
        retransmits: info.u8(2),
        rto: info.micros(8),
        snd_mss: info.u32(16),
        rcv_mss: info.u32(20),
        unacked: info.u32(24),
        lost: info.u32(32),
        last_data_sent: info.millis(44),
        last_data_recv: info.millis(52),
        last_ack_recv: info.millis(56),
        path_mtu: info.u32(60),
        rtt: info.micros(68),
        rtt_var: info.micros(72),
        snd_ssthresh: info.u32(76),
        snd_cwnd: info.u32(80),
        total_retransmits: info.u32(100),
        pacing_rate: info.u64(104),
        bytes_acked: info.u64(120),
        bytes_received: info.u64(128),
        segments_sent: info.u32(136),
        segments_received: info.u32(140),
        notsent_bytes: info.u32(144),
        min_rtt: match info.u32(148) {
            u32::MAX => Duration::ZERO,
            micros => Duration::from_micros(micros.into()),
        },
        delivery_rate: info.u64(160),
        bytes_sent: info.u64(200),
        bytes_retransmitted: info.u64(208),
    }
}

impl TcpState {
    fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listening,
            11 => Self::Closing,
            other => Self::Other(other),
        }
    }
}

/// Numbers in the machine's order at offsets; zero beyond the end, where an older kernel stops.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(self, offset: usize) -> [u8; N] {
        self.0.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    fn u8(self, offset: usize) -> u8 {
        u8::from_ne_bytes(self.array(offset))
    }

    fn u16(self, offset: usize) -> u16 {
        u16::from_ne_bytes(self.array(offset))
    }

    fn u32(self, offset: usize) -> u32 {
        u32::from_ne_bytes(self.array(offset))
    }

    fn u64(self, offset: usize) -> u64 {
        u64::from_ne_bytes(self.array(offset))
    }

    fn micros(self, offset: usize) -> Duration {
        Duration::from_micros(self.u32(offset).into())
    }

    fn millis(self, offset: usize) -> Duration {
        Duration::from_millis(self.u32(offset).into())
    }
}

fn unsupported(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}

#[cfg(test)]
mod tests;
