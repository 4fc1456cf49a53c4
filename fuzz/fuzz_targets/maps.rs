//! The parser of `/proc/self/maps`: no executable line is lost, lines do not influence each other, and what is said of
//! each mapping is what its line says.

#![no_main]

use libfuzzer_sys::fuzz_target;
use measurement::maps::{Source, executable_mappings};

fuzz_target!(|data: &[u8]| {
    let Ok(mappings) = executable_mappings(data) else { return };
    let lines = data.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n');
    let executable: Vec<_> =
        lines.filter(|line| line.split(|byte| *byte == b' ').nth(1).unwrap().get(2) == Some(&b'x')).collect();
    assert_eq!(mappings.len(), executable.len(), "a mapping is lost or made up");
    for (mapping, line) in mappings.iter().zip(executable) {
        assert!(mapping.range.start < mapping.range.end);
        let permissions = line.split(|byte| *byte == b' ').nth(1).unwrap();
        assert_eq!(mapping.writable, permissions[1] == b'w');
        assert_eq!(mapping.shared, permissions[3] == b's');
        assert_eq!(executable_mappings(&[line, b"\n"].concat()).unwrap(), [mapping.clone()]);
        match &mapping.source {
            Source::File(file) => {
                assert!(file.name.starts_with(b"/") && line.ends_with(&file.name));
                let readings: Vec<_> = file.readings().collect();
                assert!((1..=2).contains(&readings.len()));
                assert_eq!(readings[0], file.name);
                assert!(readings.iter().all(|reading| reading.starts_with(b"/")));
                assert!(!file.is_shared_memory() || file.name.ends_with(b"(deleted)"));
            }
            Source::Memfd => assert!(line.ends_with(b" (deleted)")),
            // Nothing that could be a file's path may pass for the kernel's code or for plain memory.
            Source::Anonymous | Source::Kernel => {
                let name = line.splitn(6, |byte| *byte == b' ').nth(5).unwrap_or_default().trim_ascii_start();
                assert!(!name.starts_with(b"/"));
            }
        }
    }
});
