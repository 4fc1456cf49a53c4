//! What is not gated is forwarded untouched: the same client sees the same through the shim as directly.

use e2e::client::run;
use e2e::{Approval, Finished, Mode, Stack};

e2e::in_modes! {
    both: [
        open_calls_answer_as_they_do_directly,
        slots_and_tokens_are_those_of_the_real_module_without_the_attesters,
        pkcs11_tool_tests_the_token_with_the_same_results,
        an_approved_client_makes_uses_and_destroys_keys_as_directly,
        a_public_data_object_can_be_made_read_and_destroyed,
    ],
}

/// `pkcs11-tool` with these arguments, directly and through the shim.
fn both(stack: &Stack, arguments: &[&str]) -> [Finished; 2] {
    [stack.real_module(), stack.shim()].map(|module| {
        let mut command = stack.user_of(module, "pkcs11-tool");
        command
            .env("TOKEN_PIN", "1234")
            .arg("--module")
            .arg(module)
            .args(["--token-label", "sandbox"])
            .args(arguments);
        run(&mut command)
    })
}

fn open_calls_answer_as_they_do_directly(mode: Mode) {
    let stack = Stack::up(mode);
    may_log_in(&stack);
    let data = stack.write("data", "data");
    let data = data.to_str().unwrap();
    for arguments in [
        &["--show-info"][..],
        &["--list-mechanisms"],
        &["--list-objects"],
        &["--login", "--pin", "env:TOKEN_PIN", "--list-objects"],
        &["--login", "--pin", "9999", "--list-objects"],
        &["--read-object", "--type", "pubkey", "--label", "demo-ec"],
        &["--read-object", "--type", "pubkey", "--label", "absent"],
        &["--hash", "--mechanism", "SHA256", "--input-file", data],
        &["--login", "--pin", "env:TOKEN_PIN", "--read-object", "--type", "secrkey", "--label", "demo-aes"],
    ] {
        let [direct, shimmed] = both(&stack, arguments);
        assert_eq!(sorted(&direct), sorted(&shimmed), "{arguments:?}");
        assert_eq!(
            (direct.code, &direct.stdout.len()),
            (shimmed.code, &shimmed.stdout.len()),
            "{arguments:?}"
        );
    }
}

/// SoftHSM lists objects in another order each time.
fn sorted(finished: &Finished) -> Vec<String> {
    let mut lines: Vec<_> = finished.all_text().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The same without the numbers that count slots and keys, which come in another order each time.
fn uncounted(finished: &Finished) -> Vec<String> {
    let mut lines: Vec<_> = finished
        .all_text()
        .lines()
        .map(|line| {
            let mut words: Vec<_> = line.split(' ').collect();
            if let Some(place) = words.iter().position(|word| matches!(*word, "Slot" | "key"))
                && let Some(number) = words.get_mut(place + 1)
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

/// Has `pkcs11-tool` refused and approved for everything on the token. For its tests it loads more libraries than else.
fn approve_tool(stack: &Stack) {
    for arguments in [&["--keygen", "--key-type", "AES:32"][..], &["--test"]] {
        let mut refused = stack.application("pkcs11-tool");
        refused.env("TOKEN_PIN", "1234").arg("--module").arg(stack.shim()).args(["--token-label", "sandbox"]);
        run(refused.args(["--login", "--pin", "env:TOKEN_PIN"]).args(arguments)).must_fail();
        let approval = Approval::of("pkcs11-tool", "pkcs11:token=sandbox", "all");
        stack.approve_last(&approval.with(&["--many", "--any-arguments"]));
    }
}

/// A guard lets nobody log in who is not approved.
fn may_log_in(stack: &Stack) {
    if stack.mode() == Mode::Guarded {
        approve_tool(stack);
    }
}

fn slots_and_tokens_are_those_of_the_real_module_without_the_attesters(mode: Mode) {
    let stack = Stack::up(mode);
    for list in ["--list-slots", "--list-token-slots"] {
        let [direct, shimmed] = [stack.real_module(), stack.shim()]
            .map(|module| run(stack.user_of(module, "pkcs11-tool").arg("--module").arg(module).arg(list)));
        let slots = |finished: &Finished| {
            let text = uncounted_text(finished);
            let mut slots: Vec<_> = text.split("Slot N ").skip(1).map(str::to_owned).collect();
            slots.sort();
            slots
        };
        let (mut direct, shimmed) = (slots(&direct), slots(&shimmed));
        let all = direct.len();
        direct.retain(|slot| !slot.contains(": trustshim\n"));
        // In guarded mode that token is another module's in the first place.
        let hidden = usize::from(mode == Mode::Inline);
        assert_eq!(direct.len(), all - hidden, "{list}: {direct:#?}");
        assert_eq!(direct, shimmed, "{list}");
    }
}

fn pkcs11_tool_tests_the_token_with_the_same_results(mode: Mode) {
    let stack = Stack::up(mode);
    approve_tool(&stack);
    for arguments in [
        &["--login", "--pin", "env:TOKEN_PIN", "--test"][..],
        &["--test"],
        &["--login", "--pin", "env:TOKEN_PIN", "--list-objects"],
        &["--list-mechanisms"],
        &["--show-info"],
    ] {
        let [direct, shimmed] = both(&stack, arguments);
        assert_eq!(uncounted(&direct), uncounted(&shimmed), "{arguments:?} {:?}", stack.log().last());
        assert_eq!(direct.code, shimmed.code, "{arguments:?}");
        if arguments.contains(&"--login") && arguments.contains(&"--test") {
            assert!(shimmed.text().contains("RSA-PKCS: OK"), "{shimmed}");
        }
    }
}

fn an_approved_client_makes_uses_and_destroys_keys_as_directly(mode: Mode) {
    let stack = Stack::up(mode);
    approve_tool(&stack);
    let document = stack.write("document", [7; 32]);
    let signature = stack.file("signature");
    let (document, signature) = (document.to_str().unwrap(), signature.to_str().unwrap());
    let peer = e2e::openssl::PeerKey::generate(&stack);
    let derived = stack.file("derived");
    let (peer, derived) = (stack.write("peer.der", peer.public_der()), derived.to_str().unwrap());
    let peer = peer.to_str().unwrap();
    let pair = ["--id", "0a", "--label", "parity"];
    let steps: [(&[&str], bool); 12] = [
        (&["--keypairgen", "--key-type", "EC:prime256v1", "--usage-sign", "--usage-derive"], true),
        (&["--sign", "--mechanism", "ECDSA", "--input-file", document, "--output-file", signature], true),
        (
            &["--verify", "--mechanism", "ECDSA", "--input-file", document, "--signature-file", signature],
            true,
        ),
        (&["--derive", "--mechanism", "ECDH1-DERIVE", "--input-file", peer, "--output-file", derived], true),
        (&["--set-id", "0a", "--type", "privkey"], true),
        (&["--delete-object", "--type", "privkey"], true),
        (&["--delete-object", "--type", "privkey"], false),
        (&["--keygen", "--key-type", "AES:32"], true),
        (&["--delete-object", "--type", "secrkey"], true),
        (&["--write-object", document, "--type", "secrkey", "--key-type", "AES:32"], true),
        (&["--delete-object", "--type", "secrkey"], true),
        (&["--delete-object", "--type", "pubkey"], true),
    ];
    for module in [stack.real_module(), stack.shim()] {
        // They are another user's, it may be.
        for file in [signature, derived] {
            let _ = std::fs::remove_file(file);
        }
        for (arguments, succeeds) in steps {
            let mut command = stack.user_of(module, "pkcs11-tool");
            command.env("TOKEN_PIN", "1234").arg("--module").arg(module).args(["--token-label", "sandbox"]);
            command.args(["--login", "--pin", "env:TOKEN_PIN"]).args(arguments).args(pair);
            let finished = run(&mut command);
            assert_eq!(finished.success, succeeds, "{finished}");
        }
    }
}

/// The text with `N` for the numbers that count.
fn uncounted_text(finished: &Finished) -> String {
    finished
        .all_text()
        .lines()
        .map(|line| match line.strip_prefix("Slot ").and_then(|rest| rest.split_once(' ')) {
            Some((_, rest)) => format!("Slot N {rest}\n"),
            None => format!("{line}\n"),
        })
        .collect()
}

fn a_public_data_object_can_be_made_read_and_destroyed(mode: Mode) {
    let stack = Stack::up(mode);
    may_log_in(&stack);
    let data = stack.write("data", "not secret at all");
    let tool = |arguments: &[&str]| {
        let mut command = stack.application("pkcs11-tool");
        command.env("TOKEN_PIN", "1234").arg("--module").arg(stack.shim()).args(["--token-label", "sandbox"]);
        run(command.args(["--login", "--pin", "env:TOKEN_PIN"]).args(arguments))
    };
    let object = ["--type", "data", "--label", "notes"];
    tool(&[&["--write-object", data.to_str().unwrap()][..], &object].concat()).must_succeed();
    let read = tool(&[&["--read-object"][..], &object].concat()).must_succeed();
    assert_eq!(read.text(), "not secret at all");
    tool(&[&["--delete-object"][..], &object].concat()).must_succeed();
}
