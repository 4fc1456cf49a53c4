//! The place for a frame in shared memory, while a hostile client goes on writing to it: what is taken out is a copy, of no
//! more than there is room for, and is judged as what it is.

#![no_main]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use guard_wire::{Code, HEADER, Header, Passed, SLOT, Slot};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use linux_ffi::{SharedMemory, sealed_memory};
use pkcs11_table::Function;
use trustshim_fuzz::{Arena, calls_by_chance};

/// How often the guard takes something out.
const TURNS: usize = 64;

/// Goes on writing numbers of the input, among them lengths, to words of the memory, most of them at its beginning.
fn flip(words: &[AtomicU64], content: &[u64], ends: &AtomicBool) {
    let mut step = 0_usize;
    while !ends.load(Ordering::Relaxed) {
        let number = content[step % content.len()].rotate_left(step as u32 % 64);
        let word = match step % 3 {
            0 => 0,
            1 => step % 16,
            _ => number as usize % words.len(),
        };
        words[word].store(if step % 5 == 0 { number % 256 } else { number }, Ordering::Relaxed);
        step += 1;
    }
}

fn take(slot: &Slot<'_>, arena: &mut Arena) {
    let mut frame = Vec::new();
    match slot.take(&mut frame) {
        Ok(Passed::Here) => assert!(frame.len() <= slot.room()),
        Ok(Passed::BySocket) | Err(_) => {
            assert!(frame.is_empty());
            return;
        }
    }
    let copy = frame.clone();
    if let Some((header, body)) = frame.split_first_chunk::<HEADER>()
        && let Ok(header) = Header::decode(*header)
        && header.length() == body.len()
        && let Code::Call(function) = header.code()
    {
        let _ = calls_by_chance::request(function, 0, body, arena);
    }
    assert_eq!(frame, copy, "what was taken out changes");
}

fn client(input: &mut Unstructured<'_>) -> Result<()> {
    let function = *input.choose(Function::ALL)?;
    let body = calls_by_chance::body(function, 0, input)?;
    let content = [input.arbitrary()?, input.arbitrary()?, body.len() as u64, 16];
    let memory = sealed_memory(SLOT).unwrap();
    let (ours, theirs) = (SharedMemory::map(&memory, SLOT).unwrap(), SharedMemory::map(&memory, SLOT).unwrap());
    let slot = Slot::over(ours.first(), ours.words()).unwrap();
    let Ok(header) = Header::new(Code::Call(function), body.len(), 1) else { return Ok(()) };
    let call = [&header.encode()[..], &body[..]].concat();
    let ends = AtomicBool::new(false);
    let mut arena = Arena::new();
    thread::scope(|scope| {
        scope.spawn(|| flip(theirs.words(), &content, &ends));
        for _ in 0..TURNS {
            // A call as it should be, which the other side then changes.
            slot.put(&call);
            take(&slot, &mut arena);
        }
        ends.store(true, Ordering::Relaxed);
    });
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    // What the input is too short for is not tried.
    let _ = client(&mut Unstructured::new(data));
});
