//! Keys made by encapsulation and by authenticated unwrapping: by the grants of what they are made from, whatever they are
//! called, and by those of their name where they last.

use cryptoki_sys::*;
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        an_encapsulated_key_has_the_grants_of_the_key_that_it_is_made_with,
        a_decapsulated_key_is_revealed_with_reveal_on_the_private_key_only,
        a_key_that_lasts_needs_the_grant_of_its_name,
        a_known_secret_does_not_come_in_by_a_key_that_is_not_granted,
        asking_for_the_size_of_a_ciphertext_makes_no_key_and_counts_nothing,
        authenticated_wrapping_takes_the_grants_of_wrapping,
    ],
}

const PUBLIC: &str = "pkcs11:token=sandbox;object=demo-rsa;type=public";
const PRIVATE: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";
const GOOD: &str = "pkcs11:token=sandbox;object=good;type=secret-key";

/// A generic secret that is called `good`.
fn good(more: Value) -> Value {
    let secret = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)],
        [CKA_LABEL, hex(b"good")],
        [CKA_SIGN, TRUE]
    ]);
    joined(&secret, &more)
}

fn encapsulation(program: &mut Program<'_>, more: Value) -> Value {
    let public = program.key(CKO_PUBLIC_KEY, "demo-rsa");
    json!({
        "session": program.session, "mechanism": CKM_ML_KEM, "public_key": public, "template": good(more)
    })
}

fn decapsulation(program: &mut Program<'_>, more: Value) -> Value {
    let private = program.key(CKO_PRIVATE_KEY, "demo-rsa");
    json!({
        "session": program.session, "mechanism": CKM_ML_KEM, "private_key": private, "template": good(more),
        "ciphertext": hex(&[0x5e; 32])
    })
}

fn an_encapsulated_key_has_the_grants_of_the_key_that_it_is_made_with(mode: Mode) {
    let watched = Watched::up(mode);
    let sign = |session, key| json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": key });
    for (name, operations, may_sign) in
        [("maker", "encapsulate", false), ("signer", "encapsulate,sign", true)]
    {
        let mut program = watched.program(name, &[(PUBLIC, operations), (GOOD, "all")]);
        let arguments = encapsulation(&mut program, json!([[CKA_TOKEN, FALSE]]));
        let key = program.must("C_EncapsulateKey", arguments).handle("key");
        let session = program.session;
        if may_sign {
            program.must("C_SignInit", sign(session, key));
        } else {
            program.denied("not-granted", "C_SignInit", sign(session, key));
        }
    }
}

fn a_decapsulated_key_is_revealed_with_reveal_on_the_private_key_only(mode: Mode) {
    let watched = Watched::up(mode);
    for (name, operations) in [("opener", "decapsulate"), ("revealer", "decapsulate,reveal")] {
        let mut program = watched.program(name, &[(PRIVATE, operations), (GOOD, "all")]);
        let open = json!([[CKA_TOKEN, FALSE], [CKA_SENSITIVE, FALSE], [CKA_EXTRACTABLE, TRUE]]);
        let arguments = decapsulation(&mut program, open);
        let key = program.must("C_DecapsulateKey", arguments).handle("key");
        let value = json!({ "session": program.session, "object": key, "template": [[CKA_VALUE, 64]] });
        if operations == "decapsulate" {
            program.denied("not-granted", "C_GetAttributeValue", value);
        } else {
            assert_eq!(program.must("C_GetAttributeValue", value).attribute(0), [0x5e; 32]);
        }
    }
}

fn a_key_that_lasts_needs_the_grant_of_its_name(mode: Mode) {
    let watched = Watched::up(mode);
    let lasting = || json!([[CKA_TOKEN, TRUE]]);
    let mut without = watched.program("without", &[(PUBLIC, "all"), (PRIVATE, "all"), (GOOD, "sign")]);
    let arguments = encapsulation(&mut without, lasting());
    without.denied("not-granted", "C_EncapsulateKey", arguments);
    let arguments = decapsulation(&mut without, lasting());
    without.denied("not-granted", "C_DecapsulateKey", arguments);
    let grants = [(PUBLIC, "encapsulate"), (PRIVATE, "decapsulate"), (GOOD, "encapsulate,decapsulate")];
    let mut with = watched.program("with", &grants);
    let arguments = encapsulation(&mut with, lasting());
    with.must("C_EncapsulateKey", arguments);
    let arguments = decapsulation(&mut with, lasting());
    with.must("C_DecapsulateKey", arguments);
}

fn a_known_secret_does_not_come_in_by_a_key_that_is_not_granted(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("stranger", &[(GOOD, "all"), (PUBLIC, "encrypt,wrap,derive")]);
    for more in [json!([[CKA_TOKEN, FALSE]]), json!([[CKA_TOKEN, TRUE]])] {
        let arguments = encapsulation(&mut program, more.clone());
        program.denied("not-granted", "C_EncapsulateKey", arguments);
        let arguments = decapsulation(&mut program, more);
        program.denied("not-granted", "C_DecapsulateKey", arguments);
    }
    // A template that does not say for certain what comes to be.
    let twice = json!([[CKA_TOKEN, FALSE], [CKA_LABEL, hex(b"other")]]);
    let arguments = decapsulation(&mut program, twice);
    program.denied("template-unclear", "C_DecapsulateKey", arguments);
}

fn asking_for_the_size_of_a_ciphertext_makes_no_key_and_counts_nothing(mode: Mode) {
    let watched = Watched::up(mode);
    watched.approve("asker");
    watched.stack.grant_within("asker", PUBLIC, "encapsulate", &["--many", "--total", "1"]);
    let mut program = watched.started("asker");
    let arguments = encapsulation(&mut program, json!([[CKA_TOKEN, FALSE]]));
    let mut size = arguments.clone();
    size["ciphertext"] = Value::Null;
    for _ in 0..3 {
        let reply = program.must("C_EncapsulateKey", size.clone());
        assert_eq!((reply.handle("ciphertext_len"), reply.handle("key")), (32, CK_INVALID_HANDLE));
    }
    assert_eq!(program.must("C_EncapsulateKey", arguments.clone()).bytes("ciphertext"), [0x5e; 32]);
    program.denied("rate-exceeded", "C_EncapsulateKey", arguments);
}

fn authenticated_wrapping_takes_the_grants_of_wrapping(mode: Mode) {
    let watched = Watched::up(mode);
    let both = json!([[CKA_WRAP, TRUE], [CKA_UNWRAP, TRUE]]);
    watched.make_aes("kek", &[3; 32], both);
    watched.make_aes("inner", &[4; 32], json!([]));
    let kek = "pkcs11:token=sandbox;object=kek;type=secret-key";
    let inner = "pkcs11:token=sandbox;object=inner;type=secret-key";
    let wrap = |program: &mut Program<'_>| {
        json!({
            "session": program.session, "mechanism": CKM_AES_GCM,
            "wrapping_key": program.key(CKO_SECRET_KEY, "kek"), "key": program.key(CKO_SECRET_KEY, "inner"),
            "associated": "00"
        })
    };
    for (name, grants) in
        [("half", [(kek, "wrap,unwrap"), (inner, "sign")]), ("other", [(kek, "sign"), (inner, "extract")])]
    {
        let mut program = watched.program(name, &grants);
        let arguments = wrap(&mut program);
        program.denied("not-granted", "C_WrapKeyAuthenticated", arguments);
    }
    let mut program = watched.program("whole", &[(kek, "wrap,unwrap"), (inner, "extract")]);
    let arguments = wrap(&mut program);
    let wrapped = program.must("C_WrapKeyAuthenticated", arguments).bytes("wrapped");
    let unwrap = |program: &mut Program<'_>, template: Value| {
        json!({
            "session": program.session, "mechanism": CKM_AES_GCM,
            "unwrapping_key": program.key(CKO_SECRET_KEY, "kek"), "wrapped": hex(&wrapped),
            "template": template, "associated": "00"
        })
    };
    let of_class = json!([[CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_AES)]]);
    // What is inside could be of any class.
    let arguments = unwrap(&mut program, json!([[CKA_KEY_TYPE, ulong(CKK_AES)]]));
    program.never_arrives(CKR_TEMPLATE_INCOMPLETE, "C_UnwrapKeyAuthenticated", arguments);
    let lasting = joined(&of_class, &json!([[CKA_TOKEN, TRUE], [CKA_LABEL, hex(b"inner")]]));
    let arguments = unwrap(&mut program, lasting);
    program.denied("not-granted", "C_UnwrapKeyAuthenticated", arguments);
    let arguments = unwrap(&mut program, of_class);
    let key = program.must("C_UnwrapKeyAuthenticated", arguments).handle("key");
    let init = json!({ "session": program.session, "mechanism": CKM_AES_ECB, "key": key });
    program.denied("not-granted", "C_EncryptInit", init);
}
