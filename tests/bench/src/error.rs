//! What can keep a measurement from being made.

use std::io;

/// The measurement cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// `DIR/env` of the sandbox was not sourced.
    #[error("{0} is not set: run scripts/bench, which makes a sandbox and sets it")]
    Environment(&'static str),
    /// A file or process.
    #[error("{what}: {source}")]
    Io {
        /// What was attempted.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program that the benchmark runs.
    #[error("{command} failed: {output}")]
    Command {
        /// Its command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// A worker that cannot go on, or one that said something unexpected.
    #[error("the worker for {series}: {message}")]
    Worker {
        /// Which.
        series: String,
        /// What it said.
        message: String,
    },
    /// Hashing what a process of the tool maps.
    #[error("measuring pkcs11-tool: {0}")]
    Measurement(#[from] measurement::MeasurementError),
    /// An answer that is no JSON of the expected form.
    #[error("{what}: {source}")]
    Json {
        /// Whose.
        what: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl BenchError {
    /// For `map_err` on a file or process.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err` on an answer.
    pub fn json(what: impl Into<String>) -> impl FnOnce(serde_json::Error) -> Self {
        let what = what.into();
        move |source| Self::Json { what, source }
    }
}
