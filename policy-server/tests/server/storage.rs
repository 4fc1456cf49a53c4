//! A database that is locked by somebody else, and a disk that is full, on the real command.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use attestation::api::{
    ApproveRequest, ApproveResponse, AttestResponse, Challenge, ChallengeRequest, ComponentRecord,
    DecisionRecord, DecisionSummary, GrantRecord, VersionName,
};
use serde_json::json;
use sqlx::Connection as _;

use crate::host::Host;
use crate::installation::{Installation, terms};
use crate::load::{Acknowledged, Recorded, attest, present};
use crate::process::{Client, Running, command};

/// An installation of files with an approved program on an approved host.
async fn prepared() -> (tempfile::TempDir, Host, String) {
    let installation = Installation::new().await;
    let host = installation.approved_program().await;
    let admin = installation.admin.clone();
    installation.server.store.close().await;
    (installation.directory, host, admin)
}

fn challenge(client: &Client, host: &Host) -> Option<crate::installation::Answer> {
    let request = ChallengeRequest { kid: host.fingerprint(), cnf: host.cnf.thumbprint() };
    client.exchange("POST", "/v1/challenge", None, serde_json::to_vec(&request).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn database_locked_by_another_process() {
    let (directory, host, admin) = prepared().await;
    let path = directory.path().join("server");
    let running = Running::start(&path);
    let client = running.client();
    let challenged: Challenge = challenge(&client, &host).unwrap().json();
    let evidence = host.evidence(&host.claims(&challenged.nonce));

    // This process is not the server's.
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path.join("policy.db"));
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("BEGIN EXCLUSIVE").execute(&mut other).await.unwrap();
    std::thread::scope(|scope| {
        // Several at a time: those that wait for the one connection are answered in time, too.
        for _ in 0..7 {
            scope.spawn(|| present(&running.client(), &evidence).unwrap().assert_problem(503, "busy"));
        }
        scope.spawn(|| {
            let grant = serde_json::to_vec(&json!({"component": "signer", "terms": terms()})).unwrap();
            let answer = running.client().exchange("POST", "/v1/grants", Some(&admin), grant);
            answer.unwrap().assert_problem(503, "busy")
        });
    });
    // Reading goes on, and so do challenges.
    assert_eq!(client.get::<Vec<DecisionSummary>>("/v1/decisions", &admin).unwrap().len(), 1);
    assert!(challenge(&client, &host).unwrap().success::<Challenge>().is_some());
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();

    // The nonce of the evidence that could not be decided on was not used up.
    assert!(present(&client, &evidence).unwrap().success::<AttestResponse>().is_some());
    assert!(attest(&client, &host, |_| {}).unwrap().status.is_success());
    assert_eq!(client.get::<Vec<GrantRecord>>("/v1/grants", &admin).unwrap().len(), 1);
    assert!(running.terminate().success());
}

/// A mount namespace with a small file system of its own, which holds a copy of an installation.
struct SmallDisk {
    holder: Child,
    directory: PathBuf,
}

impl SmallDisk {
    fn with_copy_of(installation: &Path, directory: PathBuf) -> Self {
        std::fs::create_dir(&directory).unwrap();
        let script = "mount -t tmpfs -o size=3m,mode=0700 tmpfs \"$2\" && cp -a \"$1/.\" \"$2\" && echo && exec sleep 300";
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"])
            .arg(installation)
            .arg(&directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 1];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut ready).unwrap();
        Self { holder, directory }
    }

    /// The directory as seen from outside the namespace.
    fn outside(&self) -> PathBuf {
        let inside = self.directory.strip_prefix("/").unwrap();
        PathBuf::from(format!("/proc/{}/root", self.holder.id())).join(inside)
    }

    fn start(&self) -> Running {
        let target = self.holder.id().to_string();
        let mut server = Command::new("nsenter");
        server.args(["--user", "--mount", "--preserve-credentials", "--target", &target]);
        server.arg(command().get_program()).arg("serve").arg(&self.directory);
        Running::spawn(&mut server, &self.outside())
    }

    /// Fills it to the last byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.outside().join("filler")).unwrap();
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.outside().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Ended already where something else has gone wrong.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_full() {
    let (directory, host, admin) = prepared().await;
    let disk = SmallDisk::with_copy_of(&directory.path().join("server"), directory.path().join("small"));
    let running = disk.start();
    let client = running.client();
    let acknowledged = Acknowledged::default();
    let refused =
        acknowledged.attest(&client, &host, |claims| claims.submods.component.argv.clear()).unwrap();
    let record: DecisionRecord = client.get(&format!("/v1/decisions/{refused}"), &admin).unwrap();
    let name = VersionName { component: "load".to_owned(), version: "1".to_owned() };
    let approve = ApproveRequest::exactly(record.summary.measurement.unwrap(), name);
    let grant = attestation::api::GrantTerms { min_version: Some("1".to_owned()), ..terms() };
    let approve = serde_json::to_vec(&ApproveRequest { grant: Some(grant), ..approve }).unwrap();
    let approve = || {
        client.exchange("POST", &format!("/v1/decisions/{refused}/approve"), Some(&admin), approve.clone())
    };

    disk.fill();
    for _ in 0..3 {
        attest(&client, &host, |_| {}).unwrap().assert_problem(507, "storage-full");
        approve().unwrap().assert_problem(507, "storage-full");
    }
    // Reading goes on, and shows that nothing was kept in part.
    assert_eq!(client.get::<Vec<DecisionSummary>>("/v1/decisions", &admin).unwrap().len(), 2);
    assert_eq!(client.get::<Vec<ComponentRecord>>("/v1/components", &admin).unwrap().len(), 1);
    assert_eq!(client.get::<Vec<GrantRecord>>("/v1/grants", &admin).unwrap().len(), 1);

    disk.free();
    assert!(attest(&client, &host, |_| {}).unwrap().success::<AttestResponse>().is_some());
    assert!(approve().unwrap().success::<ApproveResponse>().is_some());
    assert!(acknowledged.attest(&client, &host, |_| {}).is_some());
    assert!(running.terminate().success());

    // Killed while the disk is full, it starts again once there is room.
    let running = disk.start();
    disk.fill();
    attest(&running.client(), &host, |_| {}).unwrap().assert_problem(507, "storage-full");
    running.kill();
    disk.free();
    let running = disk.start();
    let client = running.client();
    assert!(acknowledged.attest(&client, &host, |_| {}).is_some());
    assert!(running.terminate().success());
    // SQLite follows the link into the namespace by its text, which leads elsewhere.
    let copy = directory.path().join("copy.db");
    std::fs::copy(disk.outside().join("policy.db"), &copy).unwrap();
    let recorded = Recorded::open(&copy).await;
    recorded.assert_holds(&acknowledged).await;
    recorded.assert_nothing_is_half_written().await;
    recorded.close().await;
}
