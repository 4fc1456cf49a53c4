//! What a guard costs that nobody calls: processor time and memory, with and without connected clients.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Way;
use super::site::Site;
use crate::error::BenchError;
use crate::protocol::Run;
use crate::rounds::Effort;
use crate::row::Operation;
use crate::series::{Outcome, Worker};
use crate::timing::nanoseconds;

/// Processes that have logged in, have all signed at once, and say nothing since.
const CLIENTS: usize = 200;
/// How long they sign: more of them than there are processors, which their workers learn.
const SIGNING_MS: u64 = 50;
/// What a start has left to do is done by then.
const SETTLED: Duration = Duration::from_secs(2);

/// The guard's processes together.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct State {
    /// How many there are.
    pub processes: usize,
    /// Their threads.
    pub threads: usize,
    /// Processor time, of each second, in nanoseconds.
    pub cpu_ns_per_second: f64,
    /// How often they were given a processor, each second.
    pub wakes_per_second: f64,
    /// Memory, each page shared out among those who have it mapped.
    pub pss_bytes: u64,
    /// Of it the monitor's.
    pub monitor_pss_bytes: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Idle {
    /// How many clients there were.
    pub clients: usize,
    /// Without a client.
    pub without: State,
    /// With them.
    pub with: State,
    /// From the start of the first to the login of the last, one after the other, for each.
    pub start_ns: f64,
    /// Clients that could not log in, and were started again.
    pub failed: usize,
}

impl Idle {
    /// What each client adds to the memory of the guard's processes.
    pub const fn pss_per_client(&self) -> f64 {
        (self.with.pss_bytes as f64 - self.without.pss_bytes as f64) / self.clients as f64
    }

    /// Of it the monitor's share.
    pub const fn monitor_pss_per_client(&self) -> f64 {
        (self.with.monitor_pss_bytes as f64 - self.without.monitor_pss_bytes as f64) / self.clients as f64
    }
}

/// Measures without clients, then with them.
pub fn measure(site: &Site, effort: Effort) -> Result<Idle, BenchError> {
    eprintln!("bench: guarded, idle");
    let over = Duration::from_millis(effort.idle_ms);
    let guard = site.guard_pid()?;
    // The first has a measurer and a token ready for the others.
    drop(site.worker(Way::Memory).or_else(|_| site.admit("bench-memory", || site.worker(Way::Memory)))?);
    thread::sleep(SETTLED);
    let without = state(guard, over)?;
    let began = Instant::now();
    let (mut clients, mut failed) = (Vec::new(), 0);
    while clients.len() < CLIENTS {
        match site.worker(Way::Memory) {
            Ok(client) => clients.push(client),
            // Of SoftHSM: while a process logs in, another that initialises may read a token without a PIN.
            Err(error) if failed < CLIENTS / 10 => {
                eprintln!("bench: {error}");
                failed += 1;
            }
            Err(error) => return Err(error),
        }
    }
    let start_ns = nanoseconds(began.elapsed()) / CLIENTS as f64;
    sign_at_once(&mut clients)?;
    thread::sleep(SETTLED);
    let with = state(guard, over)?;
    drop(clients);
    Ok(Idle { clients: CLIENTS, without, with, start_ns, failed })
}

fn sign_at_once(clients: &mut [Worker]) -> Result<(), BenchError> {
    let run = Run { operation: Operation::Ecdsa, threads: 1, chunk: 1, duration_ms: SIGNING_MS };
    clients.iter_mut().try_for_each(|client| client.begin(run))?;
    for client in clients {
        if let Outcome::Refused(rv) = client.sample()? {
            let message = format!("it may not sign: {rv:#x}");
            return Err(BenchError::Worker { series: Way::Memory.to_string(), message });
        }
    }
    Ok(())
}

/// A process and all that have come of it.
fn family(of: u32) -> Result<Vec<u32>, BenchError> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").map_err(BenchError::io("/proc"))? {
        let entry = entry.map_err(BenchError::io("/proc"))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // It may have ended.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let parent = stat.rsplit_once(") ").and_then(|(_, fields)| fields.split(' ').nth(1)?.parse().ok());
        children.entry(parent.unwrap_or_default()).or_default().push(pid);
    }
    let mut family = vec![of];
    let mut looked_at = 0;
    while let Some(one) = family.get(looked_at).copied() {
        family.extend(children.get(&one).into_iter().flatten());
        looked_at += 1;
    }
    Ok(family)
}

/// Processor time of all threads in nanoseconds, how often they ran, and how many they are.
fn ran(family: &[u32]) -> (f64, f64, usize) {
    let (mut ns, mut times, mut threads) = (0.0, 0.0, 0);
    for pid in family {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
        for task in tasks.flatten() {
            let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let mut fields = text.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0.0));
            ns += fields.next().unwrap_or(0.0);
            times += fields.nth(1).unwrap_or(0.0);
            threads += 1;
        }
    }
    (ns, times, threads)
}

fn pss(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn state(guard: u32, over: Duration) -> Result<State, BenchError> {
    let family = family(guard)?;
    let (ns, times, threads) = ran(&family);
    let began = Instant::now();
    thread::sleep(over);
    let (ns_then, times_then, _) = ran(&family);
    let seconds = began.elapsed().as_secs_f64();
    Ok(State {
        processes: family.len(),
        threads,
        cpu_ns_per_second: (ns_then - ns) / seconds,
        wakes_per_second: (times_then - times) / seconds,
        pss_bytes: family.iter().map(|pid| pss(*pid)).sum(),
        monitor_pss_bytes: pss(guard),
    })
}
