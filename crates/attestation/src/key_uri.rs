//! Keys by name: PKCS#11 URIs (RFC 7512) as grants state them, and the identity of tokens and objects as the real module
//! shows it.

use core::fmt;

/// A PKCS#11 URI that names keys, other objects, or a token. Attributes that it does not state match anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyUri {
    token: Option<Vec<u8>>,
    manufacturer: Option<Vec<u8>>,
    model: Option<Vec<u8>>,
    serial: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    object: Option<Vec<u8>>,
    class: Option<ObjectClass>,
}

/// `CKA_CLASS` of an object, as the URI attribute `type` tells them apart (RFC 7512 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum ObjectClass {
    Certificate,
    Data,
    Private,
    Public,
    Secret,
}

impl ObjectClass {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Certificate, Self::Data, Self::Private, Self::Public, Self::Secret];

    /// The value of the URI attribute `type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "cert",
            Self::Data => "data",
            Self::Private => "private",
            Self::Public => "public",
            Self::Secret => "secret-key",
        }
    }

    /// Whether objects of this class are keys.
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Private | Self::Public | Self::Secret)
    }
}

/// What identifies a token: the fields of `CK_TOKEN_INFO`, without their padding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenIdentity {
    /// `label`.
    pub label: String,
    /// `serialNumber`.
    pub serial: String,
    /// `model`.
    pub model: String,
    /// `manufacturerID`.
    pub manufacturer: String,
}

/// What identifies an object in a token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectIdentity {
    /// The token that holds it.
    pub token: TokenIdentity,
    /// `CKA_CLASS`.
    pub class: ObjectClass,
    /// `CKA_ID`, may be empty.
    pub id: Vec<u8>,
    /// `CKA_LABEL`, may be empty.
    pub label: Vec<u8>,
}

/// The text is not a PKCS#11 URI of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum KeyUriError {
    #[error(
        "`{0}` is not an attribute of a key URI; known are token, manufacturer, model, serial, id, object, type"
    )]
    AttributeUnknown(String),
    #[error("the attribute `{0}` occurs twice")]
    Duplicate(&'static str),
    #[error("the URI names nothing: at least one attribute is needed, such as `object=`")]
    Empty,
    #[error("`{0}` holds a character that must be percent-encoded, or a broken percent-encoding")]
    Encoding(String),
    #[error("a key URI has no query part (`?`)")]
    Query,
    #[error("a key URI starts with `pkcs11:`")]
    Scheme,
    #[error("`type={0}` is no type of object; known are cert, data, private, public, secret-key")]
    Type(String),
}

impl KeyUri {
    /// Parses the text of a URI.
    pub fn parse(text: &str) -> Result<Self, KeyUriError> {
        let (scheme, path) = text.split_once(':').ok_or(KeyUriError::Scheme)?;
        // RFC 3986 section 3.1: schemes are case-insensitive.
        if !scheme.eq_ignore_ascii_case("pkcs11") {
            return Err(KeyUriError::Scheme);
        }
        if path.contains('?') {
            return Err(KeyUriError::Query);
        }
        if path.is_empty() {
            return Err(KeyUriError::Empty);
        }
        let mut uri = Self::default();
        for attribute in path.split(';') {
            let (name, value) = attribute.split_once('=').ok_or_else(|| unknown(attribute))?;
            let value = percent_decode(value).ok_or_else(|| KeyUriError::Encoding(name.to_owned()))?;
            uri.set(name, value)?;
        }
        Ok(uri)
    }

    fn set(&mut self, name: &str, value: Vec<u8>) -> Result<(), KeyUriError> {
        let (slot, name) = match name {
            "token" => (&mut self.token, "token"),
            "manufacturer" => (&mut self.manufacturer, "manufacturer"),
            "model" => (&mut self.model, "model"),
            "serial" => (&mut self.serial, "serial"),
            "id" => (&mut self.id, "id"),
            "object" => (&mut self.object, "object"),
            "type" => {
                let class = ObjectClass::ALL.into_iter().find(|class| class.name().as_bytes() == value);
                let class = class.ok_or_else(|| KeyUriError::Type(crate::digest::escape(&value)))?;
                return match self.class.replace(class) {
                    None => Ok(()),
                    Some(_) => Err(KeyUriError::Duplicate("type")),
                };
            }
            other => return Err(unknown(other)),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(KeyUriError::Duplicate(name)),
        }
    }

    /// Whether `object` has every attribute that the URI states.
    pub fn matches(&self, object: &ObjectIdentity) -> bool {
        self.token_part_matches(&object.token)
            && is_stated(&self.id, &object.id)
            && is_stated(&self.object, &object.label)
            && self.class.is_none_or(|class| class == object.class)
    }

    /// Whether the URI names `token` as a whole, and not an object on it.
    pub fn matches_token(&self, token: &TokenIdentity) -> bool {
        self.names_no_object() && self.token_part_matches(token)
    }

    fn token_part_matches(&self, token: &TokenIdentity) -> bool {
        is_stated(&self.token, token.label.as_bytes())
            && is_stated(&self.manufacturer, token.manufacturer.as_bytes())
            && is_stated(&self.model, token.model.as_bytes())
            && is_stated(&self.serial, token.serial.as_bytes())
    }

    /// Whether the URI states nothing about an object: then it names tokens, with everything on them.
    pub fn names_no_object(&self) -> bool {
        self.id.is_none() && self.object.is_none() && self.class.is_none()
    }

    /// `token`: the token's label.
    pub fn token(&self) -> Option<&[u8]> {
        self.token.as_deref()
    }

    /// `serial`: the token's serial number.
    pub fn serial(&self) -> Option<&[u8]> {
        self.serial.as_deref()
    }

    /// `object`: the key's label.
    pub fn object(&self) -> Option<&[u8]> {
        self.object.as_deref()
    }

    /// `id`: the key's id.
    pub fn id(&self) -> Option<&[u8]> {
        self.id.as_deref()
    }

    /// Whether the URI states everything by which grants tell the objects of a token apart: id, label and class, be it that
    /// there is no id or no label. One that leaves any of them open names objects that others have grants on.
    pub const fn states_whole_name(&self) -> bool {
        self.id.is_some() && self.object.is_some() && self.class.is_some()
    }

    /// Whether the URI is meant for one key: it states token or serial number, type, and id or object.
    ///
    /// An empty value states nothing here: keys without a label are many.
    pub fn names_one_key(&self) -> bool {
        let stated = |value: &Option<Vec<u8>>| value.as_ref().is_some_and(|value| !value.is_empty());
        (stated(&self.serial) || stated(&self.token))
            && self.class.is_some()
            && (stated(&self.id) || stated(&self.object))
    }
}

impl fmt::Display for KeyUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attributes = [
            ("token", &self.token),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("id", &self.id),
            ("object", &self.object),
        ];
        let stated = attributes.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        let class = self.class.map(|class| ("type", class.name().as_bytes()));
        f.write_str("pkcs11:")?;
        for (index, (name, value)) in stated.chain(class).enumerate() {
            let separator = if index > 0 { ";" } else { "" };
            write!(f, "{separator}{name}=")?;
            for byte in value {
                // RFC 7512 section 2.3: the whole id should be percent-encoded.
                if name != "id" && is_unreserved(*byte) {
                    write!(f, "{}", char::from(*byte))?;
                } else {
                    write!(f, "%{byte:02X}")?;
                }
            }
        }
        Ok(())
    }
}

impl ObjectIdentity {
    /// The URI that matches this object, and no object that differs from it in any attribute.
    pub fn uri(&self) -> String {
        KeyUri {
            id: Some(self.id.clone()),
            object: Some(self.label.clone()),
            class: Some(self.class),
            ..self.token.to_uri()
        }
        .to_string()
    }
}

impl TokenIdentity {
    /// The URI that matches this token.
    pub fn uri(&self) -> String {
        self.to_uri().to_string()
    }

    fn to_uri(&self) -> KeyUri {
        let bytes = |text: &str| Some(text.as_bytes().to_vec());
        KeyUri {
            token: bytes(&self.label),
            manufacturer: bytes(&self.manufacturer),
            model: bytes(&self.model),
            serial: bytes(&self.serial),
            ..KeyUri::default()
        }
    }
}

/// Whether an attribute that the URI may state is this one.
fn is_stated(stated: &Option<Vec<u8>>, value: &[u8]) -> bool {
    stated.as_ref().is_none_or(|stated| stated == value)
}

fn unknown(attribute: &str) -> KeyUriError {
    KeyUriError::AttributeUnknown(crate::digest::escape(attribute.as_bytes()))
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pk11-pchar` of RFC 7512 section 2.3, but for percent-encoding.
fn is_literal(byte: u8) -> bool {
    is_unreserved(byte) || b":[]@!$'()*+,=&".contains(&byte)
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?,
            byte if is_literal(byte) => byte,
            _ => return None,
        });
    }
    Some(out)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
#[path = "key_uri_tests.rs"]
mod tests;
