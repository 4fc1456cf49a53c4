//! A token of PKCS#11 3.2 that others wrote is gated like any other.

use std::path::Path;
use std::process::Command;

use e2e::client::run;
use e2e::pkcs11_tool::public_key;
use e2e::{Approval, Mode, Stack, Token, Tool};

e2e::in_modes! {
    both: [
        a_signature_is_made_while_approved_and_at_no_other_time,
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
