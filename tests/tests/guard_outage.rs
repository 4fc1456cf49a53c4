//! Without an answer from the policy server the guard lets nobody new in; what it has let in stays in until its deadline.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cryptoki_sys::*;
use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::processes::eventually;
use e2e::{Approval, Guarded, Probe};
use serde_json::json;

fn sign(probe: &mut Probe, session: u64, key: u64) -> u64 {
    let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
    match probe.call("C_SignInit", init).rv {
        CKR_OK => probe.call("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) })).rv,
        refused => refused,
    }
}

fn last_reason(guarded: &Guarded) -> String {
    guarded.log().last().expect("a refusal")["reason"].as_str().expect("a reason").to_owned()
}

/// So many seconds, from now on.
fn have_tokens_live(guarded: &mut Guarded, lifetime_s: u64) {
    guarded.stop("policy-server");
    let settings = guarded.directory().join("policy-server/policy-server.toml");
    let text = run(e2e::root::as_root("cat").arg(&settings)).must_succeed().text();
    let kept = text.lines().filter(|line| !line.starts_with("token_lifetime_s"));
    let lifetime = format!("token_lifetime_s = {lifetime_s}");
    let changed: String = [lifetime.as_str()].into_iter().chain(kept).map(|l| format!("{l}\n")).collect();
    let new = guarded.file("policy-server.toml");
    fs::write(&new, changed).unwrap();
    run(e2e::root::as_root("cp").args([&new, &settings])).must_succeed();
    guarded.start("policy-server");
}

#[test]
fn a_server_that_is_down_from_the_start_is_asked_again() {
    let mut guarded = Guarded::up();
    let application = guarded.approved_application();
    for _ in 0..2 {
        // Neither the guard nor anybody else has a token.
        guarded.stop("guard");
        guarded.stop("policy-server");
        guarded.start("guard");
        let began = Instant::now();
        let refused = run(&mut guarded.scene(&application, &["sign"])).must_fail();
        assert!(refused.all_text().contains("C_Login: 0x200"), "{refused}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert_eq!(last_reason(&guarded), "policy-server-unavailable");
        guarded.start("policy-server");
        run(&mut guarded.scene(&application, &["sign"])).must_succeed();
    }
}

#[test]
fn a_token_counts_until_its_deadline_and_is_renewed_when_the_server_is_back() {
    let mut guarded = Guarded::up();
    let mut probe = guarded.probe("signer");
    probe.initialize();
    let slot = probe.slot("sandbox").unwrap();
    let session = probe.open(slot);
    let login = json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") });
    assert_eq!(probe.call("C_Login", login.clone()).rv, CKR_FUNCTION_REJECTED);
    guarded.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    have_tokens_live(&mut guarded, 12);
    // A refusal is asked about again after a second.
    let mut given = Instant::now();
    eventually("the login", || {
        given = Instant::now();
        probe.call("C_Login", login.clone()).rv == CKR_OK
    });
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    assert_eq!(sign(&mut probe, session, key), CKR_OK);
    // Down when it is due to be renewed, which nothing shows.
    guarded.stop("policy-server");
    let rv = loop {
        let began = Instant::now();
        let rv = sign(&mut probe, session, key);
        if rv != CKR_OK {
            break rv;
        }
        assert!(began - given < Duration::from_secs(14), "a token outlives its deadline");
        sleep(Duration::from_millis(100));
    };
    assert_eq!(rv, CKR_FUNCTION_REJECTED);
    // By whether it ends before a signature begins, or within one.
    let reason = last_reason(&guarded);
    assert!(["policy-server-unavailable", "token-expired"].contains(&reason.as_str()), "{reason}");
    // Attempts to renew it begin when two thirds of its life are over, and refuse nothing when they fail.
    assert!(given.elapsed() > Duration::from_millis(11_500), "refused after {:?}", given.elapsed());
    // Down for longer than any token lives, and for a process that is new as well.
    let mut other = guarded.probe("signer");
    other.initialize();
    let others = other.open(slot);
    let others_login = json!({ "session": others, "user": CKU_USER, "pin": hex(b"1234") });
    assert_eq!(other.call("C_Login", others_login).rv, CKR_FUNCTION_REJECTED);
    guarded.start("policy-server");
    eventually("the server's next token", || sign(&mut probe, session, key) == CKR_OK);
}

/// A process of the program, with what it signs with.
struct Signer {
    probe: Probe,
    session: u64,
    key: u64,
}

impl Signer {
    fn of(guarded: &Guarded) -> Self {
        let mut probe = guarded.probe("signer");
        probe.initialize();
        let slot = probe.slot("sandbox").unwrap();
        let session = probe.open(slot);
        let login = json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") });
        // A refusal is asked about again after a second.
        eventually("the login", || probe.call("C_Login", login.clone()).rv == CKR_OK);
        let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
        Self { probe, session, key }
    }

    fn sign(&mut self) -> u64 {
        sign(&mut self.probe, self.session, self.key)
    }
}

#[test]
fn what_is_taken_back_ends_with_the_renewal_for_all_processes_at_once() {
    const LIFETIME: Duration = Duration::from_secs(24);
    let mut guarded = Guarded::up();
    let mut first = guarded.probe("signer");
    first.initialize();
    let slot = first.slot("sandbox").unwrap();
    let login = json!({ "session": first.open(slot), "user": CKU_USER, "pin": hex(b"1234") });
    assert_eq!(first.call("C_Login", login).rv, CKR_FUNCTION_REJECTED);
    guarded.approve_last(&Approval::of("signer", DEMO_EC, "sign"));
    have_tokens_live(&mut guarded, LIFETIME.as_secs());
    let mut signers = vec![Signer::of(&guarded)];
    let given = Instant::now();
    run(&mut guarded.operator(&["component", "retire", "signer", "1"])).must_succeed();
    // Those that come meanwhile have the same token, which by themselves they would renew later.
    sleep(LIFETIME / 3);
    signers.push(Signer::of(&guarded));
    assert_eq!(guarded.tokens_of("signer"), 1);
    while signers.iter_mut().all(|signer| signer.sign() == CKR_OK) {
        assert!(given.elapsed() < LIFETIME, "it ends with its lifetime, and not before");
        sleep(Duration::from_millis(50));
    }
    // The next look finds it withdrawn, whoever had it renewed.
    sleep(Duration::from_millis(300));
    let ends: Vec<_> = signers.iter_mut().map(Signer::sign).collect();
    println!("taken back, and refused after {:?} of {LIFETIME:?}", given.elapsed());
    assert_eq!(ends, [CKR_FUNCTION_REJECTED; 2]);
    let reasons: Vec<_> = guarded.log().iter().rev().take(2).map(|line| line["reason"].clone()).collect();
    assert!(reasons.iter().all(|reason| reason == "version-retired"), "{reasons:?}");
    assert!(given.elapsed() < LIFETIME, "{:?}", given.elapsed());
}

#[test]
fn many_processes_that_measure_alike_have_one_token() {
    let guarded = Guarded::up();
    let application = guarded.approved_application();
    for _ in 0..200 {
        run(&mut guarded.scene(&application, &["sign"])).must_succeed();
    }
    assert_eq!(guarded.tokens_of("application"), 1);
    let requests = guarded.json(&["decisions", "list", "--limit", "200"]);
    // The first one, refused, and the one that all others had.
    assert_eq!(requests.as_array().unwrap().len(), 2, "{requests:#}");
    // Started in a way that was not approved: measured as something else.
    let mut traced = guarded.client("env");
    traced.arg("LD_BIND_NOW=1").arg(&application).arg(guarded.shim()).arg("sign");
    run(&mut traced).must_fail();
    assert_eq!(guarded.tokens_of("application"), 1);
}
