//! `verify_evidence` and `verify_enrollment` by the keys of the vectors: a message that was not signed for the run is
//! accepted only if it is one of the valid vectors, byte for byte; one that was says the same when it is written anew.

#![no_main]

use std::sync::LazyLock;

use attestation::base64url;
use attestation::evidence::{
    AUDIENCE, EVIDENCE_PROFILE, NONCE_BYTES, PublicJwk, SigningInput, claimed_key_id, verify_enrollment,
    verify_evidence,
};
use ed25519_dalek::{Signer as _, SigningKey};
use libfuzzer_sys::fuzz_target;
use trustshim_fuzz::{ATTESTATION_SEED, Input, input, tampered, valid_vectors};

struct Verifier {
    /// Those of the vectors, each with the messages that it has signed.
    keys: Vec<(PublicJwk, String)>,
    own: PublicJwk,
    header: String,
    enrolments: Vec<String>,
}

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let own = PublicJwk::ed25519(SigningKey::from_bytes(ATTESTATION_SEED).verifying_key().as_bytes());
    let keys = valid_vectors("evidence").into_iter();
    Verifier {
        keys: keys.map(|(message, key)| (serde_json::from_value(key).unwrap(), message)).collect(),
        header: format!(r#"{{"alg":"EdDSA","kid":"{}","typ":"eat+jwt"}}"#, own.thumbprint()),
        own,
        enrolments: valid_vectors("enrollment").into_iter().map(|(message, _)| message).collect(),
    }
});

fuzz_target!(|data: &[u8]| {
    let verifier = &*VERIFIER;
    match input(data, ATTESTATION_SEED, &verifier.header) {
        None => {}
        Some(Input::Unsigned(message)) => {
            let _ = claimed_key_id(&message);
            for (key, _) in &verifier.keys {
                let is_valid = verifier.keys.iter().any(|(signer, valid)| signer == key && *valid == message);
                assert!(verify_evidence(&message, key).is_err() || is_valid, "a forgery is accepted");
            }
            assert!(verify_enrollment(&message).is_err() || verifier.enrolments.contains(&message));
        }
        Some(Input::Signed { message, .. }) => {
            if let Ok(evidence) = verify_evidence(&message, &verifier.own) {
                assert!(verify_evidence(&tampered(&message), &verifier.own).is_err());
                assert!(verify_enrollment(&message).is_err(), "evidence passes for an enrolment");
                assert_eq!(claimed_key_id(&message).unwrap(), verifier.own.thumbprint());
                let claims = evidence.claims();
                assert_eq!(claims.eat_profile, EVIDENCE_PROFILE);
                assert_eq!(claims.aud, AUDIENCE);
                assert_eq!(base64url::decode(&claims.eat_nonce).unwrap().len(), NONCE_BYTES);
                let anew = SigningInput::evidence(claims, &verifier.own).unwrap();
                let signature = SigningKey::from_bytes(ATTESTATION_SEED).sign(anew.bytes()).to_bytes();
                let again = verify_evidence(&anew.finish(&signature), &verifier.own).unwrap();
                assert_eq!(again.claims(), claims);
                let digest = claims.submods.component.measurement_digest();
                assert_eq!(again.claims().submods.component.measurement_digest(), digest);
            }
            if let Ok(enrolment) = verify_enrollment(&message) {
                assert_eq!(enrolment.claims().cnf.jwk, verifier.own, "signed by another key");
                assert_eq!(enrolment.claims().aud, AUDIENCE);
            }
        }
    }
});
