//! Components, versions and reference values as people read them.

use attestation::api::{ComponentMode, ComponentRecord, VersionRecord};
use attestation::reference::{ArgvRule, PrincipalRule, ReferenceValues, SandboxRule};

use crate::date;
use crate::output;

/// Every version in a line.
pub fn list(records: &[ComponentRecord]) -> String {
    let rows = records.iter().flat_map(|record| {
        record.versions.iter().map(|version| {
            [
                record.name.clone(),
                version.version.clone(),
                standing(version),
                date::utc(version.approved_at),
                kind(&version.reference).to_owned(),
                record.mode.name().to_owned(),
                version.reference.executables.keys().cloned().collect::<Vec<_>>().join(", "),
            ]
        })
    });
    output::table(
        ["component", "version", "state", "approved", "kind", "mode", "executable"],
        rows,
        "Nothing is approved; `trustshim decisions` shows what was refused.",
    )
}

fn standing(version: &VersionRecord) -> String {
    match (version.retired_at, version.below_floor) {
        (Some(at), _) => format!("retired {}", date::utc(at)),
        (None, true) => "below the floor".to_owned(),
        (None, false) => "approved".to_owned(),
    }
}

fn kind(reference: &ReferenceValues) -> &'static str {
    match reference.argv {
        ArgvRule::Any => "GENERAL TOOL: signs what it is told",
        ArgvRule::Exact(_) => "fixed arguments",
        ArgvRule::Patterns(_) => "arguments by pattern",
    }
}

/// The reference values of every version.
pub fn show(record: &ComponentRecord) -> String {
    let mode = match record.mode {
        ComponentMode::Enforce => "enforce: what differs is refused",
        ComponentMode::Observe => "OBSERVE: what differs is allowed and recorded",
    };
    let floor = output::or_dash(record.floor.as_ref());
    let versions: Vec<String> =
        record.versions.iter().map(|version| show_version(&record.name, version)).collect();
    format!("Mode         {mode}\nFloor        {}\n\n{}", output::one_line(&floor), versions.join("\n"))
}

/// The reference values of one version.
pub fn show_version(name: &str, version: &VersionRecord) -> String {
    format!(
        "{} {}\nState        {}, approved {}\n{}",
        output::one_line(name),
        output::one_line(&version.version),
        standing(version),
        date::utc(version.approved_at),
        values(&version.reference)
    )
}

/// Reference values, whoever states them.
pub fn values(reference: &ReferenceValues) -> String {
    let principal = match &reference.principal {
        PrincipalRule::Any => "any user".to_owned(),
        PrincipalRule::Exact(principal) => format!(
            "uid {}, gid {}{}",
            principal.uid,
            principal.gid,
            principal.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default()
        ),
    };
    let argv = match &reference.argv {
        ArgvRule::Any => "any".to_owned(),
        ArgvRule::Exact(argv) => argv.join(" "),
        ArgvRule::Patterns(patterns) => {
            let more = patterns.more.iter().map(|pattern| format!("any number of {pattern}"));
            patterns.each.iter().cloned().chain(more).collect::<Vec<_>>().join(" ")
        }
    };
    let files = [
        ("executable", &reference.executables),
        ("library", &reference.libraries),
        ("script", &reference.scripts),
        ("configuration", &reference.configuration),
    ];
    let rows = files.into_iter().flat_map(|(part, files)| {
        files.iter().flat_map(move |(path, digests)| {
            let by_set = digests.is_empty().then(|| "by set".to_owned());
            let digests = digests.iter().map(ToString::to_string).chain(by_set);
            digests.map(move |digest| [part.to_owned(), path.clone(), digest])
        })
    });
    let attester = [
        ("shim", &reference.attester.shim),
        ("real module", &reference.attester.real_module),
        ("shim's configuration", &reference.attester.configuration),
    ];
    let attester = attester.into_iter().flat_map(|(part, digests)| {
        digests.iter().map(move |digest| ["attester".to_owned(), part.to_owned(), digest.to_string()])
    });
    let environment: String = reference
        .environment
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}={value}")))
        .map(|setting| format!("Environment  {}\n", output::one_line(&setting)))
        .collect();
    let sets = reference.library_sets.iter().cloned().collect::<Vec<_>>().join(", ");
    let sets = if sets.is_empty() { "none".to_owned() } else { sets };
    format!(
        "Kind         {}\n\
         User         {}\n\
         Arguments    {}\n\
         {environment}\
         Library sets {}\n\
         Sandbox      {}\n\
         Run-time code generation  {}\n\n{}",
        kind(reference),
        output::one_line(&principal),
        output::one_line(&argv),
        output::one_line(&sets),
        sandbox(reference.sandbox),
        if reference.allow_jit { "allowed" } else { "not allowed" },
        output::table(["part", "path", "sha-256"], rows.chain(attester), "No files."),
    )
}

fn sandbox(rule: SandboxRule) -> String {
    let filters = match (rule.seccomp, rule.seccomp_filters) {
        (0 | 2, 0) => "none".to_owned(),
        (1, 0) => "none, strict mode".to_owned(),
        (_, count) => count.to_string(),
    };
    let no_new_privs = match rule.no_new_privs {
        None => "not compared",
        Some(true) => "yes",
        Some(false) => "no",
    };
    format!("seccomp filters: {filters}, no_new_privs: {no_new_privs}")
}
