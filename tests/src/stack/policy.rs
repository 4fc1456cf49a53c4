//! What an operator does with an installation, and sees of it.

use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::{CKM_ECDSA, CKO_PRIVATE_KEY, CKR_FUNCTION_REJECTED};
use serde_json::{Value, json};

use super::{Approval, FAILURE_STANDS, NO_KEY, Stack, build, reasons};
use crate::client::run;
use crate::mode::Mode;
use crate::probe::Probe;

impl Stack {
    /// A `trustshim` command in the environment of the operator.
    pub fn operator(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(build().join("trustshim"));
        command.env("TRUSTSHIM_CONFIG", self.gates_configuration());
        command.env(self.token.settings(), self.variable(self.token.settings()));
        for name in ["TRUSTSHIM_SERVER", "TRUSTSHIM_CA", "TRUSTSHIM_ADMIN_TOKEN"] {
            command.env(name, self.variable(name));
        }
        command.args(arguments);
        command
    }

    /// Runs `trustshim`, which must succeed, and reads its `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let finished = run(self.operator(arguments).arg("--json")).must_succeed();
        serde_json::from_slice(&finished.stdout).unwrap_or_else(|error| panic!("{error}\n{finished}"))
    }

    /// `trustshim explain --last`.
    #[track_caller]
    pub fn explain_last(&self) -> Value {
        self.json(&["explain", "--last"])
    }

    /// The codes of the reasons of the newest refusal on the server's record.
    #[track_caller]
    pub fn last_reasons(&self) -> Vec<String> {
        reasons(&self.explain_last()["decision"])
    }

    /// Approves the newest refusal.
    #[track_caller]
    pub fn approve_last(&self, approval: &Approval<'_>) {
        let mut command = self.operator(&["approve", "--last", "--component", approval.component]);
        command.args(["--version", approval.version, "--yes"]).args(approval.options);
        if let Some((key, operations)) = approval.grant {
            command.args(["--grant", key, "--operations", operations]);
        }
        run(&mut command).must_succeed();
    }

    /// Has a probe refused, and approved then: by signing with `demo-ec` or, since a guard lets no unapproved program log in,
    /// by that. Gives a session on the token `sandbox` with the user logged in.
    #[track_caller]
    pub fn approve_probe(&self, probe: &mut Probe, approval: &Approval<'_>) -> u64 {
        probe.initialize();
        let slot = probe.slot("sandbox").expect("the token sandbox");
        let session = probe.open(slot);
        if self.mode() == Mode::Inline {
            probe.login(session);
            let key = probe.key(session, CKO_PRIVATE_KEY, "demo-ec");
            let init = json!({ "session": session, "mechanism": CKM_ECDSA, "key": key });
            assert_eq!(probe.call("C_SignInit", init).rv, CKR_FUNCTION_REJECTED);
        } else {
            assert_eq!(probe.try_login(session), CKR_FUNCTION_REJECTED);
        }
        self.approve_last(approval);
        sleep(FAILURE_STANDS);
        if self.mode() == Mode::Guarded {
            probe.login(session);
        }
        session
    }

    /// A probe that gets no trust token, with a session on the token `sandbox` of which the user is logged in. In guarded mode,
    /// where it could not log in, its approval was taken back afterwards.
    #[track_caller]
    pub fn unapproved_probe(&self, start: impl FnOnce() -> Probe) -> (Probe, u64) {
        let mut probe = start();
        if self.mode() == Mode::Inline {
            let session = probe.session();
            return (probe, session);
        }
        self.while_tokens_are_short(|| {
            let session = self.approve_probe(&mut probe, &Approval::of("unapproved", NO_KEY, "sign"));
            self.retire("unapproved");
            (probe, session)
        })
    }

    /// Does something while trust tokens live for two seconds, and waits until those that were issued meanwhile have ended.
    pub(crate) fn while_tokens_are_short<T>(&self, something: impl FnOnce() -> T) -> T {
        self.restart_server("token_lifetime_s = 2");
        let done = something();
        self.restart_server("token_lifetime_s = 300");
        sleep(Duration::from_millis(2_200));
        done
    }

    /// Grants a component the use of every key that a URI matches.
    #[track_caller]
    pub fn grant(&self, component: &str, key: &str, operations: &str) {
        let arguments =
            ["grant", "add", "--component", component, "--key", key, "--operations", operations, "--many"];
        run(&mut self.operator(&arguments)).must_succeed();
    }

    /// Grants a component the use of one key within limits, such as `--total 3`.
    #[track_caller]
    pub fn grant_within(&self, component: &str, key: &str, operations: &str, limits: &[&str]) {
        let arguments = ["grant", "add", "--component", component, "--key", key, "--operations", operations];
        run(self.operator(&arguments).args(limits)).must_succeed();
    }

    /// Grants a component the use of keys of which the URI states the name in part, as no server does that knows what that
    /// means, but older ones did.
    #[track_caller]
    pub fn grant_in_part(&self, component: &str, key: &str, operations: &str) {
        self.grant(component, key, operations);
        let statement = format!(
            "UPDATE grants SET many = 0 WHERE component = '{component}' AND key_uri = '{key}'; \
             UPDATE meta SET value = value + 1 WHERE name = 'policy-revision';"
        );
        let database = self.directory().join("policy-server/policy.db");
        let mut sqlite = Command::new("sqlite3");
        // The server may be writing.
        sqlite.args(["-bail", "-cmd", ".timeout 10000"]).arg(database).arg(statement);
        run(&mut sqlite).must_succeed();
    }

    /// Retires version 1 of a component.
    #[track_caller]
    pub fn retire(&self, component: &str) {
        run(&mut self.operator(&["component", "retire", component, "1"])).must_succeed();
    }

    /// Stops the policy server and starts it again with another setting in its configuration.
    pub fn restart_server(&self, setting: &str) {
        self.stop_server();
        let path = self.directory().join("policy-server/policy-server.toml");
        let key = setting.split(' ').next().expect("a setting");
        let text = fs::read_to_string(&path).expect("policy-server.toml");
        let kept: String =
            text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        fs::write(&path, format!("{setting}\n{kept}")).expect("policy-server.toml");
        self.start_server();
    }
}
