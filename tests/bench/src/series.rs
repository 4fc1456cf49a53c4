//! The coordinator's end of a worker: one process for each way to the token, alive over all rounds.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::error::BenchError;
use crate::installation::Installation;
use crate::protocol::{Answer, Batch, Renewal, Request, Run, Sample, Tail};
use crate::row::{Operation, Token};

/// Longer than any request takes.
const BOUND: Duration = Duration::from_secs(60);

/// The way to the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The module itself.
    Direct,
    /// Through `libtrustshim.so`, inline, with a trust token in hand.
    Shim,
    /// Through `p11-kit-proxy.so`: what a wrapper costs that checks nothing.
    Proxy,
}

impl Access {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 3] = [Self::Direct, Self::Shim, Self::Proxy];

    /// The name in the table and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Shim => "shim",
            Self::Proxy => "proxy",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A measured value, or why there is none.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<T> {
    /// The value.
    Measured(T),
    /// A call was answered with this `CK_RV`.
    Refused(u64),
}

impl<T> Outcome<T> {
    /// The value, where there is one.
    pub const fn measured(&self) -> Option<&T> {
        match self {
            Self::Measured(value) => Some(value),
            Self::Refused(_) => None,
        }
    }
}

/// A running worker; ended when dropped.
pub struct Worker {
    name: String,
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    /// Starts a worker and waits until it has logged in.
    pub fn start(installation: &Installation, access: Access, token: Token) -> Result<Self, BenchError> {
        Self::spawn(format!("{access} on {token:?}"), installation.worker(access, token)?)
    }

    /// Starts a worker by its command and waits until it has logged in.
    pub fn spawn(name: String, mut command: Command) -> Result<Self, BenchError> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(BenchError::io(format!("{command:?}")))?;
        let (Some(requests), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::Worker { series: name, message: "has no pipes".to_owned() });
        };
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let worker = Self { name, child, requests, answers };
        match worker.receive()? {
            Answer::Done => Ok(worker),
            other => Err(worker.unexpected(&other)),
        }
    }

    fn receive(&self) -> Result<Answer, BenchError> {
        let line = self
            .answers
            .recv_timeout(BOUND)
            .map_err(|error| self.failed(format!("no answer ({error}); is it still there?")))?;
        match serde_json::from_str(&line).map_err(BenchError::json(&self.name))? {
            Answer::Failed { message } => Err(self.failed(message)),
            answer => Ok(answer),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Answer, BenchError> {
        self.send(request)?;
        self.receive()
    }

    fn send(&mut self, request: &Request) -> Result<(), BenchError> {
        let line = serde_json::to_string(request).map_err(BenchError::json(&self.name))?;
        writeln!(self.requests, "{line}")
            .and_then(|()| self.requests.flush())
            .map_err(BenchError::io(&self.name))
    }

    fn failed(&self, message: String) -> BenchError {
        BenchError::Worker { series: self.name.clone(), message }
    }

    fn unexpected(&self, answer: &Answer) -> BenchError {
        self.failed(format!("unexpected answer {answer:?}"))
    }

    /// Carries an operation out once.
    pub fn attempt(&mut self, operation: Operation) -> Result<Outcome<()>, BenchError> {
        match self.ask(&Request::Try { operation })? {
            Answer::Done => Ok(Outcome::Measured(())),
            Answer::Refused { rv } => Ok(Outcome::Refused(rv)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Measures a batch.
    pub fn batch(&mut self, run: Run) -> Result<Outcome<Batch>, BenchError> {
        match self.ask(&Request::Run(run))? {
            Answer::Batch(batch) => Ok(Outcome::Measured(batch)),
            Answer::Refused { rv } => Ok(Outcome::Refused(rv)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Has it begin to time every single operation of a batch; [`sample`](Self::sample) waits for the end.
    pub fn begin(&mut self, run: Run) -> Result<(), BenchError> {
        self.send(&Request::Sample(run))
    }

    /// What it has begun to time.
    pub fn sample(&mut self) -> Result<Outcome<Sample>, BenchError> {
        match self.receive()? {
            Answer::Sample(sample) => Ok(Outcome::Measured(sample)),
            Answer::Refused { rv } => Ok(Outcome::Refused(rv)),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The slowest operations of all batches with one thread so far.
    pub fn tail(&mut self, operation: Operation) -> Result<Tail, BenchError> {
        match self.ask(&Request::Tail { operation })? {
            Answer::Tail(tail) => Ok(tail),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits, then signs.
    pub fn renewal(&mut self, after: Duration) -> Result<Renewal, BenchError> {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Renewal { after_ms })? {
            Answer::Renewal(renewal) => Ok(renewal),
            other => Err(self.unexpected(&other)),
        }
    }

    /// What an attestation asks of the token, in nanoseconds.
    pub fn attestation_key(&mut self, installation: &Installation) -> Result<f64, BenchError> {
        match self.ask(&Request::AttestationKey { pin_file: installation.attestation_pin() })? {
            Answer::Took { ns } => Ok(ns as f64),
            other => Err(self.unexpected(&other)),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
