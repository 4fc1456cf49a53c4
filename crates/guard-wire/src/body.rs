//! Bodies: words of eight bytes, little endian, and byte strings, which are a word for the length and the bytes, filled up
//! with zeros to whole words.

use crate::error::WireError;
use crate::header::{Code, HEADER, Header, MAX_BODY};

const WORD: usize = size_of::<u64>();

/// A body that is being written, with room for its header in front of it. Its memory is kept from one frame to the next.
#[derive(Debug)]
pub struct Writer {
    /// Header and body.
    bytes: Vec<u8>,
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// An empty body.
    pub fn new() -> Self {
        Self { bytes: vec![0; HEADER] }
    }

    /// An empty body again. What was in it, a PIN perhaps, is overwritten; memory beyond `keep` bytes is given back.
    pub fn clear(&mut self, keep: usize) {
        self.bytes.fill(0);
        // What is overwritten would else not have to be.
        core::hint::black_box(self.bytes.as_slice());
        self.bytes.truncate(HEADER);
        self.bytes.shrink_to(keep);
    }

    /// A word.
    pub fn word(&mut self, word: u64) -> Result<(), WireError> {
        self.has_room(WORD)?;
        self.bytes.extend_from_slice(&word.to_le_bytes());
        Ok(())
    }

    /// A byte string.
    pub fn bytes(&mut self, content: &[u8]) -> Result<(), WireError> {
        self.place(content.len())?.copy_from_slice(content);
        Ok(())
    }

    /// A byte string of `length` zeros, to be written over.
    pub fn place(&mut self, length: usize) -> Result<&mut [u8], WireError> {
        // No sum of two words and a length within the bound runs over.
        let padded = length.min(MAX_BODY + 1).next_multiple_of(WORD);
        self.has_room(WORD + padded)?;
        self.bytes.extend_from_slice(&(length as u64).to_le_bytes());
        let start = self.bytes.len();
        self.bytes.resize(start + padded, 0);
        self.bytes.get_mut(start..start + length).ok_or(WireError::TooLong(length as u64))
    }

    /// What has been written.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(HEADER..).unwrap_or_default()
    }

    /// The frame as it is sent, header and body in one piece.
    pub fn frame(&mut self, code: Code, sequence: u64) -> Result<&[u8], WireError> {
        let header = Header::new(code, self.body().len(), sequence)?;
        if let Some(place) = self.bytes.first_chunk_mut() {
            *place = header.encode();
        }
        Ok(&self.bytes)
    }

    fn has_room(&self, length: usize) -> Result<(), WireError> {
        let all = self.body().len().saturating_add(length);
        if all > MAX_BODY { Err(WireError::TooLong(all as u64)) } else { Ok(()) }
    }
}

/// A body that is being read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The whole of a body.
    pub const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// A word.
    pub fn word(&mut self) -> Result<u64, WireError> {
        let (word, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*word))
    }

    /// A word that is no more than `most`; `what` names it in the error.
    pub fn number(&mut self, most: usize, what: &'static str) -> Result<usize, WireError> {
        let word = usize::try_from(self.word()?).unwrap_or(usize::MAX);
        if word > most { Err(WireError::Number(what)) } else { Ok(word) }
    }

    /// A word that is 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, WireError> {
        Ok(self.number(1, what)? == 1)
    }

    /// A byte string.
    pub fn bytes(&mut self) -> Result<&'a [u8], WireError> {
        let length = usize::try_from(self.word()?).unwrap_or(usize::MAX);
        let padded = length.checked_next_multiple_of(WORD).ok_or(WireError::Truncated)?;
        let (string, rest) = self.rest.split_at_checked(padded).ok_or(WireError::Truncated)?;
        let (content, padding) = string.split_at_checked(length).ok_or(WireError::Truncated)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(WireError::Padding);
        }
        self.rest = rest;
        Ok(content)
    }

    /// A byte string of this length.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<&'a [u8; N], WireError> {
        self.bytes()?.try_into().map_err(|_| WireError::Number(what))
    }

    /// Nothing comes after.
    pub const fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing(self.rest.len())) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    enum Part {
        Word(u64),
        Bytes(Vec<u8>),
    }

    fn part() -> impl Strategy<Value = Part> {
        prop_oneof![
            any::<u64>().prop_map(Part::Word),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Part::Bytes)
        ]
    }

    fn written(parts: &[Part]) -> Writer {
        let mut writer = Writer::new();
        for part in parts {
            match part {
                Part::Word(word) => writer.word(*word).unwrap(),
                Part::Bytes(bytes) => writer.bytes(bytes).unwrap(),
            }
        }
        writer
    }

    fn read(parts: &[Part], body: &[u8]) -> Result<Vec<Part>, WireError> {
        let mut reader = Reader::new(body);
        let mut all = Vec::new();
        for part in parts {
            all.push(match part {
                Part::Word(_) => Part::Word(reader.word()?),
                Part::Bytes(_) => Part::Bytes(reader.bytes()?.to_vec()),
            });
        }
        reader.finish()?;
        Ok(all)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(parts in proptest::collection::vec(part(), 0..8)) {
            let writer = written(&parts);
            prop_assert_eq!(writer.body().len() % WORD, 0);
            prop_assert_eq!(read(&parts, writer.body()), Ok(parts));
        }

        #[test]
        fn a_body_that_is_cut_or_goes_on_is_none(
            parts in proptest::collection::vec(part(), 1..8),
            cut in 1_usize..100,
        ) {
            let body = written(&parts).body().to_vec();
            let shorter = body.len().saturating_sub(cut);
            prop_assert_eq!(read(&parts, &body[..shorter]), Err(WireError::Truncated));
            let longer: Vec<u8> = body.iter().copied().chain(core::iter::repeat_n(0, cut)).collect();
            prop_assert_eq!(read(&parts, &longer), Err(WireError::Trailing(cut)));
        }

        #[test]
        fn any_body_is_read_without_harm_and_in_one_way_alone(
            parts in proptest::collection::vec(part(), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Ok(all) = read(&parts, &body) {
                let again = written(&all);
                prop_assert_eq!(again.body(), body);
            }
        }
    }

    #[test]
    fn lengths_that_no_body_has_are_truncated() {
        for length in [1, 8, u64::MAX, u64::MAX - 7, 1 << 63, 1 << 32] {
            let mut reader = Reader::new(&[0; 8]);
            assert_eq!(reader.word(), Ok(0));
            let bytes = length.to_le_bytes();
            assert_eq!(Reader::new(&bytes).bytes(), Err(WireError::Truncated), "{length:#x}");
        }
        let mut writer = Writer::new();
        writer.bytes(&[1, 2, 3]).unwrap();
        let mut body = writer.body().to_vec();
        assert_eq!(body, [3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0]);
        body[11] = 1;
        assert_eq!(Reader::new(&body).bytes(), Err(WireError::Padding));
    }

    #[test]
    fn a_body_has_no_more_than_it_may_have() {
        let mut writer = Writer::new();
        assert!(writer.place(MAX_BODY - 7).is_err() && writer.place(usize::MAX).is_err());
        assert!(writer.body().is_empty(), "nothing of what has no room is written");
        assert_eq!(writer.place(MAX_BODY - WORD).map(|place| place.len()), Ok(MAX_BODY - WORD));
        assert!(writer.word(1).is_err() && writer.bytes(&[]).is_err());
        assert_eq!(writer.frame(Code::Answer, 1).map(<[u8]>::len), Ok(HEADER + MAX_BODY));
        writer.clear(64);
        assert!(writer.body().is_empty() && writer.bytes.capacity() < 128);
        writer.word(7).unwrap();
        let expected = [1, 0, 0, 2, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(writer.frame(Code::Answer, 9), Ok(expected.as_slice()));
    }

    #[test]
    fn numbers_and_flags_are_within_their_bounds() {
        let word = |word: u64| word.to_le_bytes();
        assert_eq!(Reader::new(&word(8)).number(8, "count"), Ok(8));
        for beyond in [9, u64::MAX] {
            assert_eq!(Reader::new(&word(beyond)).number(8, "count"), Err(WireError::Number("count")));
        }
        let flag = |value| Reader::new(&word(value)).flag("flag");
        assert_eq!([flag(0), flag(1), flag(2)], [Ok(false), Ok(true), Err(WireError::Number("flag"))]);
        let mut writer = Writer::new();
        writer.bytes(&[1, 2]).unwrap();
        assert_eq!(Reader::new(writer.body()).array("pair"), Ok(&[1, 2]));
        assert_eq!(Reader::new(writer.body()).array::<3>("three"), Err(WireError::Number("three")));
    }
}
