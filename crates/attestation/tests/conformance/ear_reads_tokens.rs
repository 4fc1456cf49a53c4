//! The `ear` crate, written by others after the same draft, verifies and reads our tokens.

use std::time::{SystemTime, UNIX_EPOCH};

use attestation::token::{EAR_PROFILE, Statuses, Tier, TokenIssuer};
use ear::{Algorithm, Ear, RawValue, RawValueKind, TrustTier};
use serde_json::Value;

use super::{keys, read, token_cases};

/// The first key of a JWK set, as an implementer would take it out.
fn first_key(jwks: &str) -> Vec<u8> {
    let set: Value = serde_json::from_str(jwks).unwrap();
    set["keys"][0].to_string().into_bytes()
}

fn member<'a>(map: &'a RawValue, name: &str) -> &'a RawValue {
    let RawValue::Map(members) = map else { panic!("{map:?} is not a map") };
    let found = members.iter().find(|(key, _)| *key == RawValue::String(name.to_owned()));
    &found.unwrap_or_else(|| panic!("{name} is missing")).1
}

#[test]
fn the_vector_is_read() {
    let context: Value = serde_json::from_str(include_str!("../vectors/context.json")).unwrap();
    let key = first_key(&context["anchors"].to_string());
    let mut token = Ear::from_jwt_jwk(&read("valid.jwt"), Algorithm::EdDSA, &key).unwrap();
    assert_eq!(token.profile, EAR_PROFILE);
    assert_eq!(token.profile, ear::EAR_PROFILE);
    assert!(token.vid.build.starts_with("trustshim-policy-server "), "{:?}", token.vid);
    assert_eq!(token.exp, Some(token.iat + 300));
    assert!(*token.nonce.as_ref().unwrap() == token_cases::nonce().as_str());
    assert_eq!(token.submods.keys().collect::<Vec<_>>(), ["attester", "boot", "component"]);
    assert_eq!(token.submods["boot"].status, TrustTier::None);
    assert!(!token.submods["boot"].trust_vector.any_set());
    let (attester, component) = (&token.submods["attester"], &token.submods["component"]);
    assert_eq!(attester.status, TrustTier::Affirming);
    assert_eq!(attester.trust_vector.instance_identity, 2);
    assert_eq!(component.status, TrustTier::Affirming);
    assert_eq!(component.trust_vector.executables, 2);
    assert_eq!(component.trust_vector.configuration, 2);
    assert!(!component.trust_vector.runtime_opaque.is_set());
    assert_eq!(component.policy_ids, ["tag:trustshim.org,2026:appraisal#1"]);

    // The private claims are unknown to the crate until they are registered; then they are there.
    token.extensions.register("trustshim", -1, RawValueKind::Map).unwrap();
    let private = token.extensions.get_by_name("trustshim").unwrap();
    assert_eq!(member(&private, "host"), &RawValue::String(token_cases::HOST.to_owned()));
    let deadline = i64::try_from(token_cases::DEADLINE_MS).unwrap();
    assert_eq!(member(&private, "deadline_boottime_ms"), &RawValue::Integer(deadline));
}

#[test]
fn a_fresh_token_is_read() {
    let (issuer, _) = TokenIssuer::generate().unwrap();
    let mut facts = token_cases::facts();
    facts.issued_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (tier, read_as, claim) in [
        (Tier::Affirming, TrustTier::Affirming, 2),
        (Tier::Warning, TrustTier::Warning, 32),
        (Tier::Contraindicated, TrustTier::Contraindicated, 96),
    ] {
        facts.statuses = Statuses { boot: tier, attester: tier, component: tier };
        let jwt = issuer.issue(&facts).unwrap();
        let mut token = Ear::from_jwt_jwk(&jwt, Algorithm::EdDSA, &first_key(&issuer.jwks())).unwrap();
        for submod in token.submods.values_mut() {
            assert_eq!(submod.status, read_as);
            assert_eq!(submod.trust_vector.executables, claim);
            // The crate derives the tier from the vector and finds the one that we state.
            submod.status = TrustTier::None;
            submod.update_status_from_trust_vector();
            assert_eq!(submod.status, read_as);
        }
    }
}

#[test]
fn a_tampered_token_is_refused_by_the_crate_too() {
    let key = first_key(&keys::token_issuer().jwks());
    for vector in ["signature_tampered.jwt", "payload_tampered.jwt", "alg_none.jwt", "alg_hs256.jwt"] {
        assert!(Ear::from_jwt_jwk(&read(vector), Algorithm::EdDSA, &key).is_err(), "{vector}");
    }
}
