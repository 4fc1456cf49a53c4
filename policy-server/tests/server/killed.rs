//! `kill -9` in the middle of work, over and over: what was acknowledged is kept, and nothing is kept in part.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use attestation::api::{DecisionSummary, HsmRecord};

use crate::installation::Installation;
use crate::load::{Acknowledged, Recorded};
use crate::process::Running;

const ROUNDS: u32 = 100;
/// Clients that attest; another one approves.
const ATTESTERS: u32 = 3;

/// Ends the clients of a round, also where the round fails: their scope waits for them.
struct EndOfRound<'a>(&'a AtomicBool);

impl Drop for EndOfRound<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn kill_9_a_hundred_times_loses_nothing_that_was_acknowledged() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (directory, host, admin) = runtime.block_on(async {
        let installation = Installation::new().await;
        let host = installation.approved_program().await;
        let admin = installation.admin.clone();
        installation.server.store.close().await;
        (installation.directory, host, admin)
    });
    let path = directory.path().join("server");
    let acknowledged = Acknowledged::default();
    let versions = AtomicU32::new(0);
    for round in 0..ROUNDS {
        // It starts, from whatever the kill has left; the database is looked at only after that.
        let running = Running::start(&path);
        runtime.block_on(async {
            let recorded = Recorded::open(&path.join("policy.db")).await;
            recorded.assert_holds(&acknowledged).await;
            recorded.assert_nothing_is_half_written().await;
            recorded.close().await;
        });
        let (decisions, approvals) = acknowledged.count();
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let _end = EndOfRound(&killed);
            for _ in 0..ATTESTERS {
                scope.spawn(|| {
                    let client = running.client();
                    while !killed.load(Ordering::Relaxed) {
                        acknowledged.attest(&client, &host, |_| {});
                    }
                });
            }
            scope.spawn(|| {
                let client = running.client();
                // Two a round: the policy is to stay small, and the kill to hit one of them.
                for _ in 0..2 {
                    let version = format!("v{}", versions.fetch_add(1, Ordering::Relaxed));
                    acknowledged.approve(&client, &host, &admin, &version);
                }
            });
            let deadline = Instant::now() + Duration::from_secs(30);
            while acknowledged.count().0 <= decisions + 1 || acknowledged.count().1 <= approvals {
                assert!(Instant::now() < deadline, "nothing was acknowledged in round {round}");
                std::thread::sleep(Duration::from_millis(1));
            }
            // At another point of the work each time.
            std::thread::sleep(Duration::from_millis(u64::from(round * 7 % 40)));
            running.kill();
        });
    }
    let running = Running::start(&path);
    let client = running.client();
    runtime.block_on(async {
        let recorded = Recorded::open(&path.join("policy.db")).await;
        recorded.assert_holds(&acknowledged).await;
        recorded.assert_nothing_is_half_written().await;
        recorded.close().await;
    });
    let newest: Vec<DecisionSummary> = client.get("/v1/decisions?limit=1000", &admin).unwrap();
    assert!(newest.len() > 100);
    assert_eq!(client.get::<Vec<HsmRecord>>("/v1/hsms", &admin).unwrap().len(), 1);
    assert!(acknowledged.attest(&client, &host, |_| {}).is_some());
    assert!(running.terminate().success());
}
