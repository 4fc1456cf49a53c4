//! What goes to the terminal: tables, JSON, dates. Nothing reaches it with a control character in it.

use std::io::{self, Write as _};

use attestation::digest::Digest;
use comfy_table::{Table, presets};
use serde::Serialize;

use crate::error::CliError;

/// Writes text, escaped by [`printable`], to standard output.
pub fn print(text: &str) -> Result<(), CliError> {
    write(&printable(text))
}

/// Writes a value as JSON, for programs.
pub fn print_json<T: Serialize + ?Sized>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::Output(error.into()))?;
    write(&printable_json(&text))
}

/// Writes to standard error, where questions and errors go. A closed standard error is nobody's loss.
pub fn tell(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(printable(text).as_bytes());
    let _ = stderr.flush();
}

fn write(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    let line_end = if text.ends_with('\n') { "" } else { "\n" };
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(line_end.as_bytes())) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.and_then(|()| stdout.flush()).map_err(CliError::Output),
    }
}

/// Escapes what could move the cursor, hide or reorder text; line ends stay. Backslashes stay too, since
/// strings from evidence have been escaped where they were measured.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_unprintable(character) {
            out.extend(character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// One line: line ends are escaped as well.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\u{a}")
}

/// JSON escapes the ASCII control characters itself; this does the rest.
fn printable_json(text: &str) -> String {
    use core::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && is_unprintable(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Columns with a header, no lines around them; `empty` where there is no row.
pub fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    empty: &str,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.map(str::to_uppercase));
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    if table.row_iter().next().is_none() {
        return format!("{empty}\n");
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

/// The first 12 hexadecimal digits of a digest in text form; anything else as it is.
pub fn short(text: &str) -> &str {
    if text.parse::<Digest>().is_ok() { text.get(..12).unwrap_or(text) } else { text }
}

/// A value, or a dash where there is none.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Groups of four characters, six to a line, to be compared by eye.
pub fn grouped(fingerprint: &str) -> String {
    let characters: Vec<char> = fingerprint.chars().collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.chunks(6).map(|line| format!("    {}\n", line.join("  "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_reordering_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("\u{9b}31m\u{202e}\r"), "\\u{9b}31m\\u{202e}\\u{d}");
        assert_eq!(printable("é \\x0a\n"), "é \\x0a\n");
        assert_eq!(one_line("a\nb"), "a\\u{a}b");
    }

    #[test]
    fn json_stays_json_when_escaped() {
        let value = "\u{1b}[2J\u{9b}\u{202e}\u{e0041}é\n";
        let text = printable_json(&serde_json::to_string(value).unwrap());
        assert_eq!(text, r#""\u001b[2J\u009b\u202e\udb40\udc41é\n""#);
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn a_table_has_aligned_columns_and_one_line_per_row() {
        let rows = [["1".to_owned(), "x\ny".to_owned()], ["22222222".to_owned(), "z".to_owned()]];
        assert_eq!(table(["id", "name"], rows, "none"), "ID        NAME\n1         x\\u{a}y\n22222222  z\n");
        assert_eq!(table(["id"], [], "no decisions"), "no decisions\n");
    }

    #[test]
    fn fingerprints_come_in_groups() {
        let text = grouped("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(text, "    NzbL  sXh8  uDCc  d-6M  NwXF  4W_7\n    noWX  FZAf  HkxZ  sRGC  9Xs\n");
    }

    #[test]
    fn only_digests_are_shortened() {
        assert_eq!(short(&"ab".repeat(32)), "abababababab");
        assert_eq!(short("uid 1000"), "uid 1000");
    }
}
