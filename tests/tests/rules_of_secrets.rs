//! Reading: what is secret of a key comes out by `reveal` alone, be it as an attribute, in a digest or in the state of an
//! operation.

use cryptoki_sys::*;
use e2e::openssl::aes_ecb;
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        the_value_of_a_key_that_is_not_sensitive_needs_reveal,
        what_the_token_keeps_to_itself_and_what_is_public_is_free_to_ask_for,
        private_data_and_objects_of_an_unknown_class_need_reveal,
        a_check_value_does_not_tell_what_a_keys_value_is,
        a_search_does_not_tell_what_a_keys_value_is,
        a_keys_value_goes_into_a_digest_with_reveal_only,
        the_state_of_an_operation_is_as_secret_as_its_keys,
        a_state_is_restored_with_every_use_that_it_may_hold,
    ],
}

const ALL_BUT_REVEAL: &str =
    "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,generate,import,modify,destroy";
const VALUE: [u8; 32] = [7; 32];

fn secret(label: &str) -> String {
    format!("pkcs11:token=sandbox;object={label};type=secret-key")
}

fn read(session: u64, object: u64, kind: u64) -> Value {
    json!({ "session": session, "object": object, "template": [[kind, 512]] })
}

/// A key on the token that the token itself gives out.
fn make_open_key(watched: &Watched) {
    let (mut owner, session) = watched.owner();
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)],
        [CKA_TOKEN, TRUE],
        [CKA_SENSITIVE, FALSE],
        [CKA_EXTRACTABLE, TRUE],
        [CKA_SIGN, TRUE],
        [CKA_LABEL, hex(b"open")],
        [CKA_VALUE, hex(&VALUE)]
    ]);
    owner.must("C_CreateObject", json!({ "session": session, "template": template }));
}

fn the_value_of_a_key_that_is_not_sensitive_needs_reveal(mode: Mode) {
    let watched = Watched::up(mode);
    make_open_key(&watched);
    let mut program = watched.program("reader", &[(&secret("open"), ALL_BUT_REVEAL)]);
    let (session, open) = (program.session, program.key(CKO_SECRET_KEY, "open"));
    program.denied("not-granted", "C_GetAttributeValue", read(session, open, CKA_VALUE));
    // Nor among others, nor its length alone, nor an attribute that nobody knows.
    let among = json!([[CKA_LABEL, 64], [CKA_VALUE, 64], [CKA_CLASS, 8]]);
    program.denied(
        "not-granted",
        "C_GetAttributeValue",
        json!({ "session": session, "object": open, "template": among }),
    );
    let length = json!([[CKA_VALUE, null]]);
    program.denied(
        "not-granted",
        "C_GetAttributeValue",
        json!({ "session": session, "object": open, "template": length }),
    );
    program.denied("not-granted", "C_GetAttributeValue", read(session, open, CKA_VENDOR_DEFINED + 1));

    let mut revealer = watched.program("revealer", &[(&secret("open"), "reveal")]);
    let (session, open) = (revealer.session, revealer.key(CKO_SECRET_KEY, "open"));
    let value = revealer.must("C_GetAttributeValue", read(session, open, CKA_VALUE));
    assert_eq!(value.attribute(0), VALUE);
}

fn what_the_token_keeps_to_itself_and_what_is_public_is_free_to_ask_for(mode: Mode) {
    let watched = Watched::up(mode);
    make_open_key(&watched);
    let (mut program, _) = watched.unapproved("unapproved");
    let session = program.session;
    let (aes, ec) = (program.key(CKO_SECRET_KEY, "demo-aes"), program.key(CKO_PRIVATE_KEY, "demo-ec"));
    for key in [aes, ec] {
        program.arrives(CKR_ATTRIBUTE_SENSITIVE, "C_GetAttributeValue", read(session, key, CKA_VALUE));
    }
    let open = program.key(CKO_SECRET_KEY, "open");
    // Two at once: the gate itself asks for one at a time.
    let public = json!([[CKA_KEY_TYPE, 8], [CKA_LABEL, 64], [CKA_SIGN, 1], [CKA_EXTRACTABLE, 1]]);
    let attributes = json!({ "session": session, "object": open, "template": public });
    assert_eq!(program.must("C_GetAttributeValue", attributes).attribute(1), b"open");
    let public = program.key(CKO_PUBLIC_KEY, "demo-rsa");
    let modulus = program.must("C_GetAttributeValue", read(session, public, CKA_MODULUS));
    assert_eq!(modulus.attribute(0).len(), 256);
}

fn private_data_and_objects_of_an_unknown_class_need_reveal(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut owner, owners) = watched.owner();
    let parameters = json!([
        [CKA_CLASS, ulong(CKO_DOMAIN_PARAMETERS)],
        [CKA_KEY_TYPE, ulong(CKK_DH)],
        [CKA_TOKEN, TRUE],
        [CKA_PRIME, hex(&[0xff; 128])],
        [CKA_BASE, "02"],
        [CKA_LABEL, hex(b"parameters")]
    ]);
    owner.must("C_CreateObject", json!({ "session": owners, "template": parameters }));
    for (label, private) in [("note", TRUE), ("poster", FALSE)] {
        let data = json!([
            [CKA_CLASS, ulong(CKO_DATA)],
            [CKA_TOKEN, TRUE],
            [CKA_PRIVATE, private],
            [CKA_VALUE, hex(b"written")],
            [CKA_LABEL, hex(label.as_bytes())]
        ]);
        owner.must("C_CreateObject", json!({ "session": owners, "template": data }));
    }
    let objects = |program: &mut Program<'_>| {
        [(CKO_DATA, "note"), (CKO_DATA, "poster"), (CKO_DOMAIN_PARAMETERS, "parameters")]
            .map(|(class, label)| program.key(class, label))
    };
    let every_key =
        ["secret-key", "private", "public"].map(|kind| format!("pkcs11:token=sandbox;type={kind}"));
    let mut keys_only = watched.program("keys", &every_key.each_ref().map(|key| (&**key, "all")));
    let session = keys_only.session;
    let [note, poster, parameters] = objects(&mut keys_only);
    keys_only.denied("not-granted", "C_GetAttributeValue", read(session, note, CKA_VALUE));
    keys_only.denied("not-granted", "C_GetAttributeValue", read(session, parameters, CKA_VALUE));
    let value = keys_only.must("C_GetAttributeValue", read(session, poster, CKA_VALUE)).attribute(0);
    assert_eq!(value, b"written");

    let mut reader = watched.program("reader", &[("pkcs11:token=sandbox", "reveal")]);
    let session = reader.session;
    let [note, _, parameters] = objects(&mut reader);
    let value = reader.must("C_GetAttributeValue", read(session, note, CKA_VALUE)).attribute(0);
    assert_eq!(value, b"written");
    reader.arrives(CKR_ATTRIBUTE_TYPE_INVALID, "C_GetAttributeValue", read(session, parameters, CKA_VALUE));
}

fn a_check_value_does_not_tell_what_a_keys_value_is(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &VALUE, json!([[CKA_DERIVE, TRUE]]));
    let derive = |session: u64, base: u64, sensitive: &str| {
        json!({
            "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "parameter": [{ "at": hex(&[5; 16]) }, 16],
            "base_key": base,
            "template": [
                [CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)],
                [CKA_VALUE_LEN, ulong(1)], [CKA_SENSITIVE, sensitive]
            ]
        })
    };
    let check_value = |session: u64, key: u64| json!({ "session": session, "object": key, "template": [[CKA_CHECK_VALUE, 16], [CKA_LABEL, 64]] });
    for (name, operations) in [("deriver", "derive"), ("revealer", "derive,reveal")] {
        let mut program = watched.program(name, &[(&secret("base"), operations)]);
        let (session, base) = (program.session, program.key(CKO_SECRET_KEY, "base"));
        for sensitive in [FALSE, TRUE] {
            // The first of the bytes by which SoftHSM derives, of which it gives out three of the digest.
            let key = program.must("C_DeriveKey", derive(session, base, sensitive)).handle("key");
            if operations == "derive" {
                program.denied("not-granted", "C_GetAttributeValue", check_value(session, key));
            } else {
                let value = program.must("C_GetAttributeValue", check_value(session, key)).attribute(0);
                let first = watched.stack.write("first", &aes_ecb(&watched.stack, &VALUE, &[5; 16])[..1]);
                let digest = e2e::openssl::openssl(&["dgst", "-sha1", "-binary", first.to_str().unwrap()]);
                assert_eq!(value, digest[..3]);
            }
        }
    }
}

fn a_search_does_not_tell_what_a_keys_value_is(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &VALUE, json!([[CKA_DERIVE, TRUE]]));
    let search = |session: u64, template: Value| json!({ "session": session, "template": template });
    let by_value = |value: &[u8]| json!([[CKA_VALUE, hex(value)]]);

    // Of a derived key's value each byte would take 256 attempts: SoftHSM compares with what sensitive keys hold, too.
    let mut deriver = watched.program("deriver", &[(&secret("base"), "derive")]);
    let (session, base) = (deriver.session, deriver.key(CKO_SECRET_KEY, "base"));
    let short = json!({
        "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "parameter": [{ "at": hex(&[5; 16]) }, 16],
        "base_key": base,
        "template": [
            [CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_GENERIC_SECRET)], [CKA_VALUE_LEN, ulong(1)]
        ]
    });
    deriver.must("C_DeriveKey", short);
    for template in [
        by_value(&[0]),
        joined(&by_value(&[0]), &json!([[CKA_CLASS, ulong(CKO_SECRET_KEY)]])),
        joined(&by_value(&[0]), &json!([[CKA_CLASS, ulong(CKO_DATA)]])),
        joined(
            &by_value(&[0]),
            &json!([[CKA_CLASS, ulong(CKO_CERTIFICATE)], [CKA_CLASS, ulong(CKO_SECRET_KEY)]]),
        ),
        json!([[CKA_CLASS, ulong(CKO_PRIVATE_KEY)], [CKA_PRIVATE_EXPONENT, "01"]]),
        json!([[CKA_VENDOR_DEFINED + 1, "01"]]),
        json!([[CKA_CHECK_VALUE, "010203"]]),
    ] {
        deriver.denied("not-granted", "C_FindObjectsInit", search(session, template));
    }
    // What is public is searched for by anybody.
    for template in [
        json!([[CKA_LABEL, hex(b"base")], [CKA_CLASS, ulong(CKO_SECRET_KEY)]]),
        json!([[CKA_MODULUS, "01"]]),
        joined(&by_value(&[0]), &json!([[CKA_CLASS, ulong(CKO_CERTIFICATE)]])),
    ] {
        deriver.must("C_FindObjectsInit", search(session, template));
        deriver.probe.must("C_FindObjectsFinal", json!({ "session": session }));
    }
    let mut revealer = watched.program("revealer", &[("pkcs11:token=sandbox", "reveal")]);
    let session = revealer.session;
    revealer.must("C_FindObjectsInit", search(session, by_value(&VALUE)));
    let found =
        revealer.probe.must("C_FindObjects", json!({ "session": session })).numbers("objects", "count");
    assert_eq!(found.len(), 1);
}

fn a_keys_value_goes_into_a_digest_with_reveal_only(mode: Mode) {
    let watched = Watched::up(mode);
    make_open_key(&watched);
    let mut program = watched.program("digester", &[(&secret("open"), ALL_BUT_REVEAL)]);
    let (session, open) = (program.session, program.key(CKO_SECRET_KEY, "open"));
    let begin = json!({ "session": session, "mechanism": CKM_SHA256 });
    program.must("C_DigestInit", begin);
    program.denied("not-granted", "C_DigestKey", json!({ "session": session, "key": open }));
    // The digest goes on without it.
    let digest = program.must("C_DigestFinal", json!({ "session": session })).bytes("output");
    assert_eq!(hex(&digest), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");

    let mut revealer = watched.program("revealer", &[(&secret("open"), "reveal")]);
    let (session, open) = (revealer.session, revealer.key(CKO_SECRET_KEY, "open"));
    revealer.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
    revealer.must("C_DigestKey", json!({ "session": session, "key": open }));
    let digest = revealer.must("C_DigestFinal", json!({ "session": session })).bytes("output");
    let value = watched.stack.write("value", VALUE);
    let expected = e2e::openssl::openssl(&["dgst", "-sha256", "-binary", value.to_str().unwrap()]);
    assert_eq!(digest, expected);
}

/// SoftHSM saves no states: what the gate lets through is answered with `CKR_FUNCTION_NOT_SUPPORTED`.
fn the_state_of_an_operation_is_as_secret_as_its_keys(mode: Mode) {
    let watched = Watched::up(mode);
    make_open_key(&watched);
    let sign_init =
        |session: u64, key: u64| json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": key });
    let state = |session: u64| json!({ "session": session });

    let mut signer = watched.program("signer", &[(&secret("open"), ALL_BUT_REVEAL)]);
    let (session, open) = (signer.session, signer.key(CKO_SECRET_KEY, "open"));
    signer.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_GetOperationState", state(session));
    signer.must("C_SignInit", sign_init(session, open));
    signer.denied("not-granted", "C_GetOperationState", state(session));
    // The operation goes on.
    signer.must("C_Sign", json!({ "session": session, "input": "00" }));
    signer.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_GetOperationState", state(session));
    // One that another form took the place of is in the state for as long as the real module holds it.
    let displaced = signer.another_session();
    signer.must("C_SignInit", sign_init(displaced, open));
    signer.must("C_MessageSignInit", sign_init(displaced, open));
    signer.must("C_MessageSignFinal", json!({ "session": displaced }));
    signer.arrives(CKR_OPERATION_ACTIVE, "C_SignInit", sign_init(displaced, open));
    signer.denied("not-granted", "C_GetOperationState", state(displaced));

    let mut revealer = watched.program("revealer", &[(&secret("open"), "reveal,sign")]);
    let (session, open) = (revealer.session, revealer.key(CKO_SECRET_KEY, "open"));
    revealer.must("C_SignInit", sign_init(session, open));
    revealer.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_GetOperationState", state(session));
    let digesting = revealer.another_session();
    revealer.must("C_DigestInit", json!({ "session": digesting, "mechanism": CKM_SHA256 }));
    revealer.must("C_DigestKey", json!({ "session": digesting, "key": open }));
    revealer.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_GetOperationState", state(digesting));
}

fn a_state_is_restored_with_every_use_that_it_may_hold(mode: Mode) {
    let watched = Watched::up(mode);
    make_open_key(&watched);
    let restore = |session: u64, role: &str, key: u64| {
        let mut request = json!({ "session": session, "state": hex(&[1; 32]) });
        request[role] = key.into();
        request
    };
    let roles = [("encryption_key", "reveal,encrypt,decrypt"), ("authentication_key", "reveal,sign,verify")];
    for (role, needed) in roles {
        for missing in needed.split(',') {
            let granted: Vec<_> = needed.split(',').filter(|operation| *operation != missing).collect();
            let name = format!("{role}-without-{missing}");
            let mut program = watched.program(&name, &[(&secret("open"), &granted.join(","))]);
            let (session, open) = (program.session, program.key(CKO_SECRET_KEY, "open"));
            program.denied("not-granted", "C_SetOperationState", restore(session, role, open));
        }
        let mut program = watched.program(role, &[(&secret("open"), needed)]);
        let (session, open) = (program.session, program.key(CKO_SECRET_KEY, "open"));
        let request = restore(session, role, open);
        program.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_SetOperationState", request);
    }
    let mut unapproved = watched.without_login("unapproved");
    let session = unapproved.session;
    let keyless = json!({ "session": session, "state": hex(&[1; 32]) });
    unapproved.arrives(CKR_FUNCTION_NOT_SUPPORTED, "C_SetOperationState", keyless);
}
