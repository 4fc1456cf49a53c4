//! The appraisal by itself: one vector for each reason, and what recognises a version.

use attestation::api::{GrantTerms, HsmRecord, HsmState, VersionName};
use attestation::evidence::EvidenceClaims;
use attestation::grant::Operation;
use attestation::token::Mode;
use policy_server::appraisal::approval::{Latitude, approve};
use policy_server::appraisal::policy::{ApprovedVersion, ComponentGrant, Policy, Standing};
use policy_server::appraisal::{Appraised, Circumstances, NonceState, Occasion, Refused, appraise};

use crate::host::{Host, file, hsm};

pub const NOW: u64 = 1_800_000_000;

pub struct Case {
    host: Host,
    record: HsmRecord,
    pub policy: Policy,
    nonce: NonceState,
    pub claims: EvidenceClaims,
}

fn nonce() -> String {
    attestation::base64url::encode(&[9; 32])
}

pub fn record(host: &Host) -> HsmRecord {
    HsmRecord {
        fingerprint: host.fingerprint(),
        state: HsmState::Approved,
        host: host.name.clone(),
        mode: Mode::Inline,
        hsm: hsm(),
        enrolled_at: 1,
        approved_at: Some(2),
    }
}

/// What is measured, approved as signer 1.0 with a grant.
pub fn policy_for(claims: &EvidenceClaims, latitude: &Latitude) -> Policy {
    let mut policy = Policy::default();
    let reference = approve(None, claims, latitude, &policy).unwrap();
    let name = VersionName { component: "signer".to_owned(), version: "1.0".to_owned() };
    policy.versions.push(ApprovedVersion { name, standing: Standing::Current, reference });
    policy.grants.push(ComponentGrant {
        id: "G-1".to_owned(),
        component: "signer".to_owned(),
        terms: GrantTerms::new("pkcs11:token=t;object=k;type=private".to_owned(), vec![Operation::Sign]),
    });
    policy
}

/// The program of `host.rs`, approved as signer 1.0 with a grant, on an approved host.
pub fn case() -> Case {
    let host = Host::new("build-1");
    let claims = host.claims(&nonce());
    let policy = policy_for(&claims, &Latitude::default());
    Case { record: record(&host), host, policy, nonce: NonceState::Fresh, claims }
}

impl Case {
    /// Approves what the case measures at this moment.
    pub fn approve(&mut self, version: &str, latitude: Latitude) {
        let reference = approve(None, &self.claims, &latitude, &self.policy).unwrap();
        let name = VersionName { component: "signer".to_owned(), version: version.to_owned() };
        self.policy.versions.push(ApprovedVersion { name, standing: Standing::Current, reference });
    }

    pub fn appraise(&self) -> Result<Appraised, Refused> {
        let circumstances = Circumstances { hsm: &self.record, occasion: Occasion::Presented(self.nonce) };
        appraise(&self.host.verified(&self.claims), &circumstances, &self.policy, NOW)
    }

    #[track_caller]
    pub fn assert_refused(&self, codes: &[&str]) {
        let refused = self.appraise().unwrap_err();
        let found: Vec<_> = refused.reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(found, codes, "{refused:?}");
    }

    #[track_caller]
    pub fn assert_version(&self, version: &str) {
        assert_eq!(self.appraise().unwrap().name().version, version);
    }
}

/// Each vector changes one thing in a case that is accepted without the change.
type Vector = (&'static str, fn(&mut Case), &'static [&'static str]);

const VECTORS: &[Vector] = &[
    ("nonce used before", |case| case.nonce = NonceState::Used, &["nonce-used"]),
    ("nonce too old", |case| case.nonce = NonceState::Expired, &["nonce-expired"]),
    ("nonce never given", |case| case.nonce = NonceState::Unknown, &["nonce-unknown"]),
    ("record of another key", |case| case.record.fingerprint = "x".to_owned(), &["key-unknown"]),
    ("key pending", |case| case.record.state = HsmState::Pending, &["key-pending"]),
    ("key suspended", |case| case.record.state = HsmState::Suspended, &["key-suspended"]),
    ("boot id no uuid", |case| case.claims.submods.boot.boot_id = "x".repeat(36), &["evidence-malformed"]),
    ("boottime in the far future", |case| case.claims.boottime_ms = u64::MAX, &["evidence-malformed"]),
    ("terminal sequence", |case| case.component().argv[1] = "\u{1b}[2J".to_owned(), &["evidence-malformed"]),
    ("path with a line break", |case| map(case, "/tmp/a\nb", "x"), &["evidence-malformed"]),
    ("key not sensitive", |case| case.claims.submods.hsm.key.sensitive = false, &["hsm-key-unsafe"]),
    ("key extractable", |case| case.claims.submods.hsm.key.extractable = true, &["hsm-key-unsafe"]),
    (
        "key once extractable",
        |case| case.claims.submods.hsm.key.never_extractable = false,
        &["hsm-key-unsafe"],
    ),
    ("key imported", |case| case.claims.submods.hsm.key.local = false, &["hsm-key-unsafe"]),
    ("another token", |case| case.claims.submods.hsm.serial = "other".to_owned(), &["hsm-mismatch"]),
    ("executable changed", executable_changed, &["executable-unknown"]),
    ("executable elsewhere", executable_moved, &["executable-unknown"]),
    ("executable unlike any", executable_foreign, &["executable-unknown"]),
    ("library added", |case| map(case, "/tmp/evil.so", "evil"), &["library-unknown"]),
    (
        "library changed",
        |case| case.component().mappings[0] = file("/lib/libc.so.6", "x"),
        &["library-changed"],
    ),
    (
        "library moved",
        |case| case.component().mappings[0] = file("/tmp/libc.so.6", "libc"),
        &["library-unknown"],
    ),
    ("script added", |case| case.component().scripts.push(file("/x.py", "x")), &["script-unknown"]),
    (
        "configuration changed",
        |case| case.component().configuration[0] = file("/etc/signer.conf", "x"),
        &["configuration-changed"],
    ),
    (
        "configuration added",
        |case| case.component().configuration.push(file("/etc/more.conf", "x")),
        &["configuration-unknown"],
    ),
    (
        "configuration not measured",
        |case| case.component().configuration.clear(),
        &["configuration-not-measured"],
    ),
    ("another user", |case| case.component().principal.uid = 0, &["principal-mismatch"]),
    ("another group", |case| case.component().principal.gid = 0, &["principal-mismatch"]),
    ("another unit", |case| case.component().principal.unit = None, &["principal-mismatch"]),
    (
        "another user namespace",
        |case| case.component().principal.initial_user_namespace = false,
        &["principal-mismatch"],
    ),
    (
        "another pid namespace",
        |case| case.component().principal.initial_pid_namespace = false,
        &["principal-mismatch"],
    ),
    ("argument added", |case| case.component().argv.push("--in=x".to_owned()), &["argv-mismatch"]),
    ("argument missing", |case| case.component().argv.truncate(1), &["argv-mismatch"]),
    ("argument changed", |case| case.component().argv[1] = "--sign".to_owned(), &["argv-mismatch"]),
    ("variable added", |case| set(case, "LD_PRELOAD", "/tmp/x.so"), &["environment-mismatch"]),
    ("variable changed", |case| set(case, "OPENSSL_CONF", "/tmp/x.cnf"), &["environment-mismatch"]),
    ("variable left out", |case| case.component().environment.clear(), &["environment-mismatch"]),
    (
        "shim changed",
        |case| case.attester().shim = file("/usr/lib/libtrustshim.so", "x"),
        &["attester-unknown"],
    ),
    ("module changed", |case| case.attester().real_module = file("/m.so", "x"), &["attester-unknown"]),
    (
        "shim configured otherwise",
        |case| case.attester().configuration = file("/c", "x"),
        &["attester-unknown"],
    ),
    ("one more filter", |case| case.component().runtime.seccomp_filters += 1, &["sandbox-mismatch"]),
    (
        "no filter",
        |case| {
            let runtime = &mut case.component().runtime;
            (runtime.seccomp, runtime.seccomp_filters) = (0, 0);
        },
        &["sandbox-mismatch", "sandbox-mismatch"],
    ),
    ("a thread without filters", |case| case.component().runtime.seccomp = 0, &["sandbox-mismatch"]),
    (
        "privileges that can be gained",
        |case| case.component().runtime.no_new_privs = false,
        &["sandbox-mismatch"],
    ),
    ("traced", |case| case.component().runtime.traced = true, &["traced"]),
    ("anonymous code", |case| case.component().runtime.anonymous_executable = 1, &["code-anonymous"]),
    ("deleted code", |case| case.component().runtime.deleted_executable = 1, &["code-deleted"]),
    ("memfd code", |case| case.component().runtime.memfd_executable = 1, &["code-memfd"]),
    ("writable code", |case| case.component().runtime.writable_executable = 1, &["code-writable"]),
    ("modified code", |case| case.component().runtime.modified_text_pages = 1, &["text-modified"]),
    ("shell", |case| case.component().executable = file("/bin/dash", "sh"), &["component-forbidden"]),
    (
        "version below its floor",
        |case| case.policy.versions[0].standing = Standing::BelowFloor,
        &["version-below-floor"],
    ),
    ("library retired by its digest", |case| retire(case, "libc"), &["file-retired"]),
    ("configuration retired by its digest", |case| retire(case, "conf"), &["file-retired"]),
    ("shim retired by its digest", |case| retire(case, "shim"), &["file-retired"]),
    (
        "executable and shell's configuration retired",
        |case| {
            retire(case, "signer 1.0");
            retire(case, "toml")
        },
        &["file-retired", "file-retired"],
    ),
    ("grant expired", |case| case.policy.grants[0].terms.expires_at = Some(NOW), &["no-grant"]),
    (
        "grant for a version that nobody knows",
        |case| case.policy.grants[0].terms.min_version = Some("9".to_owned()),
        &["no-grant"],
    ),
    ("version retired", |case| case.policy.versions[0].standing = Standing::Retired, &["version-retired"]),
    ("no grant", |case| case.policy.grants.clear(), &["no-grant"]),
    ("grant of another component", |case| case.policy.grants[0].component = "x".to_owned(), &["no-grant"]),
    (
        "grant for guarded mode only",
        |case| case.policy.grants[0].terms.mode = Some(Mode::Guarded),
        &["no-grant"],
    ),
];

fn retire(case: &mut Case, content: &str) {
    case.policy.retired_files.insert(attestation::digest::Digest::of(content.as_bytes()));
}

impl Case {
    pub fn component(&mut self) -> &mut attestation::component::Component {
        &mut self.claims.submods.component
    }

    pub fn attester(&mut self) -> &mut attestation::evidence::AttesterClaims {
        &mut self.claims.submods.attester
    }
}

pub fn map(case: &mut Case, path: &str, content: &str) {
    case.component().mappings.push(file(path, content));
}

pub fn set(case: &mut Case, variable: &str, value: &str) {
    case.component().environment.insert(variable.to_owned(), value.to_owned());
}

pub fn execute(case: &mut Case, path: &str, content: &str) {
    let component = case.component();
    component.mappings.retain(|mapping| mapping.path != component.executable.path);
    component.executable = file(path, content);
    component.mappings.push(file(path, content));
}

fn executable_changed(case: &mut Case) {
    execute(case, "/usr/bin/signer", "signer, changed");
}

fn executable_moved(case: &mut Case) {
    execute(case, "/tmp/signer", "signer 1.0");
}

fn executable_foreign(case: &mut Case) {
    execute(case, "/usr/bin/other", "other");
    case.component().mappings[0] = file("/lib/libother.so", "x");
}

#[test]
fn each_reason_has_its_vector() {
    case().assert_version("1.0");
    for (name, change, codes) in VECTORS {
        let mut case = case();
        change(&mut case);
        let refused = case.appraise().expect_err(name);
        let found: Vec<_> = refused.reasons.iter().map(|reason| reason.code.as_str()).collect();
        assert_eq!(&found, codes, "{name}: {refused:?}");
    }
}

#[test]
fn what_may_differ_without_harm() {
    for (name, change) in [
        ("fewer libraries", (|case| drop(case.component().mappings.remove(0))) as fn(&mut Case)),
        ("name of the local configuration", |case| case.component().name = "nginx".to_owned()),
        ("dumpable", |case| case.component().runtime.dumpable = true),
        ("label of the token", |case| case.claims.submods.hsm.label = "x".to_owned()),
    ] {
        let mut case = case();
        change(&mut case);
        assert!(case.appraise().is_ok(), "{name}");
    }
}

#[test]
fn all_reasons_of_the_stage_are_given() {
    let mut case = case();
    map(&mut case, "/tmp/evil.so", "evil");
    set(&mut case, "LD_PRELOAD", "/tmp/evil.so");
    case.component().runtime.traced = true;
    case.assert_refused(&["library-unknown", "environment-mismatch", "traced"]);
}

#[test]
fn a_long_list_of_files_hides_no_other_reason() {
    let mut case = case();
    for number in 0..100 {
        map(&mut case, &format!("/tmp/{number}.so"), "x");
    }
    case.component().runtime.traced = true;
    let reasons = case.appraise().unwrap_err().reasons;
    assert_eq!(reasons.len(), 24);
    assert!(reasons.iter().any(|reason| reason.code == "traced"));
}

#[test]
fn jit_permits_generated_code_and_nothing_that_hides_a_file() {
    let mut case = case();
    case.policy.versions.clear();
    case.approve("jit", Latitude { allow_jit: true, ..Latitude::default() });
    case.component().runtime.anonymous_executable = 3;
    case.component().runtime.writable_executable = 3;
    case.assert_version("jit");
    for (code, change) in [
        ("traced", (|case| case.component().runtime.traced = true) as fn(&mut Case)),
        ("code-deleted", |case| case.component().runtime.deleted_executable = 1),
        ("code-memfd", |case| case.component().runtime.memfd_executable = 1),
        ("text-modified", |case| case.component().runtime.modified_text_pages = 1),
    ] {
        let before = case.claims.clone();
        change(&mut case);
        case.assert_refused(&[code]);
        case.claims = before;
    }
}

#[test]
fn what_was_approved_before_restrictions_were_compared_counts_as_without_a_filter() {
    let mut case = case();
    let mut old = serde_json::to_value(&case.policy.versions[0].reference).unwrap();
    assert!(old.as_object_mut().unwrap().remove("sandbox").is_some());
    case.policy.versions[0].reference = serde_json::from_value(old).unwrap();
    case.assert_refused(&["sandbox-mismatch", "sandbox-mismatch"]);
    let latitude = Latitude::default();
    let again = approve(Some(&case.policy.versions[0].reference), &case.claims, &latitude, &case.policy);
    assert!(again.unwrap_err().to_string().contains("seccomp"), "a version has one sandbox");
    let runtime = &mut case.component().runtime;
    (runtime.seccomp, runtime.seccomp_filters) = (0, 0);
    for no_new_privs in [false, true] {
        case.component().runtime.no_new_privs = no_new_privs;
        case.assert_version("1.0");
    }
    case.component().runtime.seccomp_filters = 1;
    case.assert_refused(&["sandbox-mismatch"]);
}

#[test]
fn versions_are_not_mixed() {
    let mut case = case();
    execute(&mut case, "/usr/bin/signer", "signer 2.0");
    case.component().mappings[0] = file("/lib/libc.so.6", "libc 2");
    case.approve("2.0", Latitude::default());
    case.assert_version("2.0");
    case.component().mappings[0] = file("/lib/libc.so.6", "libc");
    case.assert_refused(&["library-changed"]);
}

#[test]
fn the_newest_approval_wins_unless_it_is_retired() {
    let mut case = case();
    case.approve("0.9", Latitude { any_user: true, ..Latitude::default() });
    case.assert_version("0.9");
    case.policy.versions[1].standing = Standing::Retired;
    case.assert_version("1.0");
    case.policy.versions[0].standing = Standing::Retired;
    case.assert_refused(&["version-retired"]);
}

#[test]
fn a_general_tool_takes_any_arguments() {
    let mut case = case();
    case.approve("tool", Latitude { any_arguments: true, ..Latitude::default() });
    case.component().argv = vec!["x".to_owned(); 9];
    case.assert_version("tool");
}
