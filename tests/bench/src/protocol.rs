//! What coordinator and workers say to each other: one line of JSON for a request, one for the answer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;
use crate::row::Operation;

/// Sessions that a worker opens: one for each thread.
pub const MAX_THREADS: usize = 16;

/// What a worker is to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Once, to see whether it is allowed.
    Try { operation: Operation },
    /// Again and again for a while.
    Run(Run),
    /// The same, and how long every single operation of all threads took.
    Sample(Run),
    /// The slowest of all single operations that `Run` has timed so far.
    Tail { operation: Operation },
    /// Waits until the trust token is due for renewal, then signs.
    Renewal { after_ms: u64 },
    /// What an attestation asks of the token: session, login, search, one signature.
    AttestationKey { pin_file: PathBuf },
}

/// A batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What to call.
    pub operation: Operation,
    /// At most [`MAX_THREADS`].
    pub threads: usize,
    /// Operations between two looks at the clock.
    pub chunk: u32,
    /// How long.
    pub duration_ms: u64,
}

/// What a worker answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Loaded, logged in; or allowed.
    Done,
    /// The return value of the call that did not succeed.
    Refused { rv: u64 },
    /// To `Run`.
    Batch(Batch),
    /// To `Sample`.
    Sample(Sample),
    /// To `Tail`.
    Tail(Tail),
    /// To `Renewal`.
    Renewal(Renewal),
    /// To `AttestationKey`.
    Took { ns: u64 },
    /// The worker cannot go on.
    Failed { message: String },
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Median over the chunks of all threads, of one operation, the clock's own time taken off.
    pub median_ns: f64,
    /// Operations of all threads.
    pub operations: u64,
    /// From the common start to the end of the last thread.
    pub elapsed_ns: u64,
}

/// What a batch came to, operation by operation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// In all.
    pub batch: Batch,
    /// How long each took.
    pub times: Histogram,
}

/// Percentiles of operations that were timed one by one, on one thread.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tail {
    /// 99 of 100 took less.
    pub p99_ns: f64,
    /// 999 of 1000 took less.
    pub p999_ns: f64,
    /// How many were timed.
    pub samples: usize,
}

/// A signature with an attestation in it, and one without.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Renewal {
    /// The first after the wait.
    pub first_ns: f64,
    /// Median of those that followed at once.
    pub ordinary_ns: f64,
}
