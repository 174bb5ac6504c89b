//! A wall clock that is set has no effect, because nobody looks at it.
//!
//! Setting it would disturb everything else that runs on the machine, and no namespace has a wall clock of its own. So these
//! tests look at what could depend on it: the clocks of the timers that a loop makes, and what the library names.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use campana::EventLoop;

const CLOCK_MONOTONIC: &str = "clockid: 1";

#[test]
fn the_timers_that_a_loop_makes_of_the_system_are_on_the_monotonic_clock() {
    let mut event_loop = EventLoop::new().unwrap();
    // Between whole milliseconds, which takes such a timer.
    event_loop.context().run_after(Duration::from_micros(1_500), |cx| cx.quit());
    event_loop.run().unwrap();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let timers = descriptors.filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|kind| kind == Path::new("anon_inode:[timerfd]"))
    });
    let clocks: Vec<_> = timers
        .map(|entry| fs::read_to_string(Path::new("/proc/self/fdinfo").join(entry.file_name())).unwrap())
        .collect();
    assert!(!clocks.is_empty());
    assert!(clocks.iter().all(|info| info.lines().any(|line| line == CLOCK_MONOTONIC)), "{clocks:#?}");
}

#[test]
fn the_library_names_no_clock_that_can_be_set() {
    let mut files = Vec::new();
    add_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let mut names_the_other = false;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        names_the_other |= text.contains("Instant::now()");
        for name in ["SystemTime", "UNIX_EPOCH", "Realtime", "REALTIME", "Tai", "TAI", "gettimeofday"] {
            assert!(!text.contains(name), "{name} in {}", file.display());
        }
    }
    assert!(names_the_other, "these are not the sources");
}

fn add_sources(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            add_sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
