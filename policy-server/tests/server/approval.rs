//! Approval of a decision, explanations, retirement and grants.

use attestation::api::{ApproveRequest, ApproveResponse, Change, ComponentRecord, Explanation};
use attestation::digest::Digest;
use serde_json::json;

use crate::host::file;
use crate::installation::{Installation, terms};

#[tokio::test]
async fn approval_creates_component_version_and_grant_at_once() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    let (_, codes) = refused.refusal();
    assert_eq!(codes, ["executable-unknown"]);
    let response: ApproveResponse = installation.approve(&refused, |_| {}).await.json();
    assert!(response.new_component && response.new_version);
    let grant = response.grant.unwrap();
    assert_eq!((grant.component.as_str(), &grant.terms), ("signer", &terms()));
    installation.token(&host).await;
    let components: Vec<ComponentRecord> = installation.get("/v1/components").await.json();
    assert_eq!(components.len(), 1);
    assert!(!components[0].versions[0].general_tool);
    // A second time changes nothing.
    let again: ApproveResponse = installation.approve(&refused, |_| {}).await.json();
    assert!(!again.new_component && !again.new_version);
    assert_eq!(again.grant.unwrap().id, grant.id);
}

#[tokio::test]
async fn values_are_added_to_a_version_that_exists() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let new_libc = |claims: &mut attestation::evidence::EvidenceClaims| {
        claims.submods.component.mappings[0] = file("/lib/libc.so.6", "libc, updated");
    };
    let refused = installation.attest(&host, new_libc).await;
    let (id, codes) = refused.refusal();
    assert_eq!(codes, ["library-changed"]);
    let explanation: Explanation = installation.get(&format!("/v1/decisions/{id}/explanation")).await.json();
    assert_eq!(explanation.nearest.unwrap().version, "1.0");
    let [difference] = explanation.differences.as_slice() else { panic!("{:?}", explanation.differences) };
    assert_eq!((difference.part.as_str(), difference.item.as_str()), ("library", "/lib/libc.so.6"));
    assert_eq!(difference.change, Change::Changed);
    assert!(explanation.advice.iter().any(|advice| advice.contains(&format!("trustshim approve {id}"))));

    let response: ApproveResponse =
        installation.approve(&refused, |request| request.grant = None).await.json();
    assert!(!response.new_component && !response.new_version && response.grant.is_none());
    assert!(installation.attest(&host, new_libc).await.status.is_success());
    installation.token(&host).await;
}

#[tokio::test]
async fn a_version_that_requires_something_else_is_not_widened() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    for (number, change) in [
        (|claims| claims.submods.component.argv.push("x".to_owned()))
            as fn(&mut attestation::evidence::EvidenceClaims),
        |claims| claims.submods.component.principal.uid = 0,
        |claims| claims.submods.component.configuration.push(file("/etc/x", "x")),
        |claims| claims.submods.component.configuration.clear(),
        |claims| claims.submods.component.scripts.push(file("/opt/x.py", "x")),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = installation.attest(&host, change).await;
        installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
        installation.token(&host).await;
        let other = |request: &mut ApproveRequest| request.version = format!("other-{number}");
        let response: ApproveResponse = installation.approve(&refused, other).await.json();
        assert!(response.new_version && !response.new_component);
        assert!(installation.attest(&host, change).await.status.is_success());
    }
    let another_group = |claims: &mut attestation::evidence::EvidenceClaims| {
        claims.submods.component.principal.gid = 0;
    };
    let refused = installation.attest(&host, another_group).await;
    assert!(installation.approve(&refused, |request| request.any_user = true).await.status.is_success());
    assert!(installation.attest(&host, another_group).await.status.is_success());
}

#[tokio::test]
async fn wrong_measurement_digest() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    let answer = installation.approve(&refused, |request| request.measurement = Digest::of(b"another")).await;
    answer.assert_problem(409, "cannot-approve");
    assert_eq!(installation.get("/v1/components").await.json::<Vec<ComponentRecord>>(), []);
}

#[tokio::test]
async fn evidence_that_failed_cannot_be_approved() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |claims| claims.submods.hsm.serial = "x".to_owned()).await;
    installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
    let refused = installation.attest(&host, |claims| claims.submods.hsm.key.local = false).await;
    installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
}

#[tokio::test]
async fn evidence_of_a_key_that_was_suspended_meanwhile() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    installation.post(&format!("/v1/hsms/{}/suspend", host.fingerprint()), &json!({})).await;
    installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
}

#[tokio::test]
async fn states_that_are_never_approved() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    for change in [
        (|claims| claims.submods.component.runtime.traced = true)
            as fn(&mut attestation::evidence::EvidenceClaims),
        |claims| claims.submods.component.runtime.memfd_executable = 1,
        |claims| claims.submods.component.runtime.deleted_executable = 1,
        |claims| claims.submods.component.runtime.modified_text_pages = 1,
    ] {
        let refused = installation.attest(&host, change).await;
        let everything = |request: &mut ApproveRequest| {
            (request.any_arguments, request.any_user, request.allow_jit) = (true, true, true);
        };
        let problem = installation.approve(&refused, everything).await.assert_problem(409, "cannot-approve");
        assert!(problem.detail.unwrap().contains("a state that cannot be approved"));
    }
    for change in [
        (|claims| claims.submods.component.executable = file("/usr/bin/bash", "bash"))
            as fn(&mut attestation::evidence::EvidenceClaims),
        |claims| claims.submods.component.executable = file("/usr/bin/gdb", "gdb"),
        |claims| claims.submods.component.executable = file("/lib64/ld-linux-x86-64.so.2", "ld"),
        |claims| claims.submods.component.executable = file("/usr/bin/qemu-x86_64", "qemu"),
    ] {
        let refused = installation.attest(&host, change).await;
        let everything = |request: &mut ApproveRequest| {
            (request.any_arguments, request.any_user, request.allow_jit) = (true, true, true);
        };
        installation.approve(&refused, everything).await.assert_problem(409, "cannot-approve");
    }
    let refused =
        installation.attest(&host, |claims| claims.submods.component.runtime.anonymous_executable = 1);
    let refused = refused.await;
    installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
    assert!(installation.approve(&refused, |request| request.allow_jit = true).await.status.is_success());
}

#[tokio::test]
async fn interpreters_need_one_measured_script_or_are_general_tools() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let python = |arguments: &'static [&'static str], scripts: &'static [&'static str]| {
        move |claims: &mut attestation::evidence::EvidenceClaims| {
            let component = &mut claims.submods.component;
            component.executable = file("/usr/bin/python3.11", "python");
            component.argv = arguments.iter().map(|&argument| argument.to_owned()).collect();
            component.scripts = scripts.iter().map(|path| file(path, "script")).collect();
        }
    };
    for (arguments, scripts) in [
        (&["python3"][..], &[][..]),
        (&["python3", "-c", "import os"], &[]),
        (&["python3", "-c", "import os"], &["/opt/tool.py"]),
        (&["python3", "-Ic", "import os"], &["/opt/tool.py"]),
        (&["python3", "-m", "tool"], &["/opt/tool.py"]),
        (&["python3", "-"], &["/opt/tool.py"]),
        (&["python3"], &["/opt/tool.py"]),
        (&["python3", "/opt/tool.py"], &[]),
    ] {
        let refused = installation.attest(&host, python(arguments, scripts)).await;
        installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
    }
    let accepted = python(&["python3", "-I", "/opt/tool.py", "-c", "x"], &["/opt/tool.py"]);
    let refused = installation.attest(&host, accepted).await;
    let response: ApproveResponse = installation.approve(&refused, |_| {}).await.json();
    assert_eq!(response.approved.component, "signer");
    let refused = installation.attest(&host, python(&["python3", "-c", "x"], &[])).await;
    let as_tool = installation.approve(&refused, |request| {
        (request.version, request.any_arguments) = ("tool".to_owned(), true);
    });
    assert!(as_tool.await.status.is_success());
    let component: ComponentRecord = installation.get("/v1/components/signer").await.json();
    assert!(component.versions[1].general_tool);
}

#[tokio::test]
async fn a_retired_version_counts_no_more_and_takes_no_more_values() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let path = "/v1/components/signer/versions/1.0/retire";
    let component: ComponentRecord = installation.post(path, &json!({})).await.json();
    let retired_at = component.versions[0].retired_at.unwrap();
    let refused = installation.attest(&host, |_| {}).await;
    let (id, codes) = refused.refusal();
    assert_eq!(codes, ["version-retired"]);
    assert_eq!(installation.decision(id).await.version.as_deref(), Some("1.0"));
    installation.approve(&refused, |_| {}).await.assert_problem(409, "cannot-approve");
    let again: ComponentRecord = installation.post(path, &json!({})).await.json();
    assert_eq!(again.versions[0].retired_at, Some(retired_at));
    let unknown = installation.post("/v1/components/signer/versions/9/retire", &json!({})).await;
    unknown.assert_problem(404, "not-found");
}

#[tokio::test]
async fn names_out_of_the_ordinary() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let refused = installation.attest(&host, |_| {}).await;
    for name in ["", "a b", "../x", "ä", &"x".repeat(65)] {
        let answer = installation.approve(&refused, |request| request.component = name.to_owned()).await;
        answer.assert_problem(400, "malformed");
        let answer = installation.approve(&refused, |request| request.version = name.to_owned()).await;
        answer.assert_problem(400, "malformed");
    }
}

#[tokio::test]
async fn another_program_does_not_come_under_what_a_version_allows_unsaid() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let other = |claims: &mut attestation::evidence::EvidenceClaims| {
        claims.submods.component.executable = file("/usr/bin/other", "other");
    };
    let refused = installation.attest(&host, |_| {}).await;
    type Latitude = fn(&mut ApproveRequest);
    let widen: [(&str, Latitude); 4] = [
        ("arguments", |request| request.any_arguments = true),
        ("user", |request| request.any_user = true),
        ("jit", |request| request.allow_jit = true),
        ("patterns", |request| request.arguments = [(1, "--*".to_owned())].into()),
    ];
    let mut differing = None;
    for (version, latitude) in widen {
        let named = |request: &mut ApproveRequest| {
            request.version = version.to_owned();
            latitude(request);
        };
        assert!(installation.approve(&refused, named).await.status.is_success());
        if differing.is_none() {
            differing = Some(installation.attest(&host, other).await);
        }
        let differing = differing.as_ref().unwrap();
        let unsaid = |request: &mut ApproveRequest| request.version = version.to_owned();
        installation.approve(differing, unsaid).await.assert_problem(409, "cannot-approve");
        assert!(installation.approve(differing, named).await.status.is_success(), "{version}");
        let _: ComponentRecord = installation
            .post(&format!("/v1/components/signer/versions/{version}/retire"), &json!({}))
            .await
            .json();
    }
}

#[tokio::test]
async fn patterns_for_one_program_do_not_loosen_an_interpreter_of_the_same_version() {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let script = |claims: &mut attestation::evidence::EvidenceClaims| {
        let component = &mut claims.submods.component;
        component.executable = file("/usr/bin/python3.11", "python");
        component.argv = ["tool", "/opt/tool.py"].map(str::to_owned).to_vec();
        component.scripts = vec![file("/opt/tool.py", "script")];
    };
    let compiled = |claims: &mut attestation::evidence::EvidenceClaims| {
        script(claims);
        claims.submods.component.executable = file("/usr/bin/tool", "tool");
    };
    let refused = installation.attest(&host, script).await;
    assert!(installation.approve(&refused, |_| {}).await.status.is_success());
    let refused = installation.attest(&host, compiled).await;
    let pattern = |request: &mut ApproveRequest| request.arguments = [(1, "**".to_owned())].into();
    installation.approve(&refused, pattern).await.assert_problem(409, "cannot-approve");
    assert!(installation.approve(&refused, |_| {}).await.status.is_success());
}
