//! An instant-messaging server on campana's session layer, and what clients need to talk to it.

pub mod protocol;
