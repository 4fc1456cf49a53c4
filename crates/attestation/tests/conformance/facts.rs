//! What the vectors cannot show: issuing, random signatures, and what the measurement digest covers.

use attestation::evidence::{
    EvidenceError, SigningInput, claimed_key_id, verify_enrollment, verify_evidence,
};
use attestation::jws::JwsError;
use attestation::key_uri::{ObjectClass, ObjectIdentity, TokenIdentity};
use attestation::token::{
    Anchors, Expected, MAX_LIFETIME_S, Presented, TokenError, TokenFacts, TokenIssuer, verify_token,
};
use attestation::{component::Component, digest::Digest};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::evidence_cases::{claims, component, enrollments, sign, valid_ed25519};
use super::keys::{ATTESTATION_SEED, TestKey, token_issuer};
use super::token_cases::{Context, DEADLINE_MS, NOW_BOOTTIME_MS, facts, measurement};

#[test]
fn a_verified_token_says_what_was_issued() {
    let anchors = Anchors::parse(&token_issuer().jwks()).unwrap();
    let jwt = token_issuer().issue(&facts()).unwrap();
    let token = verify_token(&jwt, &anchors, &Context::new().expected(), NOW_BOOTTIME_MS).unwrap();
    assert_eq!(token.claims(), &facts().trustshim);
    assert_eq!((token.jti(), token.deadline_boottime_ms()), ("T-vector", DEADLINE_MS));
    let key = ObjectIdentity {
        token: TokenIdentity {
            label: "sandbox".to_owned(),
            serial: "1".to_owned(),
            model: String::new(),
            manufacturer: String::new(),
        },
        class: ObjectClass::Private,
        id: vec![],
        label: b"demo-ec".to_vec(),
    };
    assert!(token.grants()[0].uri.matches(&key));
    assert_eq!(token.claims().measurement, measurement());
}

#[test]
fn a_token_counts_until_the_last_millisecond() {
    let anchors = Anchors::parse(&token_issuer().jwks()).unwrap();
    let jwt = token_issuer().issue(&facts()).unwrap();
    let context = Context::new();
    assert!(verify_token(&jwt, &anchors, &context.expected(), DEADLINE_MS - 1).is_ok());
    let late = verify_token(&jwt, &anchors, &context.expected(), DEADLINE_MS).unwrap_err();
    assert_eq!(late, TokenError::Expired { deadline_ms: DEADLINE_MS });
}

#[test]
fn the_signing_key_survives_its_pem_form() {
    let (issuer, pem) = TokenIssuer::generate().unwrap();
    assert_eq!(TokenIssuer::from_pkcs8_pem(&pem).unwrap().public_jwk(), issuer.public_jwk());
    let public = issuer.key_id();
    assert_eq!(format!("{issuer:?}"), format!("TokenIssuer {{ key_id: {public:?}, .. }}"));
    assert_eq!(TokenIssuer::from_pkcs8_pem("").unwrap_err(), TokenError::SigningKey);
    let p256 = include_str!("../vectors/test-keys/p256.pem");
    assert_eq!(TokenIssuer::from_pkcs8_pem(p256).unwrap_err(), TokenError::SigningKey);
}

#[test]
fn a_token_that_gates_would_refuse_is_not_issued() {
    let issue = |change: &dyn Fn(&mut attestation::token::TokenFacts)| {
        let mut facts = facts();
        change(&mut facts);
        token_issuer().issue(&facts).unwrap_err().code()
    };
    assert_eq!(issue(&|facts| facts.issuer = "https://policy.example".to_owned()), "other-issuer");
    assert_eq!(issue(&|facts| facts.lifetime_s = 0), "lifetime");
    assert_eq!(issue(&|facts| facts.lifetime_s = MAX_LIFETIME_S + 1), "lifetime");
    assert_eq!(issue(&|facts| facts.issued_at = u64::MAX), "times");
    assert_eq!(issue(&|facts| facts.trustshim.version = "x".repeat(64 * 1024)), "too-long");
}

#[test]
fn verified_evidence_gives_the_claims_and_the_key() {
    for key in [TestKey::ed25519(ATTESTATION_SEED), TestKey::p256(), TestKey::rsa()] {
        let jwt = sign(&claims(), &key);
        assert_eq!(claimed_key_id(&jwt).unwrap(), key.kid());
        let evidence = verify_evidence(&jwt, &key.public()).unwrap();
        assert_eq!((evidence.claims(), evidence.key_id()), (&claims(), &*key.kid()));
        assert_eq!(evidence.into_claims(), claims());
    }
    let others = verify_evidence(&valid_ed25519(), &TestKey::p256().public()).unwrap_err();
    assert_eq!(others.code(), "key-unknown");
}

#[test]
fn a_verified_enrolment_gives_the_key_that_signed_it() {
    let key = TestKey::ed25519(ATTESTATION_SEED);
    let valid = enrollments().into_iter().find(|case| case.expect == "valid").unwrap();
    let enrollment = verify_enrollment(&valid.jwt).unwrap();
    assert_eq!(enrollment.claims().cnf.jwk, key.public());
    assert_eq!(enrollment.into_claims().host, facts().trustshim.host);
}

#[test]
fn an_ecdsa_signature_in_der_form_is_refused() {
    let pem = include_str!("../vectors/test-keys/p256.pem");
    let der = super::keys::der(pem);
    let random = SystemRandom::new();
    let key = EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random).unwrap();
    let public = TestKey::p256().public();
    assert_eq!(key.public_key().as_ref().len(), 65);
    let input = SigningInput::evidence(&claims(), &public).unwrap();
    let signature = key.sign(&random, input.bytes()).unwrap();
    let refused = verify_evidence(&input.finish(signature.as_ref()), &public).unwrap_err();
    assert_eq!(refused, EvidenceError::Jws(JwsError::Signature));
}

#[test]
fn evidence_that_would_be_too_long_is_not_signed() {
    let mut claims = claims();
    claims.submods.component.argv = vec!["x".repeat(256 * 1024)];
    let refused = SigningInput::evidence(&claims, &TestKey::p256().public()).unwrap_err();
    assert_eq!(refused.code(), "too-long");
}

#[test]
fn the_measurement_digest_is_of_the_canonical_form() {
    let mut value = json!(component());
    value.as_object_mut().unwrap().remove("name");
    // serde_json keeps members sorted, and all names here are ASCII: this is the form of RFC 8785.
    assert_eq!(component().measurement_digest(), Digest::of(value.to_string().as_bytes()));
    assert_eq!(
        component().measurement_digest().to_string(),
        "31b4fe31ac69243db9788b85d27cd3e029524acd0dc5aa4e23fd972c4528cf8b"
    );
}

#[test]
fn every_field_but_the_name_changes_the_measurement_digest() {
    let digest = component().measurement_digest();
    let renamed = Component { name: "nginx".to_owned(), ..component() };
    assert_eq!(renamed.measurement_digest(), digest);
    let mut changed = 0;
    for pointer in leaves(&json!(component()), "") {
        if pointer == "/name" {
            continue;
        }
        let mut value = json!(component());
        let leaf = value.pointer_mut(&pointer).unwrap();
        *leaf = match leaf.clone() {
            Value::Bool(value) => json!(!value),
            Value::Number(value) => json!(value.as_u64().unwrap() + 1),
            Value::String(text) if text.len() == 64 => json!(Digest::of(text.as_bytes())),
            Value::String(text) => json!(format!("{text}x")),
            Value::Array(_) => json!([{"path": "/x", "sha256": digest}]),
            Value::Object(_) => json!({"LD_PRELOAD": "/x"}),
            Value::Null => panic!("{pointer}"),
        };
        let other: Component = serde_json::from_value(value).expect(&pointer);
        assert_ne!(other.measurement_digest(), digest, "{pointer}");
        changed += 1;
    }
    assert!(changed > 25, "only {changed} fields were tried");
}

/// Pointers to everything that holds nothing further.
fn leaves(value: &Value, at: &str) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(elements) => {
            elements.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), value)).collect(),
        _ => Vec::new(),
    };
    if children.is_empty() {
        return vec![at.to_owned()];
    }
    children.iter().flat_map(|(name, value)| leaves(value, &format!("{at}/{name}"))).collect()
}

#[test]
fn a_token_that_is_handed_in_must_have_been_issued_for_that() {
    let anchors = Anchors::parse(&token_issuer().jwks()).unwrap();
    let context = Context::new();
    let handed_in = Expected { presented: Presented::HandedIn, ..context.expected() };
    let code = |jwt: &str, expected: &Expected<'_>| {
        verify_token(jwt, &anchors, expected, NOW_BOOTTIME_MS).map_or_else(|error| error.code(), |_| "valid")
    };
    let bound = token_issuer().issue(&facts()).unwrap();
    let free = token_issuer().issue(&TokenFacts { binding: None, ..facts() }).unwrap();
    assert_eq!(code(&bound, &handed_in), "bound", "an answer to some process's evidence is no bearer token");
    assert_eq!(code(&free, &handed_in), "valid");
    assert_eq!(code(&free, &context.expected()), "unbound");
    let elsewhere = Expected { measurement: attestation::digest::Digest::of(b"other"), ..handed_in };
    assert_eq!(code(&free, &elsewhere), "other-measurement");
}
