//! What the gate knows about one session: the operations that run on it, and what was lately judged and looked at there.

use std::sync::Arc;

use pkcs11_table::{Form, Function, Use};

use crate::authorize::Limit;
use crate::limits::Reservation;
use crate::rules::Demands;
use crate::subject::Subject;

/// How long an object's identity is believed without another look, in milliseconds.
const BELIEVED_MS: u64 = 1_000;
/// Objects and inits that a session remembers.
const REMEMBERED: usize = 8;

/// An operation that the real module has accepted.
#[derive(Debug)]
pub struct Running {
    pub(crate) demands: Arc<Demands>,
    pub(crate) begun: Use,
    pub(crate) form: Form,
    pub(crate) mechanism: u64,
    pub(crate) judged: Judged,
    pub(crate) reservations: Vec<Reservation>,
}

/// A judgement, and for how long it stands without another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    /// Of the trust token that it rests on.
    pub(crate) token_epoch: u64,
    /// `CLOCK_BOOTTIME` in milliseconds.
    pub(crate) until_ms: u64,
}

impl Running {
    /// The use that was begun.
    pub const fn used(&self) -> Use {
        self.begun
    }

    /// In which form.
    pub const fn form(&self) -> Form {
        self.form
    }

    /// The `CKM_` number that it was begun with.
    pub const fn mechanism(&self) -> u64 {
        self.mechanism
    }

    /// Whether it has a place in the rate of a grant.
    pub const fn is_limited(&self) -> bool {
        !self.reservations.is_empty()
    }

    /// The objects that it uses.
    pub fn subjects(&self) -> impl Iterator<Item = &Arc<Subject>> {
        self.demands.iter().map(|demand| &demand.subject)
    }

    /// Whether it has its place under one of `limits` already.
    pub(crate) fn is_counted(&self, limits: &[Limit]) -> bool {
        let counted =
            |limit: &Limit| self.reservations.iter().any(|reservation| reservation.grant() == limit.grant);
        limits.iter().any(counted)
    }

    /// Part of a cipher's result is out, so the operation is used even if it comes to no end. Signatures and verifications
    /// give nothing before they end.
    pub(crate) fn yields(&mut self) {
        if matches!(self.begun, Use::Encrypt | Use::Decrypt) {
            self.reservations.iter_mut().for_each(Reservation::use_up);
        }
    }

    /// A new message begins. One of which a part is out counts, though it came to no end.
    pub(crate) fn message_begins(&mut self) {
        if self.reservations.iter().any(Reservation::is_used_up) {
            self.message_completed();
        }
    }

    /// A message has completed: a rate is used up, and the next message needs room of its own in it.
    pub fn message_completed(&mut self) {
        if self.is_limited() {
            self.reservations.drain(..).for_each(Reservation::complete);
            // Judged anew, since the judgement is what reserves.
            self.judged.until_ms = 0;
        }
    }

    /// A call that goes on with it has failed. Where the error tells something of what was handed in, as that it cannot be
    /// decrypted or is no signature, the try counts, and a further one needs room of its own.
    pub fn failed(&mut self) {
        if matches!(self.begun, Use::Decrypt | Use::Verify) {
            self.message_completed();
        }
    }

    /// It cannot be gone on with: what was reserved for it is given back.
    fn displaced(self) -> Self {
        Self { reservations: Vec::new(), ..self }
    }

    /// The operation has completed: a rate is used up.
    pub fn complete(self) {
        self.reservations.into_iter().for_each(Reservation::complete);
    }
}

/// An object as it was when the gate looked at it.
#[derive(Debug)]
struct Known {
    object: u64,
    subject: Arc<Subject>,
    objects_epoch: u64,
    read_at_ms: u64,
}

/// An init that was permitted.
#[derive(Debug)]
pub(crate) struct Recent {
    pub(crate) function: Function,
    pub(crate) mechanism: u64,
    pub(crate) object: u64,
    pub(crate) demands: Arc<Demands>,
    pub(crate) judged: Judged,
    pub(crate) objects_epoch: u64,
    pub(crate) read_at_ms: u64,
}

/// The state of one session.
#[derive(Debug, Default)]
pub struct Session {
    /// By use: encrypt, decrypt, sign, verify; one of each, in whatever form: a module that confuses two forms must find no
    /// judgement of the one for the other.
    running: [Option<Running>; 4],
    /// What had its place there taken though the real module may hold it yet. No two of one use and form.
    displaced: Vec<Running>,
    known: Vec<Known>,
    recent: Vec<Recent>,
    /// The keys whose values went into the digest that runs.
    digested: Vec<Arc<Subject>>,
    last_ms: u64,
}

impl Session {
    /// The operation that was begun by `used` in this form, if it runs.
    pub fn running(&self, used: Use, form: Form) -> Option<&Running> {
        self.running.get(place(used)?)?.as_ref().filter(|running| running.form == form)
    }

    /// As [`running`](Self::running), to be changed.
    pub fn running_mut(&mut self, used: Use, form: Form) -> Option<&mut Running> {
        self.running.get_mut(place(used)?)?.as_mut().filter(|running| running.form == form)
    }

    /// Every operation that runs.
    pub fn all_running(&self) -> impl Iterator<Item = &Running> {
        self.running.iter().flatten()
    }

    /// The keys that the state of the session may hold something of (PKCS#11 3.1 section 5.6, `C_GetOperationState`): those of
    /// every operation that the real module may hold.
    pub fn keys_in_state(&self) -> impl Iterator<Item = &Arc<Subject>> {
        self.all_running().chain(&self.displaced).flat_map(Running::subjects).chain(&self.digested)
    }

    /// Notes that the real module has accepted an operation. One of the same use and form is over by that: it would have stood
    /// in the way (PKCS#11 3.1 section 5.1, `CKR_OPERATION_ACTIVE`). One of another form need not.
    pub fn begun(&mut self, running: Running) {
        drop(self.ended(running.begun, running.form));
        if let Some(slot) = place(running.begun).and_then(|place| self.running.get_mut(place)) {
            self.displaced.extend(slot.replace(running).map(Running::displaced));
        }
    }

    /// Notes that the operation is over, and gives what ran.
    pub fn ended(&mut self, used: Use, form: Form) -> Option<Running> {
        self.displaced.retain(|running| (running.begun, running.form) != (used, form));
        self.running.get_mut(place(used)?)?.take_if(|running| running.form == form)
    }

    /// No operation can be gone on with: what runs in the real module by now may not have been begun through the gate. It may be
    /// what ran before as well, for a state that is restored need not replace every operation (PKCS#11 3.1 section 5.6,
    /// `C_SetOperationState`).
    pub fn all_displaced(&mut self) {
        let running = self.running.iter_mut().filter_map(Option::take);
        self.displaced.extend(running.map(Running::displaced));
    }

    /// A key's value goes into the digest that runs.
    pub fn digests(&mut self, key: Arc<Subject>) {
        self.digested.push(key);
    }

    /// A digest begins.
    pub fn digest_begun(&mut self) {
        self.digested.clear();
    }

    /// The keys whose values went into the digest that runs.
    pub fn digested(&self) -> &[Arc<Subject>] {
        &self.digested
    }

    /// Whether the clock has not gone backwards between two calls of this session.
    pub(crate) fn at(&mut self, now_ms: u64) -> bool {
        let forwards = now_ms >= self.last_ms;
        if forwards {
            self.last_ms = now_ms;
        }
        forwards
    }

    /// The object, if it was looked at lately and nothing has changed any object since.
    pub(crate) fn known(&self, object: u64, objects_epoch: u64, now_ms: u64) -> Option<(&Arc<Subject>, u64)> {
        let is_it = |known: &&Known| known.object == object && known.objects_epoch == objects_epoch;
        let known = self.known.iter().find(is_it)?;
        is_believed(known.read_at_ms, now_ms).then_some((&known.subject, known.read_at_ms))
    }

    pub(crate) fn learn(&mut self, object: u64, subject: Arc<Subject>, objects_epoch: u64, read_at_ms: u64) {
        self.known.retain(|known| known.object != object && known.objects_epoch == objects_epoch);
        push(&mut self.known, Known { object, subject, objects_epoch, read_at_ms });
    }

    /// A permitted init of the same kind on the same object, while nothing of what it rests on has changed.
    pub(crate) fn recent(
        &self,
        (function, mechanism, object): (Function, u64, u64),
        objects_epoch: u64,
        token_epoch: u64,
        now_ms: u64,
    ) -> Option<&Recent> {
        self.recent.iter().find(|recent| {
            recent.object == object
                && recent.mechanism == mechanism
                && recent.function == function
                && recent.objects_epoch == objects_epoch
                && recent.judged.stands(token_epoch, now_ms)
                && is_believed(recent.read_at_ms, now_ms)
        })
    }

    pub(crate) fn remember(&mut self, recent: Recent) {
        self.recent.retain(|old| {
            (old.function, old.mechanism, old.object) != (recent.function, recent.mechanism, recent.object)
        });
        push(&mut self.recent, recent);
    }
}

impl Judged {
    pub(crate) const fn stands(&self, token_epoch: u64, now_ms: u64) -> bool {
        self.token_epoch == token_epoch && now_ms < self.until_ms
    }
}

/// Whether it begins a message of an operation that takes several.
pub(crate) const fn begins_message(function: Function) -> bool {
    matches!(
        function,
        Function::C_DecryptMessage
            | Function::C_DecryptMessageBegin
            | Function::C_EncryptMessage
            | Function::C_EncryptMessageBegin
            | Function::C_SignMessage
            | Function::C_SignMessageBegin
            | Function::C_VerifyMessage
            | Function::C_VerifyMessageBegin
    )
}

/// Whether a part of the result is out once the call has been made, before the operation is over.
pub(crate) const fn yields_in_parts(function: Function) -> bool {
    matches!(
        function,
        Function::C_DecryptDigestUpdate
            | Function::C_DecryptMessageNext
            | Function::C_DecryptUpdate
            | Function::C_DecryptVerifyUpdate
            | Function::C_DigestEncryptUpdate
            | Function::C_EncryptMessageNext
            | Function::C_EncryptUpdate
            | Function::C_SignEncryptUpdate
    )
}

/// Whether what was read then counts without another look.
pub(crate) fn is_believed(read_at_ms: u64, now_ms: u64) -> bool {
    now_ms.checked_sub(read_at_ms).is_some_and(|age_ms| age_ms < BELIEVED_MS)
}

/// Adds one; the oldest goes where there is no room.
fn push<T>(list: &mut Vec<T>, new: T) {
    if list.len() >= REMEMBERED {
        list.remove(0);
    }
    list.push(new);
}

const fn place(used: Use) -> Option<usize> {
    match used {
        Use::Encrypt => Some(0),
        Use::Decrypt => Some(1),
        Use::Sign => Some(2),
        Use::Verify => Some(3),
        Use::Administer
        | Use::Decapsulate
        | Use::Derive
        | Use::Destroy
        | Use::Encapsulate
        | Use::Generate
        | Use::Import
        | Use::Modify
        | Use::Reveal
        | Use::Unwrap
        | Use::Wrap => None,
    }
}
