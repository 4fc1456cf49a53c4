//! A gate with everything around it that a test decides on: the clock, the attester's answers, and what was asked of it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use attestation::decision::{DecisionId, LocalDecision};
use attestation::digest::Digest;
use attestation::grant::{Grant, Operation};
use attestation::key_uri::{ObjectClass, ObjectIdentity, TokenIdentity};
use attestation::token::{
    Anchors, Binding, Expected, ISSUER, Mode, Presented, Statuses, Tier, TokenFacts, TokenIssuer,
    TrustshimClaims, VerifiedToken, verify_token,
};
use gate::{
    AttestationFailure, AttestationOutcome, AttestationRequest, Attester, Begun, Demands, Denial,
    FailureKind, Gate, Mechanism, Named, Permit, Place, Recorder, Scope, Session, Sessions, Settings,
    Subject,
};
use locks::{Mutex, MutexGuard};
use pkcs11_table::{Form, Function, Use};

pub const ECDSA: u64 = 0x1041;
pub const RSA_X_509: u64 = 3;
pub const LIFETIME_MS: u64 = 300_000;
/// The session that every test uses, and its slot.
pub const SESSION: u64 = 1;
pub const SLOT: u64 = 0;
/// The handle of the key that most tests use.
pub const OBJECT: u64 = 7;

thread_local! {
    static NOW_MS: Cell<Option<u64>> = const { Cell::new(Some(1_000_000)) };
}

pub fn clock() -> Option<u64> {
    NOW_MS.get()
}

pub fn set_clock(ms: Option<u64>) {
    NOW_MS.set(ms);
}

pub fn pass(ms: u64) {
    NOW_MS.set(NOW_MS.get().map(|now| now + ms));
}

pub type Answer = Result<VerifiedToken, AttestationFailure>;

#[derive(Default)]
pub struct World {
    /// What the attester answers, in turn.
    pub answers: Mutex<VecDeque<Answer>>,
    /// What it was asked.
    pub asked: Mutex<Vec<AttestationRequest>>,
    /// The refusals on record, with the component that each was noted for.
    pub log: Mutex<Vec<(LocalDecision, Option<String>)>>,
    /// The functions that have left objects behind.
    pub left: Mutex<Vec<String>>,
    /// What it says of tokens that are handed in.
    pub examined: Mutex<VecDeque<Answer>>,
}

struct Handle(Arc<World>);

impl Attester for Handle {
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome {
        let result = self.0.answers.lock().pop_front().expect("an attestation that no test expected");
        let unread = matches!(&result, Err(failure) if failure.kind == FailureKind::Unavailable);
        let undelivered = unread.then(|| request.report.clone());
        self.0.asked.lock().push(request);
        AttestationOutcome { result, undelivered }
    }

    fn examine(&self, _: &str) -> Answer {
        self.0.examined.lock().pop_front().expect("a token that no test handed in")
    }
}

impl Recorder for Handle {
    fn denied(&self, decision: &LocalDecision, component: Option<&str>) {
        self.0.log.lock().push((decision.clone(), component.map(str::to_owned)));
    }

    fn object_left(&self, function: &str) {
        self.0.left.lock().push(function.to_owned());
    }
}

/// A gate with one session.
pub struct Bench {
    pub world: Arc<World>,
    pub gate: Gate,
    pub sessions: Sessions,
}

impl Bench {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_scope(Scope::Keys, answers)
    }

    pub fn with_scope(scope: Scope, answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_settings(Settings { clock, random: || Some(0xabcd_0000), scope }, answers)
    }

    pub fn with_settings(settings: Settings, answers: impl IntoIterator<Item = Answer>) -> Self {
        let world =
            Arc::new(World { answers: Mutex::new(answers.into_iter().collect()), ..World::default() });
        let handle = || Box::new(Handle(Arc::clone(&world)));
        let gate = Gate::new(settings, handle(), handle());
        let sessions = Sessions::default();
        assert!(sessions.opened(SESSION, SLOT));
        Self { world, gate, sessions }
    }

    pub fn place(&self) -> &Place {
        self.sessions.get(SESSION).expect("opened")
    }

    /// The application closes the session.
    pub fn close(&self) {
        let (place, mut session) = self.sessions.hold(SESSION).expect("opened");
        place.close(&mut session);
    }

    pub fn session(&self) -> MutexGuard<'_, Session> {
        self.place().lock()
    }

    /// Begins and, as if the real module had accepted it, runs an operation.
    pub fn begin(&self, function: Function, mechanism: u64, key: &Arc<Subject>) -> Result<(), Denial> {
        self.begin_on(OBJECT, function, mechanism, key)
    }

    /// As [`Self::begin`], by the key's handle.
    pub fn begin_on(
        &self,
        object: u64,
        function: Function,
        mechanism: u64,
        key: &Arc<Subject>,
    ) -> Result<(), Denial> {
        self.begin_in(self.place(), object, function, mechanism, key)
    }

    /// Signs on another session than [`SESSION`], which the test has opened.
    pub fn sign_on(&self, session: u64, label: &str) -> Result<(), Denial> {
        let place = self.sessions.get(session).expect("opened");
        self.begin_in(place, OBJECT, Function::C_SignInit, ECDSA, &key(label))
    }

    fn begin_in(
        &self,
        place: &Place,
        object: u64,
        function: Function,
        mechanism: u64,
        key: &Arc<Subject>,
    ) -> Result<(), Denial> {
        let mut session = place.lock();
        let look = self
            .gate
            .look(&mut session)
            .map_err(|refusal| self.gate.refuse(Some(place), function, Some(key), refusal))?;
        let mechanism = Mechanism { kind: mechanism, names: &[] };
        let begun = self.gate.begin((place, &mut session), function, mechanism, object, (look, key))?;
        session.begun(begun.running);
        Ok(())
    }

    /// An init like one before, on the same object.
    pub fn begin_again(&self, function: Function, mechanism: u64) -> Option<Begun> {
        self.gate.begin_again(&mut self.session(), function, mechanism, OBJECT)
    }

    /// Ends what was begun by `used`, as if it had completed.
    pub fn complete(&self, used: Use) {
        self.session().ended(used, Form::Plain).expect("it runs").complete();
    }

    /// Ends what was begun by `used`, as if it had failed.
    pub fn fail(&self, used: Use) {
        drop(self.session().ended(used, Form::Plain).expect("it runs"));
    }

    /// A call that does its work at once; what it took of rates is used up. Says for which function the permit was.
    pub fn once(&self, demands: &Demands) -> Result<Function, Denial> {
        let (permit, spending) = self.gate.permit(Some(self.place()), demands)?;
        spending.complete();
        Ok(permit.function())
    }

    pub fn sign(&self, mechanism: u64, label: &str) -> Result<(), Denial> {
        self.begin(Function::C_SignInit, mechanism, &key(label))
    }

    pub fn resume(&self, function: Function) -> Option<Result<Permit, Denial>> {
        self.gate.resume((self.place(), &mut self.session()), function)
    }

    /// How often an attestation was asked for.
    pub fn asked(&self) -> usize {
        self.world.asked.lock().len()
    }
}

pub fn token_identity() -> TokenIdentity {
    TokenIdentity { label: "sandbox".into(), serial: "1".into(), model: "m".into(), manufacturer: "v".into() }
}

pub fn named(class: ObjectClass, label: &str) -> Named {
    Named::Object(ObjectIdentity { token: token_identity(), class, id: vec![1], label: label.into() })
}

/// A private key.
pub fn key(label: &str) -> Arc<Subject> {
    Arc::new(Subject::of(named(ObjectClass::Private, label)))
}

/// A grant on the private key `granted`.
pub fn grant(operations: &[Operation]) -> Grant {
    Grant {
        id: "G-1".into(),
        key: "pkcs11:token=sandbox;object=granted;type=private".into(),
        operations: operations.to_vec(),
        many: false,
        mechanisms: None,
        rate: None,
        deadline_boottime_ms: None,
    }
}

/// A grant on everything that is called `label`.
pub fn grant_on(label: &str, operations: &[Operation]) -> Grant {
    Grant { id: format!("G-{label}"), key: format!("pkcs11:object={label}"), ..grant(operations) }
}

/// A token with one grant on the private key `granted`, for [`LIFETIME_MS`] from now.
pub fn token(operations: &[Operation]) -> VerifiedToken {
    token_with(vec![grant(operations)])
}

pub fn token_with(grants: Vec<Grant>) -> VerifiedToken {
    token_for(LIFETIME_MS, grants)
}

/// A token that counts for so long from now.
pub fn token_for(lifetime_ms: u64, grants: Vec<Grant>) -> VerifiedToken {
    let (issuer, _) = TokenIssuer::generate().unwrap();
    let now_ms = clock().unwrap();
    let trustshim = TrustshimClaims {
        hsm: "hsm".into(),
        host: "host".into(),
        mode: Mode::Inline,
        boot_id: "boot".into(),
        deadline_boottime_ms: now_ms + lifetime_ms,
        component: "demo".into(),
        version: "1".into(),
        measurement: Digest::of(b"measured"),
        grants,
        epoch: 0,
    };
    let facts = TokenFacts {
        issuer: ISSUER.into(),
        jti: "T-1".into(),
        issued_at: 1_700_000_000,
        lifetime_s: 300,
        binding: Some(Binding { nonce: "nonce".into(), cnf: "cnf".into() }),
        statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
        trustshim,
    };
    let expected = Expected {
        hsm: "hsm",
        host: "host",
        mode: Mode::Inline,
        boot_id: "boot",
        measurement: Digest::of(b"measured"),
        presented: Presented::Answer { cnf: "cnf", nonce: "nonce" },
    };
    let anchors = Anchors::parse(&issuer.jwks()).unwrap();
    verify_token(&issuer.issue(&facts).unwrap(), &anchors, &expected, now_ms).unwrap()
}

pub fn refused(decision: u64) -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Refused,
        code: "library-unknown".into(),
        detail: "a library is unknown".into(),
        decision: Some(DecisionId::from_random(decision)),
    }
}

pub fn unavailable() -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "policy-server-unavailable".into(),
        detail: "no answer".into(),
        decision: None,
    }
}
