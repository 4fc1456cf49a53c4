//! The vectors of trust tokens: each departs from `valid` in one way.

use attestation::base64url;
use attestation::digest::Digest;
use attestation::grant::{Grant, Operation, Rate};
use attestation::token::{
    Binding, Expected, ISSUER, MAX_LIFETIME_S, MAX_TOKEN, Mode, Presented, Statuses, TOKEN_TYP, Tier,
    TokenFacts, TrustshimClaims,
};
use serde_json::{Value, json};

use super::cases::{Case, Kind, header, pretty, replace_once, with, without};
use super::keys::{
    ATTESTATION_SEED, ATTESTER_SEED, OTHER_SEED, TOKEN_SEED, TestKey, signing_input, token_issuer,
};

/// 2100-01-01: the `ear` crate compares `exp` with the wall clock, and the vectors are to stay readable.
const ISSUED_AT: u64 = 4_102_444_800;
pub const NOW_BOOTTIME_MS: u64 = 86_400_000;
pub const DEADLINE_MS: u64 = NOW_BOOTTIME_MS + 300_000;
pub const HOST: &str = "host-1.example";
pub const BOOT_ID: &str = "3b241101-e2bb-4255-8caf-4136c566a962";

pub fn nonce() -> String {
    base64url::encode(&[0x6e; 32])
}

pub fn measurement() -> Digest {
    Digest::of(b"the measured component")
}

/// What the gate of the vectors knows, in owned form.
pub struct Context {
    pub hsm: String,
    pub cnf: String,
    pub nonce: String,
}

impl Context {
    pub fn new() -> Self {
        Self {
            hsm: TestKey::ed25519(ATTESTATION_SEED).kid(),
            cnf: TestKey::ed25519(ATTESTER_SEED).kid(),
            nonce: nonce(),
        }
    }

    pub fn expected(&self) -> Expected<'_> {
        Expected {
            hsm: &self.hsm,
            host: HOST,
            mode: Mode::Inline,
            boot_id: BOOT_ID,
            measurement: measurement(),
            presented: Presented::Answer { cnf: &self.cnf, nonce: &self.nonce },
        }
    }

    /// `context.json`.
    pub fn to_json(&self) -> String {
        pretty(&json!({
            "anchors": serde_json::from_str::<Value>(&token_issuer().jwks()).unwrap(),
            "expected": {
                "hsm": self.hsm, "host": HOST, "mode": "inline", "boot_id": BOOT_ID, "cnf": self.cnf,
                "measurement": measurement(), "nonce": self.nonce,
            },
            "now_boottime_ms": NOW_BOOTTIME_MS,
        }))
    }
}

pub fn facts() -> TokenFacts {
    let context = Context::new();
    TokenFacts {
        issuer: ISSUER.to_owned(),
        jti: "T-vector".to_owned(),
        issued_at: ISSUED_AT,
        lifetime_s: 300,
        binding: Some(Binding { nonce: context.nonce, cnf: context.cnf }),
        statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
        trustshim: TrustshimClaims {
            hsm: context.hsm,
            host: HOST.to_owned(),
            mode: Mode::Inline,
            boot_id: BOOT_ID.to_owned(),
            deadline_boottime_ms: DEADLINE_MS,
            component: "nginx".to_owned(),
            version: "1.28.0".to_owned(),
            measurement: measurement(),
            grants: vec![Grant {
                id: "G-1".to_owned(),
                key: "pkcs11:token=sandbox;object=demo-ec;type=private".to_owned(),
                operations: vec![Operation::Sign],
                many: false,
                mechanisms: None,
                rate: None,
                deadline_boottime_ms: None,
            }],
            epoch: 1,
        },
    }
}

fn payload(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).unwrap();
    serde_json::from_slice(&base64url::decode(part).unwrap()).unwrap()
}

pub fn all() -> Vec<Case> {
    let valid = token_issuer().issue(&facts()).unwrap();
    let claims = payload(&valid);
    let key = TestKey::ed25519(TOKEN_SEED);
    let good = header(TOKEN_TYP, &key);
    let cases = [
        accepted(&valid),
        forms(&valid),
        headers(&valid, &good, &claims),
        texts(&good, &claims),
        claim_values(&good, &claims),
    ];
    cases
        .into_iter()
        .flatten()
        .map(|(name, expect, jwt)| Case { name, kind: Kind::Token, expect, jwt, randomised: false })
        .collect()
}

type Row = (&'static str, &'static str, String);

fn accepted(valid: &str) -> Vec<Row> {
    let issue = |change: &dyn Fn(&mut TokenFacts)| {
        let mut facts = facts();
        change(&mut facts);
        token_issuer().issue(&facts).unwrap()
    };
    let furthest = NOW_BOOTTIME_MS + MAX_LIFETIME_S * 1000;
    vec![
        ("valid", "valid", valid.to_owned()),
        ("valid_boot_affirming", "valid", issue(&|facts| facts.statuses.boot = Tier::Affirming)),
        ("valid_component_warning", "valid", issue(&|facts| facts.statuses.component = Tier::Warning)),
        ("valid_deadline_furthest", "valid", issue(&|facts| facts.trustshim.deadline_boottime_ms = furthest)),
        ("valid_grant_on_many", "valid", issue(&|facts| facts.trustshim.grants = vec![wide()])),
        ("valid_with_limits", "valid", issue(&|facts| facts.trustshim.grants = vec![limited()])),
        ("valid_without_grants", "valid", issue(&|facts| facts.trustshim.grants.clear())),
    ]
}

/// A grant with everything that can limit it.
fn limited() -> Grant {
    let [grant] = <[Grant; 1]>::try_from(facts().trustshim.grants).unwrap();
    Grant {
        // CKM_ECDSA and CKM_ECDSA_SHA256.
        mechanisms: Some(vec![0x1041, 0x1044]),
        rate: Some(Rate { per_second: Some(10), total: Some(1_000) }),
        deadline_boottime_ms: Some(NOW_BOOTTIME_MS + 60_000),
        ..grant
    }
}

/// A grant that is meant to name many keys.
fn wide() -> Grant {
    let [grant] = <[Grant; 1]>::try_from(facts().trustshim.grants).unwrap();
    Grant { key: "pkcs11:token=sandbox".to_owned(), operations: Operation::ALL.to_vec(), many: true, ..grant }
}

/// Defects of the compact form and of the signature.
fn forms(valid: &str) -> Vec<Row> {
    let (input, signature) = valid.rsplit_once('.').unwrap();
    let (head, body) = input.split_once('.').unwrap();
    let raw = base64url::decode(signature).unwrap();
    let tampered_payload = {
        let json = String::from_utf8(base64url::decode(body).unwrap()).unwrap();
        base64url::encode(replace_once(&json, "[\"sign\"]", "[\"decrypt\"]").as_bytes())
    };
    let mut tampered = raw.clone();
    tampered[10] ^= 1;
    // The last of 86 characters carries four bits that must be zero.
    let mut trailing = signature.to_owned();
    let last = trailing.pop().unwrap();
    trailing.push(char::from(u8::try_from(last).unwrap() + 1));
    vec![
        ("padding_in_base64", "not-base64url", format!("{valid}==")),
        ("base64_trailing_bits", "not-base64url", format!("{input}.{trailing}")),
        ("trailing_newline", "not-base64url", format!("{valid}\n")),
        ("parts_two", "not-compact", input.to_owned()),
        ("parts_four", "not-compact", format!("{valid}.AAAA")),
        ("payload_tampered", "signature", format!("{head}.{tampered_payload}.{signature}")),
        ("signature_tampered", "signature", format!("{input}.{}", base64url::encode(&tampered))),
        ("signature_truncated", "signature", format!("{input}.{}", base64url::encode(&raw[..63]))),
        ("signature_empty", "signature", format!("{input}.")),
        (
            "signature_malleated",
            "signature",
            format!("{input}.{}", base64url::encode(&plus_group_order(&raw))),
        ),
    ]
}

/// The same signature with `S + L` for `S`, which lax verifiers take (RFC 8032 section 8.4).
fn plus_group_order(signature: &[u8]) -> Vec<u8> {
    const L: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut out = signature.to_vec();
    let mut carry = 0;
    for (byte, order) in out[32..].iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = (sum & 0xff) as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0);
    out
}

/// Defects of the header; the signature stands except where the header is about it.
fn headers(valid: &str, good: &Value, claims: &Value) -> Vec<Row> {
    let (key, other) = (TestKey::ed25519(TOKEN_SEED), TestKey::ed25519(OTHER_SEED));
    let claims = claims.to_string();
    let signed = |header: &Value| key.message(&header.to_string(), &claims);
    let unsigned = signing_input(&with(good, "/alg", json!("none")).to_string(), &claims);
    let hs256 = {
        // The classic: the public key, which everybody has, as the secret of an HMAC.
        let input = signing_input(&with(good, "/alg", json!("HS256")).to_string(), &claims);
        let attestation::evidence::PublicJwk::OKP { x, .. } = key.public() else { panic!("not OKP") };
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &base64url::decode(&x).unwrap());
        let tag = ring::hmac::sign(&secret, input.as_bytes());
        format!("{input}.{}", base64url::encode(tag.as_ref()))
    };
    let twice = replace_once(&good.to_string(), "{", "{\"alg\":\"none\",");
    let own_key = with(&with(good, "/jwk", json!(other.public())), "/kid", json!(other.kid()));
    vec![
        ("alg_none", "algorithm", format!("{unsigned}.")),
        ("alg_none_signed", "algorithm", signed(&with(good, "/alg", json!("none")))),
        ("alg_hs256", "algorithm", hs256),
        ("alg_es256", "algorithm", signed(&with(good, "/alg", json!("ES256")))),
        ("alg_lower_case", "algorithm", signed(&with(good, "/alg", json!("eddsa")))),
        ("alg_missing", "header-missing", signed(&without(good, "/alg"))),
        ("kid_unknown", "key-unknown", other.message(&header(TOKEN_TYP, &other).to_string(), &claims)),
        ("kid_missing", "header-missing", signed(&without(good, "/kid"))),
        ("signed_by_other_key", "signature", other.message(&good.to_string(), &claims)),
        ("key_in_header", "header-unknown", other.message(&own_key.to_string(), &claims)),
        (
            "key_url_in_header",
            "header-unknown",
            signed(&with(good, "/jku", json!("https://example.com/keys"))),
        ),
        ("typ_wrong", "type", signed(&with(good, "/typ", json!("eat+jwt")))),
        ("typ_jwt", "type", signed(&with(good, "/typ", json!("JWT")))),
        ("typ_missing", "header-missing", signed(&without(good, "/typ"))),
        ("crit_present", "header-critical", signed(&with(good, "/crit", json!(["exp"])))),
        ("crit_null", "header-critical", signed(&with(good, "/crit", Value::Null))),
        ("header_duplicate", "header-duplicate", key.message(&twice, &claims)),
        ("header_not_json", "header-malformed", key.message("alg=EdDSA", &claims)),
        ("evidence_as_token", "type", super::evidence_cases::valid_ed25519()),
        ("too_large", "too-long", {
            let long = "x".repeat(MAX_TOKEN);
            let jwt = key.message(&good.to_string(), &with(&payload(valid), "/jti", json!(long)).to_string());
            assert!(jwt.len() > MAX_TOKEN);
            jwt
        }),
    ]
}

/// Payloads that parsers disagree on; all of them rightly signed.
fn texts(good: &Value, claims: &Value) -> Vec<Row> {
    let key = TestKey::ed25519(TOKEN_SEED);
    let text = claims.to_string();
    let signed = |payload: &str| key.message(&good.to_string(), payload);
    let deadline = format!("\"deadline_boottime_ms\":{DEADLINE_MS}");
    let fraction = format!("{deadline}.0");
    let deep =
        with(claims, "/jti", serde_json::from_str(&format!("{}{}", "[".repeat(16), "]".repeat(16))).unwrap());
    let first = |member: &str| replace_once(&text, "{\"cnf\"", &format!("{{{member},\"cnf\""));
    vec![
        ("duplicate_claim", "claim-duplicate", signed(&first("\"iss\":\"somebody\""))),
        ("duplicate_claim_escaped", "claim-duplicate", signed(&first("\"\\u0069ss\":\"somebody\""))),
        (
            "duplicate_claim_nested",
            "claim-duplicate",
            signed(&replace_once(&text, &deadline, &format!("\"deadline_boottime_ms\":1,{deadline}"))),
        ),
        ("trailing_data", "claims-malformed", signed(&format!("{text}{{}}"))),
        ("payload_not_json", "claims-malformed", signed("trust me")),
        ("payload_not_an_object", "claims-malformed", signed(&format!("[{text}]"))),
        ("deadline_fraction", "claims-malformed", signed(&replace_once(&text, &deadline, &fraction))),
        ("too_deep", "claim-depth", signed(&deep.to_string())),
    ]
}

/// Claims that are not the ones of this gate; all of them rightly signed.
fn claim_values(good: &Value, claims: &Value) -> Vec<Row> {
    let key = TestKey::ed25519(TOKEN_SEED);
    let signed = |claims: Value| key.message(&good.to_string(), &claims.to_string());
    let set = |pointer: &str, value: Value| signed(with(claims, pointer, value));
    let stranger = TestKey::ed25519(OTHER_SEED).kid();
    let too_far = NOW_BOOTTIME_MS + MAX_LIFETIME_S * 1000 + 1;
    let grant = |key: &str, operations: Value| json!([{"id": "G-1", "key": key, "operations": operations}]);
    let limit = |name: &str, value: Value| set(&format!("/trustshim/grants/0/{name}"), value);
    let uri = "pkcs11:token=sandbox;object=demo-ec;type=private";
    vec![
        ("unknown_claim", "claims-malformed", set("/scope", json!("everything"))),
        ("unknown_claim_nested", "claims-malformed", set("/trustshim/only_on_sundays", json!(true))),
        ("cnf_missing", "unbound", signed(without(claims, "/cnf"))),
        ("nonce_missing", "unbound", signed(without(claims, "/eat_nonce"))),
        ("handed_in", "unbound", signed(without(&without(claims, "/cnf"), "/eat_nonce"))),
        ("mode_unknown", "claims-malformed", set("/trustshim/mode", json!("observed"))),
        ("grant_operation_unknown", "claims-malformed", set("/trustshim/grants", grant(uri, json!(["all"])))),
        ("other_profile", "other-profile", set("/eat_profile", json!("tag:ietf.org,2026:rats/ear#03"))),
        ("other_issuer", "other-issuer", set("/iss", json!("somebody"))),
        ("exp_before_iat", "times", set("/exp", json!(ISSUED_AT - 1))),
        ("exp_too_far", "times", set("/exp", json!(ISSUED_AT + MAX_LIFETIME_S + 1))),
        ("nbf_after_iat", "times", set("/nbf", json!(ISSUED_AT + 1))),
        ("boot_contraindicated", "status", set("/submods/boot/ear_status", json!("contraindicated"))),
        ("attester_none", "status", set("/submods/attester/ear_status", json!("none"))),
        (
            "component_contraindicated",
            "status",
            set("/submods/component/ear_status", json!("contraindicated")),
        ),
        ("component_none", "status", set("/submods/component/ear_status", json!("none"))),
        ("other_cnf", "other-cnf", set("/cnf/jkt", json!(stranger))),
        ("other_nonce", "other-nonce", set("/eat_nonce", json!(base64url::encode(&[0x6f; 32])))),
        ("other_hsm", "other-hsm", set("/trustshim/hsm", json!(stranger))),
        ("other_host", "other-host", set("/trustshim/host", json!("host-2.example"))),
        ("other_mode", "other-mode", set("/trustshim/mode", json!("guarded"))),
        (
            "other_boot",
            "other-boot",
            set("/trustshim/boot_id", json!("a3c5f0de-0000-4255-8caf-4136c566a962")),
        ),
        (
            "other_measurement",
            "other-measurement",
            set("/trustshim/measurement", json!(Digest::of(b"another"))),
        ),
        ("expired", "expired", set("/trustshim/deadline_boottime_ms", json!(NOW_BOOTTIME_MS))),
        ("expired_before_boot", "expired", set("/trustshim/deadline_boottime_ms", json!(0))),
        ("deadline_too_far", "deadline-too-far", set("/trustshim/deadline_boottime_ms", json!(too_far))),
        ("deadline_never", "deadline-too-far", set("/trustshim/deadline_boottime_ms", json!(u64::MAX))),
        ("grant_unparsable", "grant-key", set("/trustshim/grants", grant("demo-ec", json!(["sign"])))),
        ("grant_for_everything", "grant-key", set("/trustshim/grants", grant("pkcs11:", json!(["sign"])))),
        (
            "grant_with_query",
            "grant-key",
            set("/trustshim/grants", grant(&format!("{uri}?x=y"), json!(["sign"]))),
        ),
        ("grant_rate_of_nothing", "grant-rate", limit("rate", json!({}))),
        ("grant_rate_unknown", "claims-malformed", limit("rate", json!({"per_minute": 1}))),
        ("grant_rate_negative", "claims-malformed", limit("rate", json!({"total": -1}))),
        ("grant_without_mechanisms", "grant-mechanisms", limit("mechanisms", json!([]))),
        ("grant_mechanism_by_name", "claims-malformed", limit("mechanisms", json!(["CKM_ECDSA"]))),
        ("grant_unnamed", "claims-malformed", {
            set("/trustshim/grants", json!([{"key": uri, "operations": ["sign"]}]))
        }),
        ("grant_without_operations", "grant-operations", set("/trustshim/grants", grant(uri, json!([])))),
    ]
}
