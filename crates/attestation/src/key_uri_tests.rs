//! Tests of key URIs: what is read, what is refused, and that a key's own URI means this key only.

use proptest::prelude::*;

use super::*;

fn demo_key() -> ObjectIdentity {
    ObjectIdentity {
        token: TokenIdentity {
            label: "my token".to_owned(),
            serial: "5d3f".to_owned(),
            model: "SoftHSM v2".to_owned(),
            manufacturer: "SoftHSM project".to_owned(),
        },
        class: ObjectClass::Private,
        id: vec![0x01, 0xff],
        label: b"demo;rsa=?/%".to_vec(),
    }
}

#[test]
fn every_stated_attribute_counts() {
    let key = demo_key();
    for (text, matches) in [
        ("pkcs11:token=my%20token", true),
        ("pkcs11:token=my%20token2", false),
        ("PKCS11:serial=5d3f;type=private", true),
        ("pkcs11:serial=5D3F", false),
        ("pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project", true),
        ("pkcs11:manufacturer=SoftHSM", false),
        ("pkcs11:id=%01%ff", true),
        ("pkcs11:id=%01%Ff;object=demo%3brsa=%3F%2F%25", true),
        ("pkcs11:id=%01", false),
        ("pkcs11:object=", false),
        ("pkcs11:type=public", false),
        ("pkcs11:type=secret-key", false),
    ] {
        assert_eq!(KeyUri::parse(text).expect(text).matches(&key), matches, "{text}");
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    use KeyUriError as E;
    for (text, expected) in [
        ("", E::Scheme),
        ("object=a", E::Scheme),
        ("pkcs12:object=a", E::Scheme),
        (" pkcs11:object=a", E::Scheme),
        ("pkcs11:", E::Empty),
        ("pkcs11:;", E::AttributeUnknown(String::new())),
        ("pkcs11:object=a;", E::AttributeUnknown(String::new())),
        ("pkcs11:object", E::AttributeUnknown("object".into())),
        ("pkcs11:slot-id=0", E::AttributeUnknown("slot-id".into())),
        ("pkcs11:library-manufacturer=a", E::AttributeUnknown("library-manufacturer".into())),
        ("pkcs11:Object=a", E::AttributeUnknown("Object".into())),
        ("pkcs11:x-vendor=a", E::AttributeUnknown("x-vendor".into())),
        ("pkcs11:object=a?pin-value=1234", E::Query),
        ("pkcs11:object=a?", E::Query),
        ("pkcs11:object=a;object=a", E::Duplicate("object")),
        ("pkcs11:type=private;type=public", E::Duplicate("type")),
        ("pkcs11:type=profile", E::Type("profile".into())),
        ("pkcs11:type=", E::Type(String::new())),
        ("pkcs11:object=a b", E::Encoding("object".into())),
        ("pkcs11:object=a/b", E::Encoding("object".into())),
        ("pkcs11:object=%4", E::Encoding("object".into())),
        ("pkcs11:object=%g0", E::Encoding("object".into())),
        ("pkcs11:object=%+4", E::Encoding("object".into())),
        ("pkcs11:object=\u{e9}", E::Encoding("object".into())),
    ] {
        assert_eq!(KeyUri::parse(text), Err(expected), "{text:?}");
    }
}

#[test]
fn one_key_is_named_by_token_type_and_name() {
    for (text, one) in [
        ("pkcs11:token=a;object=b;type=private", true),
        ("pkcs11:serial=a;id=%01;type=secret-key", true),
        ("pkcs11:token=a;object=b", false),
        ("pkcs11:object=b;type=private", false),
        ("pkcs11:token=a;type=private", false),
        ("pkcs11:token=a;object=;type=private", false),
        ("pkcs11:token=;object=b;type=private", false),
    ] {
        assert_eq!(KeyUri::parse(text).expect(text).names_one_key(), one, "{text}");
    }
}

#[test]
fn a_token_is_named_by_a_uri_that_states_no_object() {
    let token = demo_key().token;
    for (text, matches) in [
        ("pkcs11:token=my%20token", true),
        ("pkcs11:serial=5d3f;model=SoftHSM%20v2", true),
        ("pkcs11:token=another", false),
        ("pkcs11:token=my%20token;type=private", false),
        ("pkcs11:token=my%20token;object=", false),
        ("pkcs11:token=my%20token;id=%01%FF", false),
    ] {
        assert_eq!(KeyUri::parse(text).expect(text).matches_token(&token), matches, "{text}");
    }
    assert!(KeyUri::parse(&token.uri()).unwrap().matches_token(&token));
}

fn identity() -> impl Strategy<Value = ObjectIdentity> {
    // A small alphabet with everything that could confuse the parser, so that near misses are common.
    let text = "[a%;=?:/ é\u{202e}]{0,3}";
    let bytes = || {
        prop::collection::vec(prop_oneof![Just(b'%'), Just(b';'), Just(b'='), Just(b'a'), any::<u8>()], 0..4)
    };
    let class = prop::sample::select(ObjectClass::ALL.to_vec());
    (text, text, text, text, class, bytes(), bytes()).prop_map(
        |(token_label, serial, model, manufacturer, class, id, label)| ObjectIdentity {
            token: TokenIdentity { label: token_label, serial, model, manufacturer },
            class,
            id,
            label,
        },
    )
}

/// A key and another that differs from it in at most one attribute.
fn neighbours() -> impl Strategy<Value = (ObjectIdentity, ObjectIdentity)> {
    (identity(), identity(), 0..7).prop_map(|(key, donor, attribute)| {
        let mut neighbour = key.clone();
        match attribute {
            0 => neighbour.token.label = donor.token.label,
            1 => neighbour.token.serial = donor.token.serial,
            2 => neighbour.token.model = donor.token.model,
            3 => neighbour.token.manufacturer = donor.token.manufacturer,
            4 => neighbour.class = donor.class,
            5 => neighbour.id = donor.id,
            _ => neighbour.label = donor.label,
        }
        (key, neighbour)
    })
}

proptest! {
    #[test]
    fn the_uri_of_a_key_matches_that_key_and_only_it((key, neighbour) in neighbours()) {
        let text = key.uri();
        prop_assert!(text.is_ascii() && !text.contains(' '), "{}", text);
        let uri = KeyUri::parse(&text)?;
        prop_assert!(uri.matches(&key));
        prop_assert_eq!(uri.matches(&neighbour), key == neighbour);
        prop_assert_eq!(uri.to_string(), text);
    }

    #[test]
    fn parsing_never_panics_and_what_it_takes_it_writes_back(text in "(pkcs11:)?[a-z0-9%;=?: é-]{0,40}") {
        if let Ok(uri) = KeyUri::parse(&text) {
            prop_assert_eq!(KeyUri::parse(&uri.to_string())?, uri);
        }
    }
}

#[test]
fn a_whole_name_is_id_label_and_class() {
    let parts = ["id=%01", "object=a", "type=private"];
    let whole = format!("pkcs11:{}", parts.join(";"));
    assert!(KeyUri::parse(&whole).unwrap().states_whole_name());
    assert!(
        KeyUri::parse("pkcs11:id=;object=;type=private").unwrap().states_whole_name(),
        "stated to be absent"
    );
    for left_out in 0..parts.len() {
        let mut parts = parts.to_vec();
        parts.remove(left_out);
        let text = format!("pkcs11:token=t;serial=1;{}", parts.join(";"));
        assert!(!KeyUri::parse(&text).unwrap().states_whole_name(), "{text}");
    }
}
