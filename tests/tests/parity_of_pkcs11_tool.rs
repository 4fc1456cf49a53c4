//! Everything that `pkcs11-tool` can do gives, once it is approved, the same results through the shim as directly.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use e2e::client::run;
use e2e::openssl::{PeerKey, openssl};
use e2e::parity::{Known, Results};
use e2e::{Access, Finished, Mode, Parity, Stack, Token};

e2e::in_modes! {
    both: [
        on_softhsm,
        on_kryoptic,
        by_threads_on_softhsm,
        by_threads_on_kryoptic,
    ],
}

/// One command line each, with who logs in. `@NAME` is a file of the run; what is written to `~NAME` differs each time.
const STEPS: &str = "
nobody: --show-info
nobody: --list-interfaces
nobody: --list-slots
nobody: --list-token-slots
nobody: --list-mechanisms
nobody: --list-objects
user: --list-objects
officer: --list-objects
nobody: --login --pin 9999 --list-objects
nobody: --test
user: --test
nobody: --test-fork
user: --test-fork
user: --test-ec --id 0b --key-type EC:prime256v1
officer: --session-rw --test-ec --id 0b --key-type EC:prime256v1
user: --moz-cert @certificate
nobody: --generate-random 16 --output-file ~random
nobody: --hash --mechanism MD5 --input-file @document --output-file @md5
nobody: --hash --mechanism SHA-1 --input-file @document --output-file @sha1
nobody: --hash --mechanism SHA256 --input-file @document --output-file @sha256
nobody: --hash --mechanism SHA512 --input-file @document --output-file @sha512

user: --sign --id 01 --mechanism RSA-PKCS --input-file @digest --output-file @rsa
user: --verify --id 01 --mechanism RSA-PKCS --input-file @digest --signature-file @rsa
user: --verify --id 01 --mechanism RSA-PKCS --input-file @other --signature-file @rsa
user: --sign --id 01 --mechanism RSA-X-509 --input-file @block --output-file @raw
user: --sign --id 01 --mechanism SHA1-RSA-PKCS --input-file @document --output-file @sha1-rsa
user: --sign --id 01 --mechanism SHA256-RSA-PKCS --input-file @document --output-file @sha256-rsa
user: --verify --id 01 --mechanism SHA256-RSA-PKCS --input-file @document --signature-file @sha256-rsa
user: --sign --id 01 --mechanism SHA512-RSA-PKCS --input-file @document --output-file @sha512-rsa
user: --sign --id 01 --mechanism RSA-PKCS-PSS --hash-algorithm SHA256 --input-file @digest --output-file ~pss
user: --verify --id 01 --mechanism RSA-PKCS-PSS --hash-algorithm SHA256 --input-file @digest --signature-file @pss
user: --sign --id 01 --mechanism SHA256-RSA-PKCS-PSS --input-file @document --output-file ~sha256-pss
user: --verify --id 01 --mechanism SHA256-RSA-PKCS-PSS --input-file @document --signature-file @sha256-pss
nobody: --sign --id 01 --mechanism RSA-PKCS --input-file @digest --output-file @public
user: --sign --id 02 --mechanism ECDSA --input-file @digest --output-file ~ecdsa
user: --verify --id 02 --mechanism ECDSA --input-file @digest --signature-file @ecdsa
user: --verify --id 02 --mechanism ECDSA --input-file @other --signature-file @ecdsa
user: --sign --id 02 --mechanism ECDSA-SHA256 --input-file @document --output-file ~ecdsa-sha256
user: --sign --id 02 --mechanism ECDSA --signature-format openssl --input-file @digest --output-file ~der
user: --sign --id 02 --mechanism RSA-PKCS --input-file @digest --output-file @wrong-mechanism
user: --sign --id 03 --mechanism EDDSA --input-file @document --output-file @eddsa
user: --verify --id 03 --mechanism EDDSA --input-file @document --signature-file @eddsa
user: --sign --id 04 --mechanism SHA256-HMAC --input-file @document --output-file @hmac
user: --verify --id 04 --mechanism SHA256-HMAC --input-file @document --signature-file @hmac
user: --sign --id 99 --mechanism ECDSA --input-file @digest --output-file @absent

user: --encrypt --id 01 --mechanism RSA-PKCS --input-file @digest --output-file ~to-rsa
user: --decrypt --id 01 --mechanism RSA-PKCS --input-file @to-rsa --output-file @from-rsa
user: --encrypt --id 01 --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1 --input-file @digest --output-file ~to-oaep
user: --decrypt --id 01 --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1 --input-file @to-oaep --output-file @from-oaep
user: --decrypt --id 01 --mechanism RSA-PKCS --input-file @document --output-file @no-ciphertext
user: --encrypt --id 05 --mechanism AES-ECB --input-file @digest --output-file @to-ecb
user: --decrypt --id 05 --mechanism AES-ECB --input-file @to-ecb --output-file @from-ecb
user: --encrypt --id 05 --mechanism AES-CBC --iv 000102030405060708090a0b0c0d0e0f --input-file @digest --output-file @to-cbc
user: --decrypt --id 05 --mechanism AES-CBC --iv 000102030405060708090a0b0c0d0e0f --input-file @to-cbc --output-file @from-cbc
user: --encrypt --id 05 --mechanism AES-CBC-PAD --iv 000102030405060708090a0b0c0d0e0f --input-file @document --output-file @to-pad
user: --decrypt --id 05 --mechanism AES-CBC-PAD --iv 000102030405060708090a0b0c0d0e0f --input-file @to-pad --output-file @from-pad
user: --decrypt --id 05 --mechanism AES-CBC-PAD --iv 000102030405060708090a0b0c0d0e0f --input-file @document --output-file @no-blocks
user: --encrypt --id 05 --mechanism AES-CBC --iv 000102030405060708090a0b0c0d0e0f --input-file @document --output-file @no-block
user: --encrypt --id 05 --mechanism AES-GCM --iv 000102030405060708090a0b --input-file @document --output-file @to-gcm

user: --keypairgen --key-type EC:prime256v1 --usage-sign --usage-derive --id 0a --label made
user: --keypairgen --key-type EC:prime256v2 --id 0a --label unmade
user: --keypairgen --key-type rsa:2048 --usage-sign --usage-decrypt --id 0c --label made-rsa
user: --sign --id 0a --mechanism ECDSA --input-file @digest --output-file ~made
user: --derive --id 0a --mechanism ECDH1-DERIVE --input-file @peer --output-file ~secret
user: --keygen --key-type AES:32 --usage-decrypt --usage-wrap --extractable --id 0d --label made-aes
user: --keygen --key-type DES3:24 --id 0e --label made-des
user: --read-object --type secrkey --id 0d --output-file ~revealed
user: --read-object --type secrkey --id 05 --output-file @hidden
user: --wrap --mechanism AES-KEY-WRAP --id 0d --application-id 0d --output-file ~wrapped
user: --wrap --mechanism RSA-PKCS --id 01 --application-id 0d --output-file ~wrapped-by-rsa
user: --unwrap --mechanism RSA-PKCS --id 0c --input-file @wrapped-by-rsa --key-type AES: --application-id 0f --application-label unwrapped
user: --write-object @digest --type secrkey --key-type AES:32 --extractable --id 10 --label written
user: --read-object --type secrkey --id 10 --output-file @read
user: --write-object @document --type data --label notes
user: --read-object --type data --label notes --output-file @notes
user: --write-object @document --type data --private --label secrets
nobody: --read-object --type data --label secrets --output-file @unseen
user: --read-object --type data --label secrets --output-file @secrets
user: --write-object @certificate --type cert --id 01 --label certificate
nobody: --read-object --type cert --id 01 --output-file @certificate-read
user: --write-object @peer-private --type privkey --id 11 --label peer --usage-sign
user: --sign --id 11 --mechanism ECDSA --input-file @digest --output-file ~by-peer
nobody: --read-object --type pubkey --id 02 --output-file @ec-public
nobody: --write-object @document --type data --label anonymous
user: --set-id 12 --id 0a --type privkey
user: --set-id 13 --id 99 --type privkey
user: --list-objects --type privkey
user: --delete-object --type privkey --id 12
user: --delete-object --type privkey --id 12
user: --delete-object --type secrkey --label written
user: --delete-object --type data --label notes
user: --delete-object --type cert --id 01
user: --list-objects --type data

user: --change-pin --new-pin 12345678
user: --list-objects --type pubkey
nobody: --login --pin 12345678 --list-objects --type privkey
nobody: --login --login-type so --so-pin 9999 --init-pin --new-pin 1234
officer: --init-pin --new-pin 1234
user: --list-objects --type secrkey
officer: --change-pin --new-pin 56785678
nobody: --init-token --label sandbox --so-pin 99999999
nobody: --init-token --label sandbox --so-pin 56785678
user: --list-objects
";

/// Threads that initialise the module again, and look at it. They wait for each other: the tool initialises it in the form
/// that promises one thread, and SoftHSM takes no locks then.
const THREADS: &str = "nobody: --test-threads P1ILGISLT0 --test-threads P2INGISLT0 --list-slots";

/// The steps that both tokens do, so that equality is not that of failures alone.
const MUST_SUCCEED: [&str; 10] = [
    "user: --sign --id 01 --mechanism SHA256-RSA-PKCS ",
    "user: --verify --id 02 --mechanism ECDSA --input-file @digest ",
    "user: --verify --id 01 --mechanism SHA256-RSA-PKCS-PSS ",
    "user: --sign --id 04 --mechanism SHA256-HMAC ",
    "user: --decrypt --id 05 --mechanism AES-CBC-PAD --iv 000102030405060708090a0b0c0d0e0f --input-file @to-pad ",
    "user: --keypairgen --key-type EC:prime256v1 ",
    "user: --derive ",
    "user: --read-object --type secrkey --id 10 ",
    "officer: --init-pin ",
    "nobody: --init-token --label sandbox --so-pin 56785678",
];

struct Tool<'a> {
    parity: &'a Parity<'a>,
    stack: &'a Stack,
    access: Access,
    files: PathBuf,
}

impl Tool<'_> {
    fn step(&self, step: &str) -> Finished {
        let (who, arguments) = step.split_once(": ").expect("who: arguments");
        let mut command = self.parity.application(self.access, "pkcs11-tool");
        command.env("USER_PIN", "1234").env("OFFICER_PIN", "5678").arg("--module");
        command.arg(self.parity.module(self.access)).args(["--token-label", "sandbox"]);
        command.args(match who {
            "user" => &["--login", "--pin", "env:USER_PIN"][..],
            "officer" => &["--login", "--login-type", "so", "--so-pin", "env:OFFICER_PIN"],
            "nobody" => &[],
            _ => panic!("{step}"),
        });
        for word in arguments.split(' ') {
            match word.strip_prefix(['@', '~']) {
                Some(file) => command.arg(self.files.join(file)),
                None => command.arg(word),
            };
        }
        run(&mut command)
    }

    /// Exit status, output and the file that was written.
    fn result(&self, step: &str) -> String {
        let finished = self.step(step);
        let written = step.split_once("--output-file ").map(|(_, file)| {
            let content = fs::read(self.files.join(&file[1..])).unwrap_or_default();
            match &file[..1] {
                "~" => format!("written: {}", !content.is_empty()),
                _ => e2e::probe::hex(&content),
            }
        });
        let lines = comparable(&finished.all_text().replace(text(&self.files), "FILES")).join("\n    ");
        format!("exit {:?}\n    {lines}\n    {}", finished.code, written.unwrap_or_default())
    }

    fn run(&self) -> Results {
        self.parity.renew(self.access);
        let inputs = self.stack.file("inputs");
        self.stack.make_directory(text(self.files.file_name().expect("a name").as_ref()));
        for entry in fs::read_dir(inputs).expect("the inputs") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, self.files.join(path.file_name().expect("a file"))).expect("an input");
        }
        let steps = STEPS.lines().filter(|line| !line.is_empty()).enumerate();
        let mut results = Results::new();
        for (number, step) in steps {
            results.insert(format!("{number:03} {step}"), self.result(step));
        }
        results
    }
}

/// The lines of an output without what differs each time: the order of objects, and the numbers of keys that go by it;
/// handles; values of new keys; addresses.
fn comparable(output: &str) -> Vec<String> {
    let mut lines: Vec<_> = output
        .lines()
        .map(|line| {
            for value in ["  EC_POINT:   ", "  Unique ID:  ", "  VALUE:      ", "  funcs=", "Data object "] {
                if line.starts_with(value) {
                    return value.to_owned();
                }
            }
            let mut words: Vec<_> = line.split(' ').collect();
            let number = words.iter().position(|word| *word == "key").map(|place| place + 1);
            if let Some(number) = number.and_then(|place| words.get_mut(place))
                && number.bytes().all(|byte| byte.is_ascii_digit())
            {
                *number = "N";
            }
            // Said of the first key only.
            words.join(" ").replace(" with 1 mechanism", "")
        })
        .collect();
    lines.sort();
    lines
}

fn write_inputs(stack: &Stack) {
    let inputs = stack.file("inputs");
    fs::create_dir(&inputs).expect("a directory of the test");
    let write = |name: &str, content: &[u8]| fs::write(inputs.join(name), content).expect("an input");
    write("document", b"a document that is no whole number of blocks");
    write("digest", &[7; 32]);
    write("other", &[8; 32]);
    write("block", &[1; 256]);
    let peer = PeerKey::generate(stack);
    write("peer", &peer.public_der());
    let private = stack.file("peer.pem");
    openssl(&["pkey", "-in", text(&private), "-outform", "DER", "-out", text(&inputs.join("peer-private"))]);
    let (key, certificate) = (stack.file("certificate.pem"), inputs.join("certificate"));
    let key = ["-newkey", "rsa:2048", "-nodes", "-keyout", text(&key)];
    let output = ["-subj", "/CN=parity", "-outform", "DER", "-out", text(&certificate)];
    openssl(&[&["req", "-x509"][..], &key, &output].concat());
    // Clients of another user read it, too.
    fs::set_permissions(inputs.join("peer-private"), fs::Permissions::from_mode(0o644))
        .expect("our own file");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn compare(mode: Mode, token: Token, known: &[Known]) {
    let stack = Stack::on(token, mode);
    write_inputs(&stack);
    let parity = Parity::of(&stack);
    let tool = |access, name: &str| Tool { parity: &parity, stack: &stack, access, files: stack.file(name) };
    let direct = tool(Access::Direct, "direct-files").run();
    let shim = tool(Access::Shim, "shim-files");
    shim.step("user: --keygen --key-type AES:32").must_fail();
    parity.approve("pkcs11-tool");
    // For its tests it loads more libraries than else.
    match mode {
        Mode::Inline => {
            shim.step("user: --test").must_fail();
            parity.approve("pkcs11-tool");
        }
        // A guard finds them a quarter of a second later, which may be after the end.
        Mode::Guarded => {
            run(&mut stack.operator(&["component", "mode", "pkcs11-tool", "observe"])).must_succeed();
        }
    }
    parity.assert_same(&direct, &shim.run(), known);
    let succeeded = |step: &&str| {
        let mut of_step = direct.iter().filter(|(name, _)| name[4..].starts_with(*step));
        of_step.next().expect(step).1.starts_with("exit Some(0)")
    };
    let failed: Vec<_> = MUST_SUCCEED.into_iter().filter(|step| !succeeded(step)).collect();
    assert_eq!(failed, [""; 0]);
}

/// The tool waits half a minute for threads that are not done when it is, so both runs go at once.
fn compare_threads(mode: Mode, token: Token, known: &[Known]) {
    let stack = Stack::on(token, mode);
    let parity = Parity::of(&stack);
    let run = |access| {
        parity.renew(access);
        let tool = Tool { parity: &parity, stack: &stack, access, files: stack.file("none") };
        Results::from([(THREADS.to_owned(), tool.result(THREADS))])
    };
    let [direct, shim] = thread::scope(|scope| {
        [Access::Direct, Access::Shim]
            .map(|access| scope.spawn(move || run(access)))
            .map(|run| run.join().expect("a run"))
    });
    assert!(direct[THREADS].contains("Test thread 1 returning rv = 0"), "{direct:#?}");
    parity.assert_same(&direct, &shim, known);
}

/// SoftHSM numbers the slot that has no token yet by how many have one.
const COUNTED: &str = "the slot of the attestation key's token is hidden, and counted all the same";
const FORKED: &str =
    "the shim has the module begin anew in a child, which by itself insists that it has begun";

const fn forked(test: &'static str) -> Known {
    Known { test, direct: "CKR_CRYPTOKI_ALREADY_INITIALIZED", shim: "exit Some(0)", because: FORKED }
}

const fn counted(test: &'static str) -> Known {
    Known { test, direct: "SoftHSM slot ID 0x1", shim: "SoftHSM slot ID 0x2", because: COUNTED }
}

fn on_softhsm(mode: Mode) {
    let counted: &[Known] = match mode {
        Mode::Inline => &[counted("002 nobody: --list-slots"), counted("003 nobody: --list-token-slots")],
        // The token of the attestation key is another module's.
        Mode::Guarded => &[],
    };
    let known = [
        forked("011 nobody: --test-fork"),
        forked("012 user: --test-fork"),
        Known {
            test: "098 user: --list-objects --type secrkey",
            direct: "CKR_ATTRIBUTE_SENSITIVE",
            shim: "unknown PKCS11 error (0x200)",
            because: "a key that SoftHSM failed to generate stays as an object without attributes, which does not say that \
                      it is one of the token: nobody can account for it",
        },
    ];
    compare(mode, Token::SoftHsm, &known.into_iter().chain(counted.iter().copied()).collect::<Vec<_>>());
}

fn on_kryoptic(mode: Mode) {
    let mut known = vec![forked("011 nobody: --test-fork"), forked("012 user: --test-fork")];
    if mode == Mode::Guarded {
        known.push(Known {
            test: "082 nobody: --read-object --type pubkey --id 02 --output-file @ec-public",
            direct: "cannot create EVP_PKEY",
            shim: "exit Some(0)",
            because: "the tool makes no key of OpenSSL's where Kryoptic is in its process and nobody has logged in; apart \
                      from it, it does",
        });
    }
    compare(mode, Token::Kryoptic, &known);
}

fn by_threads_on_softhsm(mode: Mode) {
    let known = [counted(THREADS)];
    compare_threads(mode, Token::SoftHsm, if mode == Mode::Inline { &known } else { &[] });
}

fn by_threads_on_kryoptic(mode: Mode) {
    compare_threads(mode, Token::Kryoptic, &[]);
}
