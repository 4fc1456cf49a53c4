//! What an approver sees before approving: digest, host, user, and every file that is new.

use attestation::api::{Change, Difference, Explanation};
use attestation::component::Component;
use attestation::evidence::AttesterClaims;

use super::decisions;
use super::explain;
use crate::output;

/// Parts of a measurement that are files.
const FILE_PARTS: [&str; 4] = ["executable", "library", "script", "configuration"];

/// The whole review, for an approval under the name `component`.
pub fn text(
    explanation: &Explanation,
    measured: &Component,
    attester: Option<&AttesterClaims>,
    component: &str,
    now: u64,
) -> String {
    let mut text = decisions::summary(&explanation.decision, now);
    let principal = &measured.principal;
    let unit = principal.unit.as_ref().map(|unit| format!(", {unit}")).unwrap_or_default();
    let line = |name: &str, value: &str| format!("{name:<12} {}\n", output::one_line(value));
    text.push_str(&line("User", &format!("uid {}, gid {}{unit}", principal.uid, principal.gid)));
    text.push_str(&line("Arguments", &format!("{:?}", measured.argv)));
    for (name, value) in &measured.environment {
        text.push_str(&line("Environment", &format!("{name}={value}")));
    }
    for oddity in oddities(measured) {
        text.push_str(&line("Attention", &oddity));
    }
    if let Some(attester) = attester {
        for (name, file) in [
            ("Measured by", &attester.shim),
            ("Real module", &attester.real_module),
            ("Its settings", &attester.configuration),
        ] {
            text.push_str(&line(name, &format!("{} {}", output::short(&file.sha256.to_string()), file.path)));
        }
    }
    text.push('\n');
    text.push_str(&news(explanation, measured, component));
    text
}

/// Every file that is new to the component, then everything else that differs. Compared with another
/// component's version every file would be new all the same.
fn news(explanation: &Explanation, measured: &Component, component: &str) -> String {
    let Some(nearest) = explanation.nearest.as_ref().filter(|nearest| nearest.component == component) else {
        return format!(
            "Files, all of them new to {}:\n\n{}",
            output::one_line(component),
            explain::files(measured)
        );
    };
    let is_new_file = |difference: &&Difference| {
        FILE_PARTS.contains(&difference.part.as_str()) && difference.change != Change::Missing
    };
    let (files, others): (Vec<Difference>, Vec<Difference>) =
        explanation.differences.iter().cloned().partition(|difference| is_new_file(&difference));
    let mut text =
        format!("Compared with {} {}:\n\n", output::one_line(component), output::one_line(&nearest.version));
    if files.is_empty() {
        text.push_str("No file is new.\n");
    } else {
        text.push_str(&explain::differences(&files));
    }
    if !others.is_empty() {
        text.push('\n');
        text.push_str(&explain::differences(&others));
    }
    text
}

/// State of the process that an approver should not overlook.
fn oddities(measured: &Component) -> Vec<String> {
    let runtime = &measured.runtime;
    let mut oddities = Vec::new();
    if runtime.traced {
        oddities.push("a debugger was attached".to_owned());
    }
    for (count, what) in [
        (u64::from(runtime.anonymous_executable), "executable mappings without a file"),
        (u64::from(runtime.deleted_executable), "executable mappings of deleted files"),
        (u64::from(runtime.memfd_executable), "executable mappings of memory files"),
        (u64::from(runtime.writable_executable), "mappings writable and executable at once"),
        (runtime.modified_text_pages, "modified pages of code"),
    ] {
        if count > 0 {
            oddities.push(format!("{count} {what}"));
        }
    }
    if runtime.seccomp_filters > 0 {
        oddities.push(format!(
            "runs under seccomp filters ({}): whoever sets up so many is trusted, as they may answer its system calls",
            runtime.seccomp_filters
        ));
    }
    if !measured.principal.initial_user_namespace {
        oddities.push("runs in a user namespace of its own".to_owned());
    }
    oddities
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use attestation::api::{DecidedBy, DecisionSummary, Outcome, VersionName};
    use attestation::component::{MeasuredFile, Principal, Runtime};
    use attestation::decision::DecisionId;
    use attestation::digest::Digest;

    use super::*;

    fn component() -> Component {
        let file = |path: &str| MeasuredFile {
            path: path.to_owned(),
            sha256: Digest::of(path.as_bytes()),
            build_id: None,
        };
        Component {
            name: "auto".to_owned(),
            principal: Principal {
                uid: 33,
                gid: 33,
                unit: Some("nginx.service".to_owned()),
                initial_user_namespace: true,
                initial_pid_namespace: true,
            },
            executable: file("/usr/sbin/nginx"),
            mappings: vec![file("/usr/lib/libc.so.6"), file("/usr/sbin/nginx")],
            scripts: Vec::new(),
            configuration: vec![file("/etc/nginx/nginx.conf")],
            argv: vec!["nginx".to_owned()],
            environment: BTreeMap::from([("LD_PRELOAD".to_owned(), "/tmp/x.so".to_owned())]),
            runtime: Runtime {
                traced: false,
                no_new_privs: false,
                seccomp: 0,
                seccomp_filters: 0,
                dumpable: true,
                anonymous_executable: 0,
                deleted_executable: 0,
                memfd_executable: 0,
                writable_executable: 0,
                modified_text_pages: 2,
            },
        }
    }

    pub fn explanation(nearest: Option<&str>) -> Explanation {
        let measured = component();
        Explanation {
            decision: DecisionSummary {
                id: DecisionId::from_random(16),
                at: 0,
                outcome: Outcome::Denied,
                decided_by: DecidedBy::Server,
                host: Some("web1".to_owned()),
                hsm: None,
                component: None,
                version: None,
                executable: None,
                measurement: Some(measured.measurement_digest()),
                operation: None,
                key: None,
                reasons: Vec::new(),
                observed: false,
                operator: None,
                basis: None,
            },
            nearest: nearest
                .map(|component| VersionName { component: component.to_owned(), version: "1".to_owned() }),
            differences: vec![Difference {
                part: "library".to_owned(),
                item: "/usr/lib/libc.so.6".to_owned(),
                change: Change::Changed,
                expected: Some(Digest::of(b"old").to_string()),
                measured: Some(Digest::of(b"/usr/lib/libc.so.6").to_string()),
            }],
            measured: Some(measured),
            advice: Vec::new(),
        }
    }

    #[test]
    fn digest_host_user_and_every_new_file_are_shown() {
        let explanation = explanation(None);
        let text = text(&explanation, &component(), None, "nginx", 0);
        for part in [
            component().measurement_digest().to_string().as_str(),
            "Host         web1",
            "uid 33, gid 33, nginx.service",
            "LD_PRELOAD=/tmp/x.so",
            "2 modified pages of code",
            "executable     /usr/sbin/nginx",
            "library        /usr/lib/libc.so.6",
            "configuration  /etc/nginx/nginx.conf",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn filters_are_not_overlooked() {
        let mut filtered = component();
        (filtered.runtime.seccomp, filtered.runtime.seccomp_filters) = (2, 3);
        let shown = |measured: &Component| text(&explanation(None), measured, None, "nginx", 0);
        assert!(shown(&filtered).contains("Attention    runs under seccomp filters (3)"));
        assert!(!shown(&component()).contains("seccomp"));
    }

    #[test]
    fn against_the_same_component_only_what_differs_is_new() {
        let explanation = explanation(Some("nginx"));
        let text = text(&explanation, &component(), None, "nginx", 0);
        assert!(text.contains("Compared with nginx 1:") && text.contains("/usr/lib/libc.so.6"), "{text}");
        assert!(!text.contains("/etc/nginx/nginx.conf"), "{text}");
    }

    #[test]
    fn against_another_component_every_file_is_new() {
        let explanation = explanation(Some("apache"));
        let text = text(&explanation, &component(), None, "nginx", 0);
        assert!(
            text.contains("all of them new to nginx") && text.contains("/etc/nginx/nginx.conf"),
            "{text}"
        );
    }
}
