//! Importing and generating: a key under a granted name comes to be only by grant, so that nobody signs for others with a
//! key of his own making.

use cryptoki_sys::*;
use e2e::openssl::{aes_ecb, aes_key_wrap};
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_key_is_not_imported_under_a_granted_name_without_import,
        what_is_no_key_is_created_freely,
        an_object_without_a_known_class_needs_import_on_the_whole_token,
        a_key_is_not_generated_under_a_granted_name_without_generate,
        a_key_pair_needs_generate_on_both_halves,
        a_key_of_a_password_needs_import_as_well,
        a_template_that_says_a_thing_twice_or_unreadably_is_refused,
        a_key_that_a_module_labels_counts_once_in_a_rate,
        an_object_that_the_module_does_not_destroy_counts_for_what_it_was_made_from,
    ],
}

const GOOD: &str = "pkcs11:token=sandbox;object=good;type=secret-key";
const ALL_BUT_MAKING: &str =
    "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,modify,destroy,reveal,administer";
const CURVE: &str = "06082a8648ce3d030107";

fn secret_key(label: &str, lasting: bool, more: Value) -> Value {
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_TOKEN, if lasting { TRUE } else { FALSE }],
        [CKA_LABEL, hex(label.as_bytes())]
    ]);
    joined(&template, &more)
}

fn known() -> Value {
    json!([[CKA_VALUE, hex(&[7; 32])], [CKA_ENCRYPT, TRUE]])
}

fn sized() -> Value {
    json!([[CKA_VALUE_LEN, ulong(32)]])
}

fn a_key_is_not_imported_under_a_granted_name_without_import(mode: Mode) {
    let watched = Watched::up(mode);
    let create = |session: u64, template: Value| json!({ "session": session, "template": template });

    let mut forger = watched.program("forger", &[(GOOD, &format!("{ALL_BUT_MAKING},generate"))]);
    let session = forger.session;
    for lasting in [true, false] {
        let key = secret_key("good", lasting, known());
        forger.denied("not-granted", "C_CreateObject", create(session, key));
    }

    let mut importer = watched.program("importer", &[(GOOD, "import,encrypt")]);
    let session = importer.session;
    for lasting in [true, false] {
        let key = importer.must("C_CreateObject", create(session, secret_key("good", lasting, known())));
        let key = key.handle("object");
        importer.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key }));
        let encrypted = importer.must("C_Encrypt", json!({ "session": session, "input": hex(&[3; 16]) }));
        assert_eq!(encrypted.bytes("output"), aes_ecb(&watched.stack, &[7; 32], &[3; 16]));
    }
    let other = create(session, secret_key("other", false, known()));
    importer.denied("not-granted", "C_CreateObject", other);
    let nameless = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_VALUE, hex(&[7; 32])]
    ]);
    importer.denied("not-granted", "C_CreateObject", create(session, nameless));
    // The grant names secret keys.
    for class in [CKO_PRIVATE_KEY, CKO_PUBLIC_KEY] {
        let template = json!([[CKA_CLASS, ulong(class)], [CKA_LABEL, hex(b"good")]]);
        importer.denied("not-granted", "C_CreateObject", create(session, template));
    }
}

fn what_is_no_key_is_created_freely(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut program, _) = watched.unapproved("unapproved");
    let session = program.session;
    let certificate = json!([
        [CKA_CLASS, ulong(CKO_CERTIFICATE)],
        [CKA_CERTIFICATE_TYPE, ulong(CKC_X_509)],
        [CKA_SUBJECT, "3000"],
        [CKA_VALUE, "3000"],
        [CKA_LABEL, hex(b"demo-ec")]
    ]);
    let data = |private| json!([[CKA_CLASS, ulong(CKO_DATA)], [CKA_PRIVATE, private], [CKA_VALUE, "00"]]);
    for template in [certificate, data(TRUE), data(FALSE)] {
        program.must("C_CreateObject", json!({ "session": session, "template": template }));
    }
}

fn an_object_without_a_known_class_needs_import_on_the_whole_token(mode: Mode) {
    let watched = Watched::up(mode);
    let classless = json!([[CKA_LABEL, hex(b"good")]]);
    let vendors = json!([[CKA_CLASS, ulong(CKO_VENDOR_DEFINED + 1)], [CKA_LABEL, hex(b"good")]]);
    let parameters = json!([
        [CKA_CLASS, ulong(CKO_DOMAIN_PARAMETERS)],
        [CKA_KEY_TYPE, ulong(CKK_DH)],
        [CKA_PRIME, hex(&[0xff; 128])],
        [CKA_BASE, "02"]
    ]);
    let requests = |session: u64| {
        [
            (CKR_TEMPLATE_INCOMPLETE, &classless),
            (CKR_ATTRIBUTE_VALUE_INVALID, &vendors),
            (CKR_OK, &parameters),
        ]
        .map(|(rv, template)| (rv, json!({ "session": session, "template": template })))
    };
    let every_key = [GOOD, "pkcs11:token=sandbox;type=secret-key", "pkcs11:token=sandbox;type=private"];
    let mut keys_only = watched.program("keys", &every_key.map(|key| (key, "all")));
    for (_, request) in requests(keys_only.session) {
        keys_only.denied("not-granted", "C_CreateObject", request);
    }
    let mut whole = watched.program("whole", &[("pkcs11:token=sandbox", "import")]);
    for (rv, request) in requests(whole.session) {
        whole.arrives(rv, "C_CreateObject", request);
    }
}

fn a_key_is_not_generated_under_a_granted_name_without_generate(mode: Mode) {
    let watched = Watched::up(mode);
    let generate = |session: u64, template: Value| json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": template });

    let mut forger = watched.program("forger", &[(GOOD, &format!("{ALL_BUT_MAKING},import"))]);
    let session = forger.session;
    for lasting in [true, false] {
        forger.denied(
            "not-granted",
            "C_GenerateKey",
            generate(session, secret_key("good", lasting, sized())),
        );
    }

    let mut maker = watched.program("maker", &[(GOOD, "generate")]);
    let session = maker.session;
    for lasting in [true, false] {
        maker.must("C_GenerateKey", generate(session, secret_key("good", lasting, sized())));
        let other = secret_key("other", lasting, sized());
        maker.denied("not-granted", "C_GenerateKey", generate(session, other));
    }
    // Of what class the key is, the mechanism says where the template does not.
    maker.must(
        "C_GenerateKey",
        generate(session, json!([[CKA_LABEL, hex(b"good")], [CKA_VALUE_LEN, ulong(32)]])),
    );
}

fn a_key_pair_needs_generate_on_both_halves(mode: Mode) {
    let watched = Watched::up(mode);
    let pair = |session: u64, public: &str, private: &str| {
        json!({
            "session": session, "mechanism": CKM_EC_KEY_PAIR_GEN,
            "public_template": [[CKA_EC_PARAMS, CURVE], [CKA_LABEL, hex(public.as_bytes())]],
            "private_template": [[CKA_LABEL, hex(private.as_bytes())]]
        })
    };
    let private = "pkcs11:token=sandbox;object=good;type=private";
    let public = "pkcs11:token=sandbox;object=good;type=public";

    let mut half = watched.program("half", &[(private, "all")]);
    let session = half.session;
    for (public, private) in [("good", "good"), ("other", "good")] {
        half.denied("not-granted", "C_GenerateKeyPair", pair(session, public, private));
    }
    let mut other_half = watched.program("other-half", &[(public, "all")]);
    let session = other_half.session;
    other_half.denied("not-granted", "C_GenerateKeyPair", pair(session, "good", "good"));
    let mut whole = watched.program("whole", &[(private, "generate"), (public, "generate")]);
    let session = whole.session;
    whole.must("C_GenerateKeyPair", pair(session, "good", "good"));
    for (public, private) in [("good", "other"), ("other", "good")] {
        whole.denied("not-granted", "C_GenerateKeyPair", pair(session, public, private));
    }
}

fn a_key_of_a_password_needs_import_as_well(mode: Mode) {
    let watched = Watched::up(mode);
    // CK_PKCS5_PBKD2_PARAMS2.
    let password = json!([CKZ_SALT_SPECIFIED, { "at": "00" }, 1, 1000, CKP_PKCS5_PBKD2_HMAC_SHA256, 0, 0, { "at": "31" }, 1]);
    let request = |session: u64| {
        let template = secret_key("good", false, sized());
        json!({ "session": session, "mechanism": CKM_PKCS5_PBKD2, "parameter": password, "template": template })
    };
    let mut generator = watched.program("generator", &[(GOOD, "generate")]);
    let session = generator.session;
    generator.denied("not-granted", "C_GenerateKey", request(session));
    let mut importer = watched.program("importer", &[(GOOD, "generate,import")]);
    let session = importer.session;
    // It is let through; SoftHSM does not have the mechanism.
    importer.arrives(CKR_MECHANISM_INVALID, "C_GenerateKey", request(session));
}

fn a_template_that_says_a_thing_twice_or_unreadably_is_refused(mode: Mode) {
    let watched = Watched::up(mode);
    watched.make_aes("good", &[1; 32], json!([[CKA_DERIVE, TRUE], [CKA_UNWRAP, TRUE]]));
    let mut program = watched.program("twice", &[("pkcs11:token=sandbox", "all")]);
    let (session, key) = (program.session, program.key(CKO_SECRET_KEY, "good"));
    let with = |kind: u64, values: &[&str]| {
        let base = secret_key("new", false, json!([]));
        let others: Vec<_> =
            base.as_array().unwrap().iter().filter(|other| other[0] != kind).cloned().collect();
        let stated: Vec<_> = values.iter().map(|value| json!([kind, value])).collect();
        joined(&others.into(), &stated.into())
    };
    for template in [
        with(CKA_LABEL, &[&hex(b"new"), &hex(b"good")]),
        with(CKA_TOKEN, &[FALSE, TRUE]),
        with(CKA_ID, &["01", "05"]),
        with(CKA_CLASS, &[&ulong(CKO_DATA), &ulong(CKO_SECRET_KEY)]),
        // Unreadable: half a class, a flag of two bytes, a name without end.
        with(CKA_CLASS, &["04000000"]),
        with(CKA_TOKEN, &["0101"]),
        with(CKA_ID, &[&hex(&[1; 513])]),
    ] {
        let create = joined(&template, &known());
        program.denied(
            "template-unclear",
            "C_CreateObject",
            json!({ "session": session, "template": create }),
        );
        let generate = json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": joined(&template, &sized()) });
        program.denied("template-unclear", "C_GenerateKey", generate);
        let derive = json!({
            "session": session, "mechanism": CKM_AES_ECB_ENCRYPT_DATA, "base_key": key,
            "parameter": [{ "at": hex(&[1; 32]) }, 32], "template": joined(&template, &sized())
        });
        program.denied("template-unclear", "C_DeriveKey", derive);
        let unwrap = json!({
            "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": key, "wrapped": hex(&[1; 40]),
            "template": template
        });
        program.denied("template-unclear", "C_UnwrapKey", unwrap);
    }
    for template in [
        json!([[CKA_LABEL, hex(b"new")], [CKA_LABEL, hex(b"good")]]),
        json!([[CKA_TOKEN, FALSE], [CKA_TOKEN, TRUE]]),
    ] {
        for function in ["C_CopyObject", "C_SetAttributeValue"] {
            let request = json!({ "session": session, "object": key, "template": template });
            program.denied("template-unclear", function, request);
        }
        let pair = json!({
            "session": session, "mechanism": CKM_EC_KEY_PAIR_GEN,
            "public_template": [[CKA_EC_PARAMS, CURVE]], "private_template": template
        });
        program.denied("template-unclear", "C_GenerateKeyPair", pair);
    }
}

/// The real module labels new objects `good`, and fails calls of this function.
fn on_a_labelling_module(mode: Mode, refuses: &str) -> Watched {
    Watched::up_behind(mode, &[("SPY_FILLS_IN", "good"), ("SPY_REFUSES", refuses)])
}

fn nameless() -> Value {
    joined(
        &json!([[CKA_CLASS, ulong(CKO_SECRET_KEY)], [CKA_KEY_TYPE, ulong(CKK_AES)], [CKA_TOKEN, TRUE]]),
        &json!([[CKA_ENCRYPT, TRUE]]),
    )
}

fn a_key_that_a_module_labels_counts_once_in_a_rate(mode: Mode) {
    let watched = on_a_labelling_module(mode, "");
    watched.approve("maker");
    let every_secret = "pkcs11:token=sandbox;type=secret-key";
    watched.stack.grant_within("maker", every_secret, "import", &["--many", "--total", "2"]);
    let mut maker = watched.started("maker");
    let session = maker.session;
    let create =
        json!({ "session": session, "template": joined(&nameless(), &json!([[CKA_VALUE, hex(&[7; 32])]])) });
    for _ in 0..2 {
        maker.must("C_CreateObject", create.clone());
    }
    assert_eq!(maker.probe.find(session, CKO_SECRET_KEY, "good").len(), 2);
    maker.denied("rate-exceeded", "C_CreateObject", create);
}

fn an_object_that_the_module_does_not_destroy_counts_for_what_it_was_made_from(mode: Mode) {
    for (refuses, left) in [("", 0), ("C_DestroyObject", 1)] {
        let watched = on_a_labelling_module(mode, refuses);
        watched.make_aes("kek", &[1; 32], json!([[CKA_UNWRAP, TRUE]]));
        let wrapped = hex(&aes_key_wrap(&watched.stack, &[1; 32], &[7; 32]));
        watched.approve("maker");
        let kek = "pkcs11:token=sandbox;object=kek;type=secret-key";
        for (key, operations) in
            [(kek, "unwrap"), ("pkcs11:token=sandbox;object=;type=secret-key", "unwrap"), (GOOD, "encrypt")]
        {
            watched.stack.grant("maker", key, operations);
        }
        let mut maker = watched.started("maker");
        let (session, kek) = (maker.session, maker.key(CKO_SECRET_KEY, "kek"));
        let lines = watched.stack.log().len();
        let unwrap = json!({
            "session": session, "mechanism": CKM_AES_KEY_WRAP, "unwrapping_key": kek, "wrapped": wrapped,
            "template": nameless()
        });
        // Planned without a label it is granted; labelled `good` it is not.
        maker.arrives(CKR_FUNCTION_REJECTED, "C_UnwrapKey", unwrap);
        let log = watched.stack.log();
        let events: Vec<_> = log[lines..].iter().map(|line| line["event"].as_str().unwrap()).collect();
        assert_eq!(events, [&["denied"][..], &["denied", "object-left"]][left]);
        let found = maker.probe.find(session, CKO_SECRET_KEY, "good");
        assert_eq!(found.len(), left);
        for key in found {
            let begin = json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key });
            maker.denied("not-granted", "C_EncryptInit", begin);
        }
    }
}
