//! What the process takes up, as far as it is cheap to know.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Figures of the process.
pub(super) struct Process {
    /// Known since Linux 6.2; to count them one by one takes too long for a loop.
    pub(super) open_descriptors: Option<u64>,
    /// Nothing if there is no limit.
    pub(super) most_descriptors: Option<u64>,
    /// In bytes.
    pub(super) resident_memory: Option<u64>,
    pub(super) processor_time: Duration,
}

impl Process {
    pub(super) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Self {
            open_descriptors: fs::metadata("/proc/self/fd")
                .ok()
                .map(|found| found.len())
                .filter(|&len| len > 0),
            most_descriptors: getrlimit(Resource::Nofile).current,
            resident_memory: resident_pages().map(|pages| pages * rustix::param::page_size() as u64),
            processor_time: Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32),
        }
    }
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}
