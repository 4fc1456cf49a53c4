//! OpenSSL through its PKCS#11 engine, unchanged: refused first, approved then, checked by OpenSSL without the engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e2e::client::run;
use e2e::pkcs11_tool::public_key;
use e2e::{Approval, Finished, Mode, Stack};

e2e::in_modes! {
    both: [
        cms_signatures_with_rsa_and_p256,
        rsa_decryption,
        a_tls_server_answers_with_the_tokens_key,
    ],
    inline: [the_engine_on_the_vendors_own_path_is_gated_where_the_shim_is_preloaded],
}

const KEYS: &str = "pkcs11:token=sandbox;type=private";

/// An installation whose token holds no Ed25519 key: where it meets one, the engine (libp11 0.4.12) gives up looking for
/// any key, on the vendor's module as well.
fn stack(mode: Mode) -> Stack {
    let stack = Stack::up(mode);
    let mut delete = stack.owner("pkcs11-tool");
    delete.arg("--module").arg(stack.real_module()).args([
        "--token-label",
        "sandbox",
        "--login",
        "--pin",
        "1234",
    ]);
    run(delete.args(["--delete-object", "--type", "privkey", "--label", "demo-ed"])).must_succeed();
    stack
}

/// Panics unless OpenSSL failed and said that the gate refused it. It may end by a signal: SoftHSM crashes when the engine
/// closes its sessions at exit after a failure.
#[track_caller]
fn must_be_refused(finished: &Finished) {
    assert!(!finished.success, "{finished}");
    assert!(finished.all_text().contains("reason(512)"), "not refused by the gate: {finished}");
}

/// OpenSSL's configuration with the engine on `module`.
fn engine_configuration(stack: &Stack, name: &str, module: &Path) -> PathBuf {
    let module = module.display();
    stack.write(
        name,
        format!(
            "openssl_conf = start\n[start]\nengines = engines\n[engines]\npkcs11 = pkcs11\n[pkcs11]\n\
             engine_id = pkcs11\nMODULE_PATH = {module}\nPIN = 1234\ninit = 0\n\
             [req]\ndistinguished_name = name\n[name]\n"
        ),
    )
}

/// OpenSSL with the engine on `module`.
fn engine(stack: &Stack, name: &str, module: &Path, arguments: &[&str]) -> Command {
    let mut command = stack.user_of(module, "openssl");
    command.env("OPENSSL_CONF", engine_configuration(stack, name, module)).args(arguments);
    command
}

/// OpenSSL without any engine.
fn plain(arguments: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(arguments);
    command
}

/// A self-signed certificate for a key of the sandbox, made on the vendor's module.
fn certificate(stack: &Stack, label: &str) -> PathBuf {
    let certificate = stack.file(&format!("{label}.crt"));
    let key = format!("pkcs11:token=sandbox;object={label};type=private");
    let mut command = engine(
        stack,
        "real.cnf",
        stack.real_module(),
        &["req", "-x509", "-engine", "pkcs11", "-keyform", "engine"],
    );
    command
        .args(["-key", &key, "-sha256", "-days", "2", "-subj", &format!("/CN={label}"), "-out"])
        .arg(&certificate);
    run(&mut command).must_succeed();
    certificate
}

fn cms_signatures_with_rsa_and_p256(mode: Mode) {
    let stack = stack(mode);
    let document = stack.write("document", "to be signed\n");
    for label in ["demo-rsa", "demo-ec"] {
        let certificate = certificate(&stack, label);
        let signed = stack.file(&format!("{label}.cms"));
        let key = format!("pkcs11:token=sandbox;object={label};type=private");
        let sign = || -> Finished {
            let arguments =
                ["cms", "-sign", "-engine", "pkcs11", "-keyform", "engine", "-inkey", &key, "-binary"];
            let mut command = engine(&stack, "shim.cnf", stack.shim(), &arguments);
            command.args(["-nodetach", "-outform", "DER", "-md", "sha256", "-signer"]).arg(&certificate);
            run(command.arg("-in").arg(&document).arg("-out").arg(&signed))
        };
        let refused = sign();
        must_be_refused(&refused);
        assert!(fs::read(&signed).unwrap_or_default().is_empty(), "{refused}");

        stack.approve_last(&Approval::of(label, KEYS, "sign").with(&["--many"]));
        sign().must_succeed();
        let mut verify = plain(&["cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile"]);
        verify.arg(&certificate).arg("-in").arg(&signed).arg("-out").arg(stack.file("content"));
        run(&mut verify).must_succeed();
        assert_eq!(fs::read(stack.file("content")).unwrap(), fs::read(&document).unwrap());
    }
}

fn rsa_decryption(mode: Mode) {
    let stack = stack(mode);
    let (secret, encrypted) = (stack.write("secret", "the secret"), stack.file("encrypted"));
    let public = public_key(&stack, "demo-rsa");
    let mut encrypt = plain(&["pkeyutl", "-encrypt", "-pubin", "-inkey"]);
    run(encrypt.arg(public).arg("-in").arg(&secret).arg("-out").arg(&encrypted)).must_succeed();

    let decrypt = || {
        let key = "pkcs11:token=sandbox;object=demo-rsa;type=private";
        let arguments = ["pkeyutl", "-decrypt", "-engine", "pkcs11", "-keyform", "engine", "-inkey", key];
        let mut command = engine(&stack, "shim.cnf", stack.shim(), &arguments);
        run(command.arg("-in").arg(&encrypted))
    };
    let refused = decrypt();
    must_be_refused(&refused);
    assert!(refused.stdout.is_empty(), "{refused}");

    // The right to sign is none to decrypt.
    stack.approve_last(&Approval::of("decrypter", KEYS, "sign").with(&["--many"]));
    let refused = decrypt();
    must_be_refused(&refused);
    assert!(refused.stdout.is_empty(), "{refused}");
    assert_eq!(stack.log().last().unwrap()["reason"], "not-granted");

    stack.grant("decrypter", KEYS, "decrypt");
    stack.forget_tokens();
    assert_eq!(decrypt().must_succeed().text(), "the secret");
}

fn the_engine_on_the_vendors_own_path_is_gated_where_the_shim_is_preloaded(mode: Mode) {
    let stack = stack(mode);
    let (document, signed) = (stack.write("document", "to be signed\n"), stack.file("signature"));
    let public = public_key(&stack, "demo-rsa");
    let sign = || {
        let key = "pkcs11:token=sandbox;object=demo-rsa;type=private";
        let arguments = ["dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine", "-sign", key, "-out"];
        let mut command = engine(&stack, "real.cnf", stack.real_module(), &arguments);
        run(command.arg(&signed).arg(&document).env("LD_PRELOAD", stack.shim()))
    };
    must_be_refused(&sign());
    stack.approve_last(&Approval::of("openssl", KEYS, "sign").with(&["--many"]));
    sign().must_succeed();
    let mut verify = plain(&["dgst", "-sha256", "-verify"]);
    run(verify.arg(public).arg("-signature").arg(&signed).arg(&document)).must_succeed();
}

fn a_tls_server_answers_with_the_tokens_key(mode: Mode) {
    let stack = stack(mode);
    for (label, cipher) in
        [("demo-rsa", "ECDHE-RSA-AES128-GCM-SHA256"), ("demo-ec", "ECDHE-ECDSA-AES128-GCM-SHA256")]
    {
        let certificate = certificate(&stack, label);
        let key = format!("pkcs11:token=sandbox;object={label};type=private");
        // The same port each time: the command line is measured.
        let port = free_port();
        let server = || {
            let arguments =
                ["s_server", "-engine", "pkcs11", "-keyform", "engine", "-key", &key, "-accept", &port];
            let mut server = engine(&stack, "shim.cnf", stack.shim(), &arguments);
            server.arg("-cert").arg(&certificate).args(["-naccept", "1", "-tls1_2"]);
            server
        };
        let handshake = || {
            let mut server = server();
            // It would end at the end of its input.
            let mut server = Server(server.stdin(Stdio::piped()).spawn().unwrap());
            server.wait_until_it_listens(&port);
            let mut client =
                plain(&["s_client", "-connect", &format!("127.0.0.1:{port}"), "-tls1_2", "-cipher", cipher]);
            run(client.args(["-verify_return_error", "-CAfile"]).arg(&certificate))
        };
        match mode {
            Mode::Inline => drop(handshake().must_fail()),
            // Without a login it finds no key, and does not come to listening.
            Mode::Guarded => must_be_refused(&run(&mut server())),
        }
        assert_eq!(stack.explain_last()["decision"]["executable"], "/usr/bin/openssl");
        stack.approve_last(&Approval::of(label, &key, "sign"));
        let shaken = handshake().must_succeed();
        assert!(shaken.text().contains("Verify return code: 0 (ok)"), "{shaken}");
    }
}

/// A server that is stopped when the test is through with it.
struct Server(std::process::Child);

impl Server {
    fn wait_until_it_listens(&mut self, port: &str) {
        // Looked up, not tried: a connection would count as the one that the server accepts.
        let wanted = format!(":{:04X} ", port.parse::<u16>().unwrap());
        for _ in 0..1_000 {
            assert!(self.0.try_wait().unwrap().is_none(), "the server has ended");
            let listens = ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|table| {
                let table = fs::read_to_string(table).unwrap_or_default();
                table.lines().any(|line| line.contains(&wanted) && line.contains(" 0A "))
            });
            if listens {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
