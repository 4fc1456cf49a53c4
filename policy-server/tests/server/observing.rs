//! What observing lets pass and what it never does, by the appraisal itself.

use attestation::digest::Digest;
use policy_server::appraisal::approval::Latitude;
use policy_server::appraisal::policy::Standing;

use crate::appraisal::{Case, case, execute, map, set};
use crate::host::file;

type Change = fn(&mut Case);

fn observed() -> Case {
    let mut case = case();
    case.policy.observed.insert("signer".to_owned());
    case
}

#[track_caller]
fn assert_observed(case: &Case, version: &str, codes: &[&str]) {
    let appraised = case.appraise().unwrap();
    let found: Vec<_> = appraised.observed().iter().map(|reason| reason.code.as_str()).collect();
    assert_eq!((appraised.name().version.as_str(), found.as_slice()), (version, codes));
}

/// Signer 2.0: another executable, another C library.
fn second(case: &mut Case) {
    execute(case, "/usr/bin/signer", "signer 2.0");
    case.component().mappings[0] = file("/lib/libc.so.6", "libc 2");
}

/// 1.0 and 2.0, the first in this standing; what is measured is 2.0.
fn two_versions(standing: Standing) -> Case {
    let mut case = observed();
    second(&mut case);
    case.approve("2.0", Latitude::default());
    case.policy.versions[0].standing = standing;
    case
}

#[test]
fn libraries_configuration_arguments_environment_measurer_and_executable_pass() {
    for (code, change) in [
        ("library-unknown", (|case| map(case, "/lib/new.so", "x")) as Change),
        ("library-changed", |case| case.component().mappings[0] = file("/lib/libc.so.6", "x")),
        ("configuration-changed", |case| case.component().configuration[0] = file("/etc/signer.conf", "x")),
        ("argv-mismatch", |case| case.component().argv.push("--x".to_owned())),
        ("environment-mismatch", |case| set(case, "LD_BIND_NOW", "1")),
        ("attester-unknown", |case| case.attester().shim = file("/usr/lib/libtrustshim.so", "x")),
        ("executable-unknown", |case| execute(case, "/usr/bin/signer", "signer 1.1")),
    ] {
        let mut case = observed();
        change(&mut case);
        assert_observed(&case, "1.0", &[code]);
        case.policy.observed.clear();
        case.assert_refused(&[code]);
    }
}

#[test]
fn another_principal_and_an_unclean_state_never_pass() {
    for (code, change) in [
        ("principal-mismatch", (|case| case.component().principal.uid = 1000) as Change),
        ("principal-mismatch", |case| case.component().principal.gid = 1000),
        ("principal-mismatch", |case| case.component().principal.unit = None),
        ("principal-mismatch", |case| case.component().principal.initial_user_namespace = false),
        ("principal-mismatch", |case| case.component().principal.initial_pid_namespace = false),
        ("sandbox-mismatch", |case| case.component().runtime.seccomp_filters += 1),
        ("sandbox-mismatch", |case| case.component().runtime.seccomp_filters -= 1),
        ("sandbox-mismatch", |case| case.component().runtime.seccomp = 0),
        ("sandbox-mismatch", |case| case.component().runtime.no_new_privs = false),
        ("traced", |case| case.component().runtime.traced = true),
        ("code-anonymous", |case| case.component().runtime.anonymous_executable = 1),
        ("code-deleted", |case| case.component().runtime.deleted_executable = 1),
        ("code-memfd", |case| case.component().runtime.memfd_executable = 1),
        ("code-writable", |case| case.component().runtime.writable_executable = 1),
        ("text-modified", |case| case.component().runtime.modified_text_pages = 1),
    ] {
        let mut case = observed();
        change(&mut case);
        case.assert_refused(&[code]);
        execute(&mut case, "/usr/bin/signer", "another program");
        case.assert_refused(&["executable-unknown", code]);
    }
}

#[test]
fn generated_code_passes_where_it_is_approved() {
    let mut case = observed();
    case.policy.versions.clear();
    case.approve("jit", Latitude { allow_jit: true, ..Latitude::default() });
    case.component().runtime.anonymous_executable = 1;
    case.component().argv.push("--x".to_owned());
    assert_observed(&case, "jit", &["argv-mismatch"]);
}

#[test]
fn nothing_passes_where_no_user_is_told_from_another() {
    for (latitude, initial) in [
        (Latitude { any_user: true, ..Latitude::default() }, true),
        (Latitude { any_user: true, ..Latitude::default() }, false),
        (Latitude::default(), false),
    ] {
        let mut case = observed();
        case.policy.versions.clear();
        case.component().principal.initial_user_namespace = initial;
        case.approve("1.0", latitude);
        case.assert_version("1.0");
        map(&mut case, "/tmp/evil.so", "evil");
        case.assert_refused(&["library-unknown", "principal-mismatch"]);
    }
}

#[test]
fn the_executable_of_what_was_taken_back_stays_refused_whatever_else_differs() {
    for (standing, code) in
        [(Standing::Retired, "version-retired"), (Standing::BelowFloor, "version-below-floor")]
    {
        for change in [
            (|_| {}) as Change,
            |case| case.component().argv.push("--x".to_owned()),
            |case| case.component().mappings[0] = file("/lib/libc.so.6", "libc 2"),
            |case| case.component().mappings[0] = file("/lib/libc.so.6", "libc 3"),
        ] {
            let mut case = two_versions(standing);
            execute(&mut case, "/usr/bin/signer", "signer 1.0");
            case.component().mappings[0] = file("/lib/libc.so.6", "libc");
            change(&mut case);
            case.assert_refused(&[code]);
        }
        // Nor does it come back where a later version has the same executable.
        let mut case = observed();
        case.component().argv.push("--new".to_owned());
        case.approve("2.0", Latitude::default());
        case.policy.versions[0].standing = standing;
        case.assert_version("2.0");
        case.component().argv.push("--x".to_owned());
        case.assert_refused(&[code]);
    }
}

#[test]
fn a_file_of_a_retired_version_alone_does_not_come_back_under_another_executable() {
    let mut case = two_versions(Standing::Retired);
    case.component().mappings[0] = file("/lib/libc.so.6", "libc 3");
    assert_observed(&case, "2.0", &["library-changed"]);
    for path in ["/lib/libc.so.6", "/opt/libc.so.6"] {
        case.component().mappings[0] = file(path, "libc");
        case.assert_refused(&["version-retired"]);
    }
}

#[test]
fn an_update_passes_although_an_earlier_version_was_retired() {
    let mut case = two_versions(Standing::Retired);
    execute(&mut case, "/usr/bin/signer", "signer 3.0");
    assert_observed(&case, "2.0", &["executable-unknown"]);
    // What is nearer to the retired version is refused.
    case.policy.versions[1].reference.argv = attestation::reference::ArgvRule::Exact(vec!["x".to_owned()]);
    case.component().mappings.remove(0);
    case.assert_refused(&["version-retired"]);
}

#[test]
fn a_program_retired_in_another_component_does_not_take_an_observed_path() {
    let mut case = observed();
    let mut other = case.policy.versions[0].clone();
    other.name.component = "other".to_owned();
    other.standing = Standing::Retired;
    other.reference.executables = [("/usr/bin/other".to_owned(), [Digest::of(b"other")].into())].into();
    case.policy.versions.push(other);
    execute(&mut case, "/usr/bin/signer", "other");
    case.assert_refused(&["version-retired"]);
}

#[test]
fn between_equals_the_older_version_counts_and_the_same_executable_before_all() {
    let mut case = observed();
    case.component().argv.push("--new".to_owned());
    case.approve("2.0", Latitude::default());
    *case.component().argv.last_mut().unwrap() = "--other".to_owned();
    assert_observed(&case, "1.0", &["argv-mismatch"]);

    let mut case = two_versions(Standing::Current);
    execute(&mut case, "/usr/bin/signer", "signer 1.0");
    set(&mut case, "LD_BIND_NOW", "1");
    assert_observed(&case, "1.0", &["library-changed", "environment-mismatch"]);
}
