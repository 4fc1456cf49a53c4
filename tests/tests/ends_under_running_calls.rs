//! What ends a session or the library ends no call that is under way: a handle that was judged before would mean another
//! key afterwards.

use std::net::{TcpListener, TcpStream};

use cryptoki_sys::*;
use e2e::one_token;
use e2e::probe::hex;
use e2e::{Mode, Probe, Spied, Stack};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        the_library_is_finalised_only_when_no_call_is_under_way,
        a_session_is_closed_only_when_no_call_on_it_is_under_way,
    ],
    inline: [sessions_of_the_attester_are_not_closed_with_the_applications],
}

/// A policy server that takes connections and says nothing.
struct Silent(TcpListener);

impl Silent {
    fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").expect("a port"))
    }

    /// A gate with this policy server, and with the spy in front of the real module.
    fn gate(&self, stack: &Stack, change: impl FnOnce(String) -> String) -> Spied {
        let port = self.0.local_addr().expect("bound").port();
        Spied::on(stack, "silent.toml", &[], |text| {
            let text = change(text);
            let lines = text.lines().map(|line| match line.split(' ').next() {
                Some("url") => format!("url = \"https://127.0.0.1:{port}\"\n"),
                Some("timeout_ms") => String::new(),
                _ => format!("{line}\n"),
            });
            lines.collect::<String>().replace("[policy_server]", "[policy_server]\ntimeout_ms = 30000")
        })
    }

    /// Waits for an attester that asks for a challenge: it has a session, and waits until the connection is dropped.
    fn attester(&self) -> TcpStream {
        self.0.accept().expect("an attester").0
    }
}

/// A thread of its own makes a call.
fn spawn(probe: &mut Probe, function: &str, mut arguments: Value) {
    arguments["call"] = function.into();
    probe.must("thread", json!({ "request": arguments }));
}

/// A thread of its own makes a call that waits for an attestation, on the session that is given: a signature or, since a guard
/// attests before it lets anybody log in, a login.
fn attests(mode: Mode, probe: &mut Probe) -> u64 {
    match mode {
        Mode::Inline => {
            let session = probe.session();
            let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
            let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
            spawn(probe, "C_SignInit", init);
            session
        }
        Mode::Guarded => {
            probe.initialize();
            let slot = probe.slot("sandbox").expect("the token sandbox");
            let session = probe.open(slot);
            spawn(probe, "C_Login", json!({ "session": session, "user": CKU_USER, "pin": hex(b"1234") }));
            session
        }
    }
}

fn the_library_is_finalised_only_when_no_call_is_under_way(mode: Mode) {
    let stack = Stack::up(mode);
    let silent = Silent::start();
    let (mut probe, record) = silent.gate(&stack, |text| text).probe(&stack, "probe", |_| {});
    attests(mode, &mut probe);
    let attester = silent.attester();
    assert!(record.mark() > 0, "the spy is not in place");
    spawn(&mut probe, "C_Finalize", json!({}));
    while probe.call("C_GetInfo", json!({})).rv != CKR_CRYPTOKI_NOT_INITIALIZED {}
    drop(attester);
    assert_eq!(probe.call("join", json!({ "thread": 0 })).rv, CKR_FUNCTION_REJECTED);
    assert_eq!(probe.call("join", json!({ "thread": 1 })).rv, CKR_OK);
    if mode == Mode::Guarded {
        // The worker's process ends, and its module in it: there was nothing to finalise under anybody's call.
        return;
    }
    let calls = record.calls_since(0);
    assert_eq!(calls.last().map(|call| call.function.as_str()), Some("C_Finalize"), "{calls:?}");
}

fn sessions_of_the_attester_are_not_closed_with_the_applications(mode: Mode) {
    let stack = Stack::up(mode);
    let silent = Silent::start();
    one_token::enroll(&stack);
    let gate = silent.gate(&stack, one_token::configuration);
    let (mut probe, record) = gate.probe(&stack, "probe", |_| {});
    let session = probe.session();
    let other = probe.must("C_GetSessionInfo", json!({ "session": session })).bytes("info");
    let slot = u64::from_ne_bytes(other[..8].try_into().unwrap());
    let second = probe.open(slot);
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    spawn(&mut probe, "C_SignInit", json!({ "session": session, "mechanism": CKM_ECDSA, "key": key }));
    let attester = silent.attester();
    let mark = record.mark();
    spawn(&mut probe, "C_CloseAllSessions", json!({ "slot": slot }));
    let closes = || {
        let calls = record.calls_since(mark).into_iter();
        calls.filter(|call| call.function.starts_with("C_Close")).collect::<Vec<_>>()
    };
    while closes().is_empty() {
        std::thread::yield_now();
    }
    drop(attester);
    assert_eq!(probe.call("join", json!({ "thread": 0 })).rv, CKR_FUNCTION_REJECTED);
    assert_eq!(probe.call("join", json!({ "thread": 1 })).rv, CKR_OK);
    assert!(closes().iter().all(|call| call.function == "C_CloseSession"), "{:?}", closes());
    let closed: Vec<_> = closes().iter().filter_map(|call| call.number("session")).collect();
    assert!(closed.contains(&session) && closed.contains(&second) && closed.len() == 3, "{closed:?}");
    for gone in [session, second] {
        let reply = probe.call("C_GetSessionInfo", json!({ "session": gone }));
        assert_eq!(reply.rv, CKR_SESSION_HANDLE_INVALID);
    }
}

fn a_session_is_closed_only_when_no_call_on_it_is_under_way(mode: Mode) {
    let stack = Stack::up(mode);
    let silent = Silent::start();
    let (mut probe, record) = silent.gate(&stack, |text| text).probe(&stack, "probe", |_| {});
    let session = attests(mode, &mut probe);
    let attester = silent.attester();
    let mark = record.mark();
    spawn(&mut probe, "C_GenerateRandom", json!({ "session": session }));
    spawn(&mut probe, "C_CloseSession", json!({ "session": session }));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let arrived = |function: &str| {
        let calls = record.calls_since(mark).into_iter();
        calls.filter(|call| call.function == function && call.number("session") == Some(session)).count()
    };
    assert_eq!((arrived("C_GenerateRandom"), arrived("C_CloseSession")), (0, 0));
    drop(attester);
    assert_eq!(probe.call("join", json!({ "thread": 0 })).rv, CKR_FUNCTION_REJECTED);
    let random = probe.call("join", json!({ "thread": 1 })).rv;
    assert_eq!(probe.call("join", json!({ "thread": 2 })).rv, CKR_OK);
    // Before the session was closed it was forwarded, and after that it was not.
    match random {
        CKR_OK => assert_eq!(arrived("C_GenerateRandom"), 1),
        CKR_SESSION_HANDLE_INVALID => assert_eq!(arrived("C_GenerateRandom"), 0),
        rv => panic!("{rv:#x}"),
    }
    let closed = probe.call("C_GetSessionInfo", json!({ "session": session })).rv;
    assert_eq!(closed, CKR_SESSION_HANDLE_INVALID);
}
