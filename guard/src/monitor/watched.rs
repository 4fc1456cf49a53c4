//! A client process as the monitor watches it: what it was measured as, the token that it was given, and whether both still
//! hold.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attestation::component::Component;
use attestation::digest::Digest;
use gate::{AttestationFailure, FailureKind};
use locks::Mutex;
use measurement::peer::Confirmed;

use super::Monitor;
use super::admission::Admitted;
use super::deadline::{By, Deadline};
use super::granted::Granted;
use super::tokens::{Obtained, Standing};
use crate::channel::Channel;
use crate::error::GuardError;
use crate::messages::{Attest, Attested, FromMeasurer, Looked, Question, Served, Taken, ToMeasurer};

/// A trust token has no more grants for one key, and none with a longer name.
const MAX_LIMITS: usize = 256;
const MAX_GRANT: usize = 64;

/// The process, for those who look at it.
pub(super) struct Watched {
    served: Served,
    process: Confirmed,
    /// It counts for as long as somebody works for it, though it may have left.
    admitted: Arc<Admitted>,
    /// Operations that were reserved for it under grants with a rate.
    reserved: Mutex<BTreeMap<String, u64>>,
    /// The grants under which it may have any reserved.
    granted: Granted,
    /// Its worker has named another.
    is_suspect: AtomicBool,
    /// What it was when it was given a token, and which.
    known: Mutex<Option<Known>>,
}

struct Known {
    state: Digest,
    /// Those that were measured with it.
    files: Vec<PathBuf>,
    /// None of a token that the process has handed in.
    standing: Option<Standing>,
}

impl Known {
    fn is_still(&self, state: Digest) -> bool {
        self.state == state && self.standing.as_ref().is_none_or(Standing::is_good)
    }
}

impl Watched {
    /// A process that has not been measured yet.
    pub(super) fn new(served: Served, process: Confirmed, admitted: Arc<Admitted>) -> Self {
        let (reserved, granted, known) = (Mutex::default(), Granted::default(), Mutex::new(None));
        Self { served, process, admitted, reserved, granted, is_suspect: AtomicBool::new(false), known }
    }

    /// As its worker knows it.
    pub(super) const fn served(&self) -> Served {
        self.served
    }

    /// The user that it was when it connected.
    pub(super) fn uid(&self) -> u32 {
        self.admitted.uid()
    }

    /// The process.
    pub(super) const fn process(&self) -> &Confirmed {
        &self.process
    }

    /// Answers its worker's questions until that has ended.
    pub(super) fn answer_questions(&self, monitor: &Monitor, channel: &Channel) {
        let answered = || -> Result<(), GuardError> {
            while let Some(question) = channel.receive_alone()? {
                match question {
                    Question::Look => channel.send(&self.look(monitor))?,
                    Question::Take(grants) => channel.send(&Taken(self.reserve(monitor, &grants)?))?,
                    Question::GiveBack(grant) => {
                        self.give_back(monitor, &grant);
                        channel.send(&Taken(None))?;
                    }
                }
            }
            Ok(())
        };
        ended(answered());
    }

    /// Has tokens for its worker until that has ended.
    pub(super) fn answer_tokens(&self, monitor: &Monitor, channel: &Channel) {
        let answered = || -> Result<(), GuardError> {
            while let Some(asked) = channel.receive_alone::<Attest>()? {
                channel.send(&self.attest(monitor, asked))?;
            }
            Ok(())
        };
        ended(answered());
    }

    /// Under grants of its own: counts are of all that have a grant, whose total a worker that was taken over could else use up.
    fn reserve(&self, monitor: &Monitor, grants: &[String]) -> Result<Option<String>, GuardError> {
        if grants.len() > MAX_LIMITS || grants.iter().any(|grant| grant.len() > MAX_GRANT) {
            return Err(GuardError::OutOfPlace);
        }
        let now_ms = linux_ffi::boottime_ms()?;
        let limits = match self.granted.limits(grants, now_ms) {
            Ok(limits) => limits,
            Err(foreign) => {
                if !self.is_suspect.swap(true, Ordering::Relaxed) {
                    let pid = self.served.pid;
                    tracing::warn!(pid, grant = ?foreign, "a worker has named a grant that its client does not have");
                }
                return Ok(None);
            }
        };
        let grant = monitor.limits.take(&limits, now_ms);
        if let Some(grant) = &grant {
            *self.reserved.lock().entry(grant.clone()).or_default() += 1;
        }
        Ok(grant)
    }

    /// No more than was reserved for this process.
    fn give_back(&self, monitor: &Monitor, grant: &str) {
        if let Some(reserved) = self.reserved.lock().get_mut(grant).filter(|reserved| **reserved > 0) {
            *reserved -= 1;
            monitor.limits.give_back(grant);
        }
    }

    fn ask(
        &self,
        monitor: &Monitor,
        request: impl FnOnce() -> ToMeasurer,
    ) -> Result<FromMeasurer, GuardError> {
        let process = [self.process.pinned().pidfd(), self.process.pinned().memory()];
        monitor.measurers.ask(request, &process, &self.admitted)
    }

    /// What has become of the process since it was measured, and of the token that it was given.
    fn look(&self, monitor: &Monitor) -> Looked {
        let (baseline, files) = match &*self.known.lock() {
            Some(known) => (known.state, known.files.clone()),
            None => return Looked::Unmeasured,
        };
        let now = match self.ask(monitor, || ToMeasurer::Look { served: self.served, files }) {
            Ok(FromMeasurer::State(state)) => Ok(state),
            Ok(FromMeasurer::Failed { detail }) => Err(detail),
            Ok(FromMeasurer::Measured { .. } | FromMeasurer::Confirmed(_)) => {
                Err(GuardError::OutOfPlace.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        let mut known = self.known.lock();
        match (&*known, now) {
            (Some(known), Ok(state)) if known.is_still(state) => return Looked::Same,
            // It was measured anew meanwhile, and this says nothing about that.
            (Some(known), _) if known.state != baseline => return Looked::Unmeasured,
            (_, Ok(_)) => tracing::info!(pid = self.served.pid, "a client is not what it was measured as"),
            (_, Err(detail)) => {
                tracing::warn!(pid = self.served.pid, detail, "a client cannot be looked at");
            }
        }
        *known = None;
        Looked::Changed
    }

    /// Measures the process anew, and has a token for it.
    fn attest(&self, monitor: &Monitor, asked: Attest) -> Attested {
        // From now on, in every line.
        let by = self.by(asked.within_ms);
        let (component, files, state) = match self.measure(monitor, by) {
            Ok(measured) => measured,
            Err(detail) => return Attested::failed(unmeasured(detail), asked.report),
        };
        let is_handed_in = asked.handed_in.is_some();
        let Obtained { attested, standing, rated } = monitor.tokens.obtain(*component, asked, by);
        // Before the worker has it.
        if let Some(rated) = rated {
            self.granted.add(rated);
        }
        let mut known = self.known.lock();
        match &*known {
            // Without a new token, one that there was goes on to count: as long as the process is what it was then. Measuring
            // for a token that the process hands in, which may be none, is no reason to take what it has become for that.
            Some(_) if is_handed_in => {}
            _ if attested.result.is_ok() => *known = Some(Known { state, files, standing }),
            _ => {}
        }
        drop(known);
        attested
    }

    /// Whether it is time to renew the process's token.
    pub(super) fn is_due(&self) -> bool {
        self.due().is_some()
    }

    /// The state that the process had when it was given its token, if it is time to renew that.
    fn due(&self) -> Option<Digest> {
        let now_ms = linux_ffi::boottime_ms().ok()?;
        // Whoever has it is about to say what the process is.
        match &*self.known.try_lock()? {
            Some(Known { state, standing: Some(standing), .. }) if standing.is_due(now_ms) => Some(*state),
            _ => None,
        }
    }

    /// Has the process's token renewed if it is time: for the process as it is now, if that is what it was.
    pub(super) fn renew_if_due(&self, monitor: &Monitor) {
        let Some(before) = self.due() else { return };
        // What has changed is the next look's to find.
        let by = self.by(None);
        if let Ok((component, _, state)) = self.measure(monitor, by)
            && state == before
        {
            monitor.tokens.renew(*component, by);
        }
    }

    /// On behalf of its user.
    fn by(&self, within_ms: Option<u64>) -> By {
        By { uid: self.uid(), deadline: Deadline::within(within_ms) }
    }

    fn measure(&self, monitor: &Monitor, by: By) -> Result<(Box<Component>, Vec<PathBuf>, Digest), String> {
        let request = || ToMeasurer::Measure { served: self.served, within_ms: by.deadline.left_ms() };
        match self.ask(monitor, request) {
            Ok(FromMeasurer::Measured { component, files, state }) => Ok((component, files, state)),
            Ok(FromMeasurer::Failed { detail }) => Err(detail),
            Ok(FromMeasurer::State(_) | FromMeasurer::Confirmed(_)) => {
                Err(GuardError::OutOfPlace.to_string())
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn unmeasured(detail: String) -> AttestationFailure {
    AttestationFailure {
        kind: FailureKind::Unavailable,
        code: "measurement-failed".to_owned(),
        detail,
        decision: None,
    }
}

fn ended(result: Result<(), GuardError>) {
    if let Err(error) = result {
        // The worker waits in vain and refuses: it was ended, or is about to be.
        tracing::debug!(%error, "a worker is no longer answered");
    }
}
