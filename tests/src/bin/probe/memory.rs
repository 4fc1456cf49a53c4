//! The memory behind the arguments of one call: filled from the request before it, read into the answer after it.

use cryptoki_sys::*;
use serde_json::{Map, Value, json};

/// Room for an answer in bytes, where the request does not say.
const ROOM: usize = 4096;
/// Room for handles or slots.
const HANDLES: usize = 64;

/// What the arguments of one call point to.
pub struct Memory<'a> {
    request: &'a Value,
    buffers: Vec<(&'static str, Buffer)>,
    /// Length of the last buffer: what a length or a count behind it states.
    length: usize,
}

enum Buffer {
    /// Data that the caller gave; not answered.
    Input(Vec<u8>),
    /// Room for bytes, and for structures that hold nothing but numbers and characters.
    Output(Vec<u8>),
    Numbers(Vec<CK_ULONG>),
    Mechanism(Box<CK_MECHANISM>),
    Template(Vec<CK_ATTRIBUTE>, Vec<Vec<u8>>),
    List(Box<*mut CK_FUNCTION_LIST>),
    /// Room for interfaces, which are answered by name, version and flags.
    Interfaces(Vec<CK_INTERFACE>),
    Interface(Box<*mut CK_INTERFACE>),
}

/// An argument of a PKCS#11 function.
pub trait Argument: Sized {
    /// Takes it from the request.
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self;
}

impl<'a> Memory<'a> {
    /// No buffers yet.
    pub fn of(request: &'a Value) -> Self {
        Self { request, buffers: Vec::new(), length: 0 }
    }

    fn is_null(&self, name: &str) -> bool {
        self.request.get(name).is_some_and(Value::is_null)
    }

    fn number(&self, name: &str) -> Option<CK_ULONG> {
        self.request.get(name).map(|value| value.as_u64().unwrap_or_else(|| panic!("{name}: {value}")))
    }

    /// Keeps a buffer and gives it back.
    fn keep(&mut self, name: &'static str, buffer: Buffer) -> &mut Buffer {
        self.buffers.push((name, buffer));
        &mut self.buffers.last_mut().expect("just pushed").1
    }

    fn keep_bytes(&mut self, name: &'static str, bytes: Vec<u8>, is_input: bool) -> *mut u8 {
        self.length = bytes.len();
        match self.keep(name, if is_input { Buffer::Input(bytes) } else { Buffer::Output(bytes) }) {
            Buffer::Input(bytes) | Buffer::Output(bytes) => bytes.as_mut_ptr(),
            _ => unreachable!("just made"),
        }
    }

    /// The answer: return value, and whatever the function may have written.
    pub fn answer(self, rv: CK_RV) -> Value {
        let mut answer = Map::new();
        answer.insert("rv".to_owned(), rv.into());
        for (name, buffer) in self.buffers {
            let value = match buffer {
                Buffer::Input(_) | Buffer::Mechanism(_) | Buffer::List(_) => continue,
                Buffer::Output(bytes) => json!(hex(&bytes)),
                Buffer::Numbers(numbers) => json!(numbers),
                Buffer::Interfaces(interfaces) => {
                    json!(interfaces.iter().filter_map(described).collect::<Vec<_>>())
                }
                Buffer::Interface(interface) => {
                    // SAFETY: NULL, or what the module has given.
                    let interface: Option<&CK_INTERFACE> = unsafe { (*interface).as_ref() };
                    json!(interface.and_then(described))
                }
                Buffer::Template(template, values) => {
                    // An attribute that is not given out has the length CK_UNAVAILABLE_INFORMATION.
                    let value = |(attribute, value): (&CK_ATTRIBUTE, &Vec<u8>)| {
                        let length = usize::try_from(attribute.ulValueLen).ok()?;
                        value.get(..length).map(hex)
                    };
                    json!(template.iter().zip(&values).map(value).collect::<Vec<_>>())
                }
            };
            answer.insert(name.to_owned(), value);
        }
        answer.into()
    }
}

impl Argument for CK_ULONG {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        let is_length = name.ends_with("_len") || name.ends_with("count");
        memory.number(name).unwrap_or(if is_length { memory.length as CK_ULONG } else { 0 })
    }
}

impl Argument for CK_BBOOL {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        memory.number(name).map_or(CK_TRUE, |number| Self::try_from(number).expect("a byte"))
    }
}

impl Argument for CK_VOID_PTR {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        let bytes = structure(name, memory);
        memory.length = bytes.len();
        match bytes.is_empty() {
            true => core::ptr::null_mut(),
            false => memory.keep_bytes(name, bytes, true).cast(),
        }
    }
}

impl Argument for CK_NOTIFY {
    fn prepare(_: &'static str, _: &mut Memory<'_>) -> Self {
        None
    }
}

impl Argument for *mut CK_BYTE {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            memory.length = 0;
            return core::ptr::null_mut();
        }
        match memory.request.get(name) {
            Some(given) => {
                let bytes = unhex(given.as_str().expect("bytes in hexadecimal"));
                memory.keep_bytes(name, bytes, true)
            }
            None => memory.keep_bytes(name, vec![0; ROOM], false),
        }
    }
}

/// Lengths are preset with the room of the buffer before them; handles and slots have room for many.
impl Argument for *mut CK_ULONG {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            memory.length = 0;
            return core::ptr::null_mut();
        }
        let is_length = name.ends_with("_len") || name == "count";
        let numbers = if is_length {
            vec![memory.number(name).unwrap_or(memory.length as CK_ULONG)]
        } else {
            memory.length = HANDLES;
            vec![0; HANDLES]
        };
        match memory.keep(name, Buffer::Numbers(numbers)) {
            Buffer::Numbers(numbers) => numbers.as_mut_ptr(),
            _ => unreachable!("just made"),
        }
    }
}

impl Argument for *mut CK_MECHANISM {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            return core::ptr::null_mut();
        }
        let Some(mechanism) = memory.number(name) else { return core::ptr::null_mut() };
        let parameter = structure("parameter", memory);
        let length = memory.number("parameter_len").unwrap_or(parameter.len() as CK_ULONG);
        let pointer = match parameter.is_empty() {
            true => core::ptr::null_mut(),
            false => memory.keep_bytes("parameter", parameter, true),
        };
        let mechanism = CK_MECHANISM { mechanism, pParameter: pointer.cast(), ulParameterLen: length };
        match memory.keep(name, Buffer::Mechanism(Box::new(mechanism))) {
            Buffer::Mechanism(mechanism) => &raw mut **mechanism,
            _ => unreachable!("just made"),
        }
    }
}

/// Bytes in hexadecimal, or the parts of a structure: bytes, a number for a `CK_ULONG`, and `{"at": "bytes"}` for a pointer
/// to bytes.
fn structure(name: &'static str, memory: &mut Memory<'_>) -> Vec<u8> {
    let parts = match memory.request.get(name) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(parts)) => parts,
        Some(bytes) => core::slice::from_ref(bytes),
    };
    let mut structure = Vec::new();
    for part in parts {
        match (part.as_u64(), part.get("at")) {
            (Some(number), _) => structure.extend((number as CK_ULONG).to_ne_bytes()),
            (None, Some(bytes)) => {
                let bytes = unhex(bytes.as_str().expect("bytes in hexadecimal"));
                let place = memory.keep_bytes(name, bytes, true);
                structure.extend((place as usize).to_ne_bytes());
            }
            (None, None) => structure.extend(unhex(part.as_str().expect("bytes in hexadecimal"))),
        }
    }
    structure
}

/// A template reads `[[type, "value in hexadecimal"], ...]`; a number stands for so much room, and null for no pointer.
/// A third item is the length that the attribute states, whatever it has.
impl Argument for *mut CK_ATTRIBUTE {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            memory.length = 0;
            return core::ptr::null_mut();
        }
        let empty = Vec::new();
        let given = memory.request.get(name).map_or(&empty, |value| value.as_array().expect("a template"));
        let mut values: Vec<Vec<u8>> = given
            .iter()
            .map(|attribute| match &attribute[1] {
                Value::Null => Vec::new(),
                Value::Number(room) => vec![0; room.as_u64().expect("a length") as usize],
                value => unhex(value.as_str().expect("bytes in hexadecimal")),
            })
            .collect();
        let template = given.iter().zip(&mut values).map(|(attribute, value)| CK_ATTRIBUTE {
            type_: attribute[0].as_u64().expect("a type"),
            pValue: match attribute[1].is_null() {
                true => core::ptr::null_mut(),
                false => value.as_mut_ptr().cast(),
            },
            ulValueLen: attribute[2].as_u64().unwrap_or(value.len() as CK_ULONG),
        });
        let template: Vec<_> = template.collect();
        memory.length = template.len();
        match memory.keep(name, Buffer::Template(template, values)) {
            Buffer::Template(template, _) => template.as_mut_ptr(),
            _ => unreachable!("just made"),
        }
    }
}

impl Argument for *mut *mut CK_FUNCTION_LIST {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            return core::ptr::null_mut();
        }
        match memory.keep(name, Buffer::List(Box::new(core::ptr::null_mut()))) {
            Buffer::List(list) => &raw mut **list,
            _ => unreachable!("just made"),
        }
    }
}

impl Argument for *mut CK_INTERFACE {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            memory.length = 0;
            return core::ptr::null_mut();
        }
        memory.length = HANDLES;
        let none = CK_INTERFACE {
            pInterfaceName: core::ptr::null_mut(),
            pFunctionList: core::ptr::null_mut(),
            flags: 0,
        };
        match memory.keep(name, Buffer::Interfaces(vec![none; HANDLES])) {
            Buffer::Interfaces(interfaces) => interfaces.as_mut_ptr(),
            _ => unreachable!("just made"),
        }
    }
}

impl Argument for *mut *mut CK_INTERFACE {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        if memory.is_null(name) {
            return core::ptr::null_mut();
        }
        match memory.keep(name, Buffer::Interface(Box::new(core::ptr::null_mut()))) {
            Buffer::Interface(interface) => &raw mut **interface,
            _ => unreachable!("just made"),
        }
    }
}

/// A version reads as two bytes in hexadecimal, and is NULL where there is none.
impl Argument for *mut CK_VERSION {
    fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
        match memory.request.get(name) {
            None | Some(Value::Null) => core::ptr::null_mut(),
            Some(given) => {
                let bytes = unhex(given.as_str().expect("bytes in hexadecimal"));
                assert_eq!(bytes.len(), size_of::<CK_VERSION>(), "{name}");
                memory.keep_bytes(name, bytes, true).cast()
            }
        }
    }
}

/// Name, version and flags of an interface; `None` where the module has written none.
fn described(interface: &CK_INTERFACE) -> Option<Value> {
    if interface.pInterfaceName.is_null() || interface.pFunctionList.is_null() {
        return None;
    }
    // SAFETY: names are strings, and lists begin with their version.
    let (name, version) = unsafe {
        (
            core::ffi::CStr::from_ptr(interface.pInterfaceName.cast()),
            *interface.pFunctionList.cast::<CK_VERSION>(),
        )
    };
    let name = name.to_str().expect("UTF-8");
    Some(json!({ "name": name, "version": [version.major, version.minor], "flags": interface.flags }))
}

macro_rules! structures {
    ($($structure:ty),*) => {$(
        impl Argument for *mut $structure {
            fn prepare(name: &'static str, memory: &mut Memory<'_>) -> Self {
                if memory.is_null(name) {
                    return core::ptr::null_mut();
                }
                // Room for one more, so that a pointer to the first aligned place in it has room for one.
                let room = memory.keep_bytes(name, vec![0; 2 * size_of::<$structure>()], false);
                assert_eq!(room.align_offset(align_of::<$structure>()), 0, "allocators align to 16 bytes");
                room.cast()
            }
        }
    )*};
}

structures!(CK_ASYNC_DATA, CK_INFO, CK_MECHANISM_INFO, CK_SESSION_INFO, CK_SLOT_INFO, CK_TOKEN_INFO);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal") as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
