//! The template of a call: what the gate is told is what it states, once and readably; what was judged is what is forwarded
//! whatever the caller writes meanwhile; and no byte is read that the caller did not state.

#![no_main]

use cryptoki_ffi::{Stated, TemplateView, calls, is_public_attribute};
use cryptoki_sys::*;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use trustshim_fuzz::caller::{Place, bytes_of, is_possible, length};

/// Those that are judged, and some of the others.
const KINDS: [CK_ATTRIBUTE_TYPE; 9] = [
    CKA_APPLICATION,
    CKA_CLASS,
    CKA_ID,
    CKA_LABEL,
    CKA_TOKEN,
    CKA_VALUE,
    CKA_SENSITIVE,
    CKA_WRAP_TEMPLATE,
    CKA_VENDOR_DEFINED | 1,
];
const JUDGED: usize = 5;
/// Names longer than this are not read.
const LONGEST: usize = 512;

struct Attribute {
    kind: CK_ATTRIBUTE_TYPE,
    value: Option<Place>,
    length: CK_ULONG,
}

impl Attribute {
    fn of(input: &mut Unstructured<'_>) -> Result<Self> {
        let kind = *input.choose(&KINDS)?;
        if input.ratio(1, 8)? {
            return Ok(Self { kind, value: None, length: length(input)? });
        }
        let size: usize = match input.int_in_range(0..=15)? {
            0 => input.int_in_range(LONGEST - 1..=LONGEST + 1)?,
            1 => input.int_in_range(0..=64)?,
            2..=5 => 1,
            6..=9 => 8,
            _ => input.int_in_range(0..=4)?,
        };
        let value: Vec<u8> = (0..size).map(|_| input.arbitrary().unwrap_or_default()).collect();
        let value = Place::of(&value, input.arbitrary()?);
        // No bytes are there for a length that cannot be, which must not make anybody look for them.
        let length = if input.ratio(1, 64)? { CK_UNAVAILABLE_INFORMATION } else { size as CK_ULONG };
        Ok(Self { kind, value: Some(value), length })
    }

    fn is_possible(&self) -> bool {
        self.length == 0 || (self.value.is_some() && is_possible(self.length))
    }

    fn content(&self) -> &[u8] {
        self.value.as_ref().map_or(&[], Place::content)
    }

    fn raw(&mut self) -> CK_ATTRIBUTE {
        let value = self.value.as_mut().map_or(core::ptr::null_mut(), Place::pointer);
        CK_ATTRIBUTE { type_: self.kind, pValue: value, ulValueLen: self.length }
    }
}

/// What the attributes state of one kind, as `read` reads its bytes.
fn stated<T>(
    attributes: &[Attribute],
    kind: CK_ATTRIBUTE_TYPE,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Stated<T> {
    let all: Vec<_> = attributes.iter().filter(|attribute| attribute.kind == kind).collect();
    match all.as_slice() {
        [] => Stated::Absent,
        [one] if one.content().len() <= LONGEST => read(one.content()).map_or(Stated::Unclear, Stated::Once),
        _ => Stated::Unclear,
    }
}

fn view(attributes: &[Attribute]) -> Option<TemplateView> {
    let is_possible = attributes.len() <= 1024 && attributes.iter().all(Attribute::is_possible);
    let bytes = |kind| stated(attributes, kind, |value| Some(value.to_vec()));
    is_possible.then(|| TemplateView {
        application: bytes(CKA_APPLICATION),
        class: stated(attributes, CKA_CLASS, |value| Some(CK_ULONG::from_ne_bytes(value.try_into().ok()?))),
        id: bytes(CKA_ID),
        label: bytes(CKA_LABEL),
        token: stated(attributes, CKA_TOKEN, |value| (value.len() == 1).then(|| value[0] != 0)),
        only_public_attributes: attributes.iter().all(|attribute| is_public_attribute(attribute.kind)),
    })
}

fn attributes(input: &mut Unstructured<'_>) -> Result<(Vec<Attribute>, bool, CK_ULONG)> {
    let is_packed = input.arbitrary()?;
    let most = input.int_in_range(0..=1_000_000_000)? as CK_ULONG;
    let mut all = Vec::new();
    while !input.is_empty() && all.len() < 1030 {
        all.push(Attribute::of(input)?);
    }
    Ok((all, is_packed, most % 600))
}

fuzz_target!(|data: &[u8]| {
    let Ok((mut attributes, is_packed, most)) = attributes(&mut Unstructured::new(data)) else { return };
    let raw: Vec<_> = attributes.iter_mut().map(Attribute::raw).collect();
    let expected = view(&attributes);
    let mut place = Place::of(bytes_of(&raw), is_packed);
    let (first, count) = (place.pointer().cast(), raw.len() as CK_ULONG);
    // SAFETY: a template of `count` attributes whose values are as long as they say, or of a length that is not believed.
    let create = unsafe { calls::C_CreateObject::from_caller(1, first, count, core::ptr::null_mut()) };
    if expected.is_some() {
        let found = attributes.iter().find(|attribute| attribute.kind == CKA_VALUE);
        let value =
            found.filter(|value| value.value.is_some() && value.length <= most).map(Attribute::content);
        assert_eq!(create.value(most as usize).as_deref(), value);
    }
    let contents: Vec<_> = attributes.iter().map(|attribute| attribute.content().to_vec()).collect();
    let mut seen = None;
    create.pinned(|view, pinned| {
        seen = Some(view.clone());
        place.spoil();
        for (index, (before, content)) in raw.iter().zip(&contents).enumerate() {
            // SAFETY: the pinned call points to a copy of as many attributes, which lives through this closure.
            let now = unsafe { &*pinned.template().add(index) };
            assert_eq!((now.type_, now.ulValueLen), (before.type_, before.ulValueLen));
            let is_judged = KINDS[..JUDGED].contains(&now.type_);
            let once = raw.iter().filter(|attribute| attribute.type_ == now.type_).count() == 1;
            let is_copied = is_judged && once && (1..=LONGEST).contains(&content.len());
            assert_eq!(now.pValue != before.pValue, is_copied, "what is judged is copied, and nothing else");
            if is_copied {
                attributes[index].value.as_mut().unwrap().spoil();
            }
            if !content.is_empty() {
                // SAFETY: the value that is forwarded is as long as it was.
                let value = unsafe { core::slice::from_raw_parts(now.pValue.cast::<u8>(), content.len()) };
                assert_eq!(value, content, "another value than was judged");
            }
        }
        CKR_OK
    });
    assert_eq!(seen, expected);
});
