//! An instant-messaging server on campana's session layer, and what clients need to talk to it.

pub mod client;
mod passwords;
pub mod protocol;
pub mod server;
mod storage;
