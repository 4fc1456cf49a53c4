//! Names: who may make or change keys gives them no name by which the grant of another component, or another grant of one's
//! own, comes to cover them.

use cryptoki_sys::*;
use e2e::openssl::{aes_ecb, aes_key_wrap};
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        keys_of_ones_own_making_get_no_name_that_anothers_grant_names,
        a_grant_that_states_a_whole_name_gives_that_one_and_no_other,
        a_known_key_does_not_come_to_last_under_the_name_of_the_key_that_unwrapped_it,
        both_halves_of_a_pair_and_every_kind_of_object_have_names,
        a_key_is_not_renamed_into_another_grant_of_ones_own,
        an_operator_is_told_of_a_name_that_is_granted_in_part,
    ],
}

/// The grant of the component that others would pass a key off to.
const GOOD: &str = "pkcs11:token=sandbox;object=good;type=secret-key";
const KNOWN: [u8; 32] = [7; 32];
const KEK: [u8; 32] = [1; 32];
const CURVE: &str = "06082a8648ce3d030107";
const MAKING: &str = "import,generate,unwrap,derive,modify";

fn named(id: Option<&str>, label: Option<&str>) -> Value {
    let id = id.map(|id| json!([CKA_ID, id]));
    let label = label.map(|label| json!([CKA_LABEL, hex(label.as_bytes())]));
    id.into_iter().chain(label).collect()
}

fn lasting(name: &Value, more: Value) -> Value {
    let key = json!([[CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_AES)], [CKA_TOKEN, TRUE]]);
    joined(&joined(&key, name), &more)
}

/// `kek`, which unwraps, derives, and is copied and renamed. Its id is 05.
fn make_kek(watched: &Watched) {
    let uses = json!([[CKA_UNWRAP, TRUE], [CKA_DERIVE, TRUE], [CKA_ENCRYPT, TRUE], [CKA_ID, "05"]]);
    watched.make_aes("kek", &KEK, uses);
}

/// Leaves one `kek`.
fn remove_copies(watched: &Watched) {
    let (mut owner, session) = watched.owner();
    for copy in owner.find(session, CKO_SECRET_KEY, "kek").into_iter().skip(1) {
        owner.must("C_DestroyObject", json!({ "session": session, "object": copy }));
    }
}

/// Each way to make or rename a lasting secret key so that it has this name, with the function.
fn ways(watched: &Watched, program: &mut Program<'_>, name: &Value) -> Vec<(&'static str, Value)> {
    let (session, kek) = (program.session, program.key(CKO_SECRET_KEY, "kek"));
    let size = json!([[CKA_VALUE_LEN, ulong(32)]]);
    let known = json!([[CKA_VALUE, hex(&KNOWN)], [CKA_ENCRYPT, TRUE]]);
    let wrapped = hex(&aes_key_wrap(&watched.stack, &KEK, &KNOWN));
    let encrypts = json!([[CKA_ENCRYPT, TRUE]]);
    vec![
        ("C_CreateObject", json!({ "session": session, "template": lasting(name, known) })),
        (
            "C_GenerateKey",
            json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": lasting(name, size.clone()) }),
        ),
        (
            "C_UnwrapKey",
            json!({
                "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": kek, "wrapped": wrapped,
                "template": lasting(name, encrypts)
            }),
        ),
        (
            "C_DeriveKey",
            json!({
                "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "base_key": kek,
                "parameter": [{ "at": hex(&[1; 32]) }, 32], "template": lasting(name, size)
            }),
        ),
        (
            "C_CopyObject",
            json!({ "session": session, "object": kek, "template": joined(&json!([[CKA_TOKEN, TRUE]]), name) }),
        ),
        ("C_SetAttributeValue", json!({ "session": session, "object": kek, "template": name })),
    ]
}

/// A program with grants as servers gave them that did not ask for the whole name.
fn in_part<'a>(watched: &'a Watched, name: &str, grants: &[(&str, &str)]) -> Program<'a> {
    watched.approve(name);
    for (key, operations) in grants {
        watched.stack.grant_in_part(name, key, operations);
    }
    watched.started(name)
}

fn keys_of_ones_own_making_get_no_name_that_anothers_grant_names(mode: Mode) {
    let watched = Watched::up(mode);
    make_kek(&watched);
    let mut victim = watched.program("victim", &[(GOOD, "encrypt")]);
    let by_label = "pkcs11:token=sandbox;object=good";
    let by_id = "pkcs11:token=sandbox;id=%05;type=secret-key";
    for (program, key, names) in [
        ("by-id", by_id, [named(Some("05"), Some("good")), named(Some("05"), None)]),
        // The other way round: somebody else's grant is on the id.
        ("by-label", by_label, [named(Some("05"), Some("good")), named(None, Some("good"))]),
        ("by-token", "pkcs11:token=sandbox", [named(Some("05"), Some("good")), json!([])]),
    ] {
        let kek = "pkcs11:token=sandbox;object=kek;type=secret-key";
        let mut attacker = in_part(&watched, program, &[(key, MAKING), (kek, "unwrap,derive,modify")]);
        for name in &names {
            for (function, request) in ways(&watched, &mut attacker, name) {
                // Copied or changed, a key keeps what the template does not state, and `kek` has this id.
                let keeps_its_name = *name == json!([]) || *name == named(Some("05"), None);
                if keeps_its_name && matches!(function, "C_CopyObject" | "C_SetAttributeValue") {
                    attacker.must(function, request);
                } else {
                    attacker.denied("name-in-part", function, request);
                }
            }
            remove_copies(&watched);
        }
        // What gives no lasting name is covered as before.
        let (session, kek) = (attacker.session, attacker.key(CKO_SECRET_KEY, "kek"));
        let passing = json!([
            [CKA_CLASS, ulong(CKO_SECRET_KEY)],
            [CKA_KEY_TYPE, ulong(CKK_AES)],
            [CKA_VALUE_LEN, ulong(32)]
        ]);
        let derive = json!({
            "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "base_key": kek,
            "parameter": [{ "at": hex(&[1; 32]) }, 32], "template": passing
        });
        attacker.must("C_DeriveKey", derive);
        let change = json!({ "session": session, "object": kek, "template": [[CKA_ENCRYPT, TRUE]] });
        attacker.must("C_SetAttributeValue", change);
    }
    assert!(victim.probe.find(victim.session, CKO_SECRET_KEY, "good").is_empty());

    // What an operator calls wide is: the attack that is refused above.
    let mut maker = watched.program("wide", &[(by_id, MAKING)]);
    let (function, request) = ways(&watched, &mut maker, &named(Some("05"), Some("good"))).swap_remove(0);
    maker.must(function, request);
    let (session, key) = (victim.session, victim.key(CKO_SECRET_KEY, "good"));
    victim.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key }));
    let encrypted = victim.must("C_Encrypt", json!({ "session": session, "input": hex(&[3; 16]) }));
    assert_eq!(encrypted.bytes("output"), aes_ecb(&watched.stack, &KNOWN, &[3; 16]));
}

fn a_grant_that_states_a_whole_name_gives_that_one_and_no_other(mode: Mode) {
    let watched = Watched::up(mode);
    make_kek(&watched);
    let kek = "pkcs11:token=sandbox;id=%05;object=kek;type=secret-key";
    for (program, key, name, others) in [
        (
            "both",
            "pkcs11:token=sandbox;id=%06;object=mine;type=secret-key",
            named(Some("06"), Some("mine")),
            vec![named(Some("06"), Some("good")), named(None, Some("mine")), named(Some("06"), None)],
        ),
        (
            "without-id",
            "pkcs11:token=sandbox;id=;object=mine;type=secret-key",
            named(Some(""), Some("mine")),
            vec![named(Some(""), Some("good")), named(Some("06"), Some("mine")), named(Some(""), None)],
        ),
        (
            "without-label",
            "pkcs11:token=sandbox;id=%06;object=;type=secret-key",
            named(Some("06"), Some("")),
            vec![named(Some("06"), Some("good")), named(Some(""), Some(""))],
        ),
    ] {
        watched.approve(program);
        watched.stack.grant_within(program, key, MAKING, &[]);
        watched.stack.grant_within(program, kek, "unwrap,derive,modify", &[]);
        let mut maker = watched.started(program);
        for other in others {
            for (function, request) in ways(&watched, &mut maker, &other) {
                maker.denied("not-granted", function, request);
            }
        }
        let by_setting =
            ways(&watched, &mut maker, &name).into_iter().filter(|way| way.0 != "C_SetAttributeValue");
        for (function, request) in by_setting.collect::<Vec<_>>() {
            maker.must(function, request);
        }
        // Nor is it renamed once it is there.
        let (session, made) = (maker.session, maker.key(CKO_SECRET_KEY, "kek"));
        let rename = json!({ "session": session, "object": made, "template": named(None, Some("good")) });
        maker.denied("not-granted", "C_SetAttributeValue", rename);
    }
}

fn a_known_key_does_not_come_to_last_under_the_name_of_the_key_that_unwrapped_it(mode: Mode) {
    let watched = Watched::up(mode);
    make_kek(&watched);
    let grant = ("pkcs11:token=sandbox;object=kek;type=secret-key", "unwrap,modify,derive");
    let mut maker = in_part(&watched, "maker", &[grant]);
    let (session, kek) = (maker.session, maker.key(CKO_SECRET_KEY, "kek"));
    let name = named(Some("05"), Some("kek"));
    let passing =
        json!([[CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_AES)], [CKA_TOKEN, FALSE]]);
    let unwrap = json!({
        "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": kek,
        "wrapped": hex(&aes_key_wrap(&watched.stack, &KEK, &KNOWN)), "template": joined(&passing, &name)
    });
    let known = maker.must("C_UnwrapKey", unwrap).handle("key");
    let lasting = json!([[CKA_TOKEN, TRUE]]);
    for function in ["C_CopyObject", "C_SetAttributeValue"] {
        let request = json!({ "session": session, "object": known, "template": lasting });
        maker.denied("name-in-part", function, request);
    }
    let (mut owner, session) = watched.owner();
    assert_eq!(owner.find(session, CKO_SECRET_KEY, "kek").len(), 1);
}

fn both_halves_of_a_pair_and_every_kind_of_object_have_names(mode: Mode) {
    let watched = Watched::up(mode);
    let name = named(Some("05"), Some("good"));
    let pair = |session: u64| {
        json!({
            "session": session, "mechanism": CKM_EC_KEY_PAIR_GEN,
            "public_template": joined(&name, &json!([[CKA_EC_PARAMS, CURVE], [CKA_TOKEN, TRUE]])),
            "private_template": joined(&name, &json!([[CKA_TOKEN, TRUE]]))
        })
    };
    let half = |class: &str, id: &str| format!("pkcs11:token=sandbox;{id}object=good;type={class}");
    for (program, public, private) in [("public-half", "id=%05;", ""), ("private-half", "", "id=%05;")] {
        let (public, private) = (half("public", public), half("private", private));
        let mut maker = in_part(&watched, program, &[(&public, "generate"), (&private, "generate")]);
        let session = maker.session;
        maker.denied("name-in-part", "C_GenerateKeyPair", pair(session));
    }
    let whole = ["public", "private"].map(|class| half(class, "id=%05;"));
    let mut maker = in_part(&watched, "whole", &[(&whole[0], "generate"), (&whole[1], "generate")]);
    let session = maker.session;
    maker.must("C_GenerateKeyPair", pair(session));
    // The class is part of the name.
    let of_any_class = "pkcs11:token=sandbox;id=%05;object=good";
    let mut classless = in_part(&watched, "classless", &[(of_any_class, "generate,import")]);
    let session = classless.session;
    classless.denied("name-in-part", "C_GenerateKeyPair", pair(session));
    for class in [CKO_PUBLIC_KEY, CKO_PRIVATE_KEY, CKO_SECRET_KEY] {
        let template = joined(&json!([[CKA_CLASS, ulong(class)]]), &name);
        let create = json!({ "session": session, "template": template });
        classless.denied("name-in-part", "C_CreateObject", create);
    }

    // Certificates and data are made freely, and renamed as keys are.
    let grants = ["mine", "good"].map(|label| format!("pkcs11:token=sandbox;object={label}"));
    let mut renamer = in_part(&watched, "renamer", &[(&grants[0], "modify"), (&grants[1], "modify")]);
    let session = renamer.session;
    let certificate = json!([
        [CKA_CLASS, ulong(CKO_CERTIFICATE)],
        [CKA_CERTIFICATE_TYPE, ulong(CKC_X_509)],
        [CKA_SUBJECT, "3000"],
        [CKA_VALUE, "3000"],
        [CKA_LABEL, hex(b"mine")],
        [CKA_TOKEN, TRUE]
    ]);
    let data = json!([
        [CKA_CLASS, ulong(CKO_DATA)],
        [CKA_PRIVATE, TRUE],
        [CKA_VALUE, "00"],
        [CKA_LABEL, hex(b"mine")],
        [CKA_TOKEN, TRUE]
    ]);
    for template in [certificate, data] {
        let object = renamer.must("C_CreateObject", json!({ "session": session, "template": template }));
        let object = object.handle("object");
        let rename = json!({ "session": session, "object": object, "template": named(None, Some("good")) });
        renamer.denied("name-in-part", "C_SetAttributeValue", rename);
    }
}

fn a_key_is_not_renamed_into_another_grant_of_ones_own(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("seven", &KEK, json!([[CKA_ENCRYPT, TRUE], [CKA_ID, "07"]]));
    let seven = "pkcs11:token=sandbox;id=%07;type=secret-key";
    let named_good = |session: u64, object: u64| {
        let template = joined(&json!([[CKA_TOKEN, TRUE]]), &named(None, Some("good")));
        [
            (
                "C_SetAttributeValue",
                json!({ "session": session, "object": object, "template": named(None, Some("good")) }),
            ),
            ("C_CopyObject", json!({ "session": session, "object": object, "template": template })),
        ]
    };
    let mut narrow = in_part(&watched, "narrow", &[(seven, "modify"), (GOOD, "encrypt")]);
    let (session, key) = (narrow.session, narrow.key(CKO_SECRET_KEY, "seven"));
    for (function, request) in named_good(session, key) {
        narrow.denied("name-in-part", function, request);
    }
    let mut wide = watched.program("wide", &[(seven, "modify"), (GOOD, "encrypt")]);
    let (session, key) = (wide.session, wide.key(CKO_SECRET_KEY, "seven"));
    for (function, request) in named_good(session, key) {
        wide.denied("name-of-another-grant", function, request);
    }
    wide.denied(
        "not-granted",
        "C_EncryptInit",
        json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key }),
    );
    // By way of a copy of the session, which is called so already.
    let of_the_session = joined(&json!([[CKA_TOKEN, FALSE]]), &named(None, Some("good")));
    let passing = json!({ "session": session, "object": key, "template": of_the_session });
    let copy = wide.must("C_CopyObject", passing).handle("new_object");
    let lasting = json!({ "session": session, "object": copy, "template": [[CKA_TOKEN, TRUE]] });
    wide.denied("name-of-another-grant", "C_CopyObject", lasting);
    // To another name, or where every grant that is gained lets it be modified.
    let mut free = watched.program("free", &[(seven, "modify"), (GOOD, "encrypt,modify")]);
    let (session, key) = (free.session, free.key(CKO_SECRET_KEY, "seven"));
    let [(function, request), _] = named_good(session, key);
    free.must(function, request);
    free.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key }));
}

fn an_operator_is_told_of_a_name_that_is_granted_in_part(mode: Mode) {
    let watched = Watched::up(mode);
    watched.approve("component");
    let add = |key: &str, operations: &str, more: &[&str]| {
        let mut command = watched.stack.operator(&["grant", "add", "--component", "component", "--key", key]);
        e2e::client::run(command.args(["--operations", operations]).args(more))
    };
    let whole = "pkcs11:token=sandbox;id=%05;object=x;type=secret-key";
    let parts =
        ["pkcs11:token=sandbox;id=%05;type=secret-key", "pkcs11:token=sandbox;object=x;type=secret-key"];
    for operation in ["import", "generate", "unwrap", "derive", "encapsulate", "decapsulate", "modify", "all"]
    {
        for part in parts {
            let refused = add(part, operation, &[]).must_fail();
            let text = refused.all_text();
            assert!(text.contains("--many") && text.contains("another grant names"), "{refused}");
        }
        add(whole, operation, &[]).must_succeed();
    }
    add(parts[0], "unwrap", &["--many"]).must_succeed();
    add(parts[0], "sign,decrypt,encrypt,verify,wrap,extract,destroy,reveal", &[]).must_succeed();
}
