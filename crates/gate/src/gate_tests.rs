//! Tests of what a gate keeps from the one before it.

use attestation::decision::LocalDecision;
use attestation::grant::Rate;
use attestation::token::VerifiedToken;

use super::*;
use crate::authorize::Limit;
use crate::holder::{AttestationOutcome, AttestationRequest};

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
fn a_rate_that_is_used_up_stays_so_after_initialising_again() {
    let settings = Settings { clock: || Some(0), random: || None, scope: Scope::Keys };
    let gate = || Gate::new(settings, Box::new(Nobody), Box::new(Nobody));
    let once = [Limit { grant: "G-1".to_owned(), rate: Rate { per_second: None, total: Some(1) } }];
    let former = gate();
    former.limits.reserve(&once, 0).unwrap().complete();
    assert!(gate().with_limits(former.limits()).limits.reserve(&once, 0).is_err());
    assert!(gate().limits.reserve(&once, 0).is_ok(), "another process");
}
