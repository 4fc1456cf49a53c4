//! `pkcs11-tool` as an application: copied, so that it can be changed and has a path of its own, and otherwise untouched.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::{Finished, copy_program, run};
use crate::stack::Stack;

/// The key that most scenarios sign with. To `pkcs11-tool` it is `--id 02`: when it signs it does not look at labels.
pub const DEMO_EC: &str = "pkcs11:token=sandbox;object=demo-ec;type=private";

/// A copy of `pkcs11-tool`.
pub struct Tool<'a> {
    stack: &'a Stack,
    program: PathBuf,
}

impl<'a> Tool<'a> {
    /// Copies `pkcs11-tool` to a file of that name.
    pub fn copied(stack: &'a Stack, name: &str) -> Self {
        let program = stack.file(name);
        copy_program("/usr/bin/pkcs11-tool", &program);
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("our own file");
        Self { stack, program }
    }

    /// The program's file.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Signs with `demo-ec` through the shim; the file `NAME.signature` is where the signature goes.
    pub fn sign_command(&self) -> Command {
        self.sign_command_on(self.stack.shim())
    }

    /// Signs with `demo-ec` through `module`.
    pub fn sign_command_on(&self, module: &Path) -> Command {
        let mut command = self.on_sandbox(module);
        command.args(["--sign", "--mechanism", "ECDSA", "--signature-format", "openssl", "--id", "02"]);
        command.arg("--input-file").arg(self.digest()).arg("--output-file").arg(self.signature());
        command
    }

    /// The tool, logged in to the token `sandbox` through `module`.
    pub fn on_sandbox(&self, module: &Path) -> Command {
        let mut command = self.stack.user_of(module, &self.program);
        command.env("TOKEN_PIN", "1234").arg("--module").arg(module);
        command.args(["--token-label", "sandbox", "--login", "--pin", "env:TOKEN_PIN"]);
        command
    }

    /// Runs a command that must bring forth a signature which OpenSSL verifies.
    #[track_caller]
    pub fn must_sign(&self, command: &mut Command) {
        let _ = fs::remove_file(self.signature());
        run(command).must_succeed();
        let public = public_key(self.stack, "demo-ec");
        run(Command::new("openssl")
            .args(["dgst", "-sha256", "-verify"])
            .arg(public)
            .arg("-signature")
            .args([self.signature(), self.document()]))
        .must_succeed();
    }

    /// Runs a command that must be refused and leave no signature.
    #[track_caller]
    pub fn must_be_refused(&self, command: &mut Command) -> Finished {
        let _ = fs::remove_file(self.signature());
        let finished = run(command).must_fail();
        let left = fs::metadata(self.signature()).map_or(0, |metadata| metadata.len());
        assert_eq!(left, 0, "a signature in spite of the refusal: {finished}");
        // OpenSC 0.23 does not know the name of CKR_FUNCTION_REJECTED.
        assert!(finished.all_text().contains("0x200"), "not refused by the gate: {finished}");
        finished
    }

    fn document(&self) -> PathBuf {
        self.program.with_extension("document")
    }

    fn signature(&self) -> PathBuf {
        self.program.with_extension("signature")
    }

    /// SoftHSM's `CKM_ECDSA` signs a digest, which the application computes.
    fn digest(&self) -> PathBuf {
        let digest = self.program.with_extension("digest");
        if !digest.exists() {
            fs::write(self.document(), "to be signed\n").expect("a file of the test");
            let mut command = Command::new("openssl");
            command.args(["dgst", "-sha256", "-binary", "-out"]).arg(&digest).arg(self.document());
            run(&mut command).must_succeed();
        }
        digest
    }
}

/// A public key of the sandbox in a PEM file, read from the vendor's module.
pub fn public_key(stack: &Stack, label: &str) -> PathBuf {
    let (der, pem) = (stack.file(&format!("{label}.der")), stack.file(&format!("{label}.pem")));
    let mut command = stack.owner("pkcs11-tool");
    command.arg("--module").arg(stack.real_module()).args(["--token-label", "sandbox", "--read-object"]);
    command.args(["--type", "pubkey", "--label", label, "--output-file"]).arg(&der);
    run(&mut command).must_succeed();
    let mut command = Command::new("openssl");
    command.args(["pkey", "-pubin", "-inform", "DER", "-in"]).arg(&der).arg("-out").arg(&pem);
    run(&mut command).must_succeed();
    pem
}
