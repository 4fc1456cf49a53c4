//! Several tokens in one process: a key is judged as one of the token that it is on, through whatever session it is used.

use cryptoki_sys::*;
use e2e::probe::{FALSE, TRUE, hex, ulong};
use e2e::{Mode, Probe, Watched};
use serde_json::json;

e2e::in_modes! {
    both: [a_key_is_not_used_through_a_session_on_another_token],
    inline: [a_handle_that_no_search_gave_is_none],
}

/// Makes the token `scratch` with the user PIN 1234 in the free slot that SoftHSM always has.
fn make_scratch(watched: &Watched) {
    let mut owner = Probe::start_on(&watched.stack, watched.stack.real_module(), |_| {});
    owner.initialize();
    let free = *owner.slots().last().unwrap();
    let label = hex(format!("{:32}", "scratch").as_bytes());
    owner.must("C_InitToken", json!({ "slot": free, "pin": hex(b"5678"), "label": label }));
    let slot = owner.slot("scratch").unwrap();
    let session = owner.open(slot);
    owner.must("C_Login", json!({ "session": session, "user": CKU_SO, "pin": hex(b"5678") }));
    owner.must("C_InitPIN", json!({ "session": session, "pin": hex(b"1234") }));
}

fn a_key_is_not_used_through_a_session_on_another_token(mode: Mode) {
    let watched = Watched::up(mode);
    make_scratch(&watched);
    // SoftHSM encrypts the values of private objects under the token's own PIN, and takes any session for the others.
    let (mut owner, owners) = watched.owner();
    let template = json!([
        [CKA_CLASS, ulong(CKO_SECRET_KEY)],
        [CKA_KEY_TYPE, ulong(CKK_AES)],
        [CKA_TOKEN, TRUE],
        [CKA_PRIVATE, FALSE],
        [CKA_SENSITIVE, FALSE],
        [CKA_EXTRACTABLE, TRUE],
        [CKA_ENCRYPT, TRUE],
        [CKA_LABEL, hex(b"target")],
        [CKA_VALUE, hex(&[7; 32])]
    ]);
    owner.must("C_CreateObject", json!({ "session": owners, "template": template }));

    let mut program = watched.program("stranger", &[("pkcs11:token=scratch", "all")]);
    let target = program.key(CKO_SECRET_KEY, "target");
    let slot = program.probe.slot("scratch").unwrap();
    let session = program.probe.open(slot);
    program.probe.login(session);
    let on_object =
        |template: serde_json::Value| json!({ "session": session, "object": target, "template": template });
    let on_key = |mechanism: u64| json!({ "session": session, "mechanism": mechanism, "key": target });
    let (key, object) = (CKR_KEY_HANDLE_INVALID, CKR_OBJECT_HANDLE_INVALID);
    program.never_arrives(key, "C_EncryptInit", on_key(CKM_AES_ECB));
    program.never_arrives(object, "C_GetAttributeValue", on_object(json!([[CKA_VALUE, 64]])));
    program.never_arrives(object, "C_GetAttributeValue", on_object(json!([[CKA_LABEL, 64], [CKA_CLASS, 8]])));
    program.never_arrives(object, "C_SetAttributeValue", on_object(json!([[CKA_LABEL, hex(b"renamed")]])));
    program.never_arrives(object, "C_CopyObject", on_object(json!([[CKA_LABEL, hex(b"renamed")]])));
    program.never_arrives(object, "C_GetObjectSize", on_object(json!([])));
    program.never_arrives(object, "C_DestroyObject", on_object(json!([])));
    // Through a session on its own token it is judged by its name; and what is there the program may use.
    let at_home = program.session;
    let init = json!({ "session": at_home, "mechanism": CKM_AES_ECB, "key": target });
    program.denied("not-granted", "C_EncryptInit", init);
    let generate = json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": [
        [CKA_VALUE_LEN, ulong(32)], [CKA_ENCRYPT, TRUE], [CKA_TOKEN, TRUE]
    ] });
    let own = program.must("C_GenerateKey", generate).handle("key");
    program.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_AES_ECB, "key": own }));
}

fn a_handle_that_no_search_gave_is_none(mode: Mode) {
    let watched = Watched::up(mode);
    let mut program = watched.program("guesser", &[("pkcs11:token=sandbox", "all")]);
    let session = program.session;
    // Found behind the shim's back, so that it is a handle to SoftHSM.
    let real = watched.stack.real_module().to_str().unwrap();
    let find = json!({ "session": session, "on": real, "template": [[CKA_LABEL, hex(b"demo-hmac")]] });
    program.probe.must("C_FindObjectsInit", find);
    let real = json!({ "session": session, "on": real });
    let found = program.probe.must("C_FindObjects", real.clone()).numbers("objects", "count");
    program.probe.must("C_FindObjectsFinal", real);
    let init = json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": found[0] });
    program.never_arrives(CKR_KEY_HANDLE_INVALID, "C_SignInit", init.clone());
    assert_eq!(program.key(CKO_SECRET_KEY, "demo-hmac"), found[0]);
    program.must("C_SignInit", init);
}
