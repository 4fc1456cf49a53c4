//! What the values of the guard's file may be.

use std::path::Path;

use configuration::{Account, ConfigurationError, Guard, Login};

use crate::SMALLEST_OF_GUARD;
use crate::guard::{guard, is_about, refused, with_guard};

#[test]
fn the_guards_values_have_their_rules() {
    let declared = |executable: &str, files: &[&str]| {
        format!("[[declared]]\nexecutable = {executable:?}\nfiles = {files:?}\n")
    };
    let a_few = |count| (0..count).map(|number| declared(&format!("/{number}"), &["/a"])).collect::<String>();
    guard(&format!("{SMALLEST_OF_GUARD}{}", a_few(256))).unwrap();
    for (tables, name) in [
        (declared("/a", &[]), "declared.files"),
        (declared("/a", &["/b", "/b"]), "declared.files"),
        (declared("/a", &["/b"; 257]), "declared.files"),
        (declared("/a", &["/b"]) + &declared("/a", &["/c"]), "declared.executable"),
        (a_few(257), "declared"),
    ] {
        let error = guard(&format!("{SMALLEST_OF_GUARD}{tables}")).unwrap_err();
        assert!(is_about(&error, name), "{tables}: {error}");
    }
    for (line, by, name) in [
        ("[real_module]", "[real_module]\nneeds = [\"network\", \"network\"]", "real_module.needs"),
        ("[real_module]", "[real_module]\ninit_args = \"a\\u0000b\"", "real_module.init_args"),
        ("[attestation]", "[attestation]\nhost = \"\"", "attestation.host"),
        ("url = \"https://127.0.0.1:8443\"", "url = \"http://127.0.0.1:8443\"", "policy_server.url"),
    ] {
        let error = refused(line, by);
        assert!(is_about(&error, name), "{by}: {error}");
    }
}

#[test]
fn a_socket_fits_into_its_address() {
    let of = |length: usize| format!("/{}", "s".repeat(length - 1));
    assert_eq!(with_guard(&format!("socket = {:?}", of(107))).unwrap().socket, Path::new(&of(107)));
    let error = with_guard(&format!("socket = {:?}", of(108))).unwrap_err();
    assert!(is_about(&error, "guard.socket"), "{error}");
}

#[test]
fn the_guard_has_a_pin_where_it_logs_in_and_only_there() {
    for (table, word) in [
        ("login = \"guard\"", "must name"),
        ("pin_file = \"/etc/pin\"", "only where"),
        ("login = \"pass-through\"\npin_file = \"/etc/pin\"", "only where"),
    ] {
        let error = with_guard(table).unwrap_err();
        assert!(is_about(&error, "guard.pin_file") && error.to_string().contains(word), "{table}: {error}");
    }
    assert_eq!(with_guard("login = \"pass-through\"").unwrap().login, Login::PassThrough);
    for (pins, word) in [
        ("component_pins = { nginx = \"/etc/pin\" }", "only where"),
        ("login = \"guard\"\npin_file = \"/etc/p\"\ncomponent_pins = { nginx = \"pin\" }", "absolute"),
        (
            "login = \"guard\"\npin_file = \"/etc/p\"\ncomponent_pins = { \"a b\" = \"/etc/pin\" }",
            "components",
        ),
    ] {
        let error = with_guard(pins).unwrap_err();
        assert!(is_about(&error, "guard.component_pins") && error.to_string().contains(word), "{error}");
    }
}

#[test]
fn users_and_groups_are_named_or_numbered() {
    for (key, of) in [
        ("group", (|guard| guard.group) as fn(Guard) -> Option<Account>),
        ("worker_user", |guard| guard.worker_user),
        ("attester_user", |guard| guard.attester_user),
    ] {
        for (value, account) in [
            ("\"trustshim-token\"", Account::Name("trustshim-token".into())),
            ("\"1001\"", Account::Number(1001)),
            ("1001", Account::Number(1001)),
            ("0", Account::Number(0)),
        ] {
            assert_eq!(
                of(with_guard(&format!("{key} = {value}")).unwrap()),
                Some(account),
                "{key} = {value}"
            );
        }
        // The greatest number of 32 bits would leave the user as it is.
        for bad in ["\"\"", "\"a b\"", "\"-1\"", "-1", "4294967295", "\"4294967295\"", "4294967296"] {
            let error = with_guard(&format!("{key} = {bad}")).unwrap_err();
            assert!(is_about(&error, &format!("guard.{key}")), "{key} = {bad}: {error}");
        }
        let error = with_guard(&format!("{key} = 1.5")).unwrap_err();
        assert!(matches!(error, ConfigurationError::Syntax { .. }), "{error}");
    }
}

#[test]
fn variables_do_not_steer_the_loading_of_code() {
    let long_name = "A".repeat(65);
    let long_value = "a".repeat(4097);
    let many: String = (0..33).map(|number| format!("A{number} = \"\", ")).collect();
    for key in ["worker_environment", "attester_environment"] {
        let with = |pairs: &str| with_guard(&format!("{key} = {{ {pairs} }}"));
        let (longest_name, longest_value) = (&long_name[1..], &long_value[1..]);
        with(&format!("{longest_name} = \"{longest_value}\", _a1 = \"=\", LDX = \"\"")).unwrap();
        with(&many["A0 = \"\", ".len()..many.len() - 2]).unwrap();
        for bad in [
            "LD_PRELOAD = \"/a.so\"",
            "LD_AUDIT = \"/a.so\"",
            "GLIBC_TUNABLES = \"a\"",
            "GCONV_PATH = \"/a\"",
            "TRUSTSHIM_CONFIG = \"/a\"",
            "\"\" = \"a\"",
            "\"A=B\" = \"c\"",
            "\"A B\" = \"c\"",
            "1A = \"b\"",
            "\"Ä\" = \"b\"",
            "A = \"b\\u0000c\"",
            &format!("{long_name} = \"\""),
            &format!("A = \"{long_value}\""),
            &many[..many.len() - 2],
        ] {
            let error = with(bad).unwrap_err();
            assert!(is_about(&error, &format!("guard.{key}")), "{bad}: {error}");
            assert!(!error.to_string().contains("/a"), "{error}");
        }
    }
}

#[test]
fn the_limits_have_limits() {
    for (key, most) in [
        ("max_processes", 65_536_u64),
        ("max_processes_per_user", 512),
        ("max_connections", 4_096),
        ("max_sessions", 1_048_576),
        ("limits.starts_at_once", 65_536),
        ("limits.starts_per_second", 65_536),
    ] {
        for good in [1, most] {
            with_guard(&format!("{key} = {good}")).unwrap();
        }
        for bad in [0, most + 1] {
            let error = with_guard(&format!("{key} = {bad}")).unwrap_err();
            assert!(is_about(&error, &format!("guard.{key}")), "{key} = {bad}: {error}");
        }
    }
    let error = with_guard("max_processes = 5\nmax_processes_per_user = 6").unwrap_err();
    assert!(is_about(&error, "guard.max_processes_per_user"), "{error}");
    let limits = with_guard("max_processes = 5").unwrap().limits;
    assert_eq!((limits.processes, limits.processes_per_user), (5, 5), "no more than there are");
}

#[test]
fn a_worker_has_memory_for_its_connections() {
    let memory = |table: &str| with_guard(table).map(|guard| guard.limits.memory >> 20);
    assert_eq!(memory("max_connections = 4096").unwrap(), 256 + 2 * 4096 + 640);
    for good in [384, 1_048_576] {
        assert_eq!(memory(&format!("limits.worker_memory_mib = {good}")).unwrap(), good);
    }
    assert_eq!(memory("max_connections = 1\nlimits.worker_memory_mib = 258").unwrap(), 258);
    for bad in [0, 383, 1_048_577] {
        let error = memory(&format!("limits.worker_memory_mib = {bad}")).unwrap_err();
        assert!(is_about(&error, "guard.limits.worker_memory_mib"), "{bad}: {error}");
    }
}
