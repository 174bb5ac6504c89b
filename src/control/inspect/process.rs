//! What the process takes up, as far as it is cheap to know.

use std::fs;
use std::sync::OnceLock;
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
    /// Since the beginning of 1970; it tells a restarted process from the one before.
    pub(super) started: Option<Duration>,
}

impl Process {
    pub(super) fn now() -> Self {
        Self {
            open_descriptors: fs::metadata("/proc/self/fd")
                .ok()
                .map(|found| found.len())
                .filter(|&len| len > 0),
            most_descriptors: getrlimit(Resource::Nofile).current,
            resident_memory: resident_pages().map(|pages| pages * rustix::param::page_size() as u64),
            processor_time: processor_time(),
            started: started(),
        }
    }
}

fn resident_pages() -> Option<u64> {
    fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Worked out once: the system tells it by the time of its own start, which moves when its clock is set.
fn started() -> Option<Duration> {
    static STARTED: OnceLock<Option<Duration>> = OnceLock::new();
    *STARTED.get_or_init(|| {
        let process = fs::read_to_string("/proc/self/stat").ok()?;
        // The program's name may have blanks and parentheses; the field is the 22nd, and the third comes behind the name.
        let ticks: u64 = process.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
        let millis = ticks.checked_mul(1000)? / rustix::param::clock_ticks_per_second();
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
        Duration::from_secs(boot).checked_add(Duration::from_millis(millis))
    })
}
