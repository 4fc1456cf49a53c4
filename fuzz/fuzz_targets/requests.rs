//! Bodies of calls, as a hostile process sends them to the guard: each is an error or a call like any other, whose pointers
//! lead to as many bytes as it states. The module looks at all of them, and writes wherever there is room.

#![no_main]

use guard_wire::{Control, Header, Kind, Writer};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use pkcs11_table::Function;
use trustshim_fuzz::{Arena, calls_by_chance};

fn call(input: &mut Unstructured<'_>) -> Result<()> {
    let function = *input.choose(Function::ALL)?;
    let seed = input.arbitrary::<u16>()?.into();
    let body = calls_by_chance::body(function, seed, input)?;
    let mut arena = Arena::new();
    // A call that comes after finds the same arena.
    let first =
        calls_by_chance::request(function, seed, &body, &mut arena).map(|answer| answer.body().to_vec());
    let second =
        calls_by_chance::request(function, seed, &body, &mut arena).map(|answer| answer.body().to_vec());
    assert_eq!(first, second, "{function} leaves something behind");
    Ok(())
}

/// What is said about a connection is read in one way alone.
fn control(input: &mut Unstructured<'_>) -> Result<()> {
    let header = input.arbitrary()?;
    if let Ok(read) = Header::decode(header) {
        assert_eq!(read.encode(), header);
    }
    let kind = *input.choose(&Kind::ALL)?;
    let body = input.bytes(input.len())?;
    if let Ok(control) = Control::decode(kind, body) {
        let mut again = Writer::new();
        control.encode(&mut again).unwrap();
        assert_eq!(again.body(), body);
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut input = Unstructured::new(data);
    // What the input is too short for is not tried.
    let _ = match input.ratio(1, 16) {
        Ok(true) => control(&mut input),
        _ => call(&mut input),
    };
});
