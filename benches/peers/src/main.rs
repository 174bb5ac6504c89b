//! Measures campana side by side with raw epoll, which is the floor, and with its peers, on this machine.
//!
//! See `docs/benchmarks.md` for what is measured and how.

use std::env;

use arguments::{Arguments, Failure};

mod arguments;
mod histogram;
mod load;
mod memory;
mod post;
mod process;
mod requests;
mod rows;
mod run;
mod servers;
mod sys;
mod timers;

const HELP: &str = "\
peers serve KIND [--service echo|framed|fan-out|broadcast] [--port P] [--core C]
    Serves on 127.0.0.1. KIND is raw, raw-deferred, raw-batch, campana, campana-now, campana-busy, campana-session, tokio,
    tokio-usual (or monoio, if it was built with that feature).
peers load --connect ADDR [--pattern echo|framed|fan-out|churn|idle] [--connections N] [--senders N] [--bytes B] [--depth D]
           [--seconds S | --messages M] [--lockstep] [--watch PID] [--core C]
    Loads a server in a closed loop, and prints one line of figures. A message of fan-out is a line to one member, one of
    churn is a connection. --watch measures the processor time of the server's process as well.
peers run [--rows ROW,...] [--kinds KIND,...] [--rounds 5] [--seconds 2]
    Runs server and load as processes on a core each, interleaved in rounds, and prints tables: the median over the rounds of
    the ratio to the first of the kinds in the same round, raw by default, and the processor time of a message likewise.
peers rows
    Lists the rows.
peers memory [--kinds KIND,...] [--connections 5000] [--bytes 64]
    What an idle connection costs, in bytes of heap and of resident memory.
peers post [--rounds 5]
    The round trip of a post between two loops, and a flood of posts.
peers requests [--rounds 5] [--count 200000]
    Requests of one client to a control socket, against a bare echo of packets of the same sizes.
peers timers [--rounds 5] [--count 1000000]
    Inserting, cancelling and firing timers.
";

fn main() -> Result<(), Failure> {
    sys::raise_descriptor_limit();
    let mut arguments = Arguments::parse(env::args().skip(1), &["child", "control", "help", "lockstep"])?;
    if arguments.has("help") {
        print!("{HELP}");
        return Ok(());
    }
    match arguments.word(0) {
        Some("serve") => process::serve(arguments),
        Some("load") => process::load(arguments),
        Some("run") => run::run(arguments),
        Some("rows") => rows::list(),
        Some("memory") => memory::run(arguments),
        Some("post") => post::run(arguments),
        Some("requests") => requests::run(arguments),
        Some("timers") => timers::run(arguments),
        _ => {
            eprint!("{HELP}");
            std::process::exit(1);
        }
    }
}
