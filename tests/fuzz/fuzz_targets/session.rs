//! Sessions, under any sequence of what they, their filters, their peers and the manager do.
#![no_main]

#[path = "../../support/session_model/mod.rs"]
mod session_model;

use session_model::{Case, play};

libfuzzer_sys::fuzz_target!(|case: Case| play(&case));
