//! Sends packets back over a Unix socket that keeps their boundaries (SOCK_SEQPACKET).
//!
//! `cargo run --example seqpacket_echo -- server`, then `cargo run --example seqpacket_echo -- client --packets one,,three`.
//!
//! One packet is one `on_data`, and one `send` is one packet. A packet may be empty, which is no end of the stream.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use campana::connection::ConnectError;
use campana::{Address, Buffer, CloseReason, Handler, LoopContext, TcpClient, TcpConnection};
use support::Options;

const DEFAULT_ADDRESS: &str = "seqpacket:@campana-echo";

fn main() -> ExitCode {
    match Options::mode(&[("server", "sends packets back"), ("client", "sends packets, prints what it gets")])
    {
        "server" => server(),
        _ => client(),
    }
}

fn server() -> ExitCode {
    let arguments =
        Options::server("Sends packets back; ADDR is seqpacket:/path or seqpacket:@name.", DEFAULT_ADDRESS)
            .of_mode("server")
            .parse();
    arguments.listen().iter().for_each(has_packets_or_fail);
    support::serve(&arguments, |server, event_loop| {
        server.on_data(|conn, input| conn.send(input.take())).start(event_loop)
    })
}

fn client() -> ExitCode {
    let arguments = Options::new("Sends packets, prints what it gets, and ends when all have come back.")
        .of_mode("client")
        .option("--connect ADDR", Some(DEFAULT_ADDRESS), "the server's address")
        .option("--packets LIST", Some("one,,three"), "the packets, with commas in between")
        .parse();
    let server: Address = arguments.value("--connect");
    has_packets_or_fail(&server);
    let list: String = arguments.value("--packets");
    let packets: Vec<String> = list.split(',').map(str::to_owned).collect();
    let mut event_loop = support::new_event_loop();
    support::or_fail(TcpClient::new(server)).start_with(&mut event_loop, Client { packets });
    support::or_fail(event_loop.run());
    ExitCode::SUCCESS
}

fn has_packets_or_fail(address: &Address) {
    if !address.is_packet() {
        support::fail(format_args!("{address} has no packets: write seqpacket:/path or seqpacket:@name"));
    }
}

struct Client {
    packets: Vec<String>,
}

impl Handler for Client {
    /// How many packets have come back.
    type State = usize;

    fn on_connect(&mut self, conn: &mut TcpConnection<'_>) -> usize {
        for packet in &self.packets {
            if let Err(error) = conn.send(packet.as_bytes()) {
                support::fail(format_args!("a packet of {} bytes: {error}", packet.len()));
            }
        }
        0
    }

    fn on_data(&mut self, returned: &mut usize, conn: &mut TcpConnection<'_>, input: &mut Buffer) {
        let packet = input.take();
        support::print(format_args!("{} bytes: {:?}", packet.len(), String::from_utf8_lossy(packet)));
        *returned += 1;
        if *returned == self.packets.len() {
            conn.close();
        }
    }

    fn on_close(&mut self, returned: usize, conn: &mut TcpConnection<'_>, reason: CloseReason) {
        if returned < self.packets.len() {
            support::fail(format_args!("{returned} of {} packets came back: {reason}", self.packets.len()));
        }
        conn.context().quit();
    }

    fn on_connect_failed(&mut self, _: &mut LoopContext, error: &ConnectError, _: Option<Duration>) {
        support::fail(error);
    }
}
