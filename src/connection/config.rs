//! The limits and deadlines of a connection.

use std::time::Duration;

use crate::socket::SocketOptions;

/// How a connection behaves. A server or client copies its own to each connection, whose can then be changed alone.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionConfig {
    /// Pending output above this many bytes, which the kernel does not take now, calls `on_high_water`. Default 64 KiB.
    pub high_water: usize,
    /// Pending output at or below this many bytes, after it was above the high mark, calls `on_low_water`. Default 32 KiB.
    pub low_water: usize,
    /// Output that would make more bytes than this pending is refused and closes the connection as a slow consumer. Default
    /// 8 MiB, which is the most that the output of one connection can take up.
    pub hard_cap: usize,
    /// For how long output may stay above the high mark before the connection is closed as a slow consumer. Default 5 min.
    pub slow_consumer: Option<Duration>,
    /// For how long output may be pending without the kernel taking a byte. Default 30 s.
    pub write_stall: Option<Duration>,
    /// For how long nothing may be received or sent. Default: for ever.
    pub idle: Option<Duration>,
    /// For how long a closing connection waits for its peer: to take output that is pending, counted from the last bytes that
    /// were taken, and then to close too. One that was reset while reading is paused is kept for as long. Default 5 s.
    pub linger: Duration,
    /// Output below this many bytes waits for the end of the batch of callbacks, so that many small sends become one write.
    /// Default 4 KiB; zero writes at once.
    pub defer_output: usize,
    /// How many bytes are read of a connection before the others have their turn. Default 256 KiB.
    pub read_budget: usize,
    /// How many bytes a handler may leave in the input buffer; more is a protocol error. Default 8 MiB.
    pub input_limit: usize,
    /// The longest packet that is received on a SOCK_SEQPACKET connection; a longer one is, unless
    /// [`on_packet_too_long`](super::Handler::on_packet_too_long) says otherwise, a protocol error. Default 64 KiB.
    pub packet_limit: usize,
    /// Options of the socket.
    pub socket: SocketOptions,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            high_water: 64 * 1024,
            low_water: 32 * 1024,
            hard_cap: 8 * 1024 * 1024,
            slow_consumer: Some(Duration::from_secs(300)),
            write_stall: Some(Duration::from_secs(30)),
            idle: None,
            linger: Duration::from_secs(5),
            defer_output: 4 * 1024,
            read_budget: 256 * 1024,
            input_limit: 8 * 1024 * 1024,
            packet_limit: 64 * 1024,
            socket: SocketOptions::default(),
        }
    }
}
