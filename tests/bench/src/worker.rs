//! A worker: one process with one module loaded, logged in, that carries out what it is told, request by request.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cryptoki_sys::{
    CK_RV, CK_SESSION_HANDLE, CKA_EC_POINT, CKA_EXTRACTABLE, CKA_KEY_TYPE, CKA_LOCAL, CKA_NEVER_EXTRACTABLE,
    CKA_SENSITIVE, CKO_PRIVATE_KEY, CKO_PUBLIC_KEY, CKR_FUNCTION_NOT_SUPPORTED, CKR_OK,
};

use crate::histogram::Histogram;
use crate::module::{Keys, Module, ModuleError, checked};
use crate::protocol::{Answer, MAX_THREADS, Renewal, Request, Run, Sample, Tail};
use crate::row::Operation;
use crate::statistics::{median, quantile};
use crate::timing;

/// Signatures right after one with an attestation in it.
const ORDINARY: usize = 100;

/// How long a processor that was idle is kept busy before something short is timed.
const WAKING: Duration = Duration::from_millis(20);

/// What a worker is started with.
#[derive(clap::Args)]
pub struct Args {
    /// The module to load
    module: PathBuf,
    /// The file that must be in this process once the module is initialised: what is measured is what was meant
    #[arg(long)]
    behind: PathBuf,
    /// It must not be: another process has it
    #[arg(long)]
    apart: bool,
}

struct Worker {
    module: Module,
    sessions: Vec<CK_SESSION_HANDLE>,
    keys: Keys,
    clock_ns: f64,
    /// Operations that were timed one by one.
    single: HashMap<Operation, Vec<f64>>,
}

/// Answers requests until the coordinator closes the pipe.
pub fn run(args: &Args) {
    let worker = match Worker::start(args) {
        Ok(worker) => {
            say(&Answer::Done);
            worker
        }
        Err(message) => return say(&Answer::Failed { message }),
    };
    worker.serve();
}

fn say(answer: &Answer) {
    let line = serde_json::to_string(answer).expect("an answer");
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).expect("the coordinator is there");
}

impl Worker {
    fn start(args: &Args) -> Result<Self, String> {
        let worker = Self::load(&args.module).map_err(|error| format!("{:?}: {error}", args.module))?;
        let maps = fs::read_to_string("/proc/self/maps").map_err(|error| error.to_string())?;
        let behind = fs::canonicalize(&args.behind).map_err(|error| error.to_string())?;
        let is_here = maps.lines().any(|line| line.ends_with(&format!(" {}", behind.display())));
        match (is_here, args.apart) {
            (true, false) | (false, true) => Ok(worker),
            (false, false) => Err(format!("{:?} does not lead to {behind:?}", args.module)),
            (true, true) => Err(format!("{:?} has {behind:?} in this process", args.module)),
        }
    }

    fn load(module: &Path) -> Result<Self, ModuleError> {
        let module = Module::load(module)?;
        let slot = module.slot("sandbox")?;
        let sessions = (0..MAX_THREADS).map(|_| module.session(slot)).collect::<Result<Vec<_>, _>>()?;
        let first = *sessions.first().ok_or_else(|| ModuleError::Missing("session".to_owned()))?;
        module.login(first, b"1234")?;
        let keys = module.keys(first)?;
        Ok(Self { module, sessions, keys, clock_ns: timing::clock_ns(), single: HashMap::new() })
    }

    fn serve(mut self) {
        for line in io::stdin().lock().lines() {
            let line = line.expect("a line");
            say(&match serde_json::from_str(&line) {
                Ok(request) => self.answer(request),
                Err(error) => Answer::Failed { message: error.to_string() },
            });
        }
    }

    fn answer(&mut self, request: Request) -> Answer {
        let answer = match request {
            Request::Try { operation } => self.attempt(operation).map(|()| Answer::Done),
            Request::Run(run) => self.batch(run),
            Request::Sample(run) => self.sample(run),
            Request::Tail { operation } => return self.tail(operation),
            Request::Renewal { after_ms } => self.renewal(Duration::from_millis(after_ms)),
            Request::AttestationKey { pin_file } => return self.attestation_key(&pin_file),
        };
        answer.unwrap_or_else(|rv| Answer::Refused { rv })
    }

    fn attempt(&self, operation: Operation) -> Result<(), CK_RV> {
        let session = self.sessions.first().ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let mut prepared = self.module.prepare(operation, *session, self.keys)?;
        checked(prepared.perform())?;
        prepared.end()
    }

    fn batch(&mut self, run: Run) -> Result<Answer, CK_RV> {
        let sessions = self.sessions.get(..run.threads).ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let (batch, mut times) = timing::batch(self.module, sessions, self.keys, run, self.clock_ns)?;
        if run.threads == 1 {
            if run.chunk > 1 {
                // The tail is about single operations.
                let run = Run { chunk: 1, ..run };
                (_, times) = timing::batch(self.module, sessions, self.keys, run, self.clock_ns)?;
            }
            self.single.entry(run.operation).or_default().append(&mut times);
        }
        Ok(Answer::Batch(batch))
    }

    fn sample(&self, run: Run) -> Result<Answer, CK_RV> {
        let sessions = self.sessions.get(..run.threads).ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let (batch, times) = timing::batch(self.module, sessions, self.keys, run, self.clock_ns)?;
        Ok(Answer::Sample(Sample { batch, times: times.into_iter().collect::<Histogram>() }))
    }

    fn tail(&mut self, operation: Operation) -> Answer {
        let times = self.single.entry(operation).or_default();
        match (quantile(times, 0.99), quantile(times, 0.999)) {
            (Some(p99_ns), Some(p999_ns)) => Answer::Tail(Tail { p99_ns, p999_ns, samples: times.len() }),
            _ => Answer::Failed { message: "nothing was timed yet".to_owned() },
        }
    }

    fn renewal(&self, after: Duration) -> Result<Answer, CK_RV> {
        let session = self.sessions.first().ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        let mut prepared = self.module.prepare(Operation::Hmac, *session, self.keys)?;
        let mut sign = || {
            let start = Instant::now();
            match prepared.perform() {
                CKR_OK => Ok(timing::nanoseconds(start.elapsed())),
                rv => Err(rv),
            }
        };
        thread::sleep(after.saturating_sub(WAKING));
        self.wake()?;
        let first_ns = sign()?;
        let ordinary = (0..ORDINARY).map(|_| sign()).collect::<Result<Vec<_>, _>>()?;
        let ordinary_ns = median(ordinary).ok_or(CKR_FUNCTION_NOT_SUPPORTED)?;
        Ok(Answer::Renewal(Renewal { first_ns, ordinary_ns }))
    }

    /// Keeps the processor busy with calls that are not gated: right after a sleep everything takes longer.
    fn wake(&self) -> Result<(), CK_RV> {
        let end = Instant::now() + WAKING;
        while Instant::now() < end {
            self.attempt(Operation::Random)?;
        }
        Ok(())
    }

    fn attestation_key(&self, pin_file: &Path) -> Answer {
        let mut pin = match fs::read(pin_file) {
            Ok(pin) => pin,
            Err(error) => return Answer::Failed { message: format!("{pin_file:?}: {error}") },
        };
        pin.truncate(pin.trim_ascii_end().len());
        if let Err(rv) = self.wake() {
            return Answer::Refused { rv };
        }
        let start = Instant::now();
        let used = self.use_attestation_key(&pin);
        let ns = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match used {
            Ok(()) => Answer::Took { ns },
            Err(error) => Answer::Failed { message: error.to_string() },
        }
    }

    /// Closing the token's last session also ends the login, so that the next time is like the first.
    fn use_attestation_key(&self, pin: &[u8]) -> Result<(), ModuleError> {
        let slot = self.module.slot("trustshim")?;
        let session = self.module.session(slot)?;
        self.module.login(session, pin)?;
        let key = self.module.find(session, CKO_PRIVATE_KEY, "attestation")?;
        let public = self.module.find(session, CKO_PUBLIC_KEY, "attestation")?;
        // What evidence says of the key.
        for attribute in [CKA_SENSITIVE, CKA_EXTRACTABLE, CKA_NEVER_EXTRACTABLE, CKA_LOCAL] {
            self.module.read(session, key, attribute)?;
        }
        for attribute in [CKA_KEY_TYPE, CKA_EC_POINT] {
            self.module.read(session, public, attribute)?;
        }
        self.module.sign_digest(session, key)?;
        self.module.close(session)
    }
}
