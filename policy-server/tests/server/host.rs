//! A host with an attestation key in software, and a program on it: builds and signs evidence.

use attestation::component::{Component, MeasuredFile, Principal, Runtime};
use attestation::digest::Digest;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, EVIDENCE_PROFILE, EVIDENCE_TYP, EnrollmentClaims,
    EvidenceClaims, EvidenceSubmods, HsmClaims, KeyClaims, PublicJwk, SigningInput, VerifiedEvidence,
    verify_evidence,
};
use attestation::token::Mode;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

pub const BOOT_ID: &str = "3f2b8c1e-5a77-4d0e-9a51-0c6f6d1f7e11";
pub const BOOTTIME_MS: u64 = 5_000_000;

pub struct Host {
    key: EcdsaKeyPair,
    pub jwk: PublicJwk,
    pub cnf: PublicJwk,
    pub name: String,
    pub mode: Mode,
}

impl Host {
    pub fn new(name: &str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let point: [u8; 65] = key.public_key().as_ref().try_into().unwrap();
        let cnf = attestation::attester_key::AttesterKey::generate().unwrap().public_jwk();
        Self { jwk: PublicJwk::p256(&point).unwrap(), key, cnf, name: name.to_owned(), mode: Mode::Inline }
    }

    pub fn fingerprint(&self) -> String {
        self.jwk.thumbprint()
    }

    fn finish(&self, input: SigningInput) -> String {
        let signature = self.key.sign(&SystemRandom::new(), input.bytes()).unwrap();
        input.finish(signature.as_ref())
    }

    pub fn evidence(&self, claims: &EvidenceClaims) -> String {
        self.finish(SigningInput::evidence(claims, &self.jwk).unwrap())
    }

    /// Signs a payload as evidence, whatever it holds.
    pub fn evidence_of(&self, payload: &[u8]) -> String {
        let header = format!(r#"{{"alg":"ES256","kid":"{}","typ":"{EVIDENCE_TYP}"}}"#, self.fingerprint());
        let encode = attestation::base64url::encode;
        let text = format!("{}.{}", encode(header.as_bytes()), encode(payload));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", encode(signature.as_ref()))
    }

    pub fn verified(&self, claims: &EvidenceClaims) -> VerifiedEvidence {
        verify_evidence(&self.evidence(claims), &self.jwk).unwrap()
    }

    pub fn enrollment(&self, nonce: &str) -> EnrollmentClaims {
        EnrollmentClaims {
            aud: AUDIENCE.to_owned(),
            eat_nonce: nonce.to_owned(),
            cnf: Confirmation { jwk: self.jwk.clone() },
            host: self.name.clone(),
            mode: self.mode,
            hsm: hsm(),
        }
    }

    pub fn proof(&self, claims: &EnrollmentClaims) -> String {
        self.finish(SigningInput::enrollment(claims, &self.jwk).unwrap())
    }

    /// Evidence of a program that nothing is wrong with.
    pub fn claims(&self, nonce: &str) -> EvidenceClaims {
        EvidenceClaims {
            eat_profile: EVIDENCE_PROFILE.to_owned(),
            aud: AUDIENCE.to_owned(),
            eat_nonce: nonce.to_owned(),
            iat: 1_800_000_000,
            boottime_ms: BOOTTIME_MS,
            cnf: Confirmation { jwk: self.cnf.clone() },
            submods: EvidenceSubmods {
                hsm: hsm(),
                boot: BootClaims { boot_id: BOOT_ID.to_owned() },
                attester: AttesterClaims {
                    version: "0.1.0".to_owned(),
                    shim: file("/usr/lib/libtrustshim.so", "shim"),
                    real_module: file("/usr/lib/softhsm/libsofthsm2.so", "module"),
                    configuration: file("/etc/trustshim/trustshim.toml", "toml"),
                },
                component: program(),
            },
        }
    }
}

pub fn hsm() -> HsmClaims {
    HsmClaims {
        label: "trustshim".to_owned(),
        serial: "a1b2c3d4e5f60718".to_owned(),
        model: "SoftHSM v2".to_owned(),
        manufacturer: "SoftHSM project".to_owned(),
        firmware: "2.6".to_owned(),
        key: KeyClaims { sensitive: true, extractable: false, never_extractable: true, local: true },
    }
}

pub fn file(path: &str, content: &str) -> MeasuredFile {
    MeasuredFile { path: path.to_owned(), sha256: Digest::of(content.as_bytes()), build_id: None }
}

pub fn program() -> Component {
    Component {
        name: "auto".to_owned(),
        principal: Principal {
            uid: 33,
            gid: 33,
            unit: Some("signer.service".to_owned()),
            initial_user_namespace: true,
            initial_pid_namespace: true,
        },
        executable: file("/usr/bin/signer", "signer 1.0"),
        mappings: vec![
            file("/lib/libc.so.6", "libc"),
            file("/usr/bin/signer", "signer 1.0"),
            file("/usr/lib/libtrustshim.so", "shim"),
        ],
        scripts: vec![],
        configuration: vec![file("/etc/signer.conf", "conf")],
        argv: vec!["signer".to_owned(), "--daemon".to_owned()],
        environment: [("OPENSSL_CONF".to_owned(), "/etc/signer.cnf".to_owned())].into(),
        runtime: Runtime {
            traced: false,
            no_new_privs: true,
            seccomp: 2,
            seccomp_filters: 3,
            dumpable: false,
            anonymous_executable: 0,
            deleted_executable: 0,
            memfd_executable: 0,
            writable_executable: 0,
            modified_text_pages: 0,
        },
    }
}
