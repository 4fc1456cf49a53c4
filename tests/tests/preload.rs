//! `LD_PRELOAD`: programs with the vendor's path built in come to the gate by every name of the vendor's module, and a
//! program that is linked with it does, too.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use e2e::client::run;
use e2e::compiled::compile;
use e2e::openssl::is_rsa_signature;
use e2e::pkcs11_tool::{DEMO_EC, public_key};
use e2e::{Approval, Finished, Mode, Probe, Stack, Tool};
use serde_json::json;

const DEMO_RSA: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";
const DIGEST: [u8; 32] = [7; 32];
const JEMALLOC: &str = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2";

/// A directory with a link to the vendor's module.
fn linked_module(stack: &Stack) -> PathBuf {
    let directory = stack.file("vendor");
    fs::create_dir(&directory).unwrap();
    symlink(stack.real_module(), directory.join("libsofthsm2.so")).unwrap();
    symlink(stack.real_module(), directory.join("libmodule.so")).unwrap();
    directory
}

#[test]
fn pkcs11_tool_is_gated_by_every_name_of_the_vendors_module() {
    let stack = Stack::up(Mode::Inline);
    let tool = Tool::copied(&stack, "signer");
    let vendor = linked_module(&stack);
    let path = stack.real_module().to_str().unwrap();
    let link = vendor.join("libmodule.so");
    let names = [path, link.to_str().unwrap(), "../vendor/libmodule.so", "libsofthsm2.so", "libmodule.so"];
    let elsewhere = stack.file("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let sign = |name: &str| {
        let mut command = tool.sign_command_on(Path::new(name));
        command.current_dir(&elsewhere);
        command.env("LD_PRELOAD", stack.shim()).env("LD_LIBRARY_PATH", &vendor);
        command
    };
    for name in names {
        tool.must_be_refused(&mut sign(name));
        assert_eq!(stack.last_reasons(), ["executable-unknown"], "{name}");
    }
    stack.approve_last(&Approval::of("signer", DEMO_EC, "sign").with(&["--any-arguments"]));
    for name in names {
        tool.must_sign(&mut sign(name));
    }
    // The variable was approved with this value, and what it loads was.
    let without_libraries = || {
        let mut command = sign(path);
        command.env_remove("LD_LIBRARY_PATH");
        command
    };
    tool.must_be_refused(&mut without_libraries());
    assert_eq!(stack.last_reasons(), ["environment-mismatch"]);
}

/// A program that signs with `demo-rsa`.
struct Signer<'a> {
    stack: &'a Stack,
    command: Box<dyn Fn() -> Command + 'a>,
}

impl<'a> Signer<'a> {
    /// `command` gets the files of digest and signature as its last arguments.
    fn new(stack: &'a Stack, command: impl Fn() -> Command + 'a) -> Self {
        Self { stack, command: Box::new(command) }
    }

    fn sign(&self) -> Finished {
        let _ = fs::remove_file(self.signature());
        let digest = self.stack.write("digest", DIGEST);
        run((self.command)().arg(digest).arg(self.signature()))
    }

    fn signature(&self) -> PathBuf {
        self.stack.file("signature")
    }

    #[track_caller]
    fn must_be_refused(&self) {
        let refused = self.sign().must_fail();
        assert_eq!(refused.text(), "C_SignInit(session, &rsa_pkcs, key): 0x200\n", "{refused}");
        assert!(!self.signature().exists(), "{refused}");
    }

    #[track_caller]
    fn must_sign(&self) {
        let signed = self.sign().must_succeed();
        let signature = fs::read(self.signature()).unwrap();
        let public = public_key(self.stack, "demo-rsa");
        assert!(is_rsa_signature(self.stack, &public, &DIGEST, &signature), "{signed}");
    }

    /// Refused, approved, and then it signs.
    #[track_caller]
    fn must_be_gated(&self, component: &str) {
        self.must_be_refused();
        self.stack.approve_last(&Approval::of(component, DEMO_RSA, "sign"));
        self.must_sign();
    }
}

#[test]
fn a_program_that_opens_the_vendors_module_itself_is_gated() {
    let stack = Stack::up(Mode::Inline);
    let program = compile("signer.c", &stack.file("signer"), &[]);
    for how in ["dlopen", "dlmopen", "newlm"] {
        let command = || {
            let mut command = stack.preloaded(&program);
            command.arg(how).arg(stack.real_module());
            command
        };
        Signer::new(&stack, command).must_be_gated(how);
    }
}

#[test]
fn a_program_that_is_linked_with_the_vendors_module_is_gated() {
    let stack = Stack::up(Mode::Inline);
    let vendor = linked_module(&stack);
    let vendor = vendor.to_str().unwrap();
    let library_path = format!("-Wl,-rpath,{vendor}");
    let options = ["-DLINKED", "-L", vendor, "-l:libsofthsm2.so", &library_path];
    let program = compile("signer.c", &stack.file("linked"), &options);
    // Without the shim it is the vendor's module alone.
    Signer::new(&stack, || stack.application(&program)).must_sign();
    Signer::new(&stack, || stack.preloaded(&program)).must_be_gated("linked");
}

#[test]
fn another_allocator_may_be_preloaded_as_well() {
    let stack = Stack::up(Mode::Inline);
    let vendor = linked_module(&stack);
    let vendor = vendor.to_str().unwrap();
    let library_path = format!("-Wl,-rpath,{vendor}");
    let opening = compile("signer.c", &stack.file("opening"), &[]);
    let options = ["-DLINKED", "-L", vendor, "-l:libsofthsm2.so", &library_path];
    let linked = compile("signer.c", &stack.file("linked"), &options);
    let shim = stack.shim().display();
    for (number, preload) in [format!("{JEMALLOC}:{shim}"), format!("{shim}:{JEMALLOC}")].iter().enumerate() {
        let command = || {
            let mut command = stack.application(&opening);
            command.arg("dlopen").arg(stack.real_module()).env("LD_PRELOAD", preload);
            command
        };
        Signer::new(&stack, command).must_be_gated(&format!("opening-{number}"));
        let command = || {
            let mut command = stack.application(&linked);
            command.env("LD_PRELOAD", preload);
            command
        };
        Signer::new(&stack, command).must_be_gated(&format!("linked-{number}"));
    }
}

#[test]
fn the_vendors_name_leads_to_the_shim_also_once_the_shim_has_loaded_it() {
    let stack = Stack::up(Mode::Inline);
    let mut probe = Probe::start_on(&stack, stack.real_module(), |command| {
        command.env("LD_PRELOAD", stack.shim());
    });
    let session = probe.session();
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    // No directory has it, but the loader knows a loaded library by its soname.
    for name in ["libsofthsm2.so", stack.real_module().to_str().unwrap()] {
        let request = json!({ "on": name, "session": session, "mechanism": CKM_ECDSA, "key": key });
        assert_eq!(probe.call("C_SignInit", request).rv, CKR_FUNCTION_REJECTED, "{name}");
    }
}

#[test]
fn a_module_that_finalises_itself_while_it_initialises_is_no_dead_end() {
    // OpenSC calls its C_Finalize by name, which is the shim's in this process.
    let stack = Stack::up(Mode::Inline);
    let opensc = Path::new("/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so");
    let configuration = stack.configuration("opensc.toml", |text| {
        text.replace(stack.variable("REAL_MODULE"), opensc.to_str().unwrap())
    });
    let show = |mut command: Command| {
        command.arg("--module").arg(opensc).arg("--show-info").env("TRUSTSHIM_CONFIG", &configuration);
        run(&mut command)
    };
    let (bare, gated) = (show(stack.application("pkcs11-tool")), show(stack.preloaded("pkcs11-tool")));
    assert!(bare.text().contains("OpenSC"), "{bare}");
    // By which version of the standard it is asked differs.
    let shown = |finished: &Finished| {
        let text = finished.all_text();
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("Cryptoki")).collect();
        (finished.code, kept.join("\n"))
    };
    assert_eq!(shown(&gated), shown(&bare));
}
