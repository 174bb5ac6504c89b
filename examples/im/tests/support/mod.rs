//! What the tests of the program have in common: processes of it, and a client that waits for what it expects.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests are tests too.

mod client;
#[path = "../../../../tests/support/patience.rs"]
mod patience;
mod program;
mod server;

pub(crate) use client::{Client, Device};
pub(crate) use patience::{PATIENCE, wait_until};
pub(crate) use program::{Ended, Program};
#[allow(unused_imports, reason = "each test program uses a part of them")]
pub(crate) use server::{Scratch, Server};

/// The password of all users.
pub(crate) const PASSWORD: &str = "password";

/// The value of `key=` in a line of output.
#[track_caller]
pub(crate) fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let key = format!(" {key}=");
    let (_, rest) = line.split_once(&key).unwrap_or_else(|| panic!("no{key} in {line:?}"));
    rest.split(' ').next().unwrap()
}
