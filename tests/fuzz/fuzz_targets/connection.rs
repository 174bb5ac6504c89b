//! Connections over streams, under any sequence of what their users, their peers and the system do.
#![no_main]

#[path = "../../support/connection_model/mod.rs"]
mod connection_model;

use connection_model::{Case, play};

libfuzzer_sys::fuzz_target!(|case: Case| play(&case, false));
