//! Random identifiers and secrets, all from the operating system.

use attestation::base64url;
use attestation::decision::DecisionId;
use zeroize::Zeroizing;

use crate::error::ServerError;

/// `N` random bytes.
///
/// # Errors
/// [`ServerError::Random`].
pub fn bytes<const N: usize>() -> Result<Zeroizing<[u8; N]>, ServerError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|error| ServerError::Random(error.to_string()))?;
    Ok(bytes)
}

/// 32 random bytes in base64url: a credential.
///
/// # Errors
/// [`ServerError::Random`].
pub fn secret() -> Result<Zeroizing<String>, ServerError> {
    Ok(Zeroizing::new(base64url::encode(bytes::<32>()?.as_slice())))
}

/// 16 random bytes in base64url: the id of a token.
///
/// # Errors
/// [`ServerError::Random`].
pub fn token_id() -> Result<String, ServerError> {
    Ok(base64url::encode(bytes::<16>()?.as_slice()))
}

/// The id of a decision.
///
/// # Errors
/// [`ServerError::Random`].
pub fn decision_id() -> Result<DecisionId, ServerError> {
    Ok(DecisionId::from_random(u64::from_ne_bytes(*bytes::<8>()?)))
}
