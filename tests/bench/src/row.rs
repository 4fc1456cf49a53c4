//! What is measured: the rows of the table, and what of the standard each one calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a worker can be told to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Operation {
    /// `C_GetSessionInfo`: not gated.
    SessionInfo,
    /// `C_GenerateRandom` of 16 bytes: not gated.
    Random,
    /// `C_SignInit` and `C_Sign`, HMAC-SHA-256 over 32 bytes.
    Hmac,
    /// `C_SignInit` and `C_Sign`, ECDSA on P-256 over a digest.
    Ecdsa,
    /// `C_SignInit` and `C_Sign`, RSA-2048 PKCS #1 v1.5 over 32 bytes.
    Rsa,
    /// `C_EncryptInit` and `C_Encrypt`, AES-256-GCM over 1 KiB.
    AesGcm,
    /// `C_GetSessionValidationFlags`: not gated, and of 3.2.
    ValidationFlags,
    /// `C_EncryptMessage`, AES-256-GCM over 1 KiB, after one `C_MessageEncryptInit`. Of 3.0.
    Message,
    /// `C_VerifySignatureInit` and `C_VerifySignature`, HMAC-SHA-256 over 32 bytes. Of 3.2.
    VerifySignature,
}

/// What carries the operations out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// SoftHSM itself.
    SoftHsm,
    /// The null token in front of SoftHSM (`tests/null-token`).
    ///
    /// An operation on SoftHSM takes 15 to 500 µs and scatters by a few per cent, which is more than the gate may add
    /// altogether (300 ns). On a token that answers at once, what the gate adds is what is left.
    Null,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// A call that is not gated.
    SessionInfo,
    /// Another one.
    Random,
    /// The cheapest gated operation.
    Hmac,
    /// ECDSA on P-256.
    Ecdsa,
    /// RSA-2048.
    Rsa,
    /// Encryption with a secret key.
    AesGcm,
    /// What the shim adds to a call that is not gated.
    GateUngated,
    /// What the shim adds to a call that uses no key, which it judges.
    GateRandom,
    /// What the gate adds to a signature.
    GateSign,
    /// What the gate adds to an encryption.
    GateEncrypt,
    /// What the shim adds to a call of 3.2 that is not gated.
    GateFlags,
    /// What the gate adds to each message of an encryption that was begun once.
    GateMessage,
    /// What the gate adds to a verification whose signature is given first.
    GateVerifySignature,
}

/// What a row may cost more than the real module called directly, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Not more than this.
    pub bar: f64,
    /// Better still.
    pub goal: f64,
}

const UNGATED: Bar = Bar { bar: 30.0, goal: 5.0 };
const GATED: Bar = Bar { bar: 300.0, goal: 100.0 };

impl Row {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 13] = [
        Self::SessionInfo,
        Self::Random,
        Self::Hmac,
        Self::Ecdsa,
        Self::Rsa,
        Self::AesGcm,
        Self::GateUngated,
        Self::GateRandom,
        Self::GateSign,
        Self::GateEncrypt,
        Self::GateFlags,
        Self::GateMessage,
        Self::GateVerifySignature,
    ];

    /// What is called.
    pub const fn operation(self) -> Operation {
        match self {
            Self::SessionInfo | Self::GateUngated => Operation::SessionInfo,
            Self::Random | Self::GateRandom => Operation::Random,
            Self::Hmac | Self::GateSign => Operation::Hmac,
            Self::Ecdsa => Operation::Ecdsa,
            Self::Rsa => Operation::Rsa,
            Self::AesGcm | Self::GateEncrypt => Operation::AesGcm,
            Self::GateFlags => Operation::ValidationFlags,
            Self::GateMessage => Operation::Message,
            Self::GateVerifySignature => Operation::VerifySignature,
        }
    }

    /// On what.
    pub const fn token(self) -> Token {
        match self {
            Self::SessionInfo | Self::Random | Self::Hmac | Self::Ecdsa | Self::Rsa | Self::AesGcm => {
                Token::SoftHsm
            }
            Self::GateUngated
            | Self::GateRandom
            | Self::GateSign
            | Self::GateEncrypt
            | Self::GateFlags
            | Self::GateMessage
            | Self::GateVerifySignature => Token::Null,
        }
    }

    /// The bar for the shim, where the difference can be told from the operation's own scatter.
    pub const fn bar(self) -> Option<Bar> {
        match self {
            Self::SessionInfo | Self::Random | Self::GateUngated | Self::GateRandom | Self::GateFlags => {
                Some(UNGATED)
            }
            Self::GateSign | Self::GateEncrypt | Self::GateMessage | Self::GateVerifySignature => Some(GATED),
            Self::Hmac | Self::Ecdsa | Self::Rsa | Self::AesGcm => None,
        }
    }

    /// Operations between two looks at the clock, which itself takes some 30 ns.
    pub const fn chunk(self) -> u32 {
        match self {
            Self::SessionInfo
            | Self::Random
            | Self::GateUngated
            | Self::GateRandom
            | Self::GateSign
            | Self::GateEncrypt
            | Self::GateFlags
            | Self::GateMessage
            | Self::GateVerifySignature => 100,
            Self::Hmac | Self::Ecdsa | Self::Rsa | Self::AesGcm => 1,
        }
    }

    /// The name in the table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::SessionInfo => "C_GetSessionInfo",
            Self::Random => "C_GenerateRandom, 16 bytes",
            Self::Hmac => "HMAC-SHA-256, init + sign",
            Self::Ecdsa => "ECDSA P-256, init + sign",
            Self::Rsa => "RSA-2048, init + sign",
            Self::AesGcm => "AES-GCM 1 KiB, init + encrypt",
            Self::GateUngated => "gate only: ungated call",
            Self::GateRandom => "gate only: C_GenerateRandom",
            Self::GateSign => "gate only: init + operation (sign)",
            Self::GateEncrypt => "gate only: init + operation (encrypt)",
            Self::GateFlags => "gate only: ungated call of 3.2",
            Self::GateMessage => "gate only: message (encrypt)",
            Self::GateVerifySignature => "gate only: init + operation (verify signature)",
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.title())
    }
}
