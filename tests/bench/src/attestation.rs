//! What an attestation takes: cold, in a process that has just started, and warm, when a trust token is renewed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::error::BenchError;
use crate::installation::{Installation, run};
use crate::rounds::Effort;
use crate::row::{Operation, Token};
use crate::series::{Access, Outcome, Worker};
use crate::statistics::{median, quantile};
use crate::timing::nanoseconds;

/// Renewal is due when two thirds of this have passed.
const TOKEN_LIFETIME_S: u64 = 3;

/// In nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Attestation {
    /// `pkcs11-tool --sign` on the real module, from start to end.
    pub tool_direct: f64,
    /// The same through the shim.
    pub tool_shim: f64,
    /// Median difference of the two, run in turn.
    pub cold: f64,
    /// A renewal: the call that it falls into, less an ordinary call.
    pub warm: f64,
    /// The HSM's own part: session, login, search and one P-256 signature on the attestation token.
    pub hsm: f64,
    /// Renewals that the server has on record.
    pub renewals: usize,
}

impl Attestation {
    /// What measuring, the server and the way to it take of a renewal.
    pub const fn warm_without_hsm(&self) -> f64 {
        self.warm - self.hsm
    }
}

/// Measures cold and warm.
pub fn measure(installation: &Installation, effort: Effort) -> Result<Attestation, BenchError> {
    eprintln!("bench: attestation, cold");
    let mut direct = Worker::start(installation, Access::Direct, Token::SoftHsm)?;
    let mut hsm = Vec::new();
    let tool = Tool::new(installation)?;
    tool.admit()?;
    let (mut tool_direct, mut tool_shim) = (Vec::new(), Vec::new());
    for _ in 0..effort.cold_runs {
        tool_direct.push(tool.sign(installation.real_module())?);
        tool_shim.push(tool.sign(installation.shim())?);
        hsm.push(direct.attestation_key(installation)?);
    }
    let differences = tool_shim.iter().zip(&tool_direct).map(|(shim, direct)| shim - direct);
    let cold = median(differences).unwrap_or(0.0);

    eprintln!("bench: attestation, warm");
    installation.restart_server(TOKEN_LIFETIME_S)?;
    let mut shim = Worker::start(installation, Access::Shim, Token::SoftHsm)?;
    if let Outcome::Refused(_) = shim.attempt(Operation::Hmac)? {
        installation.admit(&mut shim, "bench")?;
    }
    let before = installation.attestations()?;
    let (mut longest, mut ordinary) = (Vec::new(), Vec::new());
    for _ in 0..effort.renewals {
        let calls = shim.renewals(Duration::from_millis(TOKEN_LIFETIME_S * 1000 * 2 / 3))?;
        ordinary.push(calls.median_ns);
        longest.extend(calls.longest_ns);
        hsm.push(direct.attestation_key(installation)?);
    }
    let renewals = installation.attestations()?.saturating_sub(before);
    // As many of the longest calls as the server recorded: a renewal is longer than what the scheduler does to a call.
    longest.sort_unstable_by(|one, other| other.total_cmp(one));
    longest.truncate(renewals);
    let warm = median(longest).unwrap_or(0.0) - median(ordinary).unwrap_or(0.0);
    Ok(Attestation {
        tool_direct: median(tool_direct).unwrap_or(0.0),
        tool_shim: median(tool_shim).unwrap_or(0.0),
        cold,
        warm,
        hsm: quantile(&mut hsm, 0.5).unwrap_or(0.0),
        renewals,
    })
}

/// A copy of `pkcs11-tool` that signs once and ends.
struct Tool<'a> {
    installation: &'a Installation,
}

impl<'a> Tool<'a> {
    fn new(installation: &'a Installation) -> Result<Self, BenchError> {
        let copy = installation.file("bench-sign");
        fs::copy("/usr/bin/pkcs11-tool", &copy).map_err(BenchError::io("/usr/bin/pkcs11-tool"))?;
        installation.write("digest", [0x5a; 32])?;
        Ok(Self { installation })
    }

    /// From start to end, in nanoseconds.
    fn sign(&self, module: &Path) -> Result<f64, BenchError> {
        let file = |name| self.installation.file(name);
        let mut command = Command::new(file("bench-sign"));
        self.installation.as_application(&mut command).env("TOKEN_PIN", "1234").arg("--module").arg(module);
        // The key with the id 02 is demo-ec.
        command
            .args(["--token-label", "sandbox", "--login", "--pin", "env:TOKEN_PIN", "--sign", "--id", "02"])
            .args(["--mechanism", "ECDSA", "--input-file"])
            .arg(file("digest"))
            .arg("--output-file")
            .arg(file("signature"));
        let start = Instant::now();
        run(&mut command)?;
        Ok(nanoseconds(start.elapsed()))
    }

    fn admit(&self) -> Result<(), BenchError> {
        match self.sign(self.installation.shim()) {
            Err(BenchError::Command { .. }) => {}
            Err(error) => return Err(error),
            Ok(_) => {
                let message = "signed before anybody had approved it".to_owned();
                return Err(BenchError::Worker { series: "bench-sign".to_owned(), message });
            }
        }
        self.installation.approve_last("bench-sign")?;
        self.sign(self.installation.shim()).map(drop)
    }
}
