//! The gate of one process: holds the trust token, judges calls, and puts refusals on record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pkcs11_table::{Class, Function};

use crate::authorize::authorize;
use crate::denial::{Denial, Refusal};
use crate::handles::Handles;
use crate::holder::{AttestationFailure, Attester, Held, Holder};
use crate::limits::{Limits, Spending};
use crate::permit::Permit;
use crate::provenance::Provenance;
use crate::records::Records;
use crate::report::Recorder;
use crate::rules::Demands;
use crate::session::{Judged, Running, Session, is_believed};
use crate::sessions::Place;
use crate::subject::Subject;

mod keyless;
mod operations;

/// What the gate asks a trust token for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Everything that the HSM does on a session.
    Everything,
    /// Uses of keys, and what amounts to them.
    #[default]
    Keys,
}

/// Where the gate takes from what it cannot know.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `CLOCK_BOOTTIME` in milliseconds; without it every use of a key is refused.
    pub clock: fn() -> Option<u64>,
    /// 64 random bits, for decision ids.
    pub random: fn() -> Option<u64>,
    /// What is gated.
    pub scope: Scope,
}

/// A permitted init: the permit to forward it, and what will run if the real module accepts it.
#[derive(Debug)]
pub struct Begun {
    /// Lets the init through.
    pub permit: Permit,
    /// To be kept in the session once the real module has answered `CKR_OK`.
    pub running: Running,
}

/// The moment before an object is looked at: what is learnt then is forgotten once any object changes after it.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    objects_epoch: u64,
    at_ms: u64,
}

/// Counts the changes of objects.
enum Epoch {
    /// By this process alone.
    Own(AtomicU64),
    /// By all that reach the same token.
    Shared(Box<dyn AsRef<AtomicU64> + Send + Sync>),
}

impl Epoch {
    fn counter(&self) -> &AtomicU64 {
        match self {
            Self::Own(counter) => counter,
            Self::Shared(counter) => (**counter).as_ref(),
        }
    }
}

/// The gate.
pub struct Gate {
    settings: Settings,
    holder: Holder,
    limits: Limits,
    records: Records,
    provenance: Provenance,
    handles: Handles,
    objects_epoch: Epoch,
    /// The latest `CLOCK_BOOTTIME` that a judgement has seen which rests on no session's own, in milliseconds.
    latest_ms: AtomicU64,
    attester: Box<dyn Attester>,
}

impl Gate {
    /// A gate that holds no trust token yet.
    pub fn new(settings: Settings, attester: Box<dyn Attester>, recorder: Box<dyn Recorder>) -> Self {
        Self {
            settings,
            holder: Holder::default(),
            limits: Limits::default(),
            records: Records::new(settings.random, recorder),
            provenance: Provenance::default(),
            handles: Handles::default(),
            objects_epoch: Epoch::Own(AtomicU64::new(0)),
            latest_ms: AtomicU64::new(0),
            attester,
        }
    }

    /// Counts on where the gate stopped that this process had before `C_Finalize`. A rate is the process's, and would not be
    /// one if initialising again began it anew.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Counts changes of objects where others do, too, that reach the same token: what one changes, none takes for known.
    #[must_use]
    pub fn with_shared_changes(self, counter: Box<dyn AsRef<AtomicU64> + Send + Sync>) -> Self {
        Self { objects_epoch: Epoch::Shared(counter), ..self }
    }

    /// What it counts, for the gate that comes after it.
    pub fn limits(&self) -> Limits {
        self.limits.clone()
    }

    /// Which objects were made in this process, and from what.
    pub const fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Which object handles the application was given, and on which slot.
    pub const fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Some object was made, changed or destroyed, or may have been: what was learnt of objects counts no more.
    pub fn objects_changed(&self) {
        self.objects_epoch.counter().fetch_add(1, Ordering::AcqRel);
    }

    /// Sees to it that a trust token is at hand before a key is looked at: an attestation takes seconds, in which the
    /// handle could come to mean another key.
    pub fn prepare(&self) {
        if let Some(now_ms) = (self.settings.clock)() {
            // A failure is for the judgement: it stands for a while and is found there again.
            drop(self.holder.obtain(now_ms, &*self.attester, self.records.reports()));
        }
    }

    /// The moment before objects are looked at.
    ///
    /// # Errors
    /// The clock cannot be read, or went backwards.
    pub fn look(&self, session: &mut Session) -> Result<Look, Refusal> {
        let objects_epoch = self.objects_epoch.counter().load(Ordering::Acquire);
        Ok(Look { objects_epoch, at_ms: self.now(Some(session))? })
    }

    /// What the object was when it was looked at within the last second, if no object has changed since, with that moment.
    pub fn known(&self, session: &Session, object: u64, look: Look) -> Option<(Arc<Subject>, Look)> {
        let (subject, at_ms) = session.known(object, look.objects_epoch, look.at_ms)?;
        Some((Arc::clone(subject), Look { at_ms, ..look }))
    }

    /// Whether what was seen by this look may still be believed: a judgement that had to wait for an attestation has outlived
    /// it.
    pub fn is_recent(&self, look: Look) -> bool {
        self.now(None).is_ok_and(|now_ms| is_believed(look.at_ms, now_ms))
    }

    /// Remembers what the object was.
    pub fn learn(&self, session: &mut Session, object: u64, look: Look, subject: &Arc<Subject>) {
        session.learn(object, Arc::clone(subject), look.objects_epoch, look.at_ms);
    }

    /// Judges a call that does its work at once.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn permit(&self, place: Option<&Place>, demands: &Demands) -> Result<(Permit, Spending), Denial> {
        let judged = match demands.function.class() {
            Class::Use(_) | Class::Conditional(_) => self.judge(demands, None),
            // The others are judged by what they begin or go on with, or have a permit of another kind.
            _ => Err(Refusal::WrongClass),
        };
        match judged {
            Ok((_, spending)) => Ok((Permit::new(demands.function), spending)),
            Err(refusal) => {
                // Where the refusal itself names nothing, the first demand stands for the others.
                let subject = demands.iter().map(|demand| &demand.subject).next();
                Err(self.refuse(place, demands.function, subject, refusal))
            }
        }
    }

    /// Judges what a permitted call has come to do, where that is not what was planned. It is one operation all the same: what
    /// `spending` has taken from the rate of a grant counts for it.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn confirm(&self, place: &Place, demands: &Demands, spending: &mut Spending) -> Result<(), Denial> {
        self.judge_more(demands, spending).map_err(|refusal| {
            let subject = demands.iter().map(|demand| &demand.subject).next();
            self.refuse(Some(place), demands.function, subject, refusal)
        })
    }

    fn judge_more(&self, demands: &Demands, Spending(reservations): &mut Spending) -> Result<(), Refusal> {
        if self.is_free(demands) {
            return Ok(());
        }
        let Held { token, .. } = self.token()?;
        let now_ms = self.now(None)?;
        let grounds = authorize(&token, &demands.all, now_ms)?;
        let mut taken: Vec<_> =
            reservations.iter().map(|reservation| reservation.grant().to_owned()).collect();
        for limits in &grounds.rates {
            match taken.iter().position(|grant| limits.iter().any(|limit| limit.grant == *grant)) {
                Some(counted) => drop(taken.swap_remove(counted)),
                None => {
                    reservations.push(self.limits.reserve(limits, now_ms).map_err(Refusal::RateExceeded)?);
                }
            }
        }
        Ok(())
    }

    /// Takes in a trust token that the application hands over.
    ///
    /// # Errors
    /// Why it does not count, on record.
    pub fn hand_in(&self, place: &Place, function: Function, jwt: &str) -> Result<(), Denial> {
        let ends = self.holder.ends();
        let taken = match self.now(None) {
            Ok(now_ms) => self
                .attester
                .examine(jwt)
                .and_then(|token| self.holder.take_in(token, now_ms, ends))
                .map_err(Refusal::HandedIn),
            Err(refusal) => Err(refusal),
        };
        taken.map_err(|refusal| self.refuse(Some(place), function, None, refusal))
    }

    /// Ends the trust token in hand: what it was issued for is no more as it was. What rests on it is judged anew, operations
    /// that run at their next continuation, and an attestation that is under way gives nothing. Whether there was one.
    pub fn end_token(&self) -> bool {
        self.holder.end()
    }

    /// Delivers what was refused since the last attestation, before the process ends; within half a second or not at all.
    pub fn say_farewell(&self) {
        if let Ok(now_ms) = self.now(None) {
            self.holder.say_farewell(now_ms, &*self.attester, self.records.reports());
        }
    }

    /// Says that an object which `function` has made, and which was refused then, could not be destroyed.
    pub fn object_left(&self, function: Function) {
        self.records.object_left(function);
    }

    /// Nothing has to be granted, and no trust token is needed.
    fn is_free(&self, demands: &Demands) -> bool {
        demands.all.is_empty() && self.settings.scope == Scope::Keys
    }

    fn judge(&self, demands: &Demands, session: Option<&mut Session>) -> Result<(Judged, Spending), Refusal> {
        if self.is_free(demands) {
            let judged = Judged { token_epoch: self.holder.epoch(), until_ms: u64::MAX };
            return Ok((judged, Spending(Vec::new())));
        }
        let Held { token, epoch } = self.token()?;
        // The attestation may have taken seconds.
        let now_ms = self.now(session)?;
        let grounds = authorize(&token, &demands.all, now_ms)?;
        let reserve = |limits: &Vec<_>| self.limits.reserve(limits, now_ms).map_err(Refusal::RateExceeded);
        let reservations = grounds.rates.iter().map(reserve).collect::<Result<_, _>>()?;
        Ok((Judged { token_epoch: epoch, until_ms: grounds.until_ms }, Spending(reservations)))
    }

    fn token(&self) -> Result<Held, Refusal> {
        let now_ms = self.now(None)?;
        self.holder
            .obtain(now_ms, &*self.attester, self.records.reports())
            .map_err(|failure: AttestationFailure| Refusal::Attestation(failure))
    }

    fn now(&self, session: Option<&mut Session>) -> Result<u64, Refusal> {
        // Read before the clock: another thread may come to see a later time between the two.
        let latest_ms = self.latest_ms.load(Ordering::Acquire);
        let now_ms = (self.settings.clock)().ok_or(Refusal::ClockUnreadable)?;
        let forwards = now_ms >= latest_ms
            && match session {
                // Sessions keep their own time, so that their threads do not all write to one place.
                Some(session) => session.at(now_ms),
                None => {
                    if now_ms > latest_ms {
                        self.latest_ms.fetch_max(now_ms, Ordering::AcqRel);
                    }
                    true
                }
            };
        if forwards { Ok(now_ms) } else { Err(Refusal::ClockBackwards) }
    }

    /// Puts a refusal on record: one log line, one report to the policy server.
    ///
    /// A refusal that the policy server itself made keeps the server's id and is not reported back to it.
    pub fn refuse(
        &self,
        place: Option<&Place>,
        function: Function,
        subject: Option<&Arc<Subject>>,
        refusal: Refusal,
    ) -> Denial {
        let held = (self.settings.clock)().and_then(|now_ms| self.holder.current(now_ms));
        let claims = held.as_ref().map(|held| held.token.claims());
        let denial = self.records.refuse(function, subject.map(Arc::as_ref), refusal, claims);
        if let Some(place) = place {
            place.note_denial(denial.id);
        }
        denial
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
