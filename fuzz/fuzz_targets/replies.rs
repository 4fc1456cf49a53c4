//! Answers to calls, whatever the server says: nothing is written where the caller has no room.

#![no_main]

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use pkcs11_table::Function;
use trustshim_fuzz::calls_by_chance;

fn answer(input: &mut Unstructured<'_>) -> Result<()> {
    let function = *input.choose(Function::ALL)?;
    let seed = input.arbitrary::<u16>()?.into();
    let answer = calls_by_chance::answer(function, seed, input)?;
    calls_by_chance::reply(function, seed, &answer);
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // What the input is too short for is not tried.
    let _ = answer(&mut Unstructured::new(data));
});
