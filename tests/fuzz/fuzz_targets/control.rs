//! Control sockets: any packets of several clients, and their replies.
#![no_main]

#[path = "../../support/control_model/mod.rs"]
mod control_model;

use control_model::{Case, play};

libfuzzer_sys::fuzz_target!(|case: Case| play(&case));
