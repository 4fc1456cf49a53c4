//! Names, as they stand on the wire, in output and on the command line: the same everywhere.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use attestation::decision::{DecisionId, NotADecisionId};
use attestation::digest::Digest;
use attestation::grant::Operation;
use attestation::key_uri::{KeyUri, ObjectClass};
use attestation::token::{Mode, Tier};
use serde::{Deserialize, Serialize};

fn on_the_wire(value: impl Serialize) -> String {
    serde_json::to_string(&value).unwrap()
}

fn from_the_wire<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn operations_have_one_name() {
    let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
    assert!(names.is_sorted_by(|one, next| one < next), "{names:?}");
    for operation in Operation::ALL {
        let name = operation.name();
        assert_eq!(on_the_wire(operation), format!("\"{name}\""));
        assert_eq!(from_the_wire(&format!("\"{name}\"")), Ok(operation));
        assert_eq!(format!("{operation:>12}"), format!("{name:>12}"), "output can be aligned");
    }
}

#[test]
fn modes_have_one_name() {
    for (mode, name) in [(Mode::Inline, "inline"), (Mode::Guarded, "guarded")] {
        assert_eq!(mode.name(), name);
        assert_eq!(on_the_wire(mode), format!("\"{name}\""));
        assert_eq!(from_the_wire(&format!("\"{name}\"")), Ok(mode));
    }
    assert!(from_the_wire::<Mode>("\"Inline\"").is_err());
}

#[test]
fn tiers_have_one_name() {
    for (tier, name) in [
        (Tier::None, "none"),
        (Tier::Affirming, "affirming"),
        (Tier::Warning, "warning"),
        (Tier::Contraindicated, "contraindicated"),
    ] {
        assert_eq!(tier.name(), name);
        assert_eq!(on_the_wire(tier), format!("\"{name}\""));
        assert_eq!(from_the_wire(&format!("\"{name}\"")), Ok(tier));
    }
}

#[test]
fn a_decision_has_the_same_name_everywhere() {
    let id = DecisionId::from_random(0x0123_4567_89ab_cdef);
    assert_eq!(id.number(), 0x0012_3456_789a_bcde);
    assert_eq!(format!("{id:?}"), id.to_string());
    assert_eq!(on_the_wire(id), format!("\"{id}\""));
    assert_eq!(from_the_wire(&format!("\"{id}\"")), Ok(id));
    assert_eq!(from_the_wire::<DecisionId>("\"D-7F3K2Q\""), Err(NotADecisionId.to_string()));
    assert!(from_the_wire::<DecisionId>("7").is_err());
}

#[test]
fn a_digest_has_the_same_form_everywhere() {
    let digest = Digest::of(b"");
    // FIPS 180-4, of no data.
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(digest.to_string(), text);
    assert_eq!(format!("{digest:?}"), text);
    assert_eq!(text.parse(), Ok(digest));
    assert_eq!(Digest::from_bytes(*digest.as_bytes()), digest);
}

#[test]
fn keys_are_the_private_public_and_secret_ones() {
    let keys: Vec<_> = ObjectClass::ALL.into_iter().filter(|class| class.is_key()).collect();
    assert_eq!(keys, [ObjectClass::Private, ObjectClass::Public, ObjectClass::Secret]);
}

#[test]
fn the_parts_of_a_key_uri_can_be_read() {
    let uri = KeyUri::parse("pkcs11:token=t;serial=s;object=o%20o;id=%01%02;type=private").unwrap();
    assert_eq!(uri.token(), Some(&b"t"[..]));
    assert_eq!(uri.serial(), Some(&b"s"[..]));
    assert_eq!(uri.object(), Some(&b"o o"[..]));
    assert_eq!(uri.id(), Some(&[1, 2][..]));
    let uri = KeyUri::parse("pkcs11:type=private").unwrap();
    assert_eq!((uri.token(), uri.serial(), uri.object(), uri.id()), (None, None, None, None));
}
