//! Renaming, copying and destroying: a key keeps the grants that it had, and gets those of another by no detour; and what the
//! gate has learnt of a handle counts only while it is true.

use cryptoki_sys::*;
use e2e::probe::{FALSE, TRUE, hex, joined, ulong};
use e2e::{Mode, Program, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_key_is_not_renamed_to_a_granted_name,
        a_key_is_renamed_with_modify_on_both_names,
        a_copy_has_the_grants_of_its_original,
        an_object_is_destroyed_with_destroy_only,
        public_data_is_changed_copied_and_destroyed_freely_and_private_data_is_not,
        private_data_becomes_public_with_reveal_only,
        no_object_becomes_one_of_another_class,
        what_one_session_changes_the_others_see_at_once,
        what_another_process_changes_is_seen_after_a_second,
        session_objects_end_with_their_session_and_so_does_what_is_known_of_them,
    ],
    inline: [a_session_object_that_nobody_saw_being_made_is_refused],
}

const ALL_BUT_MODIFY: &str =
    "sign,decrypt,encrypt,verify,wrap,extract,unwrap,derive,generate,import,destroy,reveal";

fn secret(label: &str) -> String {
    format!("pkcs11:token=sandbox;object={label};type=secret-key")
}

fn label(label: &str) -> Value {
    json!([[CKA_LABEL, hex(label.as_bytes())]])
}

fn on_object(session: u64, object: u64, template: Value) -> Value {
    json!({ "session": session, "object": object, "template": template })
}

fn encrypt_init(session: u64, key: u64) -> Value {
    json!({ "session": session, "mechanism": CKM_AES_ECB, "key": key })
}

/// Arguments that make a data object `data` of the session, which is private or not.
fn new_data(session: u64, private: &str) -> Value {
    json!({ "session": session, "template": [
        [CKA_CLASS, ulong(CKO_DATA)], [CKA_PRIVATE, private], [CKA_VALUE, "00"], [CKA_LABEL, hex(b"data")]
    ] })
}

/// Keys that encrypt: `good`, on which the programs have grants, and `bad`, on which they have none at first.
fn make_keys(watched: &Watched) {
    for (label, value, id) in [("good", [1; 32], "0a"), ("bad", [2; 32], "0b")] {
        watched.make_aes(label, &value, json!([[CKA_ENCRYPT, TRUE], [CKA_DERIVE, TRUE], [CKA_ID, id]]));
    }
}

fn handles(program: &mut Program<'_>) -> (u64, u64) {
    (program.key(CKO_SECRET_KEY, "good"), program.key(CKO_SECRET_KEY, "bad"))
}

fn a_key_is_not_renamed_to_a_granted_name(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    // The grants are on a label, and on an id.
    let by_id = "pkcs11:token=sandbox;id=%0A;type=secret-key";
    let mut renamer = watched.program("renamer", &[(&secret("good"), "all"), (by_id, "all")]);
    let (good, bad) = handles(&mut renamer);
    let session = renamer.session;
    for template in [
        label("good"),
        json!([[CKA_ID, "0a"]]),
        joined(&label("good"), &json!([[CKA_ID, "0a"]])),
        // To change something else takes the same.
        json!([[CKA_DERIVE, FALSE]]),
        json!([]),
    ] {
        renamer.denied("not-granted", "C_SetAttributeValue", on_object(session, bad, template));
    }
    renamer.denied("not-granted", "C_EncryptInit", encrypt_init(session, bad));
    // Nor does it get another name that way.
    renamer.must("C_SetAttributeValue", on_object(session, good, label("renamed")));
    drop(renamer);

    let mut elsewhere = watched.program("elsewhere", &[(&secret("renamed"), "all")]);
    let renamed = elsewhere.key(CKO_SECRET_KEY, "renamed");
    let session = elsewhere.session;
    for template in [label("good"), label("bad")] {
        elsewhere.denied("not-granted", "C_SetAttributeValue", on_object(session, renamed, template));
    }
    elsewhere.must("C_SetAttributeValue", on_object(session, renamed, json!([[CKA_DERIVE, FALSE]])));
}

fn a_key_is_renamed_with_modify_on_both_names(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    for (index, operations) in ["modify,encrypt", ALL_BUT_MODIFY].into_iter().enumerate() {
        let name = format!("renamer-{index}");
        let mut renamer =
            watched.program(&name, &[(&secret("good"), operations), (&secret("better"), operations)]);
        let (session, good) = (renamer.session, renamer.key(CKO_SECRET_KEY, "good"));
        let request = on_object(session, good, label("better"));
        if index == 0 {
            renamer.must("C_SetAttributeValue", request);
            renamer.must("C_EncryptInit", encrypt_init(session, good));
            let back = renamer.another_session();
            renamer.must("C_SetAttributeValue", on_object(back, good, label("good")));
        } else {
            renamer.denied("not-granted", "C_SetAttributeValue", request);
        }
    }
}

fn a_copy_has_the_grants_of_its_original(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    let mut copier = watched.program("copier", &[(&secret("good"), "all"), (&secret("bad"), "encrypt")]);
    let (good, bad) = handles(&mut copier);
    let session = copier.session;
    for lasting in [TRUE, FALSE] {
        let template = joined(&label("good"), &json!([[CKA_TOKEN, lasting]]));
        copier.denied("not-granted", "C_CopyObject", on_object(session, bad, template));
        copier.denied("not-granted", "C_CopyObject", on_object(session, bad, json!([[CKA_TOKEN, lasting]])));
    }
    // A lasting copy of another name would be found there by those who have that name's grants.
    for template in [
        label("other"),
        joined(&label("other"), &json!([[CKA_TOKEN, TRUE]])),
        json!([[CKA_ID, "0b"], [CKA_LABEL, hex(b"bad")]]),
    ] {
        copier.denied("not-granted", "C_CopyObject", on_object(session, good, template));
    }
    copier.must("C_CopyObject", on_object(session, good, json!([[CKA_TOKEN, TRUE]])));

    // One of the session is judged by its original, whatever it is called.
    let passing = joined(&label("bad"), &json!([[CKA_TOKEN, FALSE]]));
    let copy = copier.must("C_CopyObject", on_object(session, good, passing)).handle("new_object");
    copier.must("C_EncryptInit", encrypt_init(session, copy));
    let mut modifier = watched.program("modifier", &[(&secret("bad"), "modify"), (&secret("good"), "all")]);
    let (session, bad) = (modifier.session, modifier.key(CKO_SECRET_KEY, "bad"));
    let passing = joined(&label("good"), &json!([[CKA_TOKEN, FALSE]]));
    let copy = modifier.must("C_CopyObject", on_object(session, bad, passing)).handle("new_object");
    modifier.denied("not-granted", "C_EncryptInit", encrypt_init(session, copy));
    let lasting = on_object(session, copy, json!([[CKA_TOKEN, TRUE]]));
    modifier.must("C_CopyObject", lasting.clone());
}

fn an_object_is_destroyed_with_destroy_only(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    let all_but_destroy = ALL_BUT_MODIFY.replace("destroy", "modify");
    let mut program =
        watched.program("destroyer", &[(&secret("bad"), &all_but_destroy), (&secret("good"), "destroy")]);
    let (good, bad) = handles(&mut program);
    let session = program.session;
    program.denied("not-granted", "C_DestroyObject", json!({ "session": session, "object": bad }));
    program.must("C_DestroyObject", json!({ "session": session, "object": good }));
    program.never_arrives(CKR_KEY_HANDLE_INVALID, "C_EncryptInit", encrypt_init(session, good));
}

fn public_data_is_changed_copied_and_destroyed_freely_and_private_data_is_not(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut program, reason) = watched.unapproved("unapproved");
    let session = program.session;
    let public = program.must("C_CreateObject", new_data(session, FALSE)).handle("object");
    program.must("C_SetAttributeValue", on_object(session, public, label("renamed")));
    program.must("C_CopyObject", on_object(session, public, label("copy")));
    program.must("C_DestroyObject", json!({ "session": session, "object": public }));
    let private = program.must("C_CreateObject", new_data(session, TRUE)).handle("object");
    for function in ["C_SetAttributeValue", "C_CopyObject"] {
        program.denied(reason, function, on_object(session, private, label("renamed")));
    }
    program.denied(reason, "C_DestroyObject", json!({ "session": session, "object": private }));
}

fn private_data_becomes_public_with_reveal_only(mode: Mode) {
    let watched = Watched::up(mode);
    let data = "pkcs11:token=sandbox;object=data;type=data";
    for (name, operations) in [("modifier", "modify"), ("reader", "modify,reveal")] {
        let mut program = watched.program(name, &[(data, operations)]);
        let session = program.session;
        let object = program.must("C_CreateObject", new_data(session, TRUE)).handle("object");
        let public = on_object(session, object, json!([[CKA_PRIVATE, FALSE]]));
        let copy = on_object(session, object, json!([]));
        if name == "modifier" {
            for function in ["C_SetAttributeValue", "C_CopyObject"] {
                program.denied("not-granted", function, public.clone());
            }
            program.denied("not-granted", "C_CopyObject", copy);
            // SoftHSM's own answer.
            let other = on_object(session, object, json!([[CKA_APPLICATION, "00"]]));
            program.arrives(CKR_ATTRIBUTE_READ_ONLY, "C_SetAttributeValue", other);
        } else {
            program.must("C_CopyObject", copy);
        }
        let twice = on_object(session, object, json!([[CKA_PRIVATE, TRUE], [CKA_PRIVATE, FALSE]]));
        program.denied("template-unclear", "C_SetAttributeValue", twice);
    }
}

fn no_object_becomes_one_of_another_class(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    let mut program = watched.program("changer", &[("pkcs11:token=sandbox", "all")]);
    let session = program.session;
    let data = program.must("C_CreateObject", new_data(session, FALSE)).handle("object");
    let (key, _) = handles(&mut program);
    for (object, class) in
        [(key, CKO_DATA), (key, CKO_PUBLIC_KEY), (data, CKO_SECRET_KEY), (data, 0x8000_0001)]
    {
        let template = json!([[CKA_CLASS, ulong(class)]]);
        for function in ["C_SetAttributeValue", "C_CopyObject"] {
            program.denied("class-changed", function, on_object(session, object, template.clone()));
        }
    }
    // To state the class that it has is the real module's business.
    let (mark, same) = (program.mark(), on_object(session, data, json!([[CKA_CLASS, ulong(CKO_DATA)]])));
    program.call("C_CopyObject", same);
    assert!(program.arrived_since(mark).iter().any(|call| call.function == "C_CopyObject"));
}

fn what_one_session_changes_the_others_see_at_once(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    watched.make_aes("doomed", &[3; 32], json!([[CKA_ENCRYPT, TRUE]]));
    let grants = [
        (&*secret("good"), "encrypt,modify"),
        (&*secret("bad"), "modify"),
        (&*secret("doomed"), "encrypt,destroy"),
    ];
    let mut program = watched.program("sessions", &grants);
    let (good, doomed) = (program.key(CKO_SECRET_KEY, "good"), program.key(CKO_SECRET_KEY, "doomed"));
    let (one, other) = (program.session, program.another_session());
    let encrypt = json!({ "session": other, "input": hex(&[3; 16]) });
    for key in [good, doomed] {
        // Twice, so that the second is judged by what is remembered.
        for _ in 0..2 {
            program.must("C_EncryptInit", encrypt_init(other, key));
            program.must("C_Encrypt", encrypt.clone());
        }
    }
    program.must("C_SetAttributeValue", on_object(one, good, label("bad")));
    program.denied("not-granted", "C_EncryptInit", encrypt_init(other, good));
    program.must("C_SetAttributeValue", on_object(one, good, label("good")));
    program.must("C_EncryptInit", encrypt_init(other, good));
    program.must("C_Encrypt", encrypt);
    program.must("C_DestroyObject", json!({ "session": one, "object": doomed }));
    program.never_arrives(CKR_KEY_HANDLE_INVALID, "C_EncryptInit", encrypt_init(other, doomed));
}

fn what_another_process_changes_is_seen_after_a_second(mode: Mode) {
    let watched = Watched::up(mode);
    make_keys(&watched);
    let mut program = watched.program("believer", &[(&secret("good"), "encrypt")]);
    let (session, good) = (program.session, program.key(CKO_SECRET_KEY, "good"));
    program.must("C_EncryptInit", encrypt_init(session, good));
    program.must("C_Encrypt", json!({ "session": session, "input": hex(&[3; 16]) }));

    let (mut owner, owners) = watched.owner();
    let key = owner.key(owners, CKO_SECRET_KEY, "good");
    owner.must("C_SetAttributeValue", on_object(owners, key, label("bad")));
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    program.denied("not-granted", "C_EncryptInit", encrypt_init(session, good));
}

fn a_session_object_that_nobody_saw_being_made_is_refused(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("bypass", &[("pkcs11:token=sandbox", "all")]);
    let session = program.session;
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_VALUE, hex(&[7; 32])],
        [CKA_ENCRYPT, TRUE],
        [CKA_LABEL, hex(b"good")]
    ]);
    // The same module behind the shim's back, in the same process.
    let real = watched.stack.real_module().to_str().unwrap();
    let create = json!({ "session": session, "template": template, "on": real });
    let behind = program.probe.must("C_CreateObject", create).handle("object");
    assert_eq!(program.key(CKO_SECRET_KEY, "good"), behind);
    program.denied("object-unaccounted", "C_EncryptInit", encrypt_init(session, behind));
    program.denied("object-unaccounted", "C_DestroyObject", json!({ "session": session, "object": behind }));
    program.denied(
        "object-unaccounted",
        "C_GetAttributeValue",
        on_object(session, behind, json!([[CKA_VALUE, 32]])),
    );

    let seen = program.must("C_CreateObject", json!({ "session": session, "template": template }));
    program.must("C_EncryptInit", encrypt_init(session, seen.handle("object")));
}

fn session_objects_end_with_their_session_and_so_does_what_is_known_of_them(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("passing", &[(&secret("good"), "import,encrypt")]);
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_VALUE, hex(&[7; 32])],
        [CKA_ENCRYPT, TRUE],
        [CKA_LABEL, hex(b"good")]
    ]);
    let (one, other) = (program.session, program.another_session());
    let create = json!({ "session": other, "template": template });
    let key = program.must("C_CreateObject", create).handle("object");
    program.must("C_EncryptInit", encrypt_init(one, key));
    program.must("C_Encrypt", json!({ "session": one, "input": hex(&[3; 16]) }));
    program.probe.must("C_CloseSession", json!({ "session": other }));
    program.never_arrives(CKR_KEY_HANDLE_INVALID, "C_EncryptInit", encrypt_init(one, key));
}
