//! What reference values can say beyond exact equality: patterns, further values of variables, and manifests.

use attestation::api::{ApproveRequest, ApproveResponse, ComponentRecord, ImportRequest};
use attestation::evidence::EvidenceClaims;
use attestation::reference::{ArgumentPatterns, ArgvRule, PrincipalRule, ReferenceValues};
use serde_json::json;

use crate::host::file;
use crate::installation::{Answer, Installation};

fn started_with(arguments: &'static [&'static str]) -> impl Fn(&mut EvidenceClaims) + Copy {
    move |claims| {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        claims.submods.component.argv = arguments.collect();
    }
}

fn patterns(
    each: &'static [(usize, &'static str)],
    more: Option<(usize, &'static str)>,
) -> impl Fn(&mut ApproveRequest) {
    move |request| {
        request.arguments = each.iter().map(|(at, pattern)| (*at, (*pattern).to_owned())).collect();
        request.more_arguments = more.map(|(at, pattern)| (at, pattern.to_owned()));
    }
}

const SIGN: &[&str] = &["signer", "--in=/spool/job-1", "a.deb", "b.deb"];

#[tokio::test]
async fn patterns_take_the_place_of_single_arguments() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, started_with(SIGN)).await;
    let approve = installation.approve(&refused, patterns(&[(1, "--in=/spool/*")], Some((2, "*.deb"))));
    let _: ApproveResponse = approve.await.json();
    for accepted in
        [SIGN, &["signer", "--in=/spool/job-2"], &["signer", "--in=/spool/", "x.deb", "y.deb", "z.deb"]]
    {
        assert!(installation.attest(&host, started_with(accepted)).await.status.is_success(), "{accepted:?}");
    }
    for other in [
        &["signer"][..],
        &["signer", "--in=/spool/a/../../etc/shadow"],
        &["signer", "--out=/spool/x"],
        &["signer", "--in=/spool/x", "x.rpm"],
        &["signer", "--in=/spool/x", "/tmp/x.deb"],
        &["other", "--in=/spool/x"],
    ] {
        let answer = installation.attest(&host, started_with(other)).await;
        assert_eq!(answer.refusal().1, ["argv-mismatch"], "{other:?}");
    }
    let component: ComponentRecord = installation.get("/v1/components/signer").await.json();
    let each = ["signer", "--in=/spool/*"].map(str::to_owned).to_vec();
    let expected = ArgvRule::Patterns(ArgumentPatterns { each, more: Some("*.deb".to_owned()) });
    assert_eq!(component.versions[0].reference.argv, expected);
    assert!(!component.versions[0].general_tool);
}

#[tokio::test]
async fn an_asterisk_that_was_measured_is_not_a_wildcard() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, started_with(&["signer", "*", "x"])).await;
    let _: ApproveResponse = installation.approve(&refused, patterns(&[(2, "*")], None)).await.json();
    assert!(installation.attest(&host, started_with(&["signer", "*", "y"])).await.status.is_success());
    let answer = installation.attest(&host, started_with(&["signer", "z", "y"])).await;
    assert_eq!(answer.refusal().1, ["argv-mismatch"]);
}

#[tokio::test]
async fn patterns_that_do_not_fit_what_was_measured_are_refused() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, started_with(SIGN)).await;
    for change in [
        patterns(&[(1, "--out=*")], None),
        patterns(&[(4, "*")], None),
        patterns(&[], Some((5, "*"))),
        patterns(&[], Some((0, "*"))),
        patterns(&[], Some((1, "*.deb"))),
        patterns(&[(2, "*.deb")], Some((2, "*.deb"))),
        patterns(&[(1, "*****************a*b*c*d*e*f*g*h*i*j*k*l*m*n*o*p*q")], None),
    ] {
        installation.approve(&refused, change).await.assert_problem(409, "cannot-approve");
    }
    let both = |request: &mut ApproveRequest| {
        patterns(&[(1, "**")], None)(request);
        request.any_arguments = true;
    };
    installation.approve(&refused, both).await.assert_problem(409, "cannot-approve");
    assert_eq!(installation.get("/v1/components").await.json::<Vec<ComponentRecord>>(), []);
}

#[tokio::test]
async fn patterns_widen_a_version_that_they_cover_and_no_other() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let first = installation.attest(&host, started_with(&["signer", "--in=a"])).await;
    let _: ApproveResponse = installation.approve(&first, |_| {}).await.json();
    let second = installation.attest(&host, started_with(&["signer", "--in=b"])).await;
    installation
        .approve(&second, patterns(&[(1, "--in=b*")], None))
        .await
        .assert_problem(409, "cannot-approve");
    let _: ApproveResponse = installation.approve(&second, patterns(&[(1, "--in=*")], None)).await.json();
    for argument in [&["signer", "--in=a"], &["signer", "--in=c"]] {
        assert!(installation.attest(&host, started_with(argument)).await.status.is_success());
    }
}

#[tokio::test]
async fn no_pattern_loosens_what_an_interpreter_runs() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let python = |claims: &mut EvidenceClaims| {
        let component = &mut claims.submods.component;
        component.executable = file("/usr/bin/python3.11", "python");
        component.scripts = vec![file("/opt/tool.py", "script")];
        component.argv = ["python3", "-I", "/opt/tool.py", "--in=x"].map(str::to_owned).to_vec();
    };
    let refused = installation.attest(&host, python).await;
    for change in [
        patterns(&[(2, "/opt/*.py")], None),
        patterns(&[(1, "*")], None),
        patterns(&[(1, "-*")], None),
        patterns(&[(0, "**")], None),
        patterns(&[], Some((1, "**"))),
        patterns(&[], Some((2, "**"))),
    ] {
        let problem = installation.approve(&refused, change).await.assert_problem(409, "cannot-approve");
        assert!(problem.detail.unwrap().contains("python3.11"));
    }
    let after = installation.approve(&refused, patterns(&[(3, "--in=*")], None));
    let _: ApproveResponse = after.await.json();
    let more = installation.approve(&refused, |request| {
        request.version = "2".to_owned();
        patterns(&[], Some((3, "**")))(request);
    });
    assert!(more.await.status.is_success());
}

#[tokio::test]
async fn a_further_value_of_a_variable_counts_and_absence_does_not() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    let also = |variable: &'static str| {
        installation.approve(&refused, move |request| {
            request.environment = [(variable.to_owned(), ["/etc/other.cnf".to_owned()].into())].into();
        })
    };
    also("LD_PRELOAD").await.assert_problem(409, "cannot-approve");
    let _: ApproveResponse = also("OPENSSL_CONF").await.json();
    let set = |value: Option<&'static str>| {
        move |claims: &mut EvidenceClaims| {
            let environment = &mut claims.submods.component.environment;
            environment.clear();
            environment.extend(value.map(|value| ("OPENSSL_CONF".to_owned(), value.to_owned())));
        }
    };
    for value in ["/etc/signer.cnf", "/etc/other.cnf"] {
        assert!(installation.attest(&host, set(Some(value))).await.status.is_success(), "{value}");
    }
    for value in [None, Some("/tmp/x.cnf")] {
        assert_eq!(installation.attest(&host, set(value)).await.refusal().1, ["environment-mismatch"]);
    }
}

async fn import(installation: &Installation, version: &str, reference: &ReferenceValues) -> Answer {
    let request = ImportRequest { version: version.to_owned(), reference: reference.clone() };
    installation.post("/v1/components/signer/versions", &request).await
}

#[tokio::test]
async fn a_manifest_becomes_a_version_that_recognises_the_program() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let claims = host.claims("");
    let reference = ReferenceValues::of(&claims.submods.component, &claims.submods.attester);
    let answer = import(&installation, "1.0", &reference).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.json::<ComponentRecord>().versions[0].reference, reference);
    // Approved, with nothing granted yet.
    assert_eq!(installation.attest(&host, |_| {}).await.refusal().1, ["no-grant"]);
    import(&installation, "1.0", &reference).await.assert_problem(409, "conflict");
}

#[tokio::test]
async fn manifests_that_could_approve_too_much_or_nothing() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let claims = host.claims("");
    let good = ReferenceValues::of(&claims.submods.component, &claims.submods.attester);
    let digests = good.executables.values().next().unwrap().clone();
    let changes: [fn(&mut ReferenceValues); 13] = [
        |values| values.executables.clear(),
        |values| values.executables.values_mut().for_each(std::collections::BTreeSet::clear),
        |values| values.libraries.values_mut().for_each(std::collections::BTreeSet::clear),
        |values| values.library_sets = ["nowhere".to_owned()].into(),
        |values| values.attester.shim.clear(),
        |values| values.attester.real_module.clear(),
        |values| values.attester.configuration.clear(),
        |values| values.environment.values_mut().for_each(std::collections::BTreeSet::clear),
        |values| values.argv = ArgvRule::Exact(vec!["\u{1b}[2J".to_owned()]),
        |values| {
            let each = vec!["*".repeat(40)];
            values.argv = ArgvRule::Patterns(ArgumentPatterns { each, more: None });
        },
        |values| {
            let digests = values.executables.values().next().unwrap().clone();
            values.executables.insert("/usr/bin/bash".to_owned(), digests);
            values.argv = ArgvRule::Any;
        },
        |values| {
            let digests = values.executables.values().next().unwrap().clone();
            values.executables.insert("/usr/bin/python3".to_owned(), digests);
            values.principal = PrincipalRule::Any;
        },
        |values| drop(values.scripts.insert("/a\nb".to_owned(), values.attester.shim.clone())),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut values = good.clone();
        change(&mut values);
        let answer = import(&installation, "1.0", &values).await;
        let problem = answer.assert_problem(409, "cannot-import");
        assert!(problem.detail.is_some(), "{number}");
    }
    let digest = digests.first().unwrap();
    let _: Vec<serde_json::Value> =
        installation.post(&format!("/v1/retired-files/{digest}"), &json!({})).await.json();
    import(&installation, "1.0", &good).await.assert_problem(409, "cannot-import");
    let unknown = json!({"version": "1.0", "reference": good, "more": 1});
    installation.post("/v1/components/signer/versions", &unknown).await.assert_problem(400, "malformed");
}
