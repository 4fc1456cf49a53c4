//! When a process has started: with its number, a name that no other process of this boot has.

use crate::error::MeasurementError;
use crate::proc_file::ProcessDirectory;

const STAT: &str = "stat";

/// In ticks of the clock since boot (proc_pid_stat(5)).
pub(super) fn time(process: &ProcessDirectory) -> Result<u64, MeasurementError> {
    parse(&process.read(STAT, 4096)?).ok_or_else(|| MeasurementError::Malformed {
        path: process.path_of(STAT),
        reason: "it does not say when the process has started",
    })
}

/// Field 22. The second one is the program's name in parentheses, which may hold anything, parentheses too.
fn parse(stat: &[u8]) -> Option<u64> {
    let behind = stat.iter().rposition(|byte| *byte == b')')?;
    let fields = core::str::from_utf8(stat.get(behind + 1..)?).ok()?;
    fields.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_behind_any_name() {
        let rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 424242 20 21\n";
        for name in ["cat", "a b", "a) S 9 (b", ") R 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 7"] {
            assert_eq!(parse(format!("77 ({name}){rest}").as_bytes()), Some(424_242), "{name}");
        }
        for stat in [
            "",
            "77 cat S 1",
            "77 (cat) S 1 2 3",
            "77 (cat) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x",
        ] {
            assert_eq!(parse(stat.as_bytes()), None, "{stat}");
        }
    }

    #[test]
    fn a_child_has_not_started_before_this_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = time(&ProcessDirectory::own().unwrap()).unwrap();
        let childs = time(&ProcessDirectory::of(child.id()).unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(own > 0 && own <= childs, "{own} {childs}");
    }
}
