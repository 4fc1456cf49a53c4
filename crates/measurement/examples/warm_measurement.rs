//! Times the measurement of this process, with some thirty of the system's libraries mapped: the first one, and the
//! median of later ones; from inside, and as root from outside, together with a look at its state. `cargo run --release -p measurement --example warm_measurement [REPETITIONS]`
//!
//! This program itself is hashed every time during the first minute after it was built.

#![allow(clippy::indexing_slicing, clippy::print_stdout, clippy::unwrap_used)]

use std::ffi::CString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linux_ffi::peer::open_pidfd;
use linux_ffi::{NONCE, NoncePage};
use measurement::peer::{Parts, Pinned};
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
    if rustix::process::geteuid().is_root() {
        from_outside(&request, repetitions);
    }
}

fn from_outside(request: &Request<'_>, repetitions: usize) {
    const NONCE_BYTES: [u8; NONCE] = [7; NONCE];
    let page = NoncePage::holding(&NONCE_BYTES).unwrap();
    let pid = std::process::id();
    let memory = std::fs::File::open("/proc/self/mem").unwrap().into();
    let parts = Parts { pid, pidfd: open_pidfd(pid).unwrap(), memory };
    let confirmed = Pinned::from_parts(parts).unwrap().confirm(page.address(), NONCE_BYTES).unwrap();
    let cache = DigestCache::new();
    let measurement = confirmed.measure(request, &Hashing::cached(&cache)).unwrap();
    let measure = || drop(confirmed.measure(request, &Hashing::cached(&cache)).unwrap());
    let look = || assert_eq!(confirmed.look(&measurement.watched).unwrap(), measurement.state);
    let holds = || confirmed.holds().unwrap();
    println!("from outside, median: {:?}", median(repetitions, measure));
    println!("a look: {:?}", median(repetitions, look));
    println!("the nonce: {:?}", median(repetitions, holds));
}

fn median(repetitions: usize, call: impl Fn()) -> Duration {
    let mut times: Vec<Duration> = (0..repetitions)
        .map(|_| {
            let start = Instant::now();
            call();
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[repetitions / 2]
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
