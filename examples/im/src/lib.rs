//! An instant-messaging server on campana's session layer, and what clients need to talk to it.

mod passwords;
pub mod protocol;
pub mod server;
mod storage;
