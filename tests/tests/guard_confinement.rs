//! What the guard's processes may do: as the kernel shows it of each role in a guard that serves somebody.

use std::collections::BTreeMap;

use e2e::Guarded;
use e2e::client::run;
use e2e::guarded::eventually;
use e2e::root::as_root;

/// Bits of capabilities(7).
const DAC_READ_SEARCH: u64 = 1 << 2;
const KILL: u64 = 1 << 5;
const SETGID: u64 = 1 << 6;
const SETUID: u64 = 1 << 7;
const SETPCAP: u64 = 1 << 8;
const SYS_PTRACE: u64 = 1 << 19;
const SYS_ADMIN: u64 = 1 << 21;
const CHECKPOINT_RESTORE: u64 = 1 << 40;

const READING: u64 = DAC_READ_SEARCH | SYS_PTRACE | CHECKPOINT_RESTORE;

/// The lines of `/proc/PID/status`.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = run(as_root("cat").arg(format!("/proc/{pid}/status"))).must_succeed().text();
    let line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        Some((key.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
    };
    text.lines().filter_map(line).collect()
}

#[track_caller]
fn must_have(pid: u32, role: &str, capabilities: u64) {
    let status = status(pid);
    for key in ["CapBnd", "CapPrm", "CapEff"] {
        assert_eq!(status[key], format!("{capabilities:016x}"), "{key} of the {role}");
    }
    for key in ["CapInh", "CapAmb"] {
        assert_eq!(status[key], format!("{:016x}", 0), "{key} of the {role}");
    }
    assert_eq!(status["NoNewPrivs"], "1", "{role}");
}

/// With the number of every process of the role but the monitor, which is one.
fn all_roles(guarded: &Guarded, count: &[(&'static str, usize)]) -> Vec<(&'static str, u32)> {
    for (role, expected) in count {
        eventually(role, || guarded.role(role).len() == *expected);
    }
    let of = |(role, _): &(&'static str, usize)| {
        let role = *role;
        guarded.role(role).into_iter().map(move |pid| (role, pid))
    };
    count.iter().flat_map(of).collect()
}

#[test]
fn each_role_has_the_rights_that_its_work_takes_and_no_others() {
    let mut guarded = Guarded::up();
    let monitor = READING | KILL | SETGID | SETUID | SETPCAP;
    for needs_network in [false, true] {
        if needs_network {
            guarded.reconfigure(|text| text.replace("needs = [", "needs = [\"network\", "));
        }
        // Confirmed by a measurer, and with a worker of its own: one more is ready.
        let mut probe = guarded.probe("probe");
        probe.initialize();
        must_have(guarded.pid("guard"), "monitor", if needs_network { monitor } else { monitor | SYS_ADMIN });
        for (role, pid) in all_roles(&guarded, &[("measurer", 1), ("attester", 1), ("worker", 2)]) {
            must_have(pid, role, if role == "measurer" { READING } else { 0 });
            let uid = status(pid)["Uid"].clone();
            assert_eq!(uid == "0 0 0 0", role == "measurer", "{role}: {uid}");
        }
    }
}

#[test]
fn a_worker_that_stays_root_has_none_of_roots_rights() {
    let mut guarded = Guarded::up();
    // They go by the permissions of files like everybody.
    for tokens in ["tokens", "attestation/tokens"] {
        run(as_root("chown").args(["-R", "0:0"]).arg(guarded.directory().join(tokens))).must_succeed();
    }
    guarded.reconfigure(|text| {
        let is_user = |line: &&str| line.starts_with("worker_user") || line.starts_with("attester_user");
        let kept = text.lines().filter(|line| !is_user(line));
        kept.map(|line| format!("{line}\n")).collect()
    });
    for (role, pid) in all_roles(&guarded, &[("attester", 1), ("worker", 1)]) {
        assert_eq!(status(pid)["Uid"], "0 0 0 0", "{role}");
        must_have(pid, role, 0);
    }
}
