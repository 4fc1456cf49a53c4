//! Pointers that lead nowhere, handles of nothing, and lengths that cannot be: the shim answers as the real module does, and
//! with `CKR_ARGUMENTS_BAD` what that would not survive. No call ends the application's process.

mod differences;
mod newer;

use cryptoki_sys::*;
use e2e::every_call;
use e2e::{Approval, Caller, Mode, Outcome, Probe, Stack};
use pkcs11_table::{Class, Function, Since};
use serde_json::{Value, json};

use differences::Met;
use newer::bad_calls_of_newer_functions_end_no_process;

e2e::in_modes! {
    both: [
        bad_calls_are_answered_as_by_the_real_module,
        nothing_is_answered_before_the_library_is_initialised_or_after_it_was_finalised,
        the_librarys_own_functions_take_bad_arguments_as_the_real_module_does,
        bad_calls_of_newer_functions_end_no_process,
    ],
}

/// An installation with keys, in which the program `approved` may do everything on the token.
fn installation(mode: Mode) -> Stack {
    let stack = Stack::up(mode);
    let mut owner = Probe::start_on(&stack, stack.real_module(), |_| {});
    let session = owner.session();
    every_call::make_keys(&mut owner, session);
    let approval = Approval::of("probe", "pkcs11:token=sandbox", "all").with(&["--many"]);
    stack.approve_probe(&mut named(&stack, "approved"), &approval);
    stack
}

/// A program that the policy server tells from others.
fn named(stack: &Stack, name: &str) -> Probe {
    Probe::start(stack, |command| {
        command.arg(name);
    })
}

/// The reason of the newest refusal in the shim's log.
fn last_reason(stack: &Stack) -> String {
    let log = stack.log();
    log.last().and_then(|line| line["reason"].as_str()).unwrap_or_default().to_owned()
}

/// What a program that nobody has approved may hear where an approved one hears something else.
fn is_refusal(function: Function, outcome: Outcome) -> bool {
    match function.class() {
        // A search by what may be secret.
        Class::Keyless if function == Function::C_FindObjectsInit => {
            outcome == Outcome::Returned(CKR_FUNCTION_REJECTED)
        }
        Class::Library | Class::Open | Class::Keyless => false,
        // What was to run before it was refused.
        Class::Continue(_) | Class::Dual(..) => outcome == Outcome::Returned(CKR_OPERATION_NOT_INITIALIZED),
        _ => outcome == Outcome::Returned(CKR_FUNCTION_REJECTED),
    }
}

fn bad_calls_are_answered_as_by_the_real_module(mode: Mode) {
    let stack = installation(mode);
    let mut direct = Caller::new(|| Probe::start_on(&stack, stack.real_module(), |_| {}));
    let mut approved = Caller::new(|| named(&stack, "approved"));
    let mut unapproved = Caller::with_session(|| stack.unapproved_probe(|| named(&stack, "unapproved")));
    let (mut calls, mut fatal, mut met, mut wrong) = (0, 0, Met::default(), Vec::new());
    for (index, case) in direct.cases().1.into_iter().enumerate() {
        let function = case.function;
        for (number, bad) in direct.bad(index).into_iter().enumerate() {
            let real = direct.outcome(index, number);
            let shim = approved.outcome(index, number);
            let reason = last_reason(&stack);
            let refused = unapproved.outcome(index, number);
            calls += 1;
            fatal += usize::from(matches!(real, Outcome::Ended(_)));
            let as_real = match real {
                Outcome::Ended(_) => Outcome::Returned(CKR_ARGUMENTS_BAD),
                Outcome::Returned(_) => real,
            };
            let is_right = shim == as_real
                // What SoftHSM finds behind the end of a template is chance.
                || (bad.counts_beyond_memory && shim == Outcome::Returned(CKR_ARGUMENTS_BAD))
                || met.explains(function, &bad.what, shim, &reason);
            let is_right_unapproved = refused == shim || is_refusal(function, refused);
            if !(is_right && is_right_unapproved) {
                wrong.push(format!(
                    "{function} where {}: {real:x?} directly, {shim:x?} {reason} if approved, {refused:x?} if not: {:.300}",
                    bad.what,
                    bad.arguments.to_string()
                ));
            }
        }
    }
    println!("{calls} bad calls, {fatal} of which the real module does not survive");
    wrong.extend(met.missing());
    assert!(wrong.is_empty(), "{} of {calls} bad calls:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every function once with arguments that are good while the library is initialised, and once with none.
fn with_and_without_arguments(stack: &Stack) -> Vec<(Function, Value)> {
    let mut direct = Caller::new(|| Probe::start_on(stack, stack.real_module(), |_| {}));
    let cases = direct.cases().1.into_iter();
    cases
        .flat_map(|case| {
            let mut none = json!({});
            for (name, kind) in e2e::bad_calls::arguments(case.function) {
                none[name] =
                    if kind.starts_with('*') || kind.contains("PTR") { Value::Null } else { 0.into() };
            }
            [(case.function, case.arguments), (case.function, none)]
        })
        .collect()
}

fn nothing_is_answered_before_the_library_is_initialised_or_after_it_was_finalised(mode: Mode) {
    let stack = installation(mode);
    let calls = with_and_without_arguments(&stack);
    let start = |module| {
        Probe::start_on(&stack, module, |command| {
            command.arg("approved");
        })
    };
    let mut before = [stack.real_module(), stack.shim()].map(start);
    let mut after = [stack.real_module(), stack.shim()].map(start);
    let sessions = after.each_mut().map(|probe| {
        let session = probe.session();
        probe.must("C_Finalize", json!({}));
        session
    });
    let mut wrong = Vec::new();
    for (function, arguments) in calls {
        for (when, probes) in [("before", &mut before), ("after", &mut after)] {
            // SoftHSM has no symbols of 3.x.
            let is_new = function.since() != Since::V2_40;
            let mut arguments = arguments.clone();
            if is_new {
                arguments["by"] = "symbol".into();
            }
            let [real, shim] =
                probes.each_mut().map(|probe| probe.call(function.name(), arguments.clone()).rv);
            // Nor does it wait, and says so first.
            let has_not =
                (is_new || function == Function::C_WaitForSlotEvent) && real == CKR_FUNCTION_NOT_SUPPORTED;
            if shim != CKR_CRYPTOKI_NOT_INITIALIZED || !(real == shim || has_not) {
                wrong.push(format!("{function} {when}: {real:#x} directly, {shim:#x}: {arguments}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A handle does not come back to life with the library.
    for (probe, session) in after.iter_mut().zip(sessions) {
        probe.initialize();
        let reply = probe.call("C_GetSessionInfo", json!({ "session": session }));
        assert_eq!(reply.rv, CKR_SESSION_HANDLE_INVALID);
    }
}

fn the_librarys_own_functions_take_bad_arguments_as_the_real_module_does(mode: Mode) {
    let stack = Stack::up(mode);
    // CK_C_INITIALIZE_ARGS: four functions, flags, and what is reserved.
    let initialize = |functions: [u64; 4], flags: u64, reserved: u64| json!({ "init_args": [functions[0], functions[1], functions[2], functions[3], flags, reserved] });
    for arguments in [
        json!({}),
        initialize([0; 4], 0, 0),
        initialize([0; 4], CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS, 0),
        initialize([0; 4], u64::MAX, 0),
        initialize([1, 0, 0, 0], 0, 0),
        initialize([1, 1, 1, 0], CKF_OS_LOCKING_OK, 0),
        initialize([0; 4], CKF_OS_LOCKING_OK, 1),
    ] {
        let answers = [stack.real_module(), stack.shim()].map(|module| {
            let mut probe = Probe::start_on(&stack, module, |_| {});
            [
                ("C_Initialize", arguments.clone()),
                ("C_GetInfo", json!({})),
                ("C_Initialize", json!({})),
                ("C_GetFunctionList", json!({ "list": null })),
                ("C_Finalize", json!({ "reserved": "01" })),
                ("C_GetInfo", json!({})),
                ("C_Finalize", json!({})),
                ("C_Finalize", json!({})),
            ]
            .map(|(function, arguments)| (function, probe.call(function, arguments).rv))
        });
        assert_eq!(answers[0], answers[1], "{arguments}");
    }
}
