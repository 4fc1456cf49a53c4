//! By what one execution of a program is told from every other: sixteen bytes that the kernel makes anew at each exec, and
//! the auxiliary vector that says where they are (`AT_RANDOM`, getauxval(3)).

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use attestation::digest::Digest;

use crate::error::MeasurementError;
use crate::proc_file::{ProcessDirectory, unreadable};

const VECTOR: &str = "auxv";
const MEMORY: &str = "mem";
/// The kernel writes some dozens of pairs.
const MAX_VECTOR: u64 = 4096;
const AT_NULL: u64 = 0;
const AT_RANDOM: u64 = 25;
const RANDOM: usize = 16;

/// That of the process as it is now, whose memory was opened before as `memory`.
///
/// The bytes have to be the same in both, else a program was executed in between: nobody knows those of a program that is
/// yet to be executed, to have them ready in the memory that it leaves.
pub(super) fn of(process: &ProcessDirectory, memory: &File) -> Result<Digest, MeasurementError> {
    let vector = process.read(VECTOR, MAX_VECTOR)?;
    let address = address(&vector)?;
    let held = random(process, memory, address)?;
    let current = random(process, &process.open(MEMORY)?, address)?;
    if held == current { Ok(digest(&vector, current)) } else { Err(MeasurementError::Executed) }
}

/// That of the process as it is now.
pub(super) fn now(process: &ProcessDirectory) -> Result<Digest, MeasurementError> {
    let vector = process.read(VECTOR, MAX_VECTOR)?;
    let address = address(&vector)?;
    // A program that is executed between the two is one that has other bytes.
    let random = random(process, &process.open(MEMORY)?, address)?;
    Ok(digest(&vector, random))
}

fn digest(vector: &[u8], random: [u8; RANDOM]) -> Digest {
    Digest::of(&[vector, &random].concat())
}

/// In the middle of an exec there is none.
fn address(vector: &[u8]) -> Result<u64, MeasurementError> {
    find(vector).ok_or(MeasurementError::Executed)
}

/// The value of `AT_RANDOM` in pairs of words.
fn find(vector: &[u8]) -> Option<u64> {
    let (words, _) = vector.as_chunks::<8>();
    let (pairs, _) = words.as_chunks::<2>();
    let pairs = pairs.iter().map(|[kind, value]| (u64::from_ne_bytes(*kind), u64::from_ne_bytes(*value)));
    pairs
        .take_while(|(kind, _)| *kind != AT_NULL)
        .find(|(kind, _)| *kind == AT_RANDOM)
        .map(|(_, value)| value)
}

fn random(process: &ProcessDirectory, memory: &File, address: u64) -> Result<[u8; RANDOM], MeasurementError> {
    let mut bytes = [0; RANDOM];
    match memory.read_exact_at(&mut bytes, address) {
        Ok(()) => Ok(bytes),
        // The memory of a program that is executed no more.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(MeasurementError::Executed),
        Err(error) => Err(unreadable(&process.path_of(MEMORY), error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_among_the_others() {
        let vector = |pairs: &[(u64, u64)]| -> Vec<u8> {
            pairs
                .iter()
                .flat_map(|(kind, value)| [kind.to_ne_bytes(), value.to_ne_bytes()].concat())
                .collect()
        };
        assert_eq!(find(&vector(&[(33, 1), (25, 0x7000), (0, 0)])), Some(0x7000));
        assert_eq!(find(&vector(&[(33, 25), (0, 0), (25, 0x7000)])), None, "behind the end");
        assert_eq!(find(&vector(&[])), None);
        assert_eq!(find(&[25, 0, 0]), None);
    }

    #[test]
    fn a_process_keeps_it_and_another_has_another() {
        let own = ProcessDirectory::own().unwrap();
        let memory = own.open(MEMORY).unwrap();
        assert_eq!(of(&own, &memory).unwrap(), now(&own).unwrap());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = ProcessDirectory::of(child.id()).unwrap();
        // The parent goes on before the kernel has made them.
        let first = (0..1000).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(1));
            now(&other).ok()
        });
        let images = (first.unwrap(), now(&other).unwrap());
        let foreign = of(&other, &memory);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(images.0, images.1);
        assert_ne!(images.0, now(&own).unwrap());
        assert!(foreign.is_err(), "another's memory does not have its bytes");
    }
}
