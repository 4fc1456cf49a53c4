//! What is said about a connection before calls go over it: the challenge that a client meets, what it is offered, and why
//! it is turned away.

use pkcs11_table::FlatMechanisms;

use crate::body::{Reader, Writer};
use crate::error::WireError;
use crate::header::{Code, Kind};

/// Bytes of the nonce that is placed in the client's memory.
pub const NONCE: usize = 32;
/// Most function lists that are offered.
pub const MAX_INTERFACES: usize = 16;
/// Most bytes of the reason for which a client is turned away.
pub const MAX_REASON: usize = 1024;

/// A frame about the connection. Descriptors that come along are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// To be placed in the client's memory.
    Challenge {
        /// Nobody knew it before.
        nonce: [u8; NONCE],
    },
    /// Where the client has placed it.
    Placed {
        /// In the client's memory.
        address: u64,
    },
    /// What is offered?
    Ask,
    /// This.
    Offer {
        /// The versions of the function lists that the real module has, major and minor.
        interfaces: Vec<(u8, u8)>,
    },
    /// The client is let in.
    Welcome {
        /// As in an offer.
        interfaces: Vec<(u8, u8)>,
        /// The vendors' mechanisms whose parameter is to come as bytes.
        flat: FlatMechanisms,
    },
    /// A connection for a further thread, please.
    More,
    /// Here it is.
    Another,
    /// The client is turned away.
    Turned {
        /// What the application hears, a `CK_RV`.
        code: u64,
        /// For the client's log.
        reason: String,
    },
}

impl Control {
    /// What it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Challenge { .. } => Kind::Challenge,
            Self::Placed { .. } => Kind::Placed,
            Self::Ask => Kind::Ask,
            Self::Offer { .. } => Kind::Offer,
            Self::Welcome { .. } => Kind::Welcome,
            Self::More => Kind::More,
            Self::Another => Kind::Another,
            Self::Turned { .. } => Kind::Turned,
        }
    }

    /// The code of its frame.
    pub const fn code(&self) -> Code {
        Code::Control(self.kind())
    }

    /// Writes its body. A reason that is too long is cut.
    pub fn encode(&self, body: &mut Writer) -> Result<(), WireError> {
        match self {
            Self::Challenge { nonce } => body.bytes(nonce),
            Self::Placed { address } => body.word(*address),
            Self::Ask | Self::More | Self::Another => Ok(()),
            Self::Offer { interfaces } => write_interfaces(interfaces, body),
            Self::Welcome { interfaces, flat } => {
                write_interfaces(interfaces, body)?;
                body.word(flat.numbers().len() as u64)?;
                flat.numbers().iter().try_for_each(|number| body.word(*number))
            }
            Self::Turned { code, reason } => {
                body.word(*code)?;
                let end = reason.floor_char_boundary(MAX_REASON);
                body.bytes(reason.get(..end).unwrap_or_default().as_bytes())
            }
        }
    }

    /// Reads the body of a frame of this kind.
    pub fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        let control = match kind {
            Kind::Challenge => Self::Challenge { nonce: *reader.array("nonce")? },
            Kind::Placed => Self::Placed { address: reader.word()? },
            Kind::Ask => Self::Ask,
            Kind::Offer => Self::Offer { interfaces: interfaces(&mut reader)? },
            Kind::Welcome => Self::Welcome { interfaces: interfaces(&mut reader)?, flat: flat(&mut reader)? },
            Kind::More => Self::More,
            Kind::Another => Self::Another,
            Kind::Turned => {
                let code = reader.word()?;
                let reason = reader.bytes()?;
                if reason.len() > MAX_REASON {
                    return Err(WireError::Number("reason"));
                }
                let reason = core::str::from_utf8(reason).map_err(|_| WireError::Text)?;
                Self::Turned { code, reason: reason.to_owned() }
            }
        };
        reader.finish()?;
        Ok(control)
    }
}

fn write_interfaces(interfaces: &[(u8, u8)], body: &mut Writer) -> Result<(), WireError> {
    if interfaces.len() > MAX_INTERFACES {
        return Err(WireError::Number("interfaces"));
    }
    body.word(interfaces.len() as u64)?;
    interfaces.iter().try_for_each(|(major, minor)| body.word(u64::from(*major) << 8 | u64::from(*minor)))
}

fn interfaces(reader: &mut Reader<'_>) -> Result<Vec<(u8, u8)>, WireError> {
    let count = reader.number(MAX_INTERFACES, "interfaces")?;
    let version = |_| {
        let [minor, major] =
            u16::try_from(reader.word()?).map_err(|_| WireError::Number("version"))?.to_le_bytes();
        Ok((major, minor))
    };
    (0..count).map(version).collect()
}

fn flat(reader: &mut Reader<'_>) -> Result<FlatMechanisms, WireError> {
    let count = reader.number(FlatMechanisms::MOST, "mechanisms")?;
    let numbers = (0..count).map(|_| reader.word()).collect::<Result<_, _>>()?;
    FlatMechanisms::new(numbers).ok_or(WireError::Contradiction("mechanisms"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::header::MAX_CONTROL;

    fn control() -> impl Strategy<Value = Control> {
        let interfaces = || proptest::collection::vec(any::<(u8, u8)>(), 0..=MAX_INTERFACES);
        let flat = || {
            proptest::collection::btree_set(0x8000_0000_u64..0x1_0000_0000, 0..=FlatMechanisms::MOST)
                .prop_map(|numbers| FlatMechanisms::new(numbers.into_iter().collect()).unwrap())
        };
        prop_oneof![
            any::<[u8; NONCE]>().prop_map(|nonce| Control::Challenge { nonce }),
            any::<u64>().prop_map(|address| Control::Placed { address }),
            Just(Control::Ask),
            interfaces().prop_map(|interfaces| Control::Offer { interfaces }),
            (interfaces(), flat()).prop_map(|(interfaces, flat)| Control::Welcome { interfaces, flat }),
            Just(Control::More),
            Just(Control::Another),
            any::<(u64, String)>().prop_map(|(code, reason)| Control::Turned { code, reason }),
        ]
    }

    fn body(control: &Control) -> Vec<u8> {
        let mut writer = Writer::new();
        control.encode(&mut writer).unwrap();
        writer.body().to_vec()
    }

    proptest! {
        #[test]
        fn every_frame_goes_there_and_back(control in control()) {
            let body = body(&control);
            prop_assert!(body.len() <= MAX_CONTROL);
            prop_assert_eq!(Control::decode(control.kind(), &body), Ok(control));
        }

        #[test]
        fn any_body_is_read_without_harm_and_in_one_way_alone(
            kind in 0..Kind::ALL.len(),
            content in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(control) = Control::decode(Kind::ALL[kind], &content) {
                prop_assert_eq!(body(&control), content);
            }
        }
    }

    #[test]
    fn bodies_that_state_too_much_are_none() {
        let list = vec![(3, 2); MAX_INTERFACES];
        let mut longer = body(&Control::Offer { interfaces: list.clone() });
        assert!(Control::decode(Kind::Offer, &longer).is_ok());
        longer[0] += 1;
        longer.extend([0; 8]);
        assert_eq!(Control::decode(Kind::Offer, &longer), Err(WireError::Number("interfaces")));
        let more = [list, vec![(3, 0)]].concat();
        let flat = FlatMechanisms::NONE;
        assert!(Control::Welcome { interfaces: more, flat }.encode(&mut Writer::new()).is_err());
        let version = [1, 0, 0, 0, 0, 0, 0, 0, 2, 3, 1, 0, 0, 0, 0, 0];
        assert_eq!(Control::decode(Kind::Offer, &version), Err(WireError::Number("version")));
    }

    #[test]
    fn flat_mechanisms_are_vendors_own_in_their_order() {
        let welcome = |numbers: &[u64]| {
            let mut writer = Writer::new();
            let words = [&[0, numbers.len() as u64], numbers].concat();
            words.iter().try_for_each(|word| writer.word(*word)).unwrap();
            Control::decode(Kind::Welcome, writer.body())
        };
        let flat = FlatMechanisms::new(vec![0x8000_0001, 0x8000_0101]).unwrap();
        assert_eq!(
            welcome(&[0x8000_0001, 0x8000_0101]),
            Ok(Control::Welcome { interfaces: Vec::new(), flat })
        );
        for bad in [&[0x402a][..], &[0x8000_0101, 0x8000_0001], &[0x8000_0001, 0x8000_0001]] {
            assert_eq!(welcome(bad), Err(WireError::Contradiction("mechanisms")), "{bad:x?}");
        }
        let many: Vec<_> = (0..65).map(|number| 0x8000_0000 | number).collect();
        assert_eq!(welcome(&many), Err(WireError::Number("mechanisms")));
    }

    #[test]
    fn a_reason_is_cut_where_a_character_ends() {
        let reason = format!("{}é", "x".repeat(MAX_REASON - 1));
        let cut = Control::decode(Kind::Turned, &body(&Control::Turned { code: 5, reason }));
        assert_eq!(cut, Ok(Control::Turned { code: 5, reason: "x".repeat(MAX_REASON - 1) }));
        let mut writer = Writer::new();
        writer.word(5).unwrap();
        writer.bytes(&[0xff]).unwrap();
        assert_eq!(Control::decode(Kind::Turned, writer.body()), Err(WireError::Text));
        let mut writer = Writer::new();
        writer.word(5).unwrap();
        writer.bytes(&[b'x'; MAX_REASON + 1]).unwrap();
        assert_eq!(Control::decode(Kind::Turned, writer.body()), Err(WireError::Number("reason")));
    }
}
