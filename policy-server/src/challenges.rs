//! Nonces that the server need not remember: each proves by a code that this server gave it out, to whom, and until
//! when. Only those that have been used are remembered, until their time is over.

use std::collections::BTreeSet;
use std::time::Instant;

use attestation::base64url;
use parking_lot::Mutex;
use ring::hmac;

use crate::appraisal::NonceState;
use crate::error::ServerError;
use crate::random;

/// How long a nonce counts, in seconds.
pub const LIFETIME_S: u64 = 60;
/// Most used nonces that are remembered at a time. Each was answered with evidence that an enrolled key has signed.
const MAX_USED: usize = 1 << 18;

const TIME: usize = size_of::<u64>();
const RANDOM: usize = 8;
/// Half of the hash, the least that RFC 2104 section 5 recommends.
const CODE: usize = 16;
const NONCE: usize = TIME + RANDOM + CODE;

/// Gives nonces out and takes them back.
///
/// What it knows ends with the process, and so do the nonces: the key of the codes is made anew at every start. Time is
/// its own, since the wall clock can be set back, and what was forgotten would count again.
pub struct Challenges {
    key: hmac::Key,
    started: Instant,
    /// By the end of their time, so that those whose time is over come first.
    used: Mutex<BTreeSet<(u64, [u8; NONCE])>>,
}

impl Challenges {
    /// With a key of its own, and nothing given out.
    ///
    /// # Errors
    /// [`ServerError::Random`].
    pub fn new() -> Result<Self, ServerError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, random::bytes::<32>()?.as_slice());
        Ok(Self { key, started: Instant::now(), used: Mutex::new(BTreeSet::new()) })
    }

    /// Seconds of this server's own time, which starts with the life of one nonce.
    pub fn now(&self) -> u64 {
        LIFETIME_S.saturating_add(self.started.elapsed().as_secs())
    }

    /// A nonce for the attestation key `kid` and the attester's key `cnf`, given out at `now`: 32 bytes in base64url.
    ///
    /// # Errors
    /// [`ServerError::Random`].
    pub fn give(&self, kid: &str, cnf: &str, now: u64) -> Result<String, ServerError> {
        let expires_at = now.saturating_add(LIFETIME_S).to_be_bytes();
        let random = random::bytes::<RANDOM>()?;
        let code = self.code(&expires_at, random.as_slice(), kid, cnf);
        let nonce = [expires_at.as_slice(), random.as_slice(), code.as_slice()].concat();
        Ok(base64url::encode(&nonce))
    }

    /// Uses a nonce up, if it was given to `kid` and `cnf`, and says what state it was in.
    ///
    /// # Errors
    /// [`ServerError::TooManyAnswers`] where one more cannot be remembered.
    pub fn consume(&self, nonce: &str, kid: &str, cnf: &str, now: u64) -> Result<NonceState, ServerError> {
        let Some(nonce) = base64url::decode(nonce).and_then(|bytes| <[u8; NONCE]>::try_from(bytes).ok())
        else {
            return Ok(NonceState::Unknown);
        };
        let Some((expires_at, rest)) = nonce.split_first_chunk::<TIME>() else {
            return Ok(NonceState::Unknown);
        };
        let Some((random, code)) = rest.split_first_chunk::<RANDOM>() else {
            return Ok(NonceState::Unknown);
        };
        let expected = self.code(expires_at, random, kid, cnf);
        if !bool::from(subtle::ConstantTimeEq::ct_eq(expected.as_slice(), code)) {
            return Ok(NonceState::Unknown);
        }
        let expires_at = u64::from_be_bytes(*expires_at);
        if expires_at <= now {
            return Ok(NonceState::Expired);
        }
        let mut used = self.used.lock();
        *used = used.split_off(&(now.saturating_add(1), [0; NONCE]));
        if used.contains(&(expires_at, nonce)) {
            return Ok(NonceState::Used);
        }
        if used.len() >= MAX_USED {
            return Err(ServerError::TooManyAnswers);
        }
        used.insert((expires_at, nonce));
        Ok(NonceState::Fresh)
    }

    fn code(&self, expires_at: &[u8], random: &[u8], kid: &str, cnf: &str) -> [u8; CODE] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [expires_at, random, kid.as_bytes(), cnf.as_bytes()] {
            // Each with its length in front: no two lists of parts read the same.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut code = [0; CODE];
        code.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_once_and_for_a_minute() {
        let challenges = Challenges::new().unwrap();
        let give = || challenges.give("kid", "cnf", 1000).unwrap();
        let consume = |nonce: &str, now| challenges.consume(nonce, "kid", "cnf", now).unwrap();
        let (first, second, third) = (give(), give(), give());
        assert_eq!(consume(&first, 1000), NonceState::Fresh);
        assert_eq!(consume(&first, 1000), NonceState::Used);
        assert_eq!(consume(&second, 1059), NonceState::Fresh);
        assert_eq!(consume(&second, 1059), NonceState::Used);
        assert_eq!(consume(&third, 1060), NonceState::Expired);
        assert_eq!(consume(&first, 1060), NonceState::Expired);
    }

    #[test]
    fn a_nonce_counts_for_whom_it_was_given_to_and_where() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.give("kid", "cnf", 1000).unwrap();
        for (kid, cnf) in [("kid2", "cnf"), ("kid", "cn"), ("kidc", "nf"), ("cnf", "kid"), ("", "")] {
            assert_eq!(challenges.consume(&nonce, kid, cnf, 1000).unwrap(), NonceState::Unknown);
        }
        let restarted = Challenges::new().unwrap();
        assert_eq!(restarted.consume(&nonce, "kid", "cnf", 1000).unwrap(), NonceState::Unknown);
        assert_eq!(challenges.consume(&nonce, "kid", "cnf", 1000).unwrap(), NonceState::Fresh);
    }

    #[test]
    fn no_byte_of_a_nonce_can_be_changed() {
        let challenges = Challenges::new().unwrap();
        let nonce = base64url::decode(&challenges.give("kid", "cnf", 1000).unwrap()).unwrap();
        assert_eq!(nonce.len(), 32);
        for index in 0..nonce.len() {
            let mut changed = nonce.clone();
            changed[index] ^= 1;
            let changed = base64url::encode(&changed);
            assert_eq!(challenges.consume(&changed, "kid", "cnf", 1000).unwrap(), NonceState::Unknown);
        }
        for other in ["", "a", "=", &base64url::encode(&nonce[1..])] {
            assert_eq!(challenges.consume(other, "kid", "cnf", 1000).unwrap(), NonceState::Unknown);
        }
    }

    #[test]
    fn used_nonces_are_remembered_for_their_time_and_no_longer() {
        let challenges = Challenges::new().unwrap();
        for now in 1000..1200 {
            let nonce = challenges.give("kid", "cnf", now).unwrap();
            assert_eq!(challenges.consume(&nonce, "kid", "cnf", now).unwrap(), NonceState::Fresh);
            let held = challenges.used.lock().len();
            assert_eq!(held as u64, (now - 999).min(LIFETIME_S), "at {now}");
        }
    }

    #[test]
    fn an_answer_that_cannot_be_remembered_does_not_count() {
        let challenges = Challenges::new().unwrap();
        let nonce = challenges.give("kid", "cnf", 1001).unwrap();
        let others = (0..MAX_USED).map(|number| {
            let mut other = [0; NONCE];
            other[..TIME].copy_from_slice(&(number as u64).to_be_bytes());
            (1060, other)
        });
        *challenges.used.lock() = others.collect();
        let full = challenges.consume(&nonce, "kid", "cnf", 1001);
        assert!(matches!(full, Err(ServerError::TooManyAnswers)), "{full:?}");
        assert_eq!(challenges.consume(&nonce, "kid", "cnf", 1060).unwrap(), NonceState::Fresh);
    }
}
