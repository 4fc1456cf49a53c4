//! The vectors of evidence and enrolment: each departs from a valid one in one way.

use std::collections::BTreeMap;

use attestation::base64url;
use attestation::component::{Component, MeasuredFile, Principal, Runtime};
use attestation::digest::Digest;
use attestation::evidence::{
    AUDIENCE, AttesterClaims, BootClaims, Confirmation, ENROLLMENT_TYP, EVIDENCE_PROFILE, EVIDENCE_TYP,
    EnrollmentClaims, EvidenceClaims, EvidenceSubmods, HsmClaims, KeyClaims, MAX_EVIDENCE, SigningInput,
};
use attestation::token::{Mode, TOKEN_TYP};
use serde_json::{Value, json};

use super::cases::{Case, Kind, header, pretty, replace_once, with, without};
use super::keys::{ATTESTATION_SEED, ATTESTER_SEED, OTHER_SEED, TestKey, signing_input};
use super::token_cases::{BOOT_ID, HOST, NOW_BOOTTIME_MS, nonce};

fn file(path: &str) -> MeasuredFile {
    MeasuredFile { path: path.to_owned(), sha256: Digest::of(path.as_bytes()), build_id: None }
}

fn hsm() -> HsmClaims {
    HsmClaims {
        label: "trustshim".to_owned(),
        serial: "5d3f9a1c2b4e6f70".to_owned(),
        model: "SoftHSM v2".to_owned(),
        manufacturer: "SoftHSM project".to_owned(),
        firmware: "2.6".to_owned(),
        key: KeyClaims { sensitive: true, extractable: false, never_extractable: true, local: true },
    }
}

pub fn component() -> Component {
    let executable = MeasuredFile { build_id: Some("0123abcd".to_owned()), ..file("/usr/sbin/nginx") };
    Component {
        name: "auto".to_owned(),
        principal: Principal {
            uid: 33,
            gid: 33,
            unit: Some("nginx.service".to_owned()),
            initial_user_namespace: true,
            initial_pid_namespace: true,
        },
        executable: executable.clone(),
        mappings: vec![file("/usr/lib/x86_64-linux-gnu/libc.so.6"), executable],
        scripts: Vec::new(),
        configuration: vec![file("/etc/nginx/nginx.conf")],
        argv: vec!["nginx".to_owned(), "-g".to_owned(), "daemon off;".to_owned()],
        environment: BTreeMap::new(),
        runtime: Runtime {
            traced: false,
            no_new_privs: true,
            seccomp: 2,
            seccomp_filters: 21,
            dumpable: false,
            anonymous_executable: 0,
            deleted_executable: 0,
            memfd_executable: 0,
            writable_executable: 0,
            modified_text_pages: 0,
        },
    }
}

/// `component.json`: a component's claims, and what its measurement digest is.
pub fn component_json() -> String {
    pretty(&json!({"component": component(), "measurement": component().measurement_digest()}))
}

pub fn claims() -> EvidenceClaims {
    EvidenceClaims {
        eat_profile: EVIDENCE_PROFILE.to_owned(),
        aud: AUDIENCE.to_owned(),
        eat_nonce: nonce(),
        iat: 4_102_444_799,
        boottime_ms: NOW_BOOTTIME_MS,
        cnf: Confirmation { jwk: TestKey::ed25519(ATTESTER_SEED).public() },
        submods: EvidenceSubmods {
            hsm: hsm(),
            boot: BootClaims { boot_id: BOOT_ID.to_owned() },
            attester: AttesterClaims {
                version: "0.1.0".to_owned(),
                shim: file("/usr/lib/trustshim/libtrustshim.so"),
                real_module: file("/usr/lib/softhsm/libsofthsm2.so"),
                configuration: file("/etc/trustshim/trustshim.toml"),
            },
            component: component(),
        },
    }
}

pub fn sign(claims: &EvidenceClaims, key: &TestKey) -> String {
    let input = SigningInput::evidence(claims, &key.public()).unwrap();
    let signature = key.sign(input.bytes());
    input.finish(&signature)
}

pub fn valid_ed25519() -> String {
    sign(&claims(), &TestKey::ed25519(ATTESTATION_SEED))
}

pub fn all() -> Vec<Case> {
    let key = TestKey::ed25519(ATTESTATION_SEED);
    let case = |name, expect, jwt, key: &TestKey, randomised| Case {
        name,
        kind: Kind::Evidence(key.public()),
        expect,
        jwt,
        randomised,
    };
    let mut cases: Vec<Case> =
        defects(&key).into_iter().map(|(name, expect, jwt)| case(name, expect, jwt, &key, false)).collect();
    cases.push(case("evidence_valid_ed25519", "valid", valid_ed25519(), &key, false));
    let (p256, rsa) = (TestKey::p256(), TestKey::rsa());
    cases.push(case("evidence_valid_es256", "valid", sign(&claims(), &p256), &p256, true));
    cases.push(case("evidence_valid_ps256", "valid", sign(&claims(), &rsa), &rsa, true));
    let text = json!(claims()).to_string();
    let pkcs1 = |alg: &str| {
        let input = signing_input(&with(&header(EVIDENCE_TYP, &rsa), "/alg", json!(alg)).to_string(), &text);
        format!("{input}.{}", base64url::encode(&rsa.sign_pkcs1(input.as_bytes())))
    };
    cases.push(case("evidence_alg_rs256", "algorithm", pkcs1("RS256"), &rsa, false));
    cases.push(case("evidence_ps256_signed_with_pkcs1", "signature", pkcs1("PS256"), &rsa, false));
    cases
}

fn defects(key: &TestKey) -> Vec<(&'static str, &'static str, String)> {
    let other = TestKey::ed25519(OTHER_SEED);
    let valid = valid_ed25519();
    let good = header(EVIDENCE_TYP, key);
    let claims = json!(claims());
    let text = claims.to_string();
    let headed = |header: Value| key.message(&header.to_string(), &text);
    let set = |pointer: &str, value: Value| {
        key.message(&good.to_string(), &with(&claims, pointer, value).to_string())
    };
    let tampered = {
        let (head, rest) = valid.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let changed = base64url::encode(replace_once(&text, "\"uid\":33", "\"uid\":34").as_bytes());
        format!("{head}.{changed}.{signature}")
    };
    let unsigned = signing_input(&with(&good, "/alg", json!("none")).to_string(), &text);
    let twice = replace_once(&text, "\"traced\":false", "\"traced\":true,\"traced\":false");
    let missing = without(&claims, "/submods/component/runtime/traced").to_string();
    let long = set("/submods/component/argv", json!(["x".repeat(MAX_EVIDENCE)]));
    assert!(long.len() > MAX_EVIDENCE);
    vec![
        ("evidence_alg_none", "algorithm", format!("{unsigned}.")),
        ("evidence_alg_es256", "algorithm", headed(with(&good, "/alg", json!("ES256")))),
        ("evidence_kid_of_other_key", "key-unknown", headed(with(&good, "/kid", json!(other.kid())))),
        ("evidence_signed_by_other_key", "signature", other.message(&good.to_string(), &text)),
        ("evidence_payload_tampered", "signature", tampered),
        ("evidence_typ_of_enrollment", "type", headed(with(&good, "/typ", json!(ENROLLMENT_TYP)))),
        ("evidence_typ_of_token", "type", headed(with(&good, "/typ", json!(TOKEN_TYP)))),
        ("evidence_crit_present", "header-critical", headed(with(&good, "/crit", json!(["b64"])))),
        ("evidence_key_in_header", "header-unknown", headed(with(&good, "/jwk", json!(key.public())))),
        ("evidence_too_large", "too-long", long),
        ("evidence_unknown_claim", "claims-malformed", set("/submods/component/trusted", json!(true))),
        ("evidence_missing_claim", "claims-malformed", key.message(&good.to_string(), &missing)),
        ("evidence_negative_number", "claims-malformed", set("/submods/component/principal/uid", json!(-1))),
        ("evidence_digest_upper_case", "claims-malformed", {
            set("/submods/component/executable/sha256", json!("AB".repeat(32)))
        }),
        ("evidence_duplicate_claim", "claim-duplicate", key.message(&good.to_string(), &twice)),
        ("evidence_other_audience", "other-audience", set("/aud", json!("another-verifier"))),
        ("evidence_audience_list", "claims-malformed", set("/aud", json!([AUDIENCE]))),
        (
            "evidence_other_profile",
            "other-profile",
            set("/eat_profile", json!("tag:trustshim.org,2026:evidence#2")),
        ),
        ("evidence_nonce_short", "nonce-form", set("/eat_nonce", json!(base64url::encode(&[1; 31])))),
        ("evidence_nonce_padded", "nonce-form", set("/eat_nonce", json!(format!("{}=", nonce())))),
        ("evidence_cnf_p256", "cnf-algorithm", set("/cnf/jwk", json!(TestKey::p256().public()))),
        ("evidence_cnf_curve", "cnf-key", set("/cnf/jwk/crv", json!("X25519"))),
        ("evidence_cnf_private", "claims-malformed", set("/cnf/jwk/d", json!("AAAA"))),
    ]
}

pub fn enrollments() -> Vec<Case> {
    let (key, other) = (TestKey::ed25519(ATTESTATION_SEED), TestKey::ed25519(OTHER_SEED));
    let claims = EnrollmentClaims {
        aud: AUDIENCE.to_owned(),
        eat_nonce: nonce(),
        cnf: Confirmation { jwk: key.public() },
        host: HOST.to_owned(),
        mode: Mode::Inline,
        hsm: hsm(),
    };
    let valid = {
        let input = SigningInput::enrollment(&claims, &key.public()).unwrap();
        let signature = key.sign(input.bytes());
        input.finish(&signature)
    };
    let claims = json!(claims);
    let good = header(ENROLLMENT_TYP, &key).to_string();
    let set = |pointer: &str, value: Value| key.message(&good, &with(&claims, pointer, value).to_string());
    let others = header(ENROLLMENT_TYP, &other).to_string();
    let evidence_typ = header(EVIDENCE_TYP, &key).to_string();
    [
        ("enrollment_valid", "valid", valid),
        ("enrollment_signed_by_other_key", "signature", other.message(&good, &claims.to_string())),
        ("enrollment_kid_of_other_key", "key-unknown", other.message(&others, &claims.to_string())),
        ("enrollment_typ_of_evidence", "type", key.message(&evidence_typ, &claims.to_string())),
        ("enrollment_other_audience", "other-audience", set("/aud", json!("another-verifier"))),
        ("enrollment_nonce_short", "nonce-form", set("/eat_nonce", json!("AAAA"))),
        ("enrollment_cnf_malformed", "cnf-key", set("/cnf/jwk/x", json!("AAAA"))),
        ("enrollment_unknown_claim", "claims-malformed", set("/approved", json!(true))),
    ]
    .into_iter()
    .map(|(name, expect, jwt)| Case { name, kind: Kind::Enrollment, expect, jwt, randomised: false })
    .collect()
}
