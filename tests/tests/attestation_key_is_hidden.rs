//! The attestation key does not exist for applications: not in lists, not by search, not by a guessed handle, in no
//! operation; and neither do the sessions of the attester.

use cryptoki_sys::*;
use e2e::client::run;
use e2e::one_token;
use e2e::probe::hex;
use e2e::{Approval, Mode, Probe, Spied, SpyRecord, Stack};
use serde_json::json;

e2e::in_modes! {
    both: [on_a_token_of_its_own],
    inline: [on_the_applications_own_token, on_a_token_that_cannot_be_looked_at],
}

/// SoftHSM's handles are small integers, given in turn.
const GUESSES: std::ops::Range<u64> = 0..64;

/// A probe in front of the spy, refused once and approved then for every private key of the token.
fn approved_probe(stack: &Stack, spied: &Spied) -> (Probe, SpyRecord, u64) {
    let (mut probe, record) = spied.probe(stack, "spied", |_| {});
    let approval = Approval::of("probe", "pkcs11:token=sandbox;type=private", "all").with(&["--many"]);
    let session = stack.approve_probe(&mut probe, &approval);
    let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
    probe.must("C_SignInit", json!({ "session": session, "mechanism": CKM_ECDSA, "key": key }));
    probe.must("C_Sign", json!({ "session": session, "input": hex(&[1; 32]) }));
    (probe, record, session)
}

/// No handle leads to the attestation key, none of the attester's sessions is usable. In guarded mode neither is where the
/// application's calls go.
fn assert_guessing_is_in_vain(mode: Mode, probe: &mut Probe, session: u64, record: &SpyRecord) {
    let attesters: Vec<_> = record
        .calls_since(0)
        .into_iter()
        .filter(|call| call.function == "C_SignInit" && call.number("session") != Some(session))
        .collect();
    assert_eq!(attesters.is_empty(), mode == Mode::Guarded, "the attester's calls: {attesters:?}");
    for call in &attesters {
        assert!(GUESSES.contains(&call.number("session").unwrap()), "{call:?} is not among the guesses");
        assert!(GUESSES.contains(&call.number("key").unwrap()), "{call:?} is not among the guesses");
    }

    for guess in GUESSES.filter(|guess| *guess != session) {
        for (function, arguments) in [
            ("C_GetSessionInfo", json!({ "session": guess })),
            ("C_FindObjectsInit", json!({ "session": guess })),
            ("C_SignInit", json!({ "session": guess, "mechanism": CKM_ECDSA, "key": 1 })),
            ("C_Sign", json!({ "session": guess, "input": hex(&[1; 32]) })),
            ("C_Logout", json!({ "session": guess })),
            ("C_CloseSession", json!({ "session": guess })),
        ] {
            let reply = probe.call(function, arguments);
            assert_eq!(
                reply.rv, CKR_SESSION_HANDLE_INVALID,
                "{function} on session {guess}: {:#x}",
                reply.rv
            );
        }
    }

    let mut visible = 0;
    for guess in GUESSES {
        let request = json!({ "session": session, "object": guess, "template": [[CKA_LABEL, 64]] });
        let reply = probe.call("C_GetAttributeValue", request);
        let label = if reply.rv == CKR_OK { reply.attribute(0) } else { Vec::new() };
        assert_ne!(label, b"attestation", "object {guess}");
        visible += usize::from(reply.rv == CKR_OK);
        let is_attestation_key = attesters.iter().any(|call| call.number("key") == Some(guess));
        if is_attestation_key {
            assert_eq!(reply.rv, CKR_OBJECT_HANDLE_INVALID, "the attestation key's handle {guess}");
            let size = probe.call("C_GetObjectSize", json!({ "session": session, "object": guess }));
            assert_eq!(size.rv, CKR_OBJECT_HANDLE_INVALID);
            let destroy = probe.call("C_DestroyObject", json!({ "session": session, "object": guess }));
            assert_eq!(destroy.rv, CKR_OBJECT_HANDLE_INVALID);
            for init in ["C_SignInit", "C_DecryptInit", "C_SignRecoverInit"] {
                let arguments = json!({ "session": session, "mechanism": CKM_ECDSA, "key": guess });
                let reply = probe.call(init, arguments);
                assert_eq!(
                    reply.rv, CKR_KEY_HANDLE_INVALID,
                    "{init} with the attestation key: {:#x}",
                    reply.rv
                );
            }
        }
    }
    assert!(visible > 0, "the guesses reach no object at all");

    for template in [
        json!([]),
        json!([[CKA_LABEL, hex(b"attestation")]]),
        json!([[CKA_CLASS, hex(&CKO_PRIVATE_KEY.to_ne_bytes())]]),
        json!([[CKA_CLASS, hex(&CKO_PUBLIC_KEY.to_ne_bytes())]]),
    ] {
        for object in probe.search(session, template) {
            let request = json!({ "session": session, "object": object, "template": [[CKA_LABEL, 64]] });
            assert_ne!(probe.must("C_GetAttributeValue", request).attribute(0), b"attestation");
        }
    }
    let used = record.calls_since(0).into_iter().any(|call| {
        call.number("session") == Some(session)
            && call
                .number("key")
                .is_some_and(|key| attesters.iter().any(|call| call.number("key") == Some(key)))
    });
    assert!(!used, "a call with the attestation key reached the real module on the application's session");
}

fn on_a_token_of_its_own(mode: Mode) {
    let stack = Stack::up(mode);
    let mut direct = Probe::start_on(&stack, stack.real_module(), |_| {});
    direct.initialize();
    let attestation_slot = direct.slot("trustshim");
    assert_eq!(attestation_slot.is_none(), mode == Mode::Guarded, "the worker has the attester's token");
    let direct_slots = direct.slots();

    let spied = Spied::on(&stack, "spy.toml", &[], |text| text);
    let (mut probe, record, session) = approved_probe(&stack, &spied);

    let expected: Vec<_> = direct_slots.into_iter().filter(|slot| Some(*slot) != attestation_slot).collect();
    assert_eq!(probe.slots(), expected);
    let count = probe.must("C_GetSlotList", json!({ "slots": null })).handle("count");
    assert_eq!(count, expected.len() as u64);
    for (function, arguments) in [
        ("C_GetSlotInfo", json!({})),
        ("C_GetTokenInfo", json!({})),
        ("C_GetMechanismList", json!({})),
        ("C_GetMechanismInfo", json!({ "mechanism": CKM_ECDSA })),
        ("C_OpenSession", json!({ "flags": CKF_SERIAL_SESSION })),
        ("C_CloseAllSessions", json!({})),
        ("C_InitToken", json!({ "pin": hex(b"5678"), "label": hex(&[b' '; 32]) })),
    ] {
        let mut arguments = arguments;
        // Where there is no such slot in the first place, any number that is none's.
        arguments["slot"] = attestation_slot.unwrap_or(4_711).into();
        assert_eq!(probe.call(function, arguments).rv, CKR_SLOT_ID_INVALID, "{function}");
    }
    assert_guessing_is_in_vain(mode, &mut probe, session, &record);
}

fn on_the_applications_own_token(mode: Mode) {
    let stack = Stack::up(mode);
    // Enrolment is the operator's doing, who has a PIN; applications use their own login.
    let enrolled = one_token::enroll(&stack);
    run(&mut stack.operator(&["hsm", "approve", enrolled["fingerprint"].as_str().unwrap()])).must_succeed();

    let spied = Spied::on(&stack, "one-slot.toml", &[], one_token::configuration);
    let (mut probe, record, session) = approved_probe(&stack, &spied);
    assert_guessing_is_in_vain(mode, &mut probe, session, &record);

    // An open session of the attester's would keep the application logged in.
    probe.must("C_CloseSession", json!({ "session": session }));
    let slot = probe.slot("sandbox").unwrap();
    let session = probe.open(slot);
    assert!(probe.find(session, CKO_PRIVATE_KEY, "demo-ec").is_empty());
}

fn on_a_token_that_cannot_be_looked_at(mode: Mode) {
    let stack = Stack::up(mode);
    let mut direct = Probe::start_on(&stack, stack.real_module(), |_| {});
    direct.initialize();
    let slot = direct.slot("trustshim").unwrap();
    let spied = Spied::on(&stack, "spy.toml", &[("SPY_REFUSES", "C_GetTokenInfo")], |text| text);
    let (mut probe, _record) = spied.probe(&stack, "blind", |_| {});
    probe.initialize();
    assert!(!probe.slots().contains(&slot));
    for (function, arguments) in [
        ("C_GetSlotInfo", json!({ "slot": slot })),
        ("C_OpenSession", json!({ "slot": slot, "flags": CKF_SERIAL_SESSION })),
        ("C_CloseAllSessions", json!({ "slot": slot })),
        ("C_InitToken", json!({ "slot": slot, "pin": hex(b"5678"), "label": hex(&[b' '; 32]) })),
    ] {
        assert_eq!(probe.call(function, arguments).rv, CKR_SLOT_ID_INVALID, "{function}");
    }
}
