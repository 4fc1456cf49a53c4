//! The attester's in-memory key: made anew by each attesting process, named in its evidence (`cnf`), and the key
//! to which the trust token is bound, so that a gate takes no token that another process asked for.

use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::evidence::PublicJwk;

/// The public half of an Ed25519 key of this process.
///
/// Nothing is signed with the private half in this version, so it is wiped as soon as the key is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttesterKey {
    public: PublicJwk,
}

/// The system gave no random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random numbers: {0}")]
pub struct NoRandomness(pub getrandom::Error);

impl AttesterKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, NoRandomness> {
        let secret = random_signing_key()?;
        Ok(Self { public: PublicJwk::ed25519(secret.verifying_key().as_bytes()) })
    }

    /// The public half, for the `cnf` claim of evidence.
    pub fn public_jwk(&self) -> PublicJwk {
        self.public.clone()
    }

    /// Its thumbprint, with which a challenge is asked for and which the trust token carries.
    pub fn thumbprint(&self) -> String {
        self.public.thumbprint()
    }
}

/// A fresh Ed25519 key from the system's random numbers.
pub(crate) fn random_signing_key() -> Result<SigningKey, NoRandomness> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut_slice()).map_err(NoRandomness)?;
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_key_of_its_own() {
        let (one, other) = (AttesterKey::generate().unwrap(), AttesterKey::generate().unwrap());
        assert_ne!(one.thumbprint(), other.thumbprint());
        assert_eq!(one.public_jwk().validate(), Ok(()));
    }
}
