//! Times the measurement of this process, with some thirty of the system's libraries mapped: the first one, and the
//! median of later ones. `cargo run --release -p measurement --example warm_measurement [REPETITIONS]`
//!
//! This program itself is hashed every time during the first minute after it was built.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

use std::ffi::CString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use measurement::{DigestCache, Hashing, Request, measure_self};

const LIBRARIES: usize = 30;

fn main() {
    let repetitions = std::env::args().nth(1).map_or(201, |argument| argument.parse().unwrap());
    load();
    let request = Request { name: "example", configuration: &[PathBuf::from("/etc/passwd")] };
    let cache = DigestCache::new();
    let timed = || {
        let start = Instant::now();
        let component = measure_self(&request, &Hashing::cached(&cache)).unwrap();
        (start.elapsed(), component)
    };
    let (first, component) = timed();
    let mut later: Vec<Duration> = (0..repetitions).map(|_| timed().0).collect();
    later.sort_unstable();
    let bytes: u64 = component.mappings.iter().map(|file| std::fs::metadata(&file.path).unwrap().len()).sum();
    println!("{} files mapped, {bytes} bytes", component.mappings.len());
    println!("first measurement: {first:?}");
    println!("later ones, median of {repetitions}: {:?}", later[repetitions / 2]);
    println!("{:?}", cache.figures());
}

/// Maps libraries of the system's directory, and what they need, until there are enough.
fn load() {
    let mut names: Vec<_> = std::fs::read_dir("/usr/lib/x86_64-linux-gnu")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|path| path.contains(".so.")))
        .collect();
    names.sort();
    for path in names {
        if mapped() >= LIBRARIES {
            break;
        }
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: the name ends in NUL; the system's libraries may run their initialisers in a program that is made
        // for that.
        unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL) };
    }
}

fn mapped() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("r-xp") && line.contains(".so")).count()
}
