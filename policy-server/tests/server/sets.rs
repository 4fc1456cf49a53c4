//! Named library sets: they supply digests for the paths that a component lists, and nothing else.

use attestation::api::{ApproveResponse, ComponentRecord, SetRecord, SetSummary};
use attestation::digest::Digest;
use attestation::evidence::EvidenceClaims;
use serde_json::{Value, json};

use crate::host::{Host, file};
use crate::installation::{Answer, Installation};

const LIBC: &str = "/lib/libc.so.6";

async fn add(installation: &Installation, files: &[(&str, &str)]) -> Answer {
    let files: Vec<_> = files.iter().map(|(path, content)| json!([path, digest(content)])).collect();
    installation.post("/v1/sets/debian-12/files", &json!({"files": files})).await
}

fn digest(content: &str) -> Digest {
    Digest::of(content.as_bytes())
}

async fn delete(installation: &Installation, path: &str) -> Answer {
    installation.send("DELETE", path, Some(&installation.admin), vec![]).await
}

fn with_libc(content: &'static str) -> impl Fn(&mut EvidenceClaims) {
    move |claims| claims.submods.component.mappings[0] = file(LIBC, content)
}

/// The program, approved with its C library by the set `debian-12`, which also knows an unrelated library.
async fn approved_by_set() -> (Installation, Host) {
    let installation = Installation::new().await;
    let host = installation.approved_host("build-1").await;
    let created: SetRecord = installation.post("/v1/sets", &json!({"name": "debian-12"})).await.json();
    assert_eq!((created.summary.newest, created.summary.current), (0, 0));
    let added: SetRecord = add(&installation, &[(LIBC, "libc"), ("/lib/libevil.so", "evil")]).await.json();
    assert_eq!((added.summary.newest, added.summary.current), (1, 2));
    let refused = installation.attest(&host, |_| {}).await;
    let by_set = installation.approve(&refused, |request| {
        request.library_sets = ["debian-12".to_owned()].into();
    });
    let _: ApproveResponse = by_set.await.json();
    (installation, host)
}

#[tokio::test]
async fn an_update_of_a_library_touches_the_set_alone() {
    let (installation, host) = approved_by_set().await;
    let component: ComponentRecord = installation.get("/v1/components/signer").await.json();
    let reference = &component.versions[0].reference;
    assert!(reference.libraries[LIBC].is_empty(), "its digest is left to the set");
    assert_eq!(reference.libraries["/usr/lib/libtrustshim.so"].len(), 1, "unknown to the set: its own");
    installation.token(&host).await;
    let refused = installation.attest(&host, with_libc("libc, updated")).await;
    assert_eq!(refused.refusal().1, ["library-changed"]);
    let added: SetRecord = add(&installation, &[(LIBC, "libc, updated")]).await.json();
    assert_eq!(added.summary.newest, 2);
    assert!(installation.attest(&host, with_libc("libc, updated")).await.status.is_success());
    installation.token(&host).await;
}

#[tokio::test]
async fn an_unrelated_library_of_the_set_is_refused() {
    let (installation, host) = approved_by_set().await;
    let map_evil = |claims: &mut EvidenceClaims| {
        claims.submods.component.mappings.push(file("/lib/libevil.so", "evil"));
    };
    assert_eq!(installation.attest(&host, map_evil).await.refusal().1, ["library-unknown"]);
    // Nor does its content count under the path of another one.
    assert_eq!(installation.attest(&host, with_libc("evil")).await.refusal().1, ["library-changed"]);
}

#[tokio::test]
async fn additions_below_the_floor_count_no_more() {
    let (installation, host) = approved_by_set().await;
    let _: SetRecord = add(&installation, &[(LIBC, "libc, updated")]).await.json();
    let floor = |since: u64| json!({"since": since});
    let raised: SetRecord = installation.post("/v1/sets/debian-12/floor", &floor(2)).await.json();
    assert_eq!((raised.summary.floor, raised.summary.current, raised.summary.past), (2, 1, 2));
    assert_eq!(installation.attest(&host, |_| {}).await.refusal().1, ["library-changed"]);
    assert!(installation.attest(&host, with_libc("libc, updated")).await.status.is_success());
    installation.post("/v1/sets/debian-12/floor", &floor(1)).await.assert_problem(409, "conflict");
    installation.post("/v1/sets/debian-12/floor", &floor(3)).await.assert_problem(409, "conflict");
    // Added again, a file belongs to the newest addition.
    let again: SetRecord = add(&installation, &[(LIBC, "libc")]).await.json();
    assert_eq!((again.summary.newest, again.summary.current), (3, 2));
    installation.token(&host).await;
    let lowered: SetRecord = delete(&installation, "/v1/sets/debian-12/floor").await.json();
    assert_eq!((lowered.summary.floor, lowered.summary.past), (0, 0));
}

#[tokio::test]
async fn a_file_retired_in_a_set_stays_so_until_it_is_removed() {
    let (installation, host) = approved_by_set().await;
    let path = format!("/v1/sets/debian-12/files/{}", digest("libc"));
    let retired: SetRecord = installation.post(&format!("{path}/retire"), &json!({})).await.json();
    assert!(retired.files.iter().any(|file| file.path == LIBC && file.retired_at.is_some()));
    assert_eq!(installation.attest(&host, |_| {}).await.refusal().1, ["library-changed"]);
    add(&installation, &[(LIBC, "libc")]).await.assert_problem(409, "conflict");
    assert_eq!(delete(&installation, &path).await.status, 204);
    delete(&installation, &path).await.assert_problem(404, "not-found");
    let _: SetRecord = add(&installation, &[(LIBC, "libc")]).await.json();
    installation.token(&host).await;
}

#[tokio::test]
async fn a_set_takes_the_libraries_of_a_decision_and_not_its_executable() {
    let (installation, host) = approved_by_set().await;
    let refused = installation.attest(&host, with_libc("libc, updated")).await;
    let (id, _) = refused.refusal();
    let added: SetRecord =
        installation.post("/v1/sets/debian-12/files", &json!({"decision": id})).await.json();
    let paths: Vec<&str> =
        added.files.iter().filter(|file| file.since == 2).map(|file| file.path.as_str()).collect();
    assert_eq!(paths, [LIBC, "/usr/lib/libtrustshim.so"]);
    assert!(installation.attest(&host, with_libc("libc, updated")).await.status.is_success());
}

#[tokio::test]
async fn sets_that_help_nothing_are_not_named() {
    let (installation, host) = approved_by_set().await;
    let _: SetRecord = installation.post("/v1/sets", &json!({"name": "empty"})).await.json();
    installation.post("/v1/sets", &json!({"name": "empty"})).await.assert_problem(409, "conflict");
    installation.post("/v1/sets", &json!({"name": "a b"})).await.assert_problem(400, "malformed");
    let refused = installation.attest(&host, with_libc("libc, updated")).await;
    let name = |set: &'static str| {
        installation.approve(&refused, move |request| {
            request.library_sets = [set.to_owned()].into();
        })
    };
    name("empty").await.assert_problem(409, "cannot-approve");
    name("nowhere").await.assert_problem(404, "not-found");
    // A set in use keeps its name; one that nobody uses can go.
    delete(&installation, "/v1/sets/debian-12").await.assert_problem(409, "conflict");
    assert_eq!(delete(&installation, "/v1/sets/empty").await.status, 204);
    let sets: Vec<SetSummary> = installation.get("/v1/sets").await.json();
    assert_eq!(sets.len(), 1);
    installation.get("/v1/sets/empty").await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn files_that_no_measurement_could_hold() {
    let (installation, _) = approved_by_set().await;
    let digest = digest("x");
    for files in [
        json!([]),
        json!([["relative.so", digest]]),
        json!([["/lib/a\nb", digest]]),
        json!([["/lib/a", "abc"]]),
        json!([[format!("/{}", "x".repeat(4096)), digest]]),
        Value::Null,
    ] {
        let answer = installation.post("/v1/sets/debian-12/files", &json!({"files": files})).await;
        answer.assert_problem(400, "malformed");
    }
    let set: SetRecord = installation.get("/v1/sets/debian-12").await.json();
    assert_eq!(set.summary.newest, 1, "nothing was half-added");
}

#[tokio::test]
async fn a_digest_taken_back_in_a_set_does_not_pass_by_observing() {
    let (installation, host) = approved_by_set().await;
    assert!(installation.post("/v1/components/signer/observe", &json!({})).await.status.is_success());
    assert!(installation.attest(&host, with_libc("libc, updated")).await.status.is_success());
    let path = format!("/v1/sets/debian-12/files/{}/retire", digest("libc"));
    let _: SetRecord = installation.post(&path, &json!({})).await.json();
    assert_eq!(installation.attest(&host, |_| {}).await.refusal().1, ["file-retired"]);
    let _: SetRecord = add(&installation, &[(LIBC, "libc, updated")]).await.json();
    let _: SetRecord = add(&installation, &[(LIBC, "libc, newest")]).await.json();
    let _: SetRecord = installation.post("/v1/sets/debian-12/floor", &json!({"since": 3})).await.json();
    let refused = installation.attest(&host, with_libc("libc, updated")).await;
    assert_eq!(refused.refusal().1, ["file-retired"]);
}

#[tokio::test]
async fn a_set_takes_nothing_from_evidence_that_cannot_be_approved() {
    let (installation, host) = approved_by_set().await;
    let other_token = |claims: &mut EvidenceClaims| {
        with_libc("evil")(claims);
        claims.submods.hsm.serial = "x".to_owned();
    };
    let modified = |claims: &mut EvidenceClaims| {
        with_libc("evil")(claims);
        claims.submods.component.runtime.modified_text_pages = 1;
    };
    let mut ids = Vec::new();
    for change in [other_token as fn(&mut EvidenceClaims), modified] {
        ids.push(installation.attest(&host, change).await.refusal().0);
    }
    ids.push(installation.attest(&host, with_libc("good")).await.refusal().0);
    installation.post(&format!("/v1/hsms/{}/suspend", host.fingerprint()), &json!({})).await;
    for id in ids {
        let answer = installation.post("/v1/sets/debian-12/files", &json!({"decision": id})).await;
        answer.assert_problem(409, "cannot-approve");
    }
    let set: SetRecord = installation.get("/v1/sets/debian-12").await.json();
    assert_eq!(set.summary.newest, 1);
}
