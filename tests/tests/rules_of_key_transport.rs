//! Keys out and in under other keys, and keys from keys: nobody gets more of a key by such a detour than was granted.

use cryptoki_sys::*;
use e2e::openssl::{PeerKey, aes_ecb, aes_key_wrap};
use e2e::pkcs11_tool::public_key;
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_key_does_not_get_out_under_an_imported_one_without_extract,
        extract_alone_does_not_make_a_key_wrap,
        a_known_key_does_not_get_in_under_a_granted_name,
        a_derived_key_has_the_grants_of_its_base_and_not_those_of_its_name,
        a_key_from_a_derived_key_has_the_grants_of_the_first_base,
        a_derived_key_that_lasts_needs_derive_on_its_name,
        a_key_inside_a_parameter_needs_the_grant_of_one_in_the_argument,
        a_mechanism_that_may_hide_keys_in_its_parameter_is_refused,
    ],
}

const MINE: [u8; 32] = [1; 32];
const TARGET: [u8; 32] = [2; 32];
/// Every operation on a key but those that give it out.
const ALL_BUT_EXTRACT: &str = "sign,decrypt,encrypt,verify,wrap,unwrap,derive,generate,import,modify,destroy";

fn secret(label: &str) -> String {
    format!("pkcs11:token=sandbox;object={label};type=secret-key")
}

fn private(label: &str) -> String {
    format!("pkcs11:token=sandbox;object={label};type=private")
}

/// The template of a secret key that is neither sensitive nor hidden: its maker could read it if the token alone decided.
fn open_key(kind: u64, label: &str, lasting: bool, more: Value) -> Value {
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(kind)],
        [CKA_TOKEN, if lasting { TRUE } else { FALSE }],
        [CKA_SENSITIVE, FALSE],
        [CKA_EXTRACTABLE, TRUE],
        [CKA_LABEL, hex(label.as_bytes())]
    ]);
    joined(&template, &more)
}

fn wrap(session: u64, wrapping: u64, key: u64) -> Value {
    json!({ "session": session, "mechanism": CKM_AES_KEY_WRAP, "wrapping_key": wrapping, "key": key })
}

/// Brings in a key that the program knows.
fn import_mine(program: &mut Program<'_>) -> u64 {
    let template = open_key(CKK_AES, "mine", false, json!([[CKA_VALUE, hex(&MINE)], [CKA_WRAP, TRUE]]));
    let session = program.session;
    program.must("C_CreateObject", json!({ "session": session, "template": template })).handle("object")
}

fn a_key_does_not_get_out_under_an_imported_one_without_extract(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("target", &TARGET, json!([]));

    let grants = [(&*secret("mine"), "all"), (&*secret("target"), ALL_BUT_EXTRACT)];
    let mut thief = watched.program("thief", &grants);
    let (session, target) = (thief.session, thief.key(CKO_SECRET_KEY, "target"));
    let mine = import_mine(&mut thief);
    thief.denied("not-granted", "C_WrapKey", wrap(session, mine, target));
    let size = json!({ "session": session, "mechanism": CKM_AES_KEY_WRAP, "wrapping_key": mine, "key": target, "wrapped": null });
    thief.denied("not-granted", "C_WrapKey", size);
    // Nor under a public key, with which to encrypt is free.
    let public = thief.key(CKO_PUBLIC_KEY, "demo-rsa");
    let under_public =
        json!({ "session": session, "mechanism": CKM_RSA_PKCS, "wrapping_key": public, "key": mine });
    thief.denied("not-granted", "C_WrapKey", under_public);

    let mut keeper = watched.program("keeper", &[(&secret("mine"), "all"), (&secret("target"), "extract")]);
    let (session, target) = (keeper.session, keeper.key(CKO_SECRET_KEY, "target"));
    let mine = import_mine(&mut keeper);
    let wrapped = keeper.must("C_WrapKey", wrap(session, mine, target)).bytes("wrapped");
    assert_eq!(wrapped, aes_key_wrap(&watched.stack, &MINE, &TARGET));
}

fn extract_alone_does_not_make_a_key_wrap(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("target", &TARGET, json!([]));
    watched.make_aes("kek", &MINE, json!([[CKA_WRAP, TRUE]]));
    let mut program = watched
        .program("extractor", &[(&secret("target"), "all"), (&secret("kek"), "encrypt,extract,unwrap")]);
    let (kek, target) = (program.key(CKO_SECRET_KEY, "kek"), program.key(CKO_SECRET_KEY, "target"));
    let session = program.session;
    program.denied("not-granted", "C_WrapKey", wrap(session, kek, target));
}

fn a_known_key_does_not_get_in_under_a_granted_name(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("kek", &MINE, json!([[CKA_UNWRAP, TRUE]]));
    let known = [7; 32];
    let wrapped = hex(&aes_key_wrap(&watched.stack, &MINE, &known));
    let encrypting = json!([[CKA_ENCRYPT, TRUE]]);
    let unwrap = |session: u64, kek: u64, template: Value| {
        json!({
            "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": kek, "wrapped": wrapped,
            "template": template
        })
    };
    let encrypt_init =
        |session: u64, key: u64| json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key });

    let mut smuggler =
        watched.program("smuggler", &[(&secret("kek"), "unwrap"), (&secret("good"), "encrypt,modify")]);
    let (session, kek) = (smuggler.session, smuggler.key(CKO_SECRET_KEY, "kek"));
    let lasting = open_key(CKK_AES, "good", true, encrypting.clone());
    smuggler.denied("not-granted", "C_UnwrapKey", unwrap(session, kek, lasting.clone()));
    // One of the session comes to be, and has nothing of the grants on its name.
    let passing = open_key(CKK_AES, "good", false, encrypting.clone());
    let key = smuggler.must("C_UnwrapKey", unwrap(session, kek, passing)).handle("key");
    smuggler.denied("not-granted", "C_EncryptInit", encrypt_init(session, key));
    let copy = json!({ "session": session, "object": key, "template": [[CKA_TOKEN, TRUE]] });
    smuggler.denied("not-granted", "C_CopyObject", copy);
    let value = json!({ "session": session, "object": key, "template": [[CKA_VALUE, 32]] });
    smuggler.denied("not-granted", "C_GetAttributeValue", value);
    // What comes out has a class that only the wrapping knows, unless it is said.
    let classless = json!([[CKA_KEY_TYPE, ulong(CKK_AES)], [CKA_LABEL, hex(b"good")]]);
    smuggler.never_arrives(CKR_TEMPLATE_INCOMPLETE, "C_UnwrapKey", unwrap(session, kek, classless));

    let grants = [(&*secret("kek"), "unwrap,encrypt"), (&*secret("good"), "unwrap,encrypt")];
    let mut importer = watched.program("importer", &grants);
    let (session, kek) = (importer.session, importer.key(CKO_SECRET_KEY, "kek"));
    let key = importer.must("C_UnwrapKey", unwrap(session, kek, lasting)).handle("key");
    importer.must("C_EncryptInit", encrypt_init(session, key));
    let encrypted =
        importer.must("C_Encrypt", json!({ "session": session, "input": hex(&[3; 16]) })).bytes("output");
    assert_eq!(encrypted, aes_ecb(&watched.stack, &known, &[3; 16]));
}

/// `CK_ECDH1_DERIVE_PARAMS` without a key derivation function.
fn ecdh(point: &[u8]) -> Value {
    json!([CKD_NULL, 0, 0, point.len(), { "at": hex(point) }])
}

fn derive(session: u64, mechanism: u64, parameter: Value, base: u64, template: Value) -> Value {
    json!({
        "session": session, "mechanism": mechanism, "parameter": parameter, "base_key": base, "template": template
    })
}

/// Derives a key that the token alone would give out, of the granted name `good`.
fn derive_good(program: &mut Program<'_>, mechanism: u64, parameter: Value, base: u64) -> u64 {
    let uses = json!([[CKA_VALUE_LEN, ulong(32)], [CKA_SIGN, TRUE], [CKA_DERIVE, TRUE]]);
    let template = open_key(CKK_GENERIC_SECRET, "good", false, uses);
    let session = program.session;
    program.must("C_DeriveKey", derive(session, mechanism, parameter, base, template)).handle("key")
}

fn value_of(session: u64, key: u64) -> Value {
    json!({ "session": session, "object": key, "template": [[CKA_VALUE, 32]] })
}

fn a_derived_key_has_the_grants_of_its_base_and_not_those_of_its_name(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_ec("base", json!([[CKA_DERIVE, TRUE]]));
    watched.make_aes("base", &TARGET, json!([[CKA_DERIVE, TRUE]]));
    let peer = PeerKey::generate(&watched.stack);
    let blocks = json!([{ "at": hex(&[5; 32]) }, 32]);
    let expected =
        [peer.shared_secret(&public_key(&watched.stack, "base")), aes_ecb(&watched.stack, &TARGET, &[5; 32])];

    let grants =
        |operations| [(private("base"), operations), (secret("base"), operations), (secret("good"), "all")];
    let start = |name, operations| {
        let grants = grants(operations);
        let grants: Vec<_> = grants.iter().map(|(key, operations)| (&**key, *operations)).collect();
        watched.program(name, &grants)
    };
    let derived = |program: &mut Program<'_>| {
        let (ec, aes) = (program.key(CKO_PRIVATE_KEY, "base"), program.key(CKO_SECRET_KEY, "base"));
        [
            derive_good(program, CKM_ECDH1_DERIVE, ecdh(&peer.point()), ec),
            derive_good(program, CKM_AES_ECB_ENCRYPT_DATA, blocks.clone(), aes),
        ]
    };

    let mut deriver = start("deriver", "derive");
    let session = deriver.session;
    watched.make_aes("good", &MINE, json!([[CKA_WRAP, TRUE]]));
    let good = deriver.key(CKO_SECRET_KEY, "good");
    for key in derived(&mut deriver) {
        let on_key = |mechanism| json!({ "session": session, "mechanism": mechanism, "key": key });
        deriver.denied("not-granted", "C_GetAttributeValue", value_of(session, key));
        deriver.denied("not-granted", "C_SignInit", on_key(CKM_SHA256_HMAC));
        deriver.denied("not-granted", "C_VerifyInit", on_key(CKM_SHA256_HMAC));
        deriver.denied("not-granted", "C_WrapKey", wrap(session, good, key));
        let lasting = json!({ "session": session, "object": key, "template": [[CKA_TOKEN, TRUE]] });
        deriver.denied("not-granted", "C_CopyObject", lasting);
        deriver.denied("not-granted", "C_DestroyObject", json!({ "session": session, "object": key }));
        deriver.must("C_DigestInit", json!({ "session": session, "mechanism": CKM_SHA256 }));
        deriver.denied("not-granted", "C_DigestKey", json!({ "session": session, "key": key }));
        deriver.must("C_Digest", json!({ "session": session, "input": "00" }));
        // Another session of the process finds it, and finds it as it is.
        let other = deriver.another_session();
        deriver.denied("not-granted", "C_GetAttributeValue", value_of(other, key));
    }

    let mut revealer = start("revealer", "derive,reveal");
    let session = revealer.session;
    for (key, expected) in derived(&mut revealer).into_iter().zip(&expected) {
        let value = revealer.must("C_GetAttributeValue", value_of(session, key)).attribute(0);
        assert_eq!(&value, expected);
        let sign = json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": key });
        revealer.denied("not-granted", "C_SignInit", sign);
    }
}

fn a_key_from_a_derived_key_has_the_grants_of_the_first_base(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &TARGET, json!([[CKA_DERIVE, TRUE]]));
    let mut program = watched.program("grandchild", &[(&secret("base"), "derive"), (&secret("good"), "all")]);
    let (session, base) = (program.session, program.key(CKO_SECRET_KEY, "base"));
    let blocks = || json!([{ "at": hex(&[5; 32]) }, 32]);
    let uses = json!([[CKA_VALUE_LEN, ulong(32)], [CKA_DERIVE, TRUE]]);
    let template = open_key(CKK_AES, "good", false, uses);
    let mut key = base;
    for _ in 0..2 {
        let request = derive(session, CKM_AES_ECB_ENCRYPT_DATA, blocks(), key, template.clone());
        key = program.must("C_DeriveKey", request).handle("key");
    }
    program.denied("not-granted", "C_GetAttributeValue", value_of(session, key));
}

fn a_derived_key_that_lasts_needs_derive_on_its_name(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &TARGET, json!([[CKA_DERIVE, TRUE]]));
    let grants = [
        (&*secret("base"), "derive,reveal"),
        (&*secret("good"), "derive,reveal"),
        (&*secret("named"), "reveal"),
    ];
    let mut program = watched.program("lasting", &grants);
    let (session, base) = (program.session, program.key(CKO_SECRET_KEY, "base"));
    let blocks = || json!([{ "at": hex(&[5; 32]) }, 32]);
    let request = |label| {
        let template = open_key(CKK_AES, label, true, json!([[CKA_VALUE_LEN, ulong(32)]]));
        derive(session, CKM_AES_ECB_ENCRYPT_DATA, blocks(), base, template)
    };
    program.denied("not-granted", "C_DeriveKey", request("named"));
    let key = program.must("C_DeriveKey", request("good")).handle("key");
    let value = program.must("C_GetAttributeValue", value_of(session, key)).attribute(0);
    assert_eq!(value, aes_ecb(&watched.stack, &TARGET, &[5; 32]));
}

fn a_key_inside_a_parameter_needs_the_grant_of_one_in_the_argument(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &MINE, json!([[CKA_DERIVE, TRUE]]));
    watched.make_aes("second", &TARGET, json!([[CKA_DERIVE, TRUE]]));
    // CK_HKDF_PARAMS with a salt key.
    let hkdf = |salt: u64| json!(["0101000000000000", CKM_SHA256, CKF_HKDF_SALT_KEY, 0, 0, salt, 0, 0]);
    let parameters = |key: u64| [(CKM_CONCATENATE_BASE_AND_KEY, json!([key])), (CKM_HKDF_DERIVE, hkdf(key))];
    let template = open_key(CKK_GENERIC_SECRET, "good", false, json!([[CKA_VALUE_LEN, ulong(32)]]));

    let mut one = watched.program("one", &[(&secret("base"), "all"), (&secret("second"), ALL_BUT_DERIVE)]);
    let (session, base) = (one.session, one.key(CKO_SECRET_KEY, "base"));
    let second = one.key(CKO_SECRET_KEY, "second");
    for (mechanism, parameter) in parameters(second) {
        let request = derive(session, mechanism, parameter, base, template.clone());
        one.denied("not-granted", "C_DeriveKey", request);
    }

    let mut both = watched.program("both", &[(&secret("base"), "derive"), (&secret("second"), "derive")]);
    let (session, base) = (both.session, both.key(CKO_SECRET_KEY, "base"));
    let second = both.key(CKO_SECRET_KEY, "second");
    for (mechanism, parameter) in parameters(second) {
        let request = derive(session, mechanism, parameter, base, template.clone());
        // It is let through; SoftHSM 2.6 has neither mechanism.
        both.arrives(CKR_MECHANISM_INVALID, "C_DeriveKey", request);
    }
    let nowhere = derive(session, CKM_CONCATENATE_BASE_AND_KEY, json!([0xffff]), base, template);
    both.never_arrives(CKR_KEY_HANDLE_INVALID, "C_DeriveKey", nowhere);
}

const ALL_BUT_DERIVE: &str =
    "sign,decrypt,encrypt,verify,wrap,extract,unwrap,generate,import,modify,destroy,reveal";

fn a_mechanism_that_may_hide_keys_in_its_parameter_is_refused(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("base", &MINE, json!([[CKA_DERIVE, TRUE]]));
    let mut program = watched.program("hidden", &[("pkcs11:token=sandbox", "all")]);
    let (session, base) = (program.session, program.key(CKO_SECRET_KEY, "base"));
    let template = open_key(CKK_GENERIC_SECRET, "new", false, json!([[CKA_VALUE_LEN, ulong(32)]]));
    let request = |mechanism, parameter: Value| derive(session, mechanism, parameter, base, template.clone());
    let vendors = CKM_VENDOR_DEFINED + 1;
    for (mechanism, parameter) in [
        (CKM_KIP_DERIVE, json!([0, base, { "at": hex(&[1; 16]) }, 16])),
        (CKM_SP800_108_COUNTER_KDF, json!([CKM_AES_CMAC, 0, 0, 0, 0])),
        (CKM_TLS12_KEY_AND_MAC_DERIVE, json!([0, 0, 0, 0])),
        (vendors, json!([base])),
        // A structure of another size than the one that the gate can read.
        (CKM_CONCATENATE_BASE_AND_KEY, json!([base, base])),
        (CKM_HKDF_DERIVE, json!([0, base])),
    ] {
        program.denied("mechanism-unclear", "C_DeriveKey", request(mechanism, parameter));
    }
    let begin = |parameter: Value| json!({ "session": session, "mechanism": vendors, "key": base, "parameter": parameter });
    program.denied("mechanism-unclear", "C_SignInit", begin(json!([base])));
    // Where there is no room for a handle, there is none.
    program.arrives(CKR_MECHANISM_INVALID, "C_SignInit", begin(json!("00000000000000")));
    program.arrives(CKR_MECHANISM_INVALID, "C_DeriveKey", request(vendors, json!([])));
}
