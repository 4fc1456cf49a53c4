//! The forms of operations: one that was begun in one form is gone on with by the functions of that form alone.

use crate::Function;

/// In which form an operation with a key is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// One piece of data, in one call or in parts.
    Plain,
    /// The recover functions: the data comes out of the signature.
    Recover,
    /// Message after message, each in one call or in parts (PKCS#11 3.0).
    Messages,
    /// Verification of a signature that is given when the operation begins (PKCS#11 3.2).
    GivenSignature,
}

impl Form {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Plain, Self::Recover, Self::Messages, Self::GivenSignature];
}

impl Function {
    /// The form of the operations that it begins or goes on with.
    pub const fn form(self) -> Form {
        match self {
            Self::C_SignRecoverInit
            | Self::C_SignRecover
            | Self::C_VerifyRecoverInit
            | Self::C_VerifyRecover => Form::Recover,
            Self::C_MessageEncryptInit
            | Self::C_EncryptMessage
            | Self::C_EncryptMessageBegin
            | Self::C_EncryptMessageNext
            | Self::C_MessageEncryptFinal
            | Self::C_MessageDecryptInit
            | Self::C_DecryptMessage
            | Self::C_DecryptMessageBegin
            | Self::C_DecryptMessageNext
            | Self::C_MessageDecryptFinal
            | Self::C_MessageSignInit
            | Self::C_SignMessage
            | Self::C_SignMessageBegin
            | Self::C_SignMessageNext
            | Self::C_MessageSignFinal
            | Self::C_MessageVerifyInit
            | Self::C_VerifyMessage
            | Self::C_VerifyMessageBegin
            | Self::C_VerifyMessageNext
            | Self::C_MessageVerifyFinal => Form::Messages,
            Self::C_VerifySignatureInit
            | Self::C_VerifySignature
            | Self::C_VerifySignatureUpdate
            | Self::C_VerifySignatureFinal => Form::GivenSignature,
            _ => Form::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Since};

    #[test]
    fn every_function_is_of_the_form_that_its_name_says() {
        for function in Function::ALL {
            let name = function.name();
            let form = match function.class() {
                Class::Begin(_) | Class::Continue(_) if name.contains("Message") => Form::Messages,
                Class::Begin(_) | Class::Continue(_) if name.contains("Recover") => Form::Recover,
                Class::Begin(_) | Class::Continue(_) if name.contains("VerifySignature") => {
                    Form::GivenSignature
                }
                _ => Form::Plain,
            };
            assert_eq!(function.form(), form, "{name}");
            let is_old = matches!(form, Form::Plain | Form::Recover);
            let operates = matches!(function.class(), Class::Begin(_) | Class::Continue(_));
            assert!(!operates || is_old == (function.since() == Since::V2_40), "{name}");
        }
    }
}
