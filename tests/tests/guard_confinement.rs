//! What the guard's processes may do and take: as the kernel shows it of each role in a guard that serves somebody.

use std::collections::BTreeMap;

use cryptoki_sys::*;
use e2e::client::run;
use e2e::compiled::compile;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::probe::hex;
use e2e::processes::eventually;
use e2e::root::as_root;
use e2e::stack::build;
use e2e::{Approval, Guarded, Probe};
use serde_json::json;

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

/// What `/proc/PID/limits` has for one of them, which nobody can raise.
#[track_caller]
fn limit(pid: u32, name: &str) -> u64 {
    let text = run(as_root("cat").arg(format!("/proc/{pid}/limits"))).must_succeed().text();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let values: Vec<_> =
        line.split_whitespace().take(2).map(|value| value.parse().unwrap_or(u64::MAX)).collect();
    assert_eq!(values[0], values[1], "{line}");
    values[0]
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
            assert!(role == "measurer" || status(pid)["Seccomp"] == "2", "{role}");
            assert_eq!(limit(pid, "Max core file size"), 0, "{role}");
            assert_eq!(limit(pid, "Max data size"), 1 << 30, "{role}");
            assert!(role == "measurer" || limit(pid, "Max open files") <= 1024 + 4 * 64, "{role}");
        }
        assert_eq!(limit(guarded.pid("guard"), "Max core file size"), 0);
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

#[test]
fn a_guard_whose_workers_cannot_be_confined_does_not_start() {
    let mut guarded = Guarded::up();
    guarded.stop("guard");
    let filtered = compile("filtered.c", &guarded.file("filtered"), &[]);
    let mut command = as_root(filtered);
    command.arg("last").arg(build().join("trustshim-guard")).arg("run");
    command.arg("--config").arg(guarded.directory().join("guard.toml"));
    let said = run(&mut command).must_fail().all_text();
    assert!(said.contains("this process cannot be confined: seccomp"), "{said}");
    guarded.start("guard");
}

#[test]
fn a_worker_that_was_taken_over_ends_no_other() {
    let mut guarded = Guarded::up();
    guarded.spy(&[("SPY_ENDS", "C_SeedRandom")]);
    let mut other = Client::of(&guarded);
    let mut hostile = Client::of(&guarded);
    // Of the two, and the one in reserve.
    let before = all_roles(&guarded, &[("worker", 3)]);
    let rv = hostile.probe.call("C_SeedRandom", json!({ "session": hostile.session, "seed": "01" })).rv;
    assert_eq!(rv, CKR_VENDOR_DEFINED, "the last digits count the ways that were not refused");
    other.has_random_numbers();
    hostile.has_random_numbers();
    assert_eq!(all_roles(&guarded, &[("worker", 3)]), before);
}

#[test]
fn a_worker_that_was_taken_over_uses_up_no_grant_but_its_clients() {
    let mut guarded = Guarded::up();
    guarded.spy(&[("SPY_COUNTS", "C_SeedRandom")]);
    for name in ["frugal", "hostile"] {
        let mut refused = Client::started(&guarded, name);
        assert_eq!(refused.login(), CKR_FUNCTION_REJECTED);
        guarded.approve_last(&Approval { component: name, version: "1", grant: None, options: &[] });
        let grant = ["grant", "add", "--component", name, "--key", DEMO_EC, "--operations", "sign"];
        run(guarded.operator(&grant).args(["--total", "1"])).must_succeed();
    }
    let mut hostile = Client::started(&guarded, "hostile");
    let seed = json!({ "session": hostile.session, "seed": "01" });
    let mut counted = || hostile.probe.call("C_SeedRandom", seed.clone()).rv ^ CKR_VENDOR_DEFINED;
    assert_eq!(counted(), 0, "it has no trust token");
    assert_eq!(hostile.login(), CKR_OK);
    let mut counted = || hostile.probe.call("C_SeedRandom", seed.clone()).rv ^ CKR_VENDOR_DEFINED;
    assert_eq!(counted(), 2, "under its own, and no other");
    assert_eq!(counted(), 0, "that is used up");
    let said = std::fs::read_to_string(guarded.file("guard.out")).unwrap();
    assert_eq!(said.matches("has named a grant that its client does not have").count(), 1, "{said}");
    let mut frugal = Client::started(&guarded, "frugal");
    assert_eq!(frugal.login(), CKR_OK);
    assert_eq!([frugal.sign(), frugal.sign()], [CKR_OK, CKR_FUNCTION_REJECTED]);
}

/// The memory of a process's own, in bytes.
fn own_memory(pid: u32) -> u64 {
    let status = status(pid);
    status.get("VmData").map_or(0, |data| data.split(' ').next().unwrap().parse::<u64>().unwrap() << 10)
}

#[test]
fn a_vendors_module_that_takes_memory_without_end_harms_one_client() {
    let mut guarded = Guarded::up();
    guarded.spy(&[("SPY_EATS", "C_SeedRandom")]);
    for mib in [1024, 400] {
        if mib != 1024 {
            guarded.reconfigure(|text| format!("{text}\n[guard.limits]\nworker_memory_mib = {mib}\n"));
        }
        let mut other = Client::of(&guarded);
        let mut struck = Client::of(&guarded);
        let rv = struck.probe.call("C_SeedRandom", json!({ "session": struck.session, "seed": "01" })).rv;
        assert!([CKR_HOST_MEMORY, CKR_DEVICE_REMOVED].contains(&rv), "{rv:#x}");
        let workers = guarded.role("worker");
        let most = workers.iter().map(|worker| own_memory(*worker)).max().unwrap();
        println!("{mib} MiB: {rv:#x}, then {most} bytes");
        assert!(most <= mib << 20, "{most}");
        assert!(
            rv == CKR_DEVICE_REMOVED || most > (mib << 20) * 9 / 10,
            "it had been stopped by something else: {most}"
        );
        // Whatever comes next may need more than is left.
        let large = json!({ "session": struck.session, "data": "00".repeat(4 << 20) });
        let rv = struck.probe.call("C_GenerateRandom", large).rv;
        assert!([CKR_HOST_MEMORY, CKR_DEVICE_REMOVED].contains(&rv), "{rv:#x}");
        other.has_random_numbers();
        // A new worker has memory.
        struck.probe.call("C_Finalize", json!({}));
        Client::of(&guarded).has_random_numbers();
    }
}

/// A probe with a session.
struct Client {
    probe: Probe,
    session: u64,
}

impl Client {
    fn of(guarded: &Guarded) -> Self {
        Self::started(guarded, "probe")
    }

    fn started(guarded: &Guarded, name: &str) -> Self {
        let mut probe = guarded.probe(name);
        probe.initialize();
        let slot = probe.slot("sandbox").unwrap();
        let session = probe.open(slot);
        Self { probe, session }
    }

    fn login(&mut self) -> u64 {
        let login = json!({ "session": self.session, "user": CKU_USER, "pin": hex(b"1234") });
        self.probe.call("C_Login", login).rv
    }

    fn sign(&mut self) -> u64 {
        let key = self.probe.key(self.session, CKO_PRIVATE_KEY, "demo-ec");
        let init = json!({ "session": self.session, "mechanism": CKM_ECDSA, "key": key });
        match self.probe.call("C_SignInit", init).rv {
            CKR_OK => {
                self.probe.call("C_Sign", json!({ "session": self.session, "input": hex(&[1; 32]) })).rv
            }
            rv => rv,
        }
    }

    fn has_random_numbers(&mut self) {
        let random = self.probe.must("C_GenerateRandom", json!({ "session": self.session, "data_len": 16 }));
        assert_ne!(random.bytes("data")[..16], [0; 16]);
    }
}
