//! Operations with keys, judged when they begin and again at every continuation.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pkcs11_table::{Class, Function};

use super::{Begun, Gate, Look};
use crate::authorize::{Grounds, authorize};
use crate::denial::{Denial, Refusal};
use crate::limits::Spending;
use crate::permit::Permit;
use crate::rules::{self, Mechanism};
use crate::session::{Judged, Recent, Running, Session, begins_message, yields_in_parts};
use crate::sessions::Place;
use crate::subject::Subject;

impl Gate {
    /// Judges an init that is like one before it on this session; `None` where something has to be looked at anew.
    pub fn begin_again(
        &self,
        session: &mut Session,
        function: Function,
        mechanism: u64,
        object: u64,
    ) -> Option<Begun> {
        let Class::Begin(begun) = function.class() else { return None };
        let now_ms = self.now(Some(session)).ok()?;
        let objects_epoch = self.objects_epoch.counter().load(Ordering::Acquire);
        let of = (function, mechanism, object);
        let recent = session.recent(of, objects_epoch, self.holder.epoch(), now_ms)?;
        // A token that is due for renewal is renewed by the way that leads through the holder.
        if !self.holder.is_fresh(now_ms) && !self.is_free(&recent.demands) {
            return None;
        }
        let running = Running {
            demands: Arc::clone(&recent.demands),
            begun,
            form: function.form(),
            mechanism,
            judged: recent.judged,
            reservations: Vec::new(),
        };
        Some(Begun { permit: Permit::new(function), running })
    }

    /// Judges an init: `function` begins to use the object of the handle `object`, which is `key`, with `mechanism`.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn begin(
        &self,
        (place, session): (&Place, &mut Session),
        function: Function,
        mechanism: Mechanism<'_>,
        object: u64,
        (look, key): (Look, &Arc<Subject>),
    ) -> Result<Begun, Denial> {
        let refuse = |refusal| self.refuse(Some(place), function, Some(key), refusal);
        let Class::Begin(begun) = function.class() else {
            return Err(refuse(Refusal::WrongClass));
        };
        let demands = Arc::new(rules::begin(function, begun, mechanism, key));
        let (judged, Spending(reservations)) = self.judge(&demands, Some(session)).map_err(refuse)?;
        // A rate has to be asked each time, and so have the keys that a parameter names.
        if reservations.is_empty() && mechanism.names.is_empty() {
            session.remember(Recent {
                function,
                mechanism: mechanism.kind,
                object,
                demands: Arc::clone(&demands),
                judged,
                objects_epoch: look.objects_epoch,
                read_at_ms: look.at_ms,
            });
        }
        let running = Running {
            demands,
            begun,
            form: function.form(),
            mechanism: mechanism.kind,
            judged,
            reservations,
        };
        Ok(Begun { permit: Permit::new(function), running })
    }

    /// Judges a continuation of what runs on the session by `function`; of two operations at once, both.
    ///
    /// `None` where `function` does not go on with what runs.
    ///
    /// # Errors
    /// The refusal, on record.
    pub fn resume(
        &self,
        (place, session): (&Place, &mut Session),
        function: Function,
    ) -> Option<Result<Permit, Denial>> {
        let (first, second) = match function.class() {
            Class::Continue(used) => (used, None),
            Class::Dual(first, second) => (first, Some(second)),
            _ => return None,
        };
        let uses = core::iter::once(first).chain(second);
        let form = function.form();
        if !uses.clone().all(|used| session.running(used, form).is_some()) {
            return None;
        }
        let now_ms = match self.now(Some(session)) {
            Ok(now_ms) => now_ms,
            Err(refusal) => return Some(Err(self.refuse(Some(place), function, None, refusal))),
        };
        for used in uses.clone() {
            let running = session.running_mut(used, form)?;
            if begins_message(function) {
                running.message_begins();
            }
            match self.judge_resume(running, now_ms) {
                Ok(()) => {}
                Err(refusal) => {
                    let subject = running.subjects().next().map(Arc::clone);
                    return Some(Err(self.refuse(Some(place), function, subject.as_ref(), refusal)));
                }
            }
        }
        for used in uses.filter(|_| yields_in_parts(function)) {
            session.running_mut(used, form)?.yields();
        }
        Some(Ok(Permit::new(function)))
    }

    fn judge_resume(&self, running: &mut Running, now_ms: u64) -> Result<(), Refusal> {
        if running.judged.stands(self.holder.epoch(), now_ms) || self.is_free(&running.demands) {
            return Ok(());
        }
        // Not obtained anew: an operation ends with the token under which it could go on.
        let held = self.holder.current(now_ms).ok_or(Refusal::TokenExpired)?;
        let Grounds { until_ms, rates } = authorize(&held.token, &running.demands.all, now_ms)?;
        // What began under a grant without a rate may go on under one that has a rate only if there is room.
        for limits in &rates {
            if !running.is_counted(limits) {
                let reservation = self.limits.reserve(limits, now_ms).map_err(Refusal::RateExceeded)?;
                running.reservations.push(reservation);
            }
        }
        running.judged = Judged { token_epoch: held.epoch, until_ms };
        Ok(())
    }
}
