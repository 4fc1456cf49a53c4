//! What the guard's own processes say to each other.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use attestation::component::Component;
use attestation::digest::Digest;
use attester::{Issued, Outcome};
use gate::{AttestationFailure, Report};
use measurement::MeasurementError;
use measurement::peer::{Confirmed, Parts, Pinned};
use serde::{Deserialize, Serialize};

/// To a worker, on its control channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToWorker {
    /// The first message: load the real module. With the places where it takes turns, where it has to.
    Begin,
    /// Whom it serves. With the hold on the process, its memory, the channels for its questions and for
    /// tokens, and the counters of changes and of administrations that all workers share.
    Serve(Served),
    /// A connection of that process, which comes along, with memory for its frames or without.
    Connection,
    /// The process is gone, or done.
    End,
}

/// The process that a worker serves.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Served {
    /// As the kernel names it to the guard.
    pub(crate) pid: u32,
    /// What the process holds in its memory.
    pub(crate) nonce: [u8; 32],
    /// And where.
    pub(crate) address: u64,
    /// By what its program is told from every other.
    pub(crate) image: Digest,
}

impl Served {
    /// The process that came along.
    pub(crate) fn process(self, pidfd: OwnedFd, memory: OwnedFd) -> Result<Confirmed, MeasurementError> {
        let pinned = Pinned::from_parts(Parts { pid: self.pid, pidfd, memory })?;
        Ok(pinned.confirmed_as(self.address, self.nonce, self.image))
    }
}

/// From a worker, on its control channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromWorker {
    /// The real module is initialised, and offers the standard's interfaces of these versions; the parameters of these
    /// mechanisms of its vendor's are to come as bytes.
    Ready { interfaces: Vec<(u8, u8)>, flat: Vec<u64> },
    /// It cannot be.
    Failed { reason: String },
}

/// From a worker, on the channel for questions that take no attestation.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Question {
    /// What has become of the process? Answered with [`Looked`].
    Look,
    /// Reserve an operation under one of the grants of these names. Answered with [`Taken`].
    Take(Vec<String>),
    /// It has not come about. Answered with [`Taken`], of nothing.
    GiveBack(String),
}

/// The grant under which an operation was reserved, if there was room.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Taken(pub(crate) Option<String>);

/// What the process has become since it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Looked {
    /// What it was.
    Same,
    /// Something else, or its token counts no more: a token in hand ends.
    Changed,
    /// It has not been measured, or not since it changed: there is no token in hand.
    Unmeasured,
}

/// From a worker, on the channel for tokens: answered with [`Attested`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attest {
    /// Goes along to the policy server.
    pub(crate) report: Report,
    /// Bounds the whole attestation, in milliseconds.
    pub(crate) within_ms: Option<u64>,
    /// A token that counts beyond this `CLOCK_BOOTTIME`, in milliseconds, will do.
    pub(crate) beyond_ms: u64,
    /// A token that the process hands in: only the measurement is asked for.
    pub(crate) handed_in: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Attested {
    /// The token, not yet verified, or why there is none.
    pub(crate) result: Result<Given, AttestationFailure>,
    /// The report, where it did not reach the policy server.
    pub(crate) undelivered: Option<Report>,
}

impl Attested {
    /// Nothing has come of it, and the report has reached nobody.
    pub(crate) fn failed(failure: AttestationFailure, report: Report) -> Self {
        Self { result: Err(failure), undelivered: Some(report).filter(|report| !report.is_empty()) }
    }
}

/// What a worker asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Given {
    /// A token of the policy server.
    Token(Issued),
    /// The measurement, and the thumbprint of the attestation key.
    Measurement { measurement: Digest, hsm_id: String },
}

/// To a measurer, with the process. What is measured with it, the configuration says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToMeasurer {
    /// Is the nonce at that address in the memory of this process? Answered with [`FromMeasurer::Confirmed`].
    Confirm { pid: u32, nonce: [u8; 32], address: u64 },
    /// Answered with [`FromMeasurer::Measured`].
    Measure { served: Served, within_ms: Option<u64> },
    /// Answered with [`FromMeasurer::State`].
    Look { served: Served, files: Vec<PathBuf> },
}

/// From a measurer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromMeasurer {
    /// It is; and by this its program is told from every other.
    Confirmed(Digest),
    /// The measurement, the files that were measured with the process, and the state that later looks are compared with.
    Measured { component: Box<Component>, files: Vec<PathBuf>, state: Digest },
    /// The state.
    State(Digest),
    /// It cannot be measured.
    Failed { detail: String },
}

/// To the attester: answered with [`FromAttester`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ToAttester {
    /// Have this appraised.
    Attest {
        /// The process.
        component: Box<Component>,
        /// Goes along to the policy server.
        report: Report,
        /// Bounds the attestation, in milliseconds.
        within_ms: Option<u64>,
    },
    /// Say which key signs.
    Key,
}

/// From the attester.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromAttester {
    /// What came of an attestation.
    Attested(Outcome),
    /// Thumbprint of the attestation key.
    Key(Result<String, AttestationFailure>),
}
