//! Pointers that lead nowhere, handles of nothing, and lengths that cannot be: the shim answers as the real module does, or
//! with `CKR_ARGUMENTS_BAD`, and does not fall over in the application's process.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use e2e::every_call::{self, Case, Keys};
use e2e::{Approval, Probe, Stack};
use pkcs11_table::{Class, Function};
use serde_json::{Value, json};

const NOWHERE: u64 = 0x7fff_ffff_ffff_0001;
const ABSURD: u64 = u64::MAX;

macro_rules! arguments {
    ($($since:ident {
        $($name:ident: $class:ident $(($($use:ident),+))?, ($($argument:ident: $type:ty),*);)*
    })*) => {
        /// Name and type of each argument.
        fn arguments(function: Function) -> &'static [(&'static str, &'static str)] {
            match function {
                $($(Function::$name => &[$((stringify!($argument), stringify!($type))),*]),*),*
            }
        }
    };
}

pkcs11_table::pkcs11_functions!(arguments);

/// The arguments of a call, each time with one that is bad.
fn spoilt(function: Function, good: &Value) -> Vec<(String, Value)> {
    let mut spoilt = Vec::new();
    let mut add = |what: String, changes: &[(&str, Value)]| {
        let mut arguments = good.clone();
        for (name, value) in changes {
            arguments[name] = value.clone();
        }
        spoilt.push((what, arguments));
    };
    let all = arguments(function);
    for (index, (name, kind)) in all.iter().enumerate() {
        // What states how long a buffer is comes right behind it.
        let length = all.get(index + 1).filter(|(_, kind)| *kind == "CK_ULONG").map(|(name, _)| *name);
        match kind.replace(' ', "").as_str() {
            "CK_SESSION_HANDLE" | "CK_OBJECT_HANDLE" | "CK_SLOT_ID" => {
                for handle in [0, NOWHERE, ABSURD] {
                    add(format!("{name} is {handle:#x}"), &[(name, handle.into())]);
                }
            }
            "CK_ULONG" => {
                add(format!("{name} is absurd"), &[(name, ABSURD.into())]);
                add(format!("{name} is 0"), &[(name, 0.into())]);
            }
            "*mutCK_MECHANISM" => {
                add(format!("{name} is NULL"), &[(name, Value::Null)]);
                add(format!("{name} is unknown"), &[(name, 0x7fff_ffff.into())]);
                add(
                    "the parameter is NULL".into(),
                    &[("parameter", Value::Null), ("parameter_len", 16.into())],
                );
                add(
                    "the parameter is of no length".into(),
                    &[("parameter", "00".into()), ("parameter_len", 0.into())],
                );
                let concatenate = CKM_CONCATENATE_BASE_AND_KEY.into();
                let long =
                    [(*name, concatenate), ("parameter", json!([1])), ("parameter_len", ABSURD.into())];
                add("the parameter is of an absurd length".into(), &long);
            }
            "*mutCK_ATTRIBUTE" => {
                let count = length.expect("a count");
                let null = [(*name, Value::Null), (count, 1.into())];
                add(format!("{name} is NULL"), &null);
                add(format!("{name} is NULL and empty"), &[(name, Value::Null)]);
                for (what, attribute) in [
                    ("nowhere", json!([CKA_ID, null, 16])),
                    ("nowhere and empty", json!([CKA_ID, null, 0])),
                    ("of an absurd length", json!([CKA_ID, 4096, ABSURD])),
                    ("of no length", json!([CKA_ID, 16, 0])),
                    ("of a class of one byte", json!([CKA_CLASS, 1])),
                ] {
                    add(format!("a value of {name} is {what}"), &[(name, json!([attribute]))]);
                }
            }
            pointer if pointer.starts_with("*mut") => {
                add(format!("{name} is NULL"), &[(name, Value::Null)]);
                if let Some(length) = length {
                    add(format!("{name} is NULL and long"), &[(name, Value::Null), (length, 16.into())]);
                }
                if *name == "label" {
                    add("the label is no text".into(), &[(name, e2e::probe::hex(&[0xff; 32]).into())]);
                }
            }
            "CK_BBOOL" => add(format!("{name} is 7"), &[(name, 7.into())]),
            "CK_FLAGS" if function == Function::C_OpenSession => {
                add(format!("{name} are none"), &[(name, 0.into())]);
                add(format!("{name} are all"), &[(name, ABSURD.into())]);
            }
            "CK_USER_TYPE" => add(format!("{name} is unknown"), &[(name, 7.into())]),
            _ => {}
        }
    }
    spoilt
}

/// A program that is started again when it has died.
struct Caller<'a> {
    start: Box<dyn Fn() -> Probe + 'a>,
    running: Option<(Probe, u64, u64, Keys)>,
}

impl<'a> Caller<'a> {
    fn new(start: impl Fn() -> Probe + 'a) -> Self {
        Self { start: Box::new(start), running: None }
    }

    fn running(&mut self) -> &mut (Probe, u64, u64, Keys) {
        self.running.get_or_insert_with(|| {
            let mut probe = (self.start)();
            let session = probe.session();
            let slot = probe.slot("sandbox").unwrap();
            let keys = every_call::keys(&mut probe, session);
            (probe, session, slot, keys)
        })
    }

    /// The cases, on a new session.
    fn cases(&mut self) -> (u64, Vec<Case>) {
        let (probe, _, slot, keys) = self.running();
        let session = probe.open(*slot);
        let cases = every_call::open(session, *slot, keys).into_iter();
        (session, cases.chain(every_call::gated(session, *slot, keys)).collect())
    }

    /// The answer to one spoilt call, or that the process has died of it.
    fn answer(&mut self, case: usize, spoiling: usize) -> Option<u64> {
        let (session, mut cases) = self.cases();
        let Case { function, arguments, init, .. } = cases.swap_remove(case);
        let (probe, ..) = self.running();
        if let Some((init, arguments)) = init {
            // Whether it begins is up to the gate; if not, the call behind it finds nothing.
            probe.call(init.name(), arguments);
        }
        let (_, arguments) = spoilt(function, &arguments).swap_remove(spoiling);
        let Some(reply) = probe.attempt(function.name(), arguments) else {
            self.running = None;
            return None;
        };
        // What has come to be in spite of it goes again.
        for object in ["object", "new_object", "key", "public_key", "private_key"] {
            if let Some(object) = reply.number(object).filter(|object| reply.rv == CKR_OK && *object != 0) {
                probe.must("C_DestroyObject", json!({ "session": session, "object": object }));
            }
        }
        probe.call("C_CloseSession", json!({ "session": session }));
        Some(reply.rv)
    }
}

/// Whether the gate answers so by itself, whatever the real module would say.
fn is_the_gates_own(stack: &Stack, function: Function, what: &str, rv: u64) -> bool {
    let is_key = arguments(function)
        .iter()
        .any(|(name, kind)| *kind == "CK_OBJECT_HANDLE" && name.ends_with("key") && what.starts_with(name));
    match rv {
        // There is nothing to judge.
        CKR_OPERATION_NOT_INITIALIZED => matches!(function.class(), Class::Continue(_) | Class::Dual(..)),
        CKR_KEY_HANDLE_INVALID => is_key,
        CKR_TEMPLATE_INCOMPLETE => function == Function::C_UnwrapKey,
        // Names that cannot be read, handles that cannot be seen, and a token of a name that is not granted.
        CKR_FUNCTION_REJECTED => {
            let log = stack.log();
            let reason = log.last().and_then(|line| line["reason"].as_str()).unwrap_or_default();
            matches!(reason, "template-unclear" | "mechanism-unclear")
                || (function == Function::C_InitToken && reason == "not-granted")
        }
        _ => false,
    }
}

#[test]
fn the_shim_answers_as_the_real_module_does_or_refuses() {
    let stack = Stack::up();
    let mut owner = Probe::start_on(&stack, stack.real_module(), |_| {});
    let session = owner.session();
    every_call::make_keys(&mut owner, session);
    let stack = &stack;
    let start = |name: &'static str| {
        move || {
            Probe::start(stack, |command| {
                command.arg(name);
            })
        }
    };
    let mut refused = start("approved")();
    let session = refused.session();
    let generate = json!({ "session": session, "mechanism": CKM_AES_KEY_GEN, "template": [] });
    assert_eq!(refused.call("C_GenerateKey", generate).rv, CKR_FUNCTION_REJECTED);
    stack.approve_last(&Approval::of("probe", "pkcs11:token=sandbox", "all").with(&["--many"]));

    let mut direct = Caller::new(|| Probe::start_on(stack, stack.real_module(), |_| {}));
    let mut approved = Caller::new(start("approved"));
    let mut unapproved = Caller::new(start("unapproved"));
    let mut differences = BTreeMap::new();
    for (index, case) in direct.cases().1.into_iter().enumerate() {
        let function = case.function;
        for (spoiling, (what, arguments)) in spoilt(function, &case.arguments).into_iter().enumerate() {
            let call = format!("{function} where {what}: {arguments}");
            let is_gated = !matches!(function.class(), Class::Open | Class::Keyless | Class::Library);
            if is_gated {
                let rv = unapproved.answer(index, spoiling);
                assert!(rv.is_some(), "{call}: the process of an unapproved program has died");
            }
            let (real, shim) = (direct.answer(index, spoiling), approved.answer(index, spoiling));
            let is_as_it_should_be = shim == real
                || shim.is_some_and(|rv| {
                    rv == CKR_ARGUMENTS_BAD || is_the_gates_own(stack, function, &what, rv)
                });
            if !is_as_it_should_be {
                differences.insert(call, format!("real {real:x?} shim {shim:x?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn the_librarys_own_functions_take_bad_arguments_as_the_real_module_does() {
    let stack = Stack::up();
    // CK_C_INITIALIZE_ARGS: four functions, flags, and what is reserved.
    let initialize = |functions: [u64; 4], flags: u64, reserved: u64| json!({ "init_args": [functions[0], functions[1], functions[2], functions[3], flags, reserved] });
    for arguments in [
        json!({}),
        initialize([0; 4], 0, 0),
        initialize([0; 4], CKF_OS_LOCKING_OK | CKF_LIBRARY_CANT_CREATE_OS_THREADS, 0),
        initialize([0; 4], ABSURD, 0),
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
