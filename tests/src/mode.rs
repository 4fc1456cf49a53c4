//! The two places where the gate can be. A scenario is one function, which both take as their argument; what is run in one
//! mode alone is listed here with its reason, and nowhere else.

/// Where the gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the application's own process.
    Inline,
    /// In a guard, which measures applications of another user from outside.
    Guarded,
}

/// Makes a test of each scenario in each mode, such as `inline::a_retired_version_is_refused` and
/// `guarded::a_retired_version_is_refused`. Scenarios of one mode have to be listed with a reason in [`ONE_MODE`].
///
/// ```text
/// e2e::in_modes! {
///     both: [an_unknown_program_is_refused, a_retired_version_is_refused],
///     inline: [the_gate_is_where_the_application_is],
/// }
///
/// fn an_unknown_program_is_refused(mode: Mode) { … }
/// ```
#[macro_export]
macro_rules! in_modes {
    (
        $(both: [$($both:ident),* $(,)?] $(,)?)?
        $(inline: [$($inline:ident),* $(,)?] $(,)?)?
        $(guarded: [$($guarded:ident),* $(,)?] $(,)?)?
    ) => {
        mod inline {
            $($(
                #[test]
                fn $both() {
                    super::$both($crate::Mode::Inline);
                }
            )*)?
            $($(
                #[test]
                fn $inline() {
                    $crate::mode::must_be_listed(file!(), stringify!($inline), $crate::Mode::Inline);
                    super::$inline($crate::Mode::Inline);
                }
            )*)?
        }
        mod guarded {
            $($(
                #[test]
                fn $both() {
                    super::$both($crate::Mode::Guarded);
                }
            )*)?
            $($(
                #[test]
                fn $guarded() {
                    $crate::mode::must_be_listed(file!(), stringify!($guarded), $crate::Mode::Guarded);
                    super::$guarded($crate::Mode::Guarded);
                }
            )*)?
        }
    };
}

/// A scenario that is run in one mode alone.
pub struct OneMode {
    /// The file under `tests/tests`, without what stands behind the first dot.
    pub file: &'static str,
    /// The function.
    pub scenario: &'static str,
    /// Where it is run.
    pub mode: Mode,
    /// Why not in the other.
    pub because: &'static str,
}

const fn inline(file: &'static str, scenario: &'static str, because: &'static str) -> OneMode {
    OneMode { file, scenario, mode: Mode::Inline, because }
}

const NO_FILE: &str =
    "a token counts for one measurement, and a guard has many processes: it reads no file of tokens";
const BEHIND: &str =
    "the application calls the module behind the shim's back, and nobody gets behind a guard's worker";
const NOT_OPENED: &str =
    "guard_clients has it, with what an application's file has to say for it in guarded mode";
const NO_SESSION: &str = "no session of the attester is where the application's calls go";

/// Every scenario that is run in one mode alone.
pub const ONE_MODE: &[OneMode] = &[
    inline(
        "attestation_key_is_hidden",
        "on_the_applications_own_token",
        "a guard's attester has a login of its own, on a token that no worker has",
    ),
    inline(
        "attestation_key_is_hidden",
        "on_a_token_that_cannot_be_looked_at",
        "no worker of these tests has the attester's token",
    ),
    inline(
        "fork",
        "a_child_that_is_forked_in_the_middle_of_another_threads_call_does_not_hang",
        "a thread is stopped inside the module by a mutex of the application, and a guard's module has none of those",
    ),
    inline(
        "handed_in_tokens",
        "a_token_in_the_configured_file_serves_and_a_bad_one_leads_to_the_policy_server",
        NO_FILE,
    ),
    inline(
        "handed_in_tokens_at_the_spy",
        "a_token_in_the_configured_file_does_without_the_policy_server",
        NO_FILE,
    ),
    inline(
        "interfaces",
        "a_vendors_interface_is_passed_on_where_it_is_named_and_only_there",
        "a function of the vendor's own has no meaning in another process than the module's",
    ),
    inline(
        "openssl_engine",
        "the_engine_on_the_vendors_own_path_is_gated_where_the_shim_is_preloaded",
        NOT_OPENED,
    ),
    inline(
        "ends_under_running_calls",
        "sessions_of_the_attester_are_not_closed_with_the_applications",
        NO_SESSION,
    ),
    inline("rules_of_changes", "a_session_object_that_nobody_saw_being_made_is_refused", BEHIND),
    inline("rules_of_slots", "a_handle_that_no_search_gave_is_none", BEHIND),
    inline(
        "rules_of_the_token",
        "the_scope_everything_wants_a_login_of_the_attesters_own",
        "a guard has no attester without a login of its own: its configuration does not load",
    ),
];

/// Files of tests that are about something else than what an installation does for its clients. Those named `guard_…`
/// are about the guard itself.
pub const WITHOUT_MODE: &[(&str, &str)] = &[
    ("abi", "the exports and lists of one shared object, by its symbols"),
    ("abi_by_other_bindings", "the same, by declarations that others wrote"),
    ("attacks_on_the_guard", "attacks that guarded mode withstands, and inline mode does not claim to"),
    (
        "configuration_faults",
        "what the shim says of a file that it cannot use; the guard's are in guarded_configuration",
    ),
    ("doctor_as_user", "the operator's tool, on a host without a guard that runs"),
    ("guarded_configuration", "the files of guarded mode"),
    ("packaging", "what a package installs"),
    (
        "preload",
        "how the loader is steered in an application's process; guard_clients has it in guarded mode",
    ),
    ("preload_leaves_the_rest", "the same"),
    ("sandbox", "scripts/sandbox itself"),
];

/// Panics unless the scenario is listed as one of this mode alone.
#[track_caller]
pub fn must_be_listed(file: &str, scenario: &str, mode: Mode) {
    let file = name_of(file);
    let is_listed =
        ONE_MODE.iter().any(|one| (one.file, one.scenario, one.mode) == (file.as_str(), scenario, mode));
    assert!(is_listed, "{file}: {scenario} is run in one mode alone, and e2e::mode does not say why");
}

/// `approval` of `tests/tests/approval.rs`, `bad_arguments` of `tests/tests/bad_arguments/main.rs`.
fn name_of(path: &str) -> String {
    let path = path.trim_end_matches(".rs").trim_end_matches("/main");
    path.rsplit('/').next().unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Name and source of each file of tests.
    fn sources() -> Vec<(String, String)> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let entries = fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.map(|path| if path.is_dir() { path.join("main.rs") } else { path });
        files.map(|path| (name_of(path.to_str().unwrap()), fs::read_to_string(&path).unwrap())).collect()
    }

    #[test]
    fn every_file_of_tests_runs_in_both_modes_or_says_why_not() {
        let sources = sources();
        assert!(sources.len() > 30, "{}", sources.len());
        for (name, source) in &sources {
            let has_modes = source.contains("in_modes! {");
            let is_listed = name.starts_with("guard_") || WITHOUT_MODE.iter().any(|(file, _)| file == name);
            assert!(has_modes != is_listed, "{name}: in both modes {has_modes}, listed {is_listed}");
            // Else a scenario could be in neither list.
            assert!(!has_modes || !source.contains("\n#[test]"), "{name} has a test without a mode");
        }
        for (file, _) in WITHOUT_MODE {
            assert!(sources.iter().any(|(name, _)| name == file), "{file} is no file of tests");
        }
    }

    #[test]
    fn every_scenario_of_one_mode_is_there() {
        for one in ONE_MODE {
            let sources = sources();
            let (_, source) = sources.iter().find(|(name, _)| name == one.file).expect(one.file);
            assert!(source.contains(&format!("fn {}(", one.scenario)), "{}: {}", one.file, one.scenario);
            assert!(one.because.len() > 10, "{}: {}", one.file, one.scenario);
        }
    }
}
