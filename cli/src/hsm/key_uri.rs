//! The attestation key's URI: one from which the token and the key can be found, or the key made.

use attestation::key_uri::{KeyUri, ObjectClass, ObjectIdentity, TokenIdentity};

use crate::error::CliError;

/// An RFC 7512 URI with `token` or `serial`, with `object` or `id`, and of a private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationKeyUri {
    text: String,
    uri: KeyUri,
}

impl AttestationKeyUri {
    /// Refuses a URI that is too wide to make a key by.
    pub fn parse(text: &str) -> Result<Self, CliError> {
        let refuse = |why: String| CliError::KeyUri { uri: text.to_owned(), why };
        let uri = KeyUri::parse(text).map_err(|error| refuse(error.to_string()))?;
        if uri.token().is_none() && uri.serial().is_none() {
            return Err(refuse("it has neither token= nor serial=".to_owned()));
        }
        if uri.object().is_none() && uri.id().is_none() {
            return Err(refuse("it has neither object= nor id=".to_owned()));
        }
        let mut attributes = text.trim_start_matches("pkcs11:").split(';');
        if attributes.any(|attribute| attribute.starts_with("type=") && attribute != "type=private") {
            return Err(refuse("type= must be private".to_owned()));
        }
        Ok(Self { text: text.to_owned(), uri })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// `CKA_LABEL`, where the URI says it.
    pub fn label(&self) -> Option<Vec<u8>> {
        self.uri.object().map(<[u8]>::to_vec)
    }

    /// `CKA_ID`, where the URI says it.
    pub fn id(&self) -> Option<Vec<u8>> {
        self.uri.id().map(<[u8]>::to_vec)
    }

    /// Whether these are the words of a token that the URI means.
    pub fn is_token(&self, label: &str, serial: &str, model: &str, manufacturer: &str) -> bool {
        self.uri.matches(&ObjectIdentity {
            token: TokenIdentity {
                label: label.to_owned(),
                serial: serial.to_owned(),
                model: model.to_owned(),
                manufacturer: manufacturer.to_owned(),
            },
            class: ObjectClass::Private,
            id: self.id().unwrap_or_default(),
            label: self.label().unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_id_and_token_are_taken_from_the_uri() {
        let uri =
            AttestationKeyUri::parse("pkcs11:token=my%20token;object=a%3bb;id=%00%fF;type=private").unwrap();
        assert_eq!(uri.label().as_deref(), Some(b"a;b".as_slice()));
        assert_eq!(uri.id().as_deref(), Some([0, 0xff].as_slice()));
        assert!(uri.is_token("my token", "any", "any", "any"));
        assert!(!uri.is_token("mytoken", "any", "any", "any"));
    }

    #[test]
    fn uris_that_name_no_key_or_more_than_is_looked_at_are_refused() {
        for text in [
            "",
            "object=a",
            "pkcs11:",
            "pkcs11:object=a",
            "pkcs11:token=t",
            "pkcs11:token=t;object=a;type=public",
            "pkcs11:type=public;token=t;object=a",
            "pkcs11:type=secret-key;token=t;object=a",
            "pkcs11:token=t;object=a;slot-id=1",
            "pkcs11:token=t;object=a;object=b",
            "pkcs11:token=t;object=%4",
            "pkcs11:token=t;object=a?pin-value=1234",
        ] {
            assert!(matches!(AttestationKeyUri::parse(text), Err(CliError::KeyUri { .. })), "{text}");
        }
    }
}
