//! Programs on the shim in front of the spy token in front of SoftHSM, each with grants of its own: what is denied is shown
//! not to have arrived, and what is permitted to have arrived once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki_sys::*;
use pkcs11_table::{Class, Function};
use serde_json::{Value, json};

use crate::mode::Mode;
use crate::probe::{Probe, Reply, TRUE, hex, joined, ulong};
use crate::spied::Spied;
use crate::spy_record::{Call, SpyRecord};
use crate::stack::{Approval, NO_KEY, Stack};

/// An installation whose real module is the spy.
pub struct Watched {
    /// The installation.
    pub stack: Stack,
    spied: Spied,
    attestation_slot: Option<u64>,
}

/// A running program with a session on the token `sandbox`, its user logged in.
pub struct Program<'a> {
    watched: &'a Watched,
    record: SpyRecord,
    /// The process.
    pub probe: Probe,
    /// The session.
    pub session: u64,
}

/// What the attester calls on sessions of its own.
const ATTESTERS_CALLS: [&str; 8] = [
    "C_CloseSession",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_FindObjectsInit",
    "C_GetAttributeValue",
    "C_Login",
    "C_Sign",
    "C_SignInit",
];

/// What the gate asks of an object to know what it is: class, token, private, label, id, sensitive; one at a time.
const QUESTIONS: [&str; 6] = ["0x0", "0x1", "0x2", "0x3", "0x102", "0x103"];

impl Watched {
    /// Makes an installation with the spy in place.
    pub fn up(mode: Mode) -> Self {
        Self::up_with(mode, |text| text)
    }

    /// As [`up`](Self::up), with a change to the configuration of the gate.
    pub fn up_with(mode: Mode, change: impl FnOnce(String) -> String) -> Self {
        Self::made(mode, &[], change)
    }

    /// As [`up`](Self::up), with these variables for the spy.
    pub fn up_behind(mode: Mode, of_spy: &[(&str, &str)]) -> Self {
        Self::made(mode, of_spy, |text| text)
    }

    fn made(mode: Mode, of_spy: &[(&str, &str)], change: impl FnOnce(String) -> String) -> Self {
        let stack = Stack::up(mode);
        let spied = Spied::on(&stack, "spy.toml", of_spy, change);
        // A guard's worker has no slot for the attester's token.
        let attestation_slot = (mode == Mode::Inline).then(|| {
            let mut direct = Probe::start_on(&stack, stack.real_module(), |_| {});
            direct.initialize();
            direct.slot("trustshim").expect("the token trustshim")
        });
        Self { stack, spied, attestation_slot }
    }

    /// The keys' owner, who speaks to SoftHSM directly: a session on the token `sandbox`, its user logged in.
    pub fn owner(&self) -> (Probe, u64) {
        let mut owner = Probe::start_on(&self.stack, self.stack.real_module(), |_| {});
        let session = owner.session();
        (owner, session)
    }

    /// Makes an AES-256 key on the token behind the shim's back: sensitive and extractable, with these attributes besides.
    pub fn make_aes(&self, label: &str, value: &[u8; 32], more: Value) {
        let (mut owner, session) = self.owner();
        let template = json!([
            [CKA_CLASS, ulong(CKO_SECRET_KEY)],
            [CKA_KEY_TYPE, ulong(CKK_AES)],
            [CKA_TOKEN, TRUE],
            [CKA_PRIVATE, TRUE],
            [CKA_SENSITIVE, TRUE],
            [CKA_EXTRACTABLE, TRUE],
            [CKA_LABEL, hex(label.as_bytes())],
            [CKA_VALUE, hex(value)]
        ]);
        let template = joined(&template, &more);
        owner.must("C_CreateObject", json!({ "session": session, "template": template }));
    }

    /// Makes a P-256 key pair on the token behind the shim's back, with these attributes of the private key.
    pub fn make_ec(&self, label: &str, more: Value) {
        let (mut owner, session) = self.owner();
        let name = json!([[CKA_TOKEN, TRUE], [CKA_LABEL, hex(label.as_bytes())]]);
        let request = json!({
            "session": session,
            "mechanism": CKM_EC_KEY_PAIR_GEN,
            "public_template": joined(&name, &json!([[CKA_EC_PARAMS, "06082a8648ce3d030107"], [CKA_VERIFY, TRUE]])),
            "private_template": joined(&joined(&name, &json!([[CKA_PRIVATE, TRUE], [CKA_SENSITIVE, TRUE]])), &more)
        });
        owner.must("C_GenerateKeyPair", request);
    }

    /// Starts a probe that is told from others by `name`; `prepare` completes its environment.
    pub fn probe(&self, name: &str, prepare: impl FnOnce(&mut Command)) -> (Probe, SpyRecord) {
        self.spied.probe(&self.stack, name, prepare)
    }

    /// The variables that have the shim stand in front of the spy.
    pub fn environment(&self, name: &str) -> BTreeMap<String, PathBuf> {
        self.spied.environment(&self.stack, name)
    }

    /// A command that finds the shim in front of the spy, whose record is told from others by `name`.
    pub fn application(&self, name: &str, program: &Path) -> Command {
        let mut command = self.stack.application(program);
        command.envs(self.environment(name));
        command
    }

    /// A program that is approved under this name, or in inline mode one that nobody has approved: a guard lets no such
    /// program log in.
    #[track_caller]
    pub fn started(&self, name: &str) -> Program<'_> {
        let mut program = self.without_login(name);
        program.probe.login(program.session);
        program
    }

    /// A program with a session on the token `sandbox` that has not logged in.
    #[track_caller]
    pub fn without_login(&self, name: &str) -> Program<'_> {
        let (mut probe, record) = self.probe(name, |_| {});
        probe.initialize();
        let slot = probe.slot("sandbox").expect("the token sandbox");
        let session = probe.open(slot);
        assert!(record.mark() > 0, "the spy is not in place");
        Program { watched: self, record, probe, session }
    }

    /// A program that gets no trust token, though its user is logged in, and the reason. In guarded mode its approval was
    /// taken back after the login.
    #[track_caller]
    pub fn unapproved(&self, name: &str) -> (Program<'_>, &'static str) {
        if self.stack.mode() == Mode::Inline {
            return (self.started(name), "executable-unknown");
        }
        let program = self.stack.while_tokens_are_short(|| {
            let program = self.program(name, &[(NO_KEY, "sign")]);
            self.stack.retire(name);
            program
        });
        (program, "version-retired")
    }

    /// A program that is approved for these uses of these keys.
    pub fn program(&self, name: &str, grants: &[(&str, &str)]) -> Program<'_> {
        self.approve(name);
        for (key, operations) in grants {
            self.stack.grant(name, key, operations);
        }
        self.started(name)
    }

    /// Has the program of this name refused and approved then, without a grant.
    #[track_caller]
    pub fn approve(&self, name: &str) {
        self.approve_as(name, &Approval { grant: None, ..Approval::of(name, "", "") });
    }

    /// The same, approved as the operator says.
    #[track_caller]
    pub fn approve_as(&self, name: &str, approval: &Approval<'_>) {
        let mut refused = self.without_login(name);
        let generate = json!({ "session": refused.session, "mechanism": CKM_AES_KEY_GEN, "template": [] });
        assert_ne!(refused.probe.call("C_GenerateKey", generate).rv, CKR_OK);
        self.stack.approve_last(approval);
    }
}

impl<'a> Program<'a> {
    /// A probe of [`Watched::probe`] that has opened this session by itself.
    pub const fn of(watched: &'a Watched, record: SpyRecord, probe: Probe, session: u64) -> Self {
        Self { watched, record, probe, session }
    }

    /// Makes a call.
    #[track_caller]
    pub fn call(&mut self, function: &str, arguments: Value) -> Reply {
        self.probe.call(function, arguments)
    }

    /// Makes a call that the gate must refuse for `reason`: the answer, one line in the log, and nothing at the spy.
    #[track_caller]
    pub fn denied(&mut self, reason: &str, function: &str, arguments: Value) {
        self.denied_with(CKR_FUNCTION_REJECTED, reason, function, arguments);
    }

    /// As [`denied`](Self::denied), with the return value that the configuration sets for refusals.
    #[track_caller]
    pub fn denied_with(&mut self, rv: u64, reason: &str, function: &str, arguments: Value) {
        let lines = self.watched.stack.log().len();
        self.never_arrives(rv, function, arguments.clone());
        let log = self.watched.stack.log();
        let line = &log[lines..];
        assert_eq!(line.len(), 1, "{function} {arguments}: {line:#?}");
        assert_eq!(line[0]["event"], "denied", "{function} {arguments}: {line:#?}");
        assert_eq!(line[0]["function"], function, "{function} {arguments}: {line:#?}");
        assert_eq!(line[0]["reason"], reason, "{function} {arguments}: {line:#?}");
    }

    /// Makes a call that must answer `rv` without the real module's having heard of it.
    #[track_caller]
    pub fn never_arrives(&mut self, rv: u64, function: &str, arguments: Value) {
        let mark = self.record.mark();
        let reply = self.probe.call(function, arguments.clone());
        assert_eq!(reply.rv, rv, "{function} {arguments}: {:#x}", reply.rv);
        let sessions = self.applications_sessions();
        for call in self.record.calls_since(mark) {
            let session = call.number("session");
            let is_attesters = session.is_some_and(|session| !sessions.contains(&session))
                && ATTESTERS_CALLS.contains(&call.function.as_str());
            let is_question = call.function == "C_GetAttributeValue"
                && call.template().is_some_and(|types| QUESTIONS.contains(&types));
            let is_open = session.is_none()
                && Function::ALL.iter().any(|row| row.name() == call.function && row.class() == Class::Open);
            assert!(
                is_attesters || is_question || is_open,
                "{function} {arguments} was denied, and the real module received {call:?}"
            );
        }
    }

    /// Makes a call that must succeed and reach the real module, once.
    #[track_caller]
    pub fn must(&mut self, function: &str, arguments: Value) -> Reply {
        self.arrives(CKR_OK, function, arguments)
    }

    /// Makes a call that must reach the real module, once, and be answered with `rv`.
    #[track_caller]
    pub fn arrives(&mut self, rv: u64, function: &str, arguments: Value) -> Reply {
        let mark = self.record.mark();
        let reply = self.probe.call(function, arguments.clone());
        assert_eq!(reply.rv, rv, "{function} {arguments}: {:#x}", reply.rv);
        let arrived = self.arrived_since(mark).iter().filter(|call| call.function == function).count();
        assert_eq!(arrived, 1, "{function} {arguments} reached the real module {arrived} times");
        reply
    }

    /// How long the spy's record is by now.
    pub fn mark(&self) -> usize {
        self.record.mark()
    }

    /// What has reached the real module since, without the calls of the attester and the questions of the gate.
    pub fn arrived_since(&self, mark: usize) -> Vec<Call> {
        let sessions = self.applications_sessions();
        let is_the_programs = |call: &Call| {
            call.number("session").is_none_or(|session| sessions.contains(&session))
                && !(call.function == "C_GetAttributeValue"
                    && call.template().is_some_and(|types| QUESTIONS.contains(&types)))
        };
        self.record.calls_since(mark).into_iter().filter(is_the_programs).collect()
    }

    /// A further session on the same token.
    #[track_caller]
    pub fn another_session(&mut self) -> u64 {
        let slot = self.probe.slot("sandbox").expect("the token sandbox");
        self.probe.open(slot)
    }

    /// The one key of this class and label.
    #[track_caller]
    pub fn key(&mut self, class: u64, label: &str) -> u64 {
        self.probe.key(self.session, class, label)
    }

    fn applications_sessions(&self) -> std::collections::BTreeSet<u64> {
        let sessions = self.record.application_sessions(self.watched.attestation_slot);
        assert!(sessions.contains(&self.session), "the record has no session of the application");
        sessions
    }
}
