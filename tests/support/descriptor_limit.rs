//! The process's limit on descriptors: a test that changes it has a program to itself.

use std::fs::File;
use std::os::fd::AsRawFd;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Lets the process open no descriptor more: none below the lowest free number, which is the limit, is free.
pub(crate) fn exhaust_descriptors() {
    let lowest_free = File::open("/dev/null").unwrap().as_raw_fd();
    set_limit(Some(lowest_free as u64));
}

/// Lets it open as many as the system allows.
pub(crate) fn raise_limit() {
    set_limit(getrlimit(Resource::Nofile).maximum);
}

fn set_limit(current: Option<u64>) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
}
