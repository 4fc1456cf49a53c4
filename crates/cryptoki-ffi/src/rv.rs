//! The one place where a refusal becomes a `CK_RV`.

use cryptoki_sys::{CK_RV, CKR_FUNCTION_REJECTED, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_VENDOR_DEFINED};
use gate::Refusal;

/// "Trust token invalid", in the range that PKCS#11 leaves to vendors.
const TRUST_TOKEN_INVALID: CK_RV = CKR_VENDOR_DEFINED | 0x0054_5301;

/// Which code tells the application that it was refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DenyCode {
    /// `CKR_FUNCTION_REJECTED`: what the standard has for it; clients stop.
    #[default]
    FunctionRejected,
    /// `CKR_KEY_FUNCTION_NOT_PERMITTED`: named by more clients, but some then try another function.
    KeyFunctionNotPermitted,
    /// `CKR_VENDOR_DEFINED | 0x00545301`.
    Vendor,
}

/// What the application hears.
pub const fn denial_rv(refusal: &Refusal, code: DenyCode) -> CK_RV {
    match refusal {
        Refusal::Attestation(_)
        | Refusal::ClassChanged
        | Refusal::ClockBackwards
        | Refusal::ClockUnreadable
        | Refusal::GrantExpired { .. }
        | Refusal::HandedIn(_)
        | Refusal::MechanismNotGranted { .. }
        | Refusal::MechanismUnclear(_)
        | Refusal::NoRandomness
        | Refusal::NameInPart { .. }
        | Refusal::NameOfAnotherGrant { .. }
        | Refusal::NotGranted { .. }
        | Refusal::RateExceeded(_)
        | Refusal::TemplateUnclear
        | Refusal::TokenExpired
        | Refusal::Unaccounted
        | Refusal::WrongClass => match code {
            DenyCode::FunctionRejected => CKR_FUNCTION_REJECTED,
            DenyCode::KeyFunctionNotPermitted => CKR_KEY_FUNCTION_NOT_PERMITTED,
            DenyCode::Vendor => TRUST_TOKEN_INVALID,
        },
    }
}
