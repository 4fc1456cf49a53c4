//! How long it takes until a new process of an approved program can sign.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::CKO_PRIVATE_KEY;
use serde::{Deserialize, Serialize};

use super::Way;
use super::site::Site;
use crate::error::BenchError;
use crate::installation::run as run_command;
use crate::module::{Module, ModuleError};
use crate::rounds::Effort;
use crate::statistics::median;
use crate::timing::nanoseconds;

/// Digests are remembered of files that have not changed for a minute.
const SETTLED: Duration = Duration::from_secs(62);
/// The guard makes a process ready for the next client meanwhile.
const PAUSE: Duration = Duration::from_millis(100);
/// More failures are one of the benchmark.
const MOST_FAILED: usize = 20;

/// What it is started with.
#[derive(clap::Args)]
pub struct Args {
    /// The module to load
    module: PathBuf,
    /// As of a worker; not looked at
    #[arg(long)]
    behind: PathBuf,
    /// As of a worker; not looked at
    #[arg(long)]
    apart: bool,
}

/// One start, step by step, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StartUp {
    /// The library is loaded.
    pub load_ns: f64,
    /// `C_Initialize`.
    pub initialize_ns: f64,
    /// Slots, token, session.
    pub session_ns: f64,
    /// `C_Login`, which takes a trust token in guarded mode.
    pub login_ns: f64,
    /// The key is found.
    pub find_ns: f64,
    /// The first `C_SignInit`.
    pub sign_init_ns: f64,
}

impl StartUp {
    /// From the start to the first `C_SignInit` that has succeeded.
    pub const fn total_ns(&self) -> f64 {
        self.load_ns + self.initialize_ns + self.session_ns + self.login_ns + self.find_ns + self.sign_init_ns
    }
}

/// The starts of one kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Starts(Vec<StartUp>);

impl Starts {
    /// The median over the starts.
    pub fn median_ns(&self, of: impl Fn(&StartUp) -> f64) -> f64 {
        median(self.0.iter().map(of)).unwrap_or(0.0)
    }

    /// The longest.
    pub fn longest_ns(&self) -> f64 {
        self.0.iter().map(StartUp::total_ns).fold(0.0, f64::max)
    }
}

/// All that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct StartUps {
    /// The module itself.
    pub direct: Starts,
    /// `p11-kit server`.
    pub remoting: Starts,
    /// The guard has a token for such a process, and knows the digests of its files.
    pub warm: Starts,
    /// The guard has just been started.
    pub cold: Starts,
    /// Those that failed, and were made once more.
    pub failed: usize,
}

/// The process that is measured: starts, and says how long it took.
pub fn run(args: &Args) -> Result<(), BenchError> {
    let started = start(args).map_err(|error| BenchError::Worker {
        series: format!("{:?}", args.module),
        message: error.to_string(),
    })?;
    println!("{}", serde_json::to_string(&started).map_err(BenchError::json("a start"))?);
    Ok(())
}

fn start(args: &Args) -> Result<StartUp, ModuleError> {
    let mut last = Instant::now();
    let mut lap = || {
        let now = Instant::now();
        nanoseconds(now - std::mem::replace(&mut last, now))
    };
    let module = Module::open(&args.module)?;
    let load_ns = lap();
    module.initialize()?;
    let initialize_ns = lap();
    let session = module.session(module.slot("sandbox")?)?;
    let session_ns = lap();
    module.login(session, b"1234")?;
    let login_ns = lap();
    let key = module.find(session, CKO_PRIVATE_KEY, "demo-ec")?;
    let find_ns = lap();
    module.begin_signature(session, key)?;
    let sign_init_ns = lap();
    Ok(StartUp { load_ns, initialize_ns, session_ns, login_ns, find_ns, sign_init_ns })
}

fn once(site: &Site, way: Way) -> Result<StartUp, BenchError> {
    let text = run_command(&mut site.application(way, "start-up")?)?;
    serde_json::from_str(&text).map_err(BenchError::json("a start"))
}

/// Once more where it fails: of SoftHSM, one that initialises while another process logs in may read a token without a PIN,
/// or none.
fn at_last(site: &Site, way: Way, failed: &mut usize) -> Result<StartUp, BenchError> {
    loop {
        match once(site, way) {
            Err(error) if *failed < MOST_FAILED => {
                eprintln!("bench: {error}");
                *failed += 1;
            }
            other => return other,
        }
    }
}

/// Measures warm starts in turn, then cold ones. Afterwards the sandbox's guard has ended.
pub fn measure(site: &Site, effort: Effort) -> Result<StartUps, BenchError> {
    eprintln!("bench: guarded, new processes, warm");
    site.admit("bench-start-up", || once(site, Way::Memory))?;
    thread::sleep(SETTLED.saturating_sub(site.settled()));
    // Of the digests, those are remembered that were hashed from now on; some measurers hash, and each has its own memory.
    let mut failed = 0;
    for _ in 0..4 {
        at_last(site, Way::Memory, &mut failed)?;
    }
    let mut starts = StartUps {
        direct: Starts::default(),
        remoting: Starts::default(),
        warm: Starts::default(),
        cold: Starts::default(),
        failed: 0,
    };
    for _ in 0..2 * effort.cold_runs {
        for (way, starts) in [
            (Way::Direct, &mut starts.direct),
            (Way::Memory, &mut starts.warm),
            (Way::Remoting, &mut starts.remoting),
        ] {
            starts.0.push(at_last(site, way, &mut failed)?);
            thread::sleep(PAUSE);
        }
    }
    eprintln!("bench: guarded, new processes, cold");
    site.stop_first_guard()?;
    for _ in 0..effort.cold_runs {
        let _guard = site.start_guard(&site.first_guard())?;
        starts.cold.0.push(at_last(site, Way::Memory, &mut failed)?);
    }
    starts.failed = failed;
    Ok(starts)
}
