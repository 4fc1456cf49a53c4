//! What an attestation takes: cold, in a process that has just started, and warm, when a trust token is renewed.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use measurement::{Hashing, Program, measure_program};

use crate::error::BenchError;
use crate::installation::{Installation, run};
use crate::rounds::Effort;
use crate::row::{Operation, Token};
use crate::series::{Access, Outcome, Worker};
use crate::statistics::median;
use crate::timing::nanoseconds;

/// Renewal is due when two thirds of this have passed: at the first gated call from then on.
const TOKEN_LIFETIME_S: u64 = 3;
const RENEWAL_IS_DUE: Duration = Duration::from_millis(2200);
/// Digests are remembered of files that have not changed for a minute: a build or an installation that is younger than that
/// is hashed at every attestation.
const SETTLED: Duration = Duration::from_secs(62);

/// In nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Attestation {
    /// `pkcs11-tool --sign` on the real module, from start to end.
    pub tool_direct: f64,
    /// The same through the shim.
    pub tool_shim: f64,
    /// Median difference of the two, run in turn.
    pub cold: f64,
    /// Hashing every file that the tool maps, once, by the code that the shim has for it.
    pub hashing: f64,
    /// A renewal: the call that it falls into, less an ordinary call.
    pub warm: f64,
    /// The HSM's own part: the calls that an attester makes on the attestation token, which are a login, searches, six
    /// attributes and one P-256 signature.
    pub hsm: f64,
}

impl Attestation {
    /// What measuring, the server and the way to it take of a renewal.
    pub const fn warm_without_hsm(&self) -> f64 {
        self.warm - self.hsm
    }

    /// What is left of a cold attestation besides hashing.
    pub const fn cold_beyond_hashing(&self) -> f64 {
        self.cold - self.hashing
    }
}

/// Measures cold and warm.
pub fn measure(installation: &Installation, effort: Effort) -> Result<Attestation, BenchError> {
    eprintln!("bench: attestation, cold");
    let mut direct = Worker::start(installation, Access::Direct, Token::SoftHsm)?;
    let mut hsm = Vec::new();
    let tool = Tool::new(installation)?;
    tool.admit()?;
    let (mut tool_direct, mut tool_shim, mut hashing) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.cold_runs {
        tool_direct.push(tool.sign(installation.real_module())?);
        tool_shim.push(tool.sign(installation.shim())?);
        hashing.push(tool.hash()?);
        hsm.push(direct.attestation_key(installation)?);
    }
    let differences = tool_shim.iter().zip(&tool_direct).map(|(shim, direct)| shim - direct);
    let cold = median(differences).unwrap_or(0.0);

    eprintln!("bench: attestation, warm");
    installation.restart_server(TOKEN_LIFETIME_S)?;
    thread::sleep(SETTLED);
    let mut shim = Worker::start(installation, Access::Shim, Token::SoftHsm)?;
    if let Outcome::Refused(_) = shim.attempt(Operation::Hmac)? {
        installation.admit(&mut shim, "bench")?;
    }
    let before = installation.attestations()?;
    let mut warm = Vec::new();
    for _ in 0..effort.renewals {
        let renewal = shim.renewal(RENEWAL_IS_DUE)?;
        warm.push(renewal.first_ns - renewal.ordinary_ns);
        hsm.push(direct.attestation_key(installation)?);
    }
    let renewals = installation.attestations()?.saturating_sub(before);
    if renewals != effort.renewals {
        let message = format!("{renewals} attestations on record, not {}", effort.renewals);
        return Err(BenchError::Worker { series: "renewals".to_owned(), message });
    }
    Ok(Attestation {
        tool_direct: median(tool_direct).unwrap_or(0.0),
        tool_shim: median(tool_shim).unwrap_or(0.0),
        cold,
        hashing: median(hashing).unwrap_or(0.0),
        warm: median(warm).unwrap_or(0.0),
        hsm: median(hsm).unwrap_or(0.0),
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

    /// How long it takes to hash what such a process maps, in nanoseconds.
    fn hash(&self) -> Result<f64, BenchError> {
        let libraries = [self.installation.shim(), self.installation.real_module()].map(Path::to_owned);
        let program = Program {
            name: "bench-sign",
            path: &self.installation.file("bench-sign"),
            arguments: &[],
            environment: &[],
            uid: 0,
            gid: 0,
            libraries: &libraries,
            configuration: &[],
        };
        let start = Instant::now();
        measure_program(&program, &Hashing::afresh())?;
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
