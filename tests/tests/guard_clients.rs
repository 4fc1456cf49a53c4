//! Unchanged clients whose configuration names the guard: refused first, approved then, checked by OpenSSL alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use e2e::client::run;
use e2e::processes::eventually;
use e2e::root::as_root;
use e2e::{Approval, Finished, Guarded};

const DEMO_RSA: &str = "pkcs11:token=sandbox;object=demo-rsa;type=private";

/// `pkcs11-tool` on the token `sandbox`, as a client.
fn tool(guarded: &Guarded, arguments: &[&str]) -> Command {
    let mut command = guarded.client("pkcs11-tool");
    command.arg("--module").arg(guarded.shim()).args([
        "--token-label",
        "sandbox",
        "--login",
        "--pin",
        "1234",
    ]);
    command.args(arguments);
    command
}

#[test]
fn pkcs11_tool_signs_decrypts_and_verifies() {
    let guarded = Guarded::up();
    let (document, secret) = (guarded.file("document"), guarded.file("secret"));
    fs::write(&document, "to be signed\n").unwrap();
    fs::write(&secret, "the secret").unwrap();
    let public = guarded.public_key("demo-rsa");
    let (signature, content) = (guarded.clients_file("signature"), guarded.clients_file("content"));
    let sign = || {
        let mut command = tool(&guarded, &["--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", "01"]);
        run(command.arg("--input-file").arg(&document).arg("--output-file").arg(&signature))
    };
    let refused = sign().must_fail();
    assert!(refused.all_text().contains("0x200"), "{refused}");
    assert_eq!(guarded.last_reasons()[0], "executable-unknown");
    guarded.approve_last(&Approval::of("pkcs11-tool", DEMO_RSA, "sign,decrypt").with(&["--any-arguments"]));
    sign().must_succeed();
    let mut verify = Command::new("openssl");
    verify.args(["dgst", "-sha256", "-verify"]).arg(&public).arg("-signature");
    run(verify.arg(&signature).arg(&document)).must_succeed();

    let mut by_the_token = tool(&guarded, &["--verify", "--mechanism", "SHA256-RSA-PKCS", "--id", "01"]);
    by_the_token.arg("--input-file").arg(&document).arg("--signature-file").arg(&signature);
    let verified = run(&mut by_the_token).must_succeed();
    assert!(verified.all_text().contains("Signature is valid"), "{verified}");

    let encrypted = guarded.file("encrypted");
    let mut encrypt = Command::new("openssl");
    encrypt.args(["pkeyutl", "-encrypt", "-pubin", "-inkey"]).arg(&public).arg("-in").arg(&secret);
    run(encrypt.arg("-out").arg(&encrypted)).must_succeed();
    let mut decrypt = tool(&guarded, &["--decrypt", "--mechanism", "RSA-PKCS", "--id", "01"]);
    run(decrypt.arg("--input-file").arg(&encrypted).arg("--output-file").arg(&content)).must_succeed();
    assert_eq!(fs::read(&content).unwrap(), b"the secret");
    // Another key was not granted.
    let mut other = tool(&guarded, &["--sign", "--mechanism", "ECDSA", "--id", "02"]);
    let digest = guarded.file("digest");
    fs::write(&digest, [1; 32]).unwrap();
    let refused = run(other.arg("--input-file").arg(&digest).arg("--output-file").arg(&content)).must_fail();
    assert!(refused.all_text().contains("0x200"), "{refused}");
    assert_eq!(guarded.log().last().unwrap()["reason"], "not-granted");
}

#[test]
fn a_client_with_the_vendors_path_built_in_comes_to_the_guard_where_the_shim_is_preloaded() {
    let guarded = Guarded::up();
    let module = guarded.variable("REAL_MODULE").to_owned();
    let configuration = guarded.file("preloaded.toml");
    let settings = fs::read_to_string(guarded.variable("TRUSTSHIM_CONFIG")).unwrap();
    fs::write(&configuration, format!("{settings}\n[real_module]\npath = \"{module}\"\n")).unwrap();
    let (digest, signature) = (guarded.file("digest"), guarded.clients_file("signature"));
    fs::write(&digest, [1; 32]).unwrap();
    let sign = || {
        let mut command = guarded.client("env");
        command.arg(format!("TRUSTSHIM_CONFIG={}", configuration.display()));
        command.arg(format!("LD_PRELOAD={}", guarded.shim().display()));
        command.args([
            "pkcs11-tool",
            "--module",
            &module,
            "--token-label",
            "sandbox",
            "--login",
            "--pin",
            "1234",
        ]);
        command.args(["--sign", "--mechanism", "RSA-PKCS", "--id", "01", "--input-file"]).arg(&digest);
        run(command.arg("--output-file").arg(&signature))
    };
    let refused = sign().must_fail();
    assert!(refused.all_text().contains("0x200"), "{refused}");
    assert_eq!(guarded.last_reasons()[0], "executable-unknown");
    guarded.approve_last(&Approval::of("pkcs11-tool", DEMO_RSA, "sign"));
    sign().must_succeed();
    assert_eq!(fs::read(&signature).unwrap().len(), 256);
}

/// OpenSSL with the engine on the shim, as a client.
fn engine(guarded: &Guarded, arguments: &[&str]) -> Command {
    let configuration = guarded.engine_configuration("shim.cnf", guarded.shim());
    let mut command = guarded.client("env");
    command.arg(format!("OPENSSL_CONF={}", configuration.display())).arg("openssl").args(arguments);
    command
}

#[test]
fn openssl_signs_messages_by_the_engine() {
    let guarded = Guarded::up();
    guarded.make_fit_for_the_engine();
    let document = guarded.file("document");
    fs::write(&document, "to be signed\n").unwrap();
    for label in ["demo-rsa", "demo-ec"] {
        let certificate = guarded.certificate(label);
        let signed = guarded.clients_file(&format!("{label}.cms"));
        let key = format!("pkcs11:token=sandbox;object={label};type=private");
        let sign = || -> Finished {
            let arguments =
                ["cms", "-sign", "-engine", "pkcs11", "-keyform", "engine", "-inkey", &key, "-binary"];
            let mut command = engine(&guarded, &arguments);
            command.args(["-nodetach", "-outform", "DER", "-md", "sha256", "-signer"]).arg(&certificate);
            run(command.arg("-in").arg(&document).arg("-out").arg(&signed))
        };
        let refused = sign();
        assert!(!refused.success && refused.all_text().contains("reason(512)"), "{refused}");
        assert!(fs::read(&signed).unwrap_or_default().is_empty(), "{refused}");
        guarded.approve_last(&Approval::of(label, &key, "sign"));
        sign().must_succeed();
        let mut verify = Command::new("openssl");
        verify.args(["cms", "-verify", "-inform", "DER", "-purpose", "any", "-CAfile"]).arg(&certificate);
        run(verify.arg("-in").arg(&signed).arg("-out").arg(guarded.file("content"))).must_succeed();
        assert_eq!(fs::read(guarded.file("content")).unwrap(), b"to be signed\n");
    }
}

/// A server that is stopped when the test is through with it.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = run(as_root("kill").arg(self.0.id().to_string()));
        let _ = self.0.wait();
    }
}

#[test]
fn a_tls_server_answers_with_the_tokens_key() {
    let guarded = Guarded::up();
    guarded.make_fit_for_the_engine();
    let certificate = guarded.certificate("demo-ec");
    let key = "pkcs11:token=sandbox;object=demo-ec;type=private";
    // The same port each time: the command line is measured.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let handshake = || {
        let port = port.to_string();
        let arguments =
            ["s_server", "-engine", "pkcs11", "-keyform", "engine", "-key", key, "-accept", &port];
        let mut server = engine(&guarded, &arguments);
        server.arg("-cert").arg(&certificate).args(["-www", "-tls1_2"]);
        // It would end at the end of its input.
        server.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Server(server.spawn().unwrap());
        let mut ended = false;
        eventually("the server", || {
            ended = server.0.try_wait().unwrap().is_some();
            ended || std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
        });
        let mut client = Command::new("openssl");
        client.args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-tls1_2",
            "-verify_return_error",
        ]);
        run(client.arg("-CAfile").arg(&certificate))
    };
    handshake().must_fail();
    assert_eq!(guarded.json(&["explain", "--last"])["decision"]["executable"], "/usr/bin/openssl");
    guarded.approve_last(&Approval::of("server", key, "sign"));
    let shaken = handshake().must_succeed();
    assert!(shaken.text().contains("Verify return code: 0 (ok)"), "{shaken}");
}

/// A program in a jar, which is what of a Java program is measured as its script.
fn jar(guarded: &Guarded, name: &str, comment: &str) -> PathBuf {
    let classes = guarded.file(&format!("{name}.classes"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/Sign.java");
    fs::create_dir(&classes).unwrap();
    run(Command::new("javac").arg("-d").arg(&classes).arg(source)).must_succeed();
    fs::write(classes.join("comment"), comment).unwrap();
    let jar = guarded.file(name);
    let mut command = Command::new("jar");
    command.arg("--create").arg("--file").arg(&jar).args(["--main-class", "Sign", "-C"]).arg(&classes);
    run(command.arg(".")).must_succeed();
    jar
}

#[test]
fn java_signs_in_several_threads() {
    let guarded = Guarded::up();
    guarded.make_fit_for_the_engine();
    // A Java key store has a private key where it has the certificate as well.
    let (certificate, der) = (guarded.certificate("demo-rsa"), guarded.file("certificate.der"));
    let mut convert = Command::new("openssl");
    run(convert.args(["x509", "-outform", "DER", "-in"]).arg(certificate).arg("-out").arg(&der))
        .must_succeed();
    let mut write = guarded.token_user("pkcs11-tool");
    write.args(["--module", guarded.variable("REAL_MODULE"), "--token-label", "sandbox", "--login"]);
    write.args(["--pin", "1234", "--type", "cert", "--id", "01", "--label", "demo-rsa", "--write-object"]);
    run(write.arg(der)).must_succeed();
    let (document, signature) = (guarded.file("document"), guarded.clients_file("signature"));
    fs::write(&document, "to be signed\n").unwrap();
    let configuration = guarded.file("pkcs11.cfg");
    let text = format!("name = trustshim\nlibrary = {}\nslotListIndex = 0\n", guarded.shim().display());
    fs::write(&configuration, text).unwrap();
    let program = jar(&guarded, "sign.jar", "the one that is approved");
    let sign = || {
        let _ = run(as_root("rm").arg("-f").arg(&signature));
        let mut java = guarded.client("java");
        java.arg("-jar").arg(&program).arg(&configuration).arg("demo-rsa").arg(&document).arg(&signature);
        run(java.arg("400"))
    };
    let refused = sign().must_fail();
    assert!(refused.all_text().contains("CKR_FUNCTION_REJECTED"), "{refused}");
    // Its compiler writes code where it runs.
    let reasons = guarded.last_reasons();
    assert_eq!(reasons, ["executable-unknown", "code-anonymous", "code-writable"]);
    guarded.approve_last(&Approval::of("java", DEMO_RSA, "sign").with(&["--allow-jit"]));
    for _ in 0..3 {
        sign().must_succeed();
        let mut verify = Command::new("openssl");
        verify.args(["dgst", "-sha256", "-verify"]).arg(guarded.public_key("demo-rsa")).arg("-signature");
        run(verify.arg(&signature).arg(&document)).must_succeed();
    }
    // The same class in another jar of that name.
    let changed = jar(&guarded, "changed.jar", "another one");
    fs::rename(changed, &program).unwrap();
    sign().must_fail();
    assert_eq!(guarded.last_reasons(), ["script-unknown"]);
    assert!(!signature.exists());
}
