//! The header of a frame: version, code, length of the body, and a number by which answers are told apart.

use pkcs11_table::Function;

use crate::error::WireError;

/// The version of the frames.
pub const VERSION: u16 = 1;
/// Bytes of a header.
pub const HEADER: usize = 16;
/// Most bytes of a body.
pub const MAX_BODY: usize = 16 << 20;
/// Most bytes of the body of a frame that is no call and no answer to one.
pub const MAX_CONTROL: usize = 4096;

const NEWEST_INFO: u16 = 0x0100;
const ANSWER: u16 = 0x0200;
const FIRST_CONTROL: u16 = 0x8000;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A call of a function.
    Call(Function),
    /// A call of `C_GetInfo` through a list of 3.x.
    NewestInfo,
    /// The answer to a call.
    Answer,
    /// What is said about the connection itself.
    Control(Kind),
}

/// What a frame says about the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// The guard's nonce, to be placed in the client's memory.
    Challenge,
    /// Where the client has placed it.
    Placed,
    /// The client wants to know what is offered, and nothing else.
    Ask,
    /// What is offered.
    Offer,
    /// The client is let in; a connection for calls comes along.
    Welcome,
    /// The client wants a further connection for calls.
    More,
    /// A further connection for calls comes along.
    Another,
    /// The client is turned away.
    Turned,
}

impl Kind {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 8] = [
        Self::Challenge,
        Self::Placed,
        Self::Ask,
        Self::Offer,
        Self::Welcome,
        Self::More,
        Self::Another,
        Self::Turned,
    ];
}

impl Code {
    const fn number(self) -> u16 {
        match self {
            Self::Call(function) => function as u16,
            Self::NewestInfo => NEWEST_INFO,
            Self::Answer => ANSWER,
            Self::Control(kind) => FIRST_CONTROL | kind as u16,
        }
    }

    fn of(number: u16) -> Result<Self, WireError> {
        let function = || Function::ALL.get(usize::from(number)).copied().map(Self::Call);
        let control = || {
            let index = number.checked_sub(FIRST_CONTROL)?;
            Kind::ALL.get(usize::from(index)).copied().map(Self::Control)
        };
        match number {
            NEWEST_INFO => Ok(Self::NewestInfo),
            ANSWER => Ok(Self::Answer),
            _ => function().or_else(control).ok_or(WireError::Code(number)),
        }
    }

    const fn most(self) -> usize {
        match self {
            Self::Call(_) | Self::NewestInfo | Self::Answer => MAX_BODY,
            Self::Control(_) => MAX_CONTROL,
        }
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    code: Code,
    length: u32,
    sequence: u64,
}

impl Header {
    /// A header of a body of `length` bytes.
    pub fn new(code: Code, length: usize, sequence: u64) -> Result<Self, WireError> {
        match u32::try_from(length) {
            Ok(short) if length <= code.most() => Ok(Self { code, length: short, sequence }),
            _ => Err(WireError::TooLong(length as u64)),
        }
    }

    /// What the frame is.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Bytes of the body, never more than [`MAX_BODY`].
    pub const fn length(&self) -> usize {
        self.length as usize
    }

    /// The number that the answer has, too.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// As it is sent.
    pub fn encode(&self) -> [u8; HEADER] {
        let words = u128::from(VERSION)
            | u128::from(self.code.number()) << 16
            | u128::from(self.length) << 32
            | u128::from(self.sequence) << 64;
        words.to_le_bytes()
    }

    /// Reads what was received.
    pub fn decode(bytes: [u8; HEADER]) -> Result<Self, WireError> {
        let words = u128::from_le_bytes(bytes);
        let part = |shift: u32, mask: u64| (words >> shift) as u64 & mask;
        let version = part(0, 0xffff) as u16;
        if version != VERSION {
            return Err(WireError::Version(version));
        }
        let code = Code::of(part(16, 0xffff) as u16)?;
        Self::new(code, part(32, 0xffff_ffff) as usize, part(64, u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn codes() -> Vec<Code> {
        let calls = Function::ALL.iter().copied().map(Code::Call);
        let control = Kind::ALL.into_iter().map(Code::Control);
        calls.chain([Code::NewestInfo, Code::Answer]).chain(control).collect()
    }

    #[test]
    fn every_code_goes_there_and_back() {
        for code in codes() {
            let header = Header::new(code, 8, 7).unwrap();
            assert_eq!(Header::decode(header.encode()), Ok(header), "{code:?}");
        }
        let numbers = [Function::C_Initialize, Function::C_UnwrapKeyAuthenticated].map(|f| f as u16);
        assert_eq!(numbers, [0, 103], "the codes of calls are the places in the table");
    }

    #[test]
    fn headers_of_other_versions_codes_and_lengths_are_none() {
        let bytes = Header::new(Code::Answer, 24, 1).unwrap().encode();
        assert_eq!(bytes, [1, 0, 0, 2, 24, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        let with = |at: usize, value: [u8; 2]| {
            let mut other = bytes;
            other[at..at + 2].copy_from_slice(&value);
            Header::decode(other)
        };
        assert_eq!(with(0, [2, 0]), Err(WireError::Version(2)));
        for code in [104_u16, 0xff, 0x101, 0x201, 0x7fff, 0x8008, 0xffff] {
            assert_eq!(with(2, code.to_le_bytes()), Err(WireError::Code(code)));
        }
        assert_eq!(with(6, [0xff, 0xff]), Err(WireError::TooLong(0xffff_0018)));
        assert!(with(6, [0, 1]).is_err() && with(6, [0xff, 0]).is_ok());
        for kind in Kind::ALL {
            assert!(Header::new(Code::Control(kind), MAX_CONTROL, 0).is_ok());
            assert!(Header::new(Code::Control(kind), MAX_CONTROL + 1, 0).is_err());
        }
        assert!(Header::new(Code::Answer, MAX_BODY, 0).is_ok());
        assert!(Header::new(Code::Answer, MAX_BODY + 1, 0).is_err());
        assert!(Header::new(Code::Answer, 1 << 32, 0).is_err());
    }

    proptest! {
        #[test]
        fn a_header_that_is_read_is_the_one_that_was_written(bytes: [u8; HEADER]) {
            if let Ok(header) = Header::decode(bytes) {
                prop_assert_eq!(header.encode(), bytes);
                prop_assert!(header.length() <= MAX_BODY);
            }
        }
    }
}
