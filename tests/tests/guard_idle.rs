//! A guard that nobody asks anything does nothing.

use std::thread::sleep;
use std::time::Duration;

use e2e::Guarded;
use e2e::client::run;
use e2e::processes::{children, ticks};

#[test]
fn an_idle_guard_uses_no_processor() {
    let guarded = Guarded::up();
    let application = guarded.approved_application();
    run(&mut guarded.scene(&application, &["sign"])).must_succeed();
    // A client that has signed and waits: its worker waits as well.
    let mut probe = guarded.probe("waiting");
    probe.initialize();
    sleep(Duration::from_secs(2));
    let guard = guarded.pid("guard");
    let processes: Vec<u32> = std::iter::once(guard).chain(children(guard)).collect();
    // Monitor, attester, measurer, the client's worker and the next one's.
    assert!(processes.len() >= 5, "{processes:?}");
    let used = || processes.iter().map(|process| ticks(*process)).sum::<u64>();
    let before = used();
    assert!(before > 0);
    sleep(Duration::from_secs(5));
    let spent = used() - before;
    assert!(spent <= 1, "{spent} ticks in five seconds");
}
