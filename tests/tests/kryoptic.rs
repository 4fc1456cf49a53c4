//! A token of PKCS#11 3.2 that others wrote is gated like any other.

use std::path::Path;
use std::process::Command;

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::public_key;
use e2e::probe::{FALSE, TRUE, hex, ulong};
use e2e::{Approval, Mode, Probe, Stack, Token, Tool};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        a_signature_is_made_while_approved_and_at_no_other_time,
        whoever_may_modify_an_object_does_not_read_it_by_that,
    ],
}

/// By RSA: of this token's EC keys `pkcs11-tool` 0.23 cannot read the public half, by which OpenSSL verifies.
fn sign(stack: &Stack, tool: &Tool<'_>, document: &Path) -> Command {
    let mut command = tool.on_sandbox(stack.shim());
    command.args(["--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01", "--input-file"]).arg(document);
    command.arg("--output-file").arg(tool.program().with_extension("signature"));
    command
}

fn a_signature_is_made_while_approved_and_at_no_other_time(mode: Mode) {
    let stack = Stack::on(Token::Kryoptic, mode);
    let document = stack.write("document", "to be signed\n");
    let tool = Tool::copied(&stack, "signer");
    tool.must_be_refused(&mut sign(&stack, &tool, &document));
    assert_eq!(stack.last_reasons(), ["executable-unknown"]);

    stack.approve_last(&Approval::of("signer", "pkcs11:token=sandbox;object=demo-rsa;type=private", "sign"));
    run(&mut sign(&stack, &tool, &document)).must_succeed();
    let mut verify = Command::new("openssl");
    verify.args(["dgst", "-sha256", "-verify"]).arg(public_key(&stack, "demo-rsa")).arg("-signature");
    run(verify.arg(tool.program().with_extension("signature")).arg(document.as_path())).must_succeed();

    stack.retire("signer");
    stack.forget_tokens();
    tool.must_be_refused(&mut sign(&stack, &tool, &document));
    assert_eq!(stack.last_reasons(), ["version-retired"]);
}

/// This token lets a copy be of another class, and public.
fn whoever_may_modify_an_object_does_not_read_it_by_that(mode: Mode) {
    const VALUE: [u8; 32] = [0x5a; 32];
    let stack = Stack::on(Token::Kryoptic, mode);
    let mut owner = Probe::start_on(&stack, stack.real_module(), |_| {});
    let session = owner.session();
    let (key, note) = (
        json!([
            [CKA_CLASS, ulong(CKO_SECRET_KEY)],
            [CKA_KEY_TYPE, ulong(CKK_AES)],
            [CKA_TOKEN, TRUE],
            [CKA_SENSITIVE, TRUE],
            [CKA_EXTRACTABLE, FALSE],
            [CKA_LABEL, hex(b"victim")],
            [CKA_VALUE, hex(&VALUE)]
        ]),
        json!([
            [CKA_CLASS, ulong(CKO_DATA)],
            [CKA_TOKEN, TRUE],
            [CKA_PRIVATE, TRUE],
            [CKA_LABEL, hex(b"note")],
            [CKA_VALUE, hex(&VALUE)]
        ]),
    );
    let make = |probe: &mut Probe, template: Value| {
        probe.must("C_CreateObject", json!({ "session": session, "template": template })).handle("object")
    };
    let (key, note) = (make(&mut owner, key), make(&mut owner, note));
    let as_public_data = json!([[CKA_CLASS, ulong(CKO_DATA)], [CKA_PRIVATE, FALSE], [CKA_TOKEN, FALSE]]);
    let value = json!([[CKA_VALUE, 32]]);
    for object in [key, note] {
        let copy = json!({ "session": session, "object": object, "template": as_public_data });
        let copy = owner.must("C_CopyObject", copy).handle("new_object");
        let read = json!({ "session": session, "object": copy, "template": value });
        assert_eq!(owner.must("C_GetAttributeValue", read).attribute(0), VALUE, "the token itself allows it");
    }
    drop(owner);

    let mut probe = Probe::start(&stack, |_| {});
    let approval = Approval::of("probe", "pkcs11:token=sandbox", "modify").with(&["--many"]);
    let session = stack.approve_probe(&mut probe, &approval);
    let key = probe.key(session, CKO_SECRET_KEY, "victim");
    let note = probe.key(session, CKO_DATA, "note");
    let public = json!([[CKA_PRIVATE, FALSE], [CKA_TOKEN, FALSE]]);
    for (function, object, template, reason) in [
        ("C_CopyObject", key, &as_public_data, "class-changed"),
        ("C_SetAttributeValue", key, &as_public_data, "class-changed"),
        ("C_CopyObject", note, &public, "not-granted"),
        ("C_SetAttributeValue", note, &public, "not-granted"),
    ] {
        let arguments = json!({ "session": session, "object": object, "template": template });
        assert_eq!(probe.call(function, arguments).rv, CKR_FUNCTION_REJECTED, "{function} {reason}");
        assert_eq!(stack.log().last().unwrap()["reason"], reason, "{function}");
    }
    // What it is granted it may do.
    let renamed = json!({ "session": session, "object": key, "template": [[CKA_LABEL, hex(b"renamed")]] });
    probe.must("C_SetAttributeValue", renamed);
}
