//! Threads on sessions of their own: one attests, the others wait where they must and go on where they can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use attestation::decision::LocalDecision;
use attestation::grant::Operation;
use gate::{
    AttestationFailure, AttestationOutcome, AttestationRequest, Attester, Denial, Gate, Mechanism, Recorder,
    Scope, Sessions, Settings,
};
use locks::Mutex;
use pkcs11_table::Function;

use crate::world::{Answer, ECDSA, LIFETIME_MS, OBJECT, clock, key, pass, token, unavailable};

/// Far longer than anything here takes: it ends a test that would hang, and decides nothing.
const FAR: Duration = Duration::from_secs(10);

/// An attester that says when it is asked, and answers what it is told to.
struct Slow {
    entered: Mutex<Sender<()>>,
    answers: Mutex<Receiver<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Attester for Slow {
    fn attest(&self, request: AttestationRequest) -> AttestationOutcome {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.entered.lock().send(()).expect("the test listens");
        let result = self.answers.lock().recv_timeout(FAR).expect("the test answers");
        let undelivered = result.is_err().then_some(request.report);
        AttestationOutcome { result, undelivered }
    }

    fn examine(&self, _: &str) -> Answer {
        self.entered.lock().send(()).expect("the test listens");
        self.answers.lock().recv_timeout(FAR).expect("the test answers")
    }
}

struct Silent;

impl Recorder for Silent {
    fn denied(&self, _: &LocalDecision, _: Option<&str>) {}

    fn object_left(&self, _: &str) {}
}

struct Crowd {
    gate: Gate,
    sessions: Sessions,
    entered: Mutex<Receiver<()>>,
    answer: Mutex<Sender<Answer>>,
    asked: Arc<AtomicUsize>,
}

impl Crowd {
    /// With sessions 1 to `threads`.
    fn new(threads: u64) -> Self {
        let (say_entered, entered) = channel();
        let (answer, answers) = channel();
        let asked = Arc::new(AtomicUsize::new(0));
        let attester = Slow {
            entered: Mutex::new(say_entered),
            answers: Mutex::new(answers),
            asked: Arc::clone(&asked),
        };
        let settings = Settings { clock, random: || Some(1), scope: Scope::Keys };
        let gate = Gate::new(settings, Box::new(attester), Box::new(Silent));
        let sessions = Sessions::default();
        (1..=threads).for_each(|handle| assert!(sessions.opened(handle, 0)));
        Self { gate, sessions, entered: Mutex::new(entered), answer: Mutex::new(answer), asked }
    }

    fn sign(&self, session: u64) -> Result<(), Denial> {
        let place = self.sessions.get(session).unwrap();
        let mut state = place.lock();
        let look = self.gate.look(&mut state).unwrap();
        let mechanism = Mechanism { kind: ECDSA, names: &[] };
        let of = (look, &key("granted"));
        let begun = self.gate.begin((place, &mut state), Function::C_SignInit, mechanism, OBJECT, of)?;
        state.begun(begun.running);
        Ok(())
    }

    fn resume(&self, session: u64) -> bool {
        let place = self.sessions.get(session).unwrap();
        self.gate.resume((place, &mut place.lock()), Function::C_SignUpdate).unwrap().is_ok()
    }

    fn wait_for_attester(&self) {
        self.entered.lock().recv_timeout(FAR).expect("somebody attests");
    }

    fn answer(&self, answer: Answer) {
        self.answer.lock().send(answer).unwrap();
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The clock is one of each thread.
fn at(now_ms: Option<u64>) {
    crate::world::set_clock(now_ms);
}

#[test]
fn many_threads_without_a_token_cause_one_attestation() {
    let crowd = Crowd::new(8);
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|session| {
                let crowd = &crowd;
                scope.spawn(move || crowd.sign(session))
            })
            .collect();
        crowd.wait_for_attester();
        crowd.answer(Ok(token(&[Operation::Sign])));
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    });
    assert_eq!(crowd.asked(), 1);
}

#[test]
fn many_threads_share_one_failure() {
    let crowd = Crowd::new(8);
    let failures: Vec<AttestationFailure> = thread::scope(|scope| {
        let threads: Vec<_> = (1..=8)
            .map(|session| {
                let crowd = &crowd;
                scope.spawn(move || crowd.sign(session))
            })
            .collect();
        crowd.wait_for_attester();
        crowd.answer(Err(unavailable()));
        threads
            .into_iter()
            .map(|thread| match thread.join().unwrap().unwrap_err().refusal() {
                gate::Refusal::Attestation(failure) => failure.clone(),
                other => panic!("{other:?}"),
            })
            .collect()
    });
    assert_eq!(failures, vec![unavailable(); 8]);
    assert_eq!(crowd.asked(), 1);
}

/// A crowd of three, whose first thread renews while `meanwhile` happens on another; then the renewal ends with `answer`.
fn while_one_renews(
    meanwhile: impl FnOnce(&Crowd) + Send,
    answer: impl FnOnce() -> Answer,
) -> (Crowd, Result<(), Denial>) {
    let crowd = Crowd::new(3);
    crowd.answer(Ok(token(&[Operation::Sign])));
    for session in [1, 2] {
        crowd.sign(session).unwrap();
    }
    crowd.wait_for_attester();
    pass(LIFETIME_MS * 2 / 3);
    let now = clock();
    let renewed = thread::scope(|scope| {
        let renewing = scope.spawn(|| {
            at(now);
            crowd.sign(1)
        });
        crowd.wait_for_attester();
        let (done, is_done) = channel();
        let crowd = &crowd;
        scope.spawn(move || {
            at(now);
            meanwhile(crowd);
            done.send(()).unwrap();
        });
        let went_on = is_done.recv_timeout(FAR);
        crowd.answer(answer());
        went_on.expect("nobody waits for a renewal while the token counts");
        renewing.join().unwrap()
    });
    (crowd, renewed)
}

#[test]
fn while_one_thread_renews_the_others_go_on() {
    let meanwhile = |crowd: &Crowd| {
        crowd.sign(2).unwrap();
        crowd.sign(3).unwrap();
        assert!(crowd.resume(2));
        crowd.gate.prepare();
        assert_eq!(crowd.asked(), 2);
    };
    let (crowd, renewed) = while_one_renews(meanwhile, || Ok(token(&[Operation::Sign])));
    renewed.unwrap();
    assert!(crowd.resume(2), "the renewed token covers it");
    pass(LIFETIME_MS / 3);
    assert!(crowd.resume(2), "beyond the deadline of the first one");
    assert_eq!(crowd.asked(), 2);
}

#[test]
fn a_renewal_that_is_refused_ends_what_the_others_began_meanwhile() {
    let meanwhile = |crowd: &Crowd| {
        crowd.sign(3).unwrap();
        assert!(crowd.resume(3));
    };
    let (crowd, renewed) = while_one_renews(meanwhile, || Err(crate::world::refused(0x10)));
    assert_eq!(renewed.unwrap_err().refusal().code(), "library-unknown");
    for session in [1, 2, 3] {
        assert!(!crowd.resume(session));
        assert_eq!(crowd.sign(session).unwrap_err().refusal().code(), "library-unknown");
    }
    assert_eq!(crowd.asked(), 2);
}

#[test]
fn a_token_that_is_ended_while_it_is_renewed_is_used_no_more_though_no_other_comes() {
    let (crowd, renewed) = while_one_renews(|crowd| assert!(crowd.gate.end_token()), || Err(unavailable()));
    assert_eq!(renewed.unwrap_err().refusal().code(), "policy-server-unavailable");
    for session in [1, 2] {
        assert!(!crowd.resume(session));
    }
}

#[test]
fn a_renewal_that_was_under_way_gives_nothing_once_the_token_is_ended() {
    let ended = |crowd: &Crowd| assert!(crowd.gate.end_token());
    let (crowd, renewed) = while_one_renews(ended, || Ok(token(&[Operation::Sign])));
    assert_eq!(renewed.unwrap_err().refusal().code(), "ended-meanwhile");
    assert!(!crowd.resume(2));
    crowd.answer(Ok(token(&[Operation::Sign])));
    crowd.sign(3).expect("the next attestation counts, and at once");
    assert_eq!(crowd.asked(), 3);
}

/// What comes of signing where the token is ended during each of the first `times` attestations.
fn while_one_attests(times: usize) -> (Crowd, Result<(), Denial>) {
    let crowd = Crowd::new(1);
    let now = clock();
    let signed = thread::scope(|scope| {
        let signing = scope.spawn(|| {
            at(now);
            crowd.sign(1)
        });
        for round in 0..2 {
            crowd.wait_for_attester();
            if round < times {
                crowd.gate.end_token();
            }
            crowd.answer(Ok(token(&[Operation::Sign])));
        }
        signing.join().unwrap()
    });
    (crowd, signed)
}

#[test]
fn what_ends_during_the_first_attestation_is_attested_once_more() {
    let (crowd, signed) = while_one_attests(1);
    signed.unwrap();
    assert!(crowd.resume(1));
    assert_eq!(crowd.asked(), 2);
    let (crowd, signed) = while_one_attests(2);
    assert_eq!(signed.unwrap_err().refusal().code(), "ended-meanwhile");
    assert_eq!(crowd.asked(), 2);
}

#[test]
fn a_token_that_is_handed_in_counts_no_more_if_ended_while_it_is_examined() {
    let crowd = Crowd::new(1);
    let now = clock();
    let taken = thread::scope(|scope| {
        let handing_in = scope.spawn(|| {
            at(now);
            let place = crowd.sessions.get(1).unwrap();
            crowd.gate.hand_in(place, Function::C_CreateObject, "jwt")
        });
        crowd.wait_for_attester();
        crowd.gate.end_token();
        crowd.answer(Ok(token(&[Operation::Sign])));
        handing_in.join().unwrap()
    });
    assert_eq!(taken.unwrap_err().refusal().code(), "ended-meanwhile");
    crowd.answer(Err(unavailable()));
    assert_eq!(crowd.sign(1).unwrap_err().refusal().code(), "policy-server-unavailable");
}

#[test]
fn a_farewell_does_not_wait_for_an_attestation() {
    let meanwhile = |crowd: &Crowd| {
        let denial = {
            let place = crowd.sessions.get(3).unwrap();
            let refusal = gate::Refusal::TemplateUnclear;
            crowd.gate.refuse(Some(place), Function::C_CreateObject, None, refusal)
        };
        assert_eq!(denial.refusal().code(), "template-unclear");
        crowd.gate.say_farewell();
    };
    let (crowd, renewed) = while_one_renews(meanwhile, || Ok(token(&[Operation::Sign])));
    renewed.unwrap();
    assert_eq!(crowd.asked(), 2);
}

#[test]
fn a_total_holds_over_all_threads() {
    const TOTAL: u64 = 20;
    let crowd = Crowd::new(4);
    let rate = attestation::grant::Rate { per_second: None, total: Some(TOTAL) };
    let grant = attestation::grant::Grant { rate: Some(rate), ..crate::world::grant(&[Operation::Sign]) };
    crowd.answer(Ok(crate::world::token_with(vec![grant])));
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for session in 1..=4 {
            let (crowd, done) = (&crowd, &done);
            scope.spawn(move || {
                for round in 0..TOTAL {
                    if crowd.sign(session).is_err() {
                        continue;
                    }
                    let place = crowd.sessions.get(session).unwrap();
                    let running =
                        place.lock().ended(pkcs11_table::Use::Sign, pkcs11_table::Form::Plain).unwrap();
                    // Every third fails.
                    if round % 3 == 0 {
                        drop(running);
                    } else {
                        running.complete();
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    // 4 threads, 13 completions each, if there were no total.
    assert!(done.load(Ordering::SeqCst) as u64 <= TOTAL);
    let left = TOTAL - done.load(Ordering::SeqCst) as u64;
    for _ in 0..left {
        crowd.sign(1).unwrap();
        let place = crowd.sessions.get(1).unwrap();
        let running = place.lock().ended(pkcs11_table::Use::Sign, pkcs11_table::Form::Plain).unwrap();
        running.complete();
    }
    assert_eq!(crowd.sign(1).unwrap_err().refusal().code(), "rate-exceeded", "nothing was lost either");
}
