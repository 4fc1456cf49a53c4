//! What the policy server issued, as it comes from another process: it counts for its own mode, host, key, challenge and
//! measurement, and for nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::fs;

use attestation::digest::Digest;
use attestation::token::{
    Binding, ISSUER, Mode, Statuses, Tier, TokenFacts, TokenIssuer, TrustshimClaims, VerifiedToken,
};
use attester::{Issued, Outcome, Verifier};
use configuration::{
    Attestation, Component, Configuration, DenyCode, FlatMechanisms, Gate, Log, LogTarget, PolicyServer,
    RealModule, Scope,
};
use gate::{AttestationFailure, FailureKind, Report};
use tempfile::TempDir;

const HOST: &str = "build-7.example";

/// A policy server's key, and the file that pins it.
struct Server {
    issuer: TokenIssuer,
    directory: TempDir,
}

impl Server {
    fn new() -> Self {
        let (issuer, _) = TokenIssuer::generate().unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("anchors.jwks"), issuer.jwks()).unwrap();
        Self { issuer, directory }
    }

    fn verifier(&self, mode: Mode) -> Verifier {
        let path = self.directory.path();
        let configuration = Configuration {
            path: path.join("trustshim.toml"),
            digest: Digest::of(b""),
            mode,
            real_module: RealModule {
                path: path.join("module.so"),
                init_args: String::new(),
                vendor_interfaces: Vec::new(),
            },
            policy_server: PolicyServer {
                url: "https://127.0.0.1:1".into(),
                ca: path.join("ca.pem"),
                anchors: path.join("anchors.jwks"),
                timeout_ms: 1,
            },
            attestation: Attestation {
                key: "pkcs11:token=a;object=b".into(),
                pin_file: None,
                host: Some(HOST.into()),
                trust_token_file: None,
            },
            gate: Gate {
                scope: Scope::Keys,
                deny_code: DenyCode::FunctionRejected,
                flat_mechanisms: FlatMechanisms::NONE,
            },
            component: Component { name: "auto".into(), files: Vec::new() },
            log: Log { target: LogTarget::Journal },
        };
        Verifier::new(&configuration).unwrap()
    }

    /// A token for a minute; without a binding where it is to be handed in.
    fn token(&self, mode: Mode, binding: Option<Binding>) -> String {
        let trustshim = TrustshimClaims {
            hsm: "hsm".into(),
            host: HOST.into(),
            mode,
            boot_id: measurement::boot_id().unwrap(),
            deadline_boottime_ms: linux_ffi::boottime_ms().unwrap() + 60_000,
            component: "demo".into(),
            version: "1".into(),
            measurement: measured(),
            grants: Vec::new(),
            epoch: 0,
        };
        let facts = TokenFacts {
            issuer: ISSUER.into(),
            jti: "T-1".into(),
            issued_at: 1_700_000_000,
            lifetime_s: 60,
            binding,
            statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
            trustshim,
        };
        self.issuer.issue(&facts).unwrap()
    }

    fn issued(&self, mode: Mode) -> Issued {
        let binding = Binding { nonce: "nonce".into(), cnf: "cnf".into() };
        Issued {
            jwt: self.token(mode, Some(binding)),
            hsm_id: "hsm".into(),
            cnf: "cnf".into(),
            nonce: "nonce".into(),
            measurement: measured(),
        }
    }
}

fn measured() -> Digest {
    Digest::of(b"measured")
}

fn code(result: Result<VerifiedToken, AttestationFailure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "no policy server has refused anything");
    failure.code
}

#[test]
fn a_token_counts_in_the_mode_that_it_was_issued_for() {
    let server = Server::new();
    for (mode, other) in [(Mode::Inline, Mode::Guarded), (Mode::Guarded, Mode::Inline)] {
        let verifier = server.verifier(mode);
        assert_eq!(verifier.verify(&server.issued(mode)).unwrap().claims().mode, mode);
        assert_eq!(code(verifier.verify(&server.issued(other))), "other-mode");
        let handed_in = |mode| {
            let jwt = server.token(mode, None);
            verifier.verify_handed_in(&jwt, "hsm", measured())
        };
        assert_eq!(handed_in(mode).unwrap().claims().mode, mode);
        assert_eq!(code(handed_in(other)), "other-mode");
    }
}

#[test]
fn a_token_counts_for_the_evidence_that_it_answers() {
    let server = Server::new();
    let verifier = server.verifier(Mode::Guarded);
    let issued = server.issued(Mode::Guarded);
    for (change, refused) in [
        ((|issued| issued.hsm_id = "another".into()) as fn(&mut Issued), "other-hsm"),
        (|issued| issued.cnf = "another".into(), "other-cnf"),
        (|issued| issued.nonce = "another".into(), "other-nonce"),
        (|issued| issued.measurement = Digest::of(b"another"), "other-measurement"),
        (|issued| issued.jwt = Server::new().issued(Mode::Guarded).jwt, "key-unknown"),
        (|issued| issued.jwt.push('A'), "signature"),
    ] {
        let mut changed = issued.clone();
        change(&mut changed);
        assert_eq!(code(verifier.verify(&changed)), refused);
    }
    assert_eq!(code(verifier.verify_handed_in(&issued.jwt, "hsm", measured())), "bound");
    let handed_in = server.token(Mode::Guarded, None);
    assert_eq!(code(verifier.verify(&Issued { jwt: handed_in.clone(), ..issued })), "unbound");
    let other = verifier.verify_handed_in(&handed_in, "hsm", Digest::of(b"another"));
    assert_eq!(code(other), "other-measurement");
}

#[test]
fn what_came_of_an_attestation_crosses_to_another_process_unchanged() {
    let server = Server::new();
    let failure = AttestationFailure {
        kind: FailureKind::Refused,
        code: "library-unknown".into(),
        detail: "\u{1b}[31m".into(),
        decision: None,
    };
    let report = Report { decisions: Vec::new(), lost: 3 };
    for outcome in [
        Outcome { result: Ok(server.issued(Mode::Guarded)), undelivered: None },
        Outcome { result: Err(failure), undelivered: Some(report) },
    ] {
        let text = serde_json::to_string(&outcome).unwrap();
        assert_eq!(serde_json::from_str::<Outcome>(&text).unwrap(), outcome);
        assert!(serde_json::from_str::<Outcome>(&text.replacen('{', "{\"more\":1,", 1)).is_err());
    }
}
