//! The settings, checked: paths are absolute, the URL is https, the key URI parses.

use std::path::PathBuf;

use attestation::digest::Digest;
use attestation::token::Mode;
use pkcs11_table::FlatMechanisms;

use crate::guard::Client;

/// What an application's configuration says, by its mode.
#[derive(Clone, Debug, PartialEq, Eq)]
// There is one at a time.
#[allow(clippy::large_enum_variant)]
pub enum Loaded {
    /// The gate is in the application's own process.
    Inline(Configuration),
    /// A guard answers, and knows the rest.
    Guarded(Client),
}

/// The configuration of what gates: of the shim in inline mode, or of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The file it was read from, as an absolute path.
    pub path: PathBuf,
    /// SHA-256 of exactly the bytes that it was read from.
    pub digest: Digest,
    /// Where the gate stands.
    pub mode: Mode,
    /// `[real_module]`.
    pub real_module: RealModule,
    /// `[policy_server]`.
    pub policy_server: PolicyServer,
    /// `[attestation]`.
    pub attestation: Attestation,
    /// `[gate]`.
    pub gate: Gate,
    /// `[component]`.
    pub component: Component,
    /// `[log]`.
    pub log: Log,
}

/// The vendor's PKCS#11 library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealModule {
    /// Its file.
    pub path: PathBuf,
    /// Passed as `pReserved` to its `C_Initialize`; empty where nothing is passed. Holds no NUL.
    pub init_args: String,
    /// Names of its own interfaces that applications are given as they are, so that calls through them are not gated;
    /// sorted, no duplicates, none of them the standard's.
    pub vendor_interfaces: Vec<String>,
}

/// The policy server, and how it is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    /// `https://HOST[:PORT]`, with a path at most; no credentials, query or fragment.
    pub url: String,
    /// The only certificate authority that counts for it, in PEM.
    pub ca: PathBuf,
    /// The public keys that may sign trust tokens (JWKS).
    pub anchors: PathBuf,
    /// How long one request may take, in milliseconds: 1 to 60 000.
    pub timeout_ms: u64,
}

/// The attestation key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// RFC 7512 URI; parses as [`attestation::key_uri::KeyUri`].
    pub key: String,
    /// The PIN of the key's token; absent where the application's login is used.
    pub pin_file: Option<PathBuf>,
    /// The host's name in tokens; absent where the kernel's host name is used.
    pub host: Option<String>,
    /// A file with a trust token that somebody hands in; absent where every token is asked for.
    pub trust_token_file: Option<PathBuf>,
}

/// What the gate covers, how it refuses, and what it is told of mechanisms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Which calls it covers.
    pub scope: Scope,
    /// What a refused call returns.
    pub deny_code: DenyCode,
    /// Mechanisms of the vendor's own whose parameter is bytes alone; any other is refused with a parameter that could hold
    /// a handle.
    pub flat_mechanisms: FlatMechanisms,
}

/// Which calls the gate covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the HSM does on a session.
    Everything,
    /// Uses of keys, and what amounts to them.
    Keys,
}

/// What a refused call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyCode {
    /// `CKR_FUNCTION_REJECTED`.
    FunctionRejected,
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED`.
    KeyFunctionNotPermitted,
    /// `CKR_VENDOR_DEFINED | 0x00545301`, "trust token invalid".
    Vendor,
}

/// The software that uses the shim, as far as this host says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// A hint for operators: 1 to 64 letters, digits, `.`, `_` or `-`. The verifier goes by digests.
    pub name: String,
    /// Configuration files that are measured with it; sorted, no duplicates.
    pub files: Vec<PathBuf>,
}

/// Where refusals are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The destination.
    pub target: LogTarget,
}

/// A destination of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Appended to this file.
    File(PathBuf),
    /// The systemd journal.
    Journal,
    /// The system's log socket.
    Syslog,
}
