//! Tests of what a gate keeps from the one before it.

use attestation::decision::LocalDecision;
use attestation::grant::Rate;
use attestation::key_uri::TokenIdentity;
use attestation::token::VerifiedToken;

use super::*;
use crate::authorize::Limit;
use crate::holder::{AttestationOutcome, AttestationRequest};
use crate::subject::Named;

struct Nobody;

impl Attester for Nobody {
    fn attest(&self, _: AttestationRequest) -> AttestationOutcome {
        panic!("nobody attests here")
    }

    fn examine(&self, _: &str) -> Result<VerifiedToken, AttestationFailure> {
        panic!("nobody hands anything in here")
    }
}

impl Recorder for Nobody {
    fn denied(&self, _: &LocalDecision, _: Option<&str>) {}

    fn object_left(&self, _: &str) {}
}

#[test]
fn what_demands_nothing_is_free_where_keys_alone_are_gated() {
    let token = Arc::new(Subject::of(Named::Token(TokenIdentity {
        label: "token".into(),
        serial: "1".into(),
        model: "m".into(),
        manufacturer: "v".into(),
    })));
    for (scope, is_free) in [(Scope::Keys, true), (Scope::Everything, false)] {
        let settings = Settings { clock: || Some(0), random: || None, scope };
        let gate = Gate::new(settings, Box::new(Nobody), Box::new(Nobody));
        assert_eq!(gate.is_free(&Demands::none(Function::C_DigestInit)), is_free, "{scope:?}");
        assert!(!gate.is_free(&crate::rules::administer(Function::C_SetPIN, &token)), "{scope:?}");
        for function in Function::ALL {
            let is_keyless = function.class() == Class::Keyless;
            assert_eq!(gate.free(*function).is_some(), is_free && is_keyless, "{function}, {scope:?}");
        }
    }
}

#[test]
fn a_rate_that_is_used_up_stays_so_after_initialising_again() {
    let settings = Settings { clock: || Some(0), random: || None, scope: Scope::Keys };
    let gate = || Gate::new(settings, Box::new(Nobody), Box::new(Nobody));
    let once = [Limit { grant: "G-1".to_owned(), rate: Rate { per_second: None, total: Some(1) } }];
    let former = gate();
    former.limits.reserve(&once, 0).unwrap().complete();
    assert!(gate().with_limits(former.limits()).limits.reserve(&once, 0).is_err());
    assert!(gate().limits.reserve(&once, 0).is_ok(), "another process");
}
