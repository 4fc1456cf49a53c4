//! The tests that python-pkcs11 has for itself end through the shim as they do directly: passed, skipped, or failed in the
//! same line with the same error.

use std::path::{Path, PathBuf};

use e2e::client::run;
use e2e::parity::{Known, Results};
use e2e::{Access, Finished, Mode, Parity, Stack, Token};
use serde_json::Value;

e2e::in_modes! {
    both: [
        on_softhsm,
        on_kryoptic,
    ],
}

/// Where `scripts/python-pkcs11` puts the environment: beside the build.
fn environment() -> PathBuf {
    let build = e2e::stack::build();
    let made = build.parent().expect("the target directory").join("python-pkcs11");
    assert!(made.join("made-of").exists(), "{} is missing: run scripts/python-pkcs11", made.display());
    made
}

/// Runs all tests on a fresh token.
fn suite(parity: &Parity<'_>, access: Access) -> Finished {
    parity.renew(access);
    let made = environment();
    let mut command = parity.application(access, made.join("bin/python"));
    command.env("PKCS11_MODULE", parity.module(access)).env("PKCS11_TOKEN_LABEL", "sandbox");
    command.env("PKCS11_TOKEN_PIN", "1234").env("PKCS11_TOKEN_SO_PIN", "5678");
    // Sets, and so the messages that show them, come in the same order each time; and nothing is written to the tests.
    command.env("PYTHONHASHSEED", "0").arg("-B");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("python-pkcs11/run_tests.py"));
    run(command.arg(made.join("source"))).must_succeed()
}

fn results(finished: &Finished) -> Results {
    let lines: Vec<Value> = finished
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}\n{finished}")))
        .collect();
    let (last, tests) = lines.split_last().expect("results");
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let results: Results = tests
        .iter()
        .map(|line| (text(line, "test"), format!("{} {}", text(line, "outcome"), text(line, "detail"))))
        .collect();
    assert_eq!(last["ran"], results.len(), "a result for each test: {finished}");
    results
}

fn passed(results: &Results) -> usize {
    results.values().filter(|result| result.starts_with("passed")).count()
}

/// Compares, and sees that equality is not that of failures alone.
fn compare(mode: Mode, token: Token, at_least: usize, known: &[Known]) {
    let stack = Stack::on(token, mode);
    // The tests look for the only key of its kind, and take others for theirs.
    empty_token(&stack);
    let parity = Parity::of(&stack);
    let direct = results(&suite(&parity, Access::Direct));
    let refused = passed(&results(&suite(&parity, Access::Shim)));
    parity.approve("python-pkcs11");
    let shim = results(&suite(&parity, Access::Shim));
    parity.assert_same(&direct, &shim, known);
    assert!(refused < passed(&shim), "{refused} passed before the approval");
    assert!(passed(&direct) >= at_least, "{} passed: {direct:#?}", passed(&direct));
}

/// Makes the token anew: same label and PINs, no objects.
fn empty_token(stack: &Stack) {
    for arguments in [
        &["--init-token", "--label", "sandbox", "--so-pin", "5678"][..],
        &["--login", "--login-type", "so", "--so-pin", "5678", "--init-pin", "--new-pin", "1234"],
    ] {
        let mut tool = stack.owner("pkcs11-tool");
        tool.arg("--module").arg(stack.real_module()).args(["--token-label", "sandbox"]).args(arguments);
        run(&mut tool).must_succeed();
    }
}

fn on_softhsm(mode: Mode) {
    compare(mode, Token::SoftHsm, 140, &[]);
}

fn on_kryoptic(mode: Mode) {
    compare(mode, Token::Kryoptic, 95, &[]);
}
