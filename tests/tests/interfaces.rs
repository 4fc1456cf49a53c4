//! Which interfaces an application is told of: those that the real module has, never one more, and with no gap in a list.

use cryptoki_sys::*;
use e2e::probe::hex;
use e2e::{Approval, Mode, Probe, Spied, Stack, Watched};
use serde_json::{Value, json};

e2e::in_modes! {
    both: [
        no_version_is_offered_that_the_real_module_does_not_have,
        each_list_tells_the_version_that_the_real_modules_tells,
        softhsm_stays_a_module_of_2_40,
        what_is_asked_for_wrongly_is_not_given,
        a_gap_in_the_real_modules_list_is_none_in_ours,
        without_a_usable_configuration_there_is_2_40_and_nothing_of_it_works,
    ],
    inline: [a_vendors_interface_is_passed_on_where_it_is_named_and_only_there],
}

const WHOLE_TOKEN: &str = "pkcs11:token=sandbox";

/// The versions of the standard's interfaces that are listed; the others by name.
fn listed(probe: &mut Probe) -> Vec<String> {
    let reply = probe.must("C_GetInterfaceList", json!({}));
    let interfaces = reply.values("interfaces");
    assert_eq!(interfaces.len() as u64, reply.handle("count"));
    interfaces.iter().map(name).collect()
}

fn name(interface: &Value) -> String {
    match interface["name"].as_str().unwrap() {
        "PKCS 11" => {
            // A child process has to initialise anew, so nothing is promised for it.
            assert_eq!(interface["flags"], 0);
            format!("{}.{}", interface["version"][0], interface["version"][1])
        }
        other => other.to_owned(),
    }
}

/// What is got by name, version and flags; NULL where there is none of them.
fn got(probe: &mut Probe, mut arguments: Value) -> Result<String, CK_RV> {
    if arguments.get("name").is_none() {
        arguments["name"] = Value::Null;
    }
    let reply = probe.call("C_GetInterface", arguments);
    if reply.rv == CKR_OK { Ok(name(reply.value("interface"))) } else { Err(reply.rv) }
}

/// A probe whose real module has these interfaces.
fn offering(stack: &Stack, offers: &str) -> Probe {
    let spied = Spied::on(stack, &format!("{offers}.toml"), &[("SPY_OFFERS", offers)], |text| text);
    spied.probe(stack, "offering", |_| {}).0
}

fn standard() -> String {
    hex(b"PKCS 11\0")
}

fn no_version_is_offered_that_the_real_module_does_not_have(mode: Mode) {
    let stack = Stack::up(mode);
    let cases: [(&str, &[&str], &str); 6] = [
        ("3.2,3.1,3.0,2.40", &["3.2", "3.1", "3.0", "2.40"], "3.2"),
        ("3.0,2.40", &["3.0", "2.40"], "3.0"),
        ("3.1,2.40", &["3.1", "2.40"], "3.1"),
        ("3.2,2.40", &["3.2", "2.40"], "3.2"),
        ("3.2", &["3.2", "2.40"], "3.2"),
        ("none", &["2.40"], "2.40"),
    ];
    for (offers, expected, default) in cases {
        let mut probe = offering(&stack, offers);
        // Before the library is initialised, while it is, and afterwards.
        for step in ["C_GetFunctionList", "C_Initialize", "C_Finalize"] {
            probe.must(step, json!({}));
            assert_eq!(listed(&mut probe), expected, "{offers} after {step}");
            assert_eq!(got(&mut probe, json!({})).as_deref(), Ok(default), "{offers}");
            for (version, number) in [("3.2", "0302"), ("3.1", "0301"), ("3.0", "0300"), ("2.40", "0228")] {
                let asked = json!({ "name": standard(), "version": number });
                let answer =
                    if expected.contains(&version) { Ok(version.to_owned()) } else { Err(CKR_ARGUMENTS_BAD) };
                assert_eq!(got(&mut probe, asked), answer, "{version} of {offers}");
            }
        }
    }
}

fn each_list_tells_the_version_that_the_real_modules_tells(mode: Mode) {
    let stack = Stack::up(mode);
    for (offers, newest) in [("3.2,3.1,3.0", [3, 2]), ("3.1,3.0", [3, 1]), ("3.0", [3, 0]), ("none", [2, 40])]
    {
        let mut probe = offering(&stack, offers);
        probe.initialize();
        assert_eq!(probe.must("C_GetInfo", json!({})).bytes("info")[..2], [2, 40], "{offers}");
        let info = probe.must("C_GetInfo", json!({ "by": "newest" })).bytes("info");
        assert_eq!(info[..2], newest, "{offers}");
    }
}

fn softhsm_stays_a_module_of_2_40(mode: Mode) {
    let watched = Watched::up(mode);
    let mut probe = Probe::start(&watched.stack, |_| {});
    assert_eq!(listed(&mut probe), ["2.40"]);
    let approval = Approval::of("probe", "pkcs11:token=sandbox;object=demo-ec;type=private", "sign");
    let session = watched.stack.approve_probe(&mut probe, &approval);
    // The functions are exported all the same, for programs that are linked against a module.
    let by_symbol = |call: &str, arguments: Value| {
        let mut arguments = arguments;
        arguments["by"] = "symbol".into();
        arguments["session"] = session.into();
        (call.to_owned(), arguments)
    };
    for (call, arguments) in [
        by_symbol("C_SessionCancel", json!({ "flags": CKF_SIGN })),
        by_symbol("C_GetSessionValidationFlags", json!({ "kind": 1 })),
        by_symbol("C_LoginUser", json!({ "user": CKU_USER, "pin": hex(b"1234") })),
    ] {
        assert_eq!(probe.call(&call, arguments).rv, CKR_FUNCTION_NOT_SUPPORTED, "{call}");
    }
    let (call, arguments) = by_symbol("C_MessageSignInit", json!({ "mechanism": CKM_ECDSA, "key": 1 }));
    assert_ne!(probe.call(&call, arguments).rv, CKR_OK);
}

fn what_is_asked_for_wrongly_is_not_given(mode: Mode) {
    let watched = Watched::up(mode);
    let (mut probe, _) = watched.probe("asking", |_| {});
    for arguments in [
        json!({ "name": null, "interface": null }),
        json!({ "name": hex(b"PKCS 12\0") }),
        json!({ "name": hex(b"Vendor Spy\0") }),
        json!({ "name": standard(), "version": "0303" }),
        json!({ "name": null, "version": "0107" }),
        json!({ "name": null, "flags": CKF_INTERFACE_FORK_SAFE }),
    ] {
        let shown = arguments.to_string();
        assert_eq!(probe.call("C_GetInterface", arguments).rv, CKR_ARGUMENTS_BAD, "{shown}");
    }
    assert_eq!(probe.call("C_GetInterfaceList", json!({ "count": null })).rv, CKR_ARGUMENTS_BAD);
    let reply = probe.call("C_GetInterfaceList", json!({ "count": 3 }));
    assert_eq!((reply.rv, reply.handle("count")), (CKR_BUFFER_TOO_SMALL, 4));
    assert!(reply.values("interfaces").is_empty());
    assert_eq!(probe.must("C_GetInterfaceList", json!({ "interfaces": null })).handle("count"), 4);
}

fn a_vendors_interface_is_passed_on_where_it_is_named_and_only_there(mode: Mode) {
    let named = Watched::up_with(mode, |text| {
        text.replace("vendor_interfaces = []", r#"vendor_interfaces = ["Vendor Spy", "Vendor Other"]"#)
    });
    let (mut probe, _) = named.probe("vendors", |_| {});
    assert_eq!(listed(&mut probe), ["3.2", "3.1", "3.0", "2.40", "Vendor Spy"]);
    let by_name = || json!({ "name": hex(b"Vendor Spy\0"), "version": "0107" });
    assert_eq!(got(&mut probe, by_name()).as_deref(), Ok("Vendor Spy"));
    assert_eq!(got(&mut probe, json!({ "name": hex(b"Vendor Other\0") })), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(got(&mut probe, json!({ "version": "0107" })), Err(CKR_ARGUMENTS_BAD));

    let unnamed = Watched::up(mode);
    let (mut probe, _) = unnamed.probe("vendors", |_| {});
    assert_eq!(listed(&mut probe), ["3.2", "3.1", "3.0", "2.40"]);
    assert_eq!(got(&mut probe, by_name()), Err(CKR_ARGUMENTS_BAD));
}

fn a_gap_in_the_real_modules_list_is_none_in_ours(mode: Mode) {
    let missing = ["C_EncapsulateKey", "C_GetSessionValidationFlags", "C_SessionCancel", "C_MessageSignInit"];
    let watched = Watched::up_behind(mode, &[("SPY_NULL", &missing.join(","))]);
    watched.approve("gap");
    watched.stack.grant("gap", WHOLE_TOKEN, "all");
    let (mut probe, record) = watched.probe("gap", |_| {});
    let session = probe.session();
    let hmac = probe.key(session, CKO_SECRET_KEY, "demo-hmac");
    let public = probe.key(session, CKO_PUBLIC_KEY, "demo-rsa");
    let mark = record.mark();
    let init = json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": hmac });
    let encapsulation =
        json!({ "session": session, "mechanism": CKM_ML_KEM, "public_key": public, "template": [] });
    // The probe would fall over an entry that is NULL.
    for function in missing {
        let arguments = match function {
            "C_EncapsulateKey" => &encapsulation,
            _ => &init,
        };
        let reply = probe.call(function, arguments.clone());
        assert_eq!(reply.rv, CKR_FUNCTION_NOT_SUPPORTED, "{function}");
    }
    assert!(!record.calls_since(mark).iter().any(|call| missing.contains(&call.function.as_str())));
    // Its neighbours are there.
    probe.must(
        "C_MessageVerifyInit",
        json!({ "session": session, "mechanism": CKM_SHA256_HMAC, "key": hmac }),
    );
}

fn without_a_usable_configuration_there_is_2_40_and_nothing_of_it_works(mode: Mode) {
    let watched = Watched::up(mode);
    let broken = watched.stack.write("broken.toml", "mode = ");
    let (mut probe, record) = watched.probe("unconfigured", |command| {
        command.env("TRUSTSHIM_CONFIG", &broken);
    });
    assert_eq!(listed(&mut probe), ["2.40"]);
    assert_eq!(got(&mut probe, json!({ "name": standard() })).as_deref(), Ok("2.40"));
    assert_eq!(got(&mut probe, json!({ "version": "0300" })), Err(CKR_ARGUMENTS_BAD));
    assert_eq!(probe.call("C_Initialize", json!({})).rv, CKR_GENERAL_ERROR);
    assert_eq!(probe.call("C_GetInfo", json!({})).rv, CKR_CRYPTOKI_NOT_INITIALIZED);
    assert_eq!(record.mark(), 0, "the real module was reached");
}
