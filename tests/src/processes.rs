//! Processes as the kernel shows them, and waiting for what they do.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than any part of an installation takes to start or to end.
const BOUND: Duration = Duration::from_secs(30);

/// The processes of a guard that are in one role: all but the monitor are its children.
pub fn in_role(guard: u32, role: &str) -> Vec<u32> {
    let is_it = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
    };
    children(guard).into_iter().filter(is_it).collect()
}

/// The processes that this one has started and that have not been waited for.
pub fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    found
}

/// Whether there is such a process, one that has ended but was not waited for not counted. Its first thread may have ended
/// before the others have.
pub fn is_alive(pid: u32) -> bool {
    let has_ended = |task: PathBuf| {
        let status = fs::read_to_string(task.join("stat")).unwrap_or_default();
        status.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
    };
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    !tasks.map(|task| task.path()).all(has_ended)
}

/// Clock ticks that a process has had of the processors.
pub fn ticks(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = status.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>());
    // utime and stime are the 14th and 15th field.
    fields.map_or(0, |fields| fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("ticks")).sum())
}

/// Waits for something that takes some time.
#[track_caller]
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + BOUND;
    while !is_so() {
        assert!(Instant::now() < end, "waited {BOUND:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
