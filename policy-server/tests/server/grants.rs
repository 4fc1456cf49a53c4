//! Grants: what may be granted, and what of it reaches a trust token, and when.

use attestation::api::{ApproveResponse, GrantRecord, GrantTerms};
use attestation::grant::{Grant, Operation, Rate};
use attestation::token::{Mode, TokenClaims};
use serde_json::json;

use crate::host::{BOOTTIME_MS, Host};
use crate::installation::{Installation, KEY, claims_of, terms};

async fn grant(installation: &Installation, terms: &GrantTerms) -> GrantRecord {
    installation.post("/v1/grants", &json!({"component": "signer", "terms": terms})).await.json()
}

/// The grants in a new token.
async fn granted(installation: &Installation, host: &Host) -> Vec<Grant> {
    claims_of(&installation.token(host).await.token).trustshim.grants
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn limits_reach_the_token_and_the_list() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let before = now();
    let limited = GrantTerms {
        mechanisms: vec![0x1041, 0x40, 0x1041],
        rate: Some(Rate { per_second: Some(5), total: Some(1000) }),
        expires_at: Some(before + 60),
        min_version: Some("1.0".to_owned()),
        mode: Some(Mode::Inline),
        ..GrantTerms::new(KEY.to_owned(), vec![Operation::Decrypt])
    };
    let record = grant(&installation, &limited).await;
    let listed: Vec<GrantRecord> = installation.get("/v1/grants").await.json();
    assert_eq!(listed[1], record);
    assert_eq!(record.terms, GrantTerms { mechanisms: vec![0x40, 0x1041], ..limited });

    let [first, second] = <[Grant; 2]>::try_from(granted(&installation, &host).await).unwrap();
    assert_eq!(
        (first.id.as_str(), first.mechanisms, first.rate, first.deadline_boottime_ms),
        ("G-1", None, None, None)
    );
    assert_eq!((&second.id, second.operations.as_slice()), (&record.id, &[Operation::Decrypt][..]));
    assert_eq!(second.mechanisms, Some(vec![0x40, 0x1041]));
    assert_eq!(second.rate, Some(Rate { per_second: Some(5), total: Some(1000) }));
    // As far after the challenge by the host's boot clock as the expiry is after the decision.
    let left_ms = second.deadline_boottime_ms.unwrap() - BOOTTIME_MS;
    assert!(left_ms <= 60_000 && left_ms >= 60_000 - (now() - before) * 1000, "{left_ms}");
}

#[tokio::test]
async fn a_grant_counts_until_it_expires() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let short = GrantTerms { expires_at: Some(now() + 2), ..terms() };
    grant(&installation, &short).await;
    assert_eq!(granted(&installation, &host).await.len(), 2);
    tokio::time::sleep(core::time::Duration::from_millis(2100)).await;
    assert_eq!(granted(&installation, &host).await.len(), 1);
    // With nothing else granted, the refusal says so.
    assert_eq!(
        installation.send("DELETE", "/v1/grants/G-1", Some(&installation.admin), vec![]).await.status,
        204
    );
    let problem = installation.attest(&host, |_| {}).await.assert_problem(403, "evidence-refused");
    assert_eq!(problem.reasons[0].code, "no-grant");
    assert!(problem.reasons[0].detail.contains("G-2 has expired"), "{}", problem.reasons[0].detail);
}

#[tokio::test]
async fn a_least_version_is_reached_by_order_of_approval() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let newer = |claims: &mut attestation::evidence::EvidenceClaims| {
        claims.submods.component.argv.push("--new".to_owned());
    };
    let refused = installation.attest(&host, newer).await;
    // The grant may name the version that is approved in the same step. Names do not order versions: times do.
    let approve = installation.approve(&refused, |request| {
        request.version = "0.9".to_owned();
        request.grant.as_mut().unwrap().operations = vec![Operation::Decrypt];
        request.grant.as_mut().unwrap().min_version = Some("0.9".to_owned());
    });
    let response: ApproveResponse = approve.await.json();
    assert_eq!(response.grant.unwrap().terms.min_version.as_deref(), Some("0.9"));
    assert_eq!(granted(&installation, &host).await.len(), 1);
    let response: attestation::api::AttestResponse = installation.attest(&host, newer).await.json();
    let TokenClaims { trustshim, .. } = claims_of(&response.token);
    assert_eq!((trustshim.version.as_str(), trustshim.grants.len()), ("0.9", 2));
    let unknown =
        json!({"component": "signer", "terms": GrantTerms { min_version: Some("7".to_owned()), ..terms() }});
    installation.post("/v1/grants", &unknown).await.assert_problem(404, "not-found");
}

#[tokio::test]
async fn limits_that_permit_nothing_or_everything_are_refused() {
    let installation = Installation::new().await;
    installation.approved_program().await;
    let rate = |per_second, total| GrantTerms { rate: Some(Rate { per_second, total }), ..terms() };
    for refused in [
        rate(None, None),
        rate(Some(0), None),
        rate(Some(5), Some(0)),
        GrantTerms { expires_at: Some(now()), ..terms() },
        GrantTerms { expires_at: Some(u64::MAX), ..terms() },
        GrantTerms { mechanisms: (0..65).collect(), ..terms() },
    ] {
        let request = json!({"component": "signer", "terms": refused});
        installation.post("/v1/grants", &request).await.assert_problem(400, "malformed");
    }
}

#[tokio::test]
async fn grants_name_one_key_unless_they_say_otherwise() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let grant = |key: &str, operations: &[&str], many: bool| json!({"component": "signer", "terms": {"key": key, "operations": operations, "many": many}});
    for refused in [
        grant("not a uri", &["sign"], false),
        grant("pkcs11:token=sandbox", &["sign"], false),
        grant("pkcs11:token=sandbox", &["administer", "sign"], false),
        grant("pkcs11:model=x", &["administer"], false),
        grant(KEY, &[], false),
        grant(KEY, &["fly"], false),
        // Who may make keys of a name of which a part is open could make one that another grant names.
        grant(KEY, &["sign", "generate"], false),
        grant("pkcs11:token=sandbox;id=%05;type=secret-key", &["unwrap"], false),
        grant("pkcs11:token=sandbox;id=%05;type=secret-key", &["modify"], false),
    ] {
        installation.post("/v1/grants", &refused).await.assert_problem(400, "malformed");
    }
    let unknown = json!({"component": "nobody", "terms": {"key": KEY, "operations": ["sign"]}});
    installation.post("/v1/grants", &unknown).await.assert_problem(404, "not-found");

    // A token as a whole is one thing, where nothing but administering it is granted.
    let token = grant("pkcs11:token=sandbox", &["administer"], false);
    let record: GrantRecord = installation.post("/v1/grants", &token).await.json();
    assert_eq!(record.terms.operations, [Operation::Administer]);

    let wide = grant("pkcs11:token=sandbox", &["sign", "decrypt", "sign"], true);
    let record: GrantRecord = installation.post("/v1/grants", &wide).await.json();
    assert_eq!(record.terms.operations, [Operation::Decrypt, Operation::Sign]);
    let grants: Vec<GrantRecord> = installation.get("/v1/grants").await.json();
    assert_eq!(grants.len(), 3);

    for grant in &grants {
        let path = format!("/v1/grants/{}", grant.id);
        assert_eq!(installation.send("DELETE", &path, Some(&installation.admin), vec![]).await.status, 204);
        let again = installation.send("DELETE", &path, Some(&installation.admin), vec![]).await;
        again.assert_problem(404, "not-found");
    }
    let refused = installation.attest(&host, |_| {}).await;
    assert_eq!(refused.refusal().1, ["no-grant"]);
    // The id of a grant is never given to another one.
    let new: GrantRecord = installation.post("/v1/grants", &grant(KEY, &["sign"], false)).await.json();
    assert!(grants.iter().all(|old| old.id != new.id));
}

#[tokio::test]
async fn only_what_was_meant_to_be_wide_is_so_in_a_token() {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let of = |key: &str, many| GrantTerms {
        many,
        ..GrantTerms::new(key.to_owned(), vec![Operation::Generate, Operation::Unwrap])
    };
    let whole = "pkcs11:token=sandbox;id=%05;object=x;type=secret-key";
    grant(&installation, &of("pkcs11:token=sandbox;id=%05;type=secret-key", true)).await;
    grant(&installation, &of(whole, false)).await;
    let many: Vec<_> = granted(&installation, &host).await.iter().map(|grant| grant.many).collect();
    assert_eq!(many, [false, true, false]);
}
