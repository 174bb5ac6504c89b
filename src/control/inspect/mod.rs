//! Looking into a running server, and steering it, by a control socket.
#![allow(dead_code)]

mod actions;
mod connections;
mod gather;
mod inspected;
mod loops;
mod paging;
mod servers;
mod sessions;
mod text;

#[cfg(test)]
mod tests;
