//! Questions to the operator. Without a terminal nothing is asked and nothing is done.

use std::io::{self, IsTerminal as _};

use attestation::digest::Digest;

use crate::error::CliError;
use crate::output;

/// Digits that the operator copies from the digest on the screen.
const TYPED_DIGITS: usize = 8;

/// A plain yes or no.
pub fn yes(question: &'static str) -> Result<(), CliError> {
    let answer = ask(question, &format!("{question} [y/N] "))?;
    if is_yes(&answer) { Ok(()) } else { Err(CliError::NotConfirmed) }
}

/// Proof that the operator has looked at the digest: its first eight digits, typed.
pub fn digest(digest: &Digest) -> Result<(), CliError> {
    let question = "the approval of the last refusal";
    let answer = ask(
        question,
        &format!("Type the first {TYPED_DIGITS} digits of the measurement digest to approve: "),
    )?;
    if begins(digest, &answer) { Ok(()) } else { Err(CliError::NotConfirmed) }
}

fn ask(question: &'static str, prompt: &str) -> Result<String, CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::NotATerminal { question });
    }
    output::tell(prompt);
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|_| CliError::NotATerminal { question })?;
    Ok(answer)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES")
}

fn begins(digest: &Digest, answer: &str) -> bool {
    let answer = answer.trim().to_ascii_lowercase();
    answer.len() >= TYPED_DIGITS && digest.to_string().starts_with(&answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_yes_counts() {
        assert!(is_yes("y\n") && is_yes("yes"));
        assert!(!is_yes("") && !is_yes("\n") && !is_yes("n") && !is_yes("yes please"));
    }

    #[test]
    fn eight_digits_or_more_of_the_digest_count() {
        let digest = Digest::of(b"abc");
        assert!(begins(&digest, "ba7816bf\n") && begins(&digest, " BA7816BF8F "));
        assert!(begins(&digest, &digest.to_string()));
        for answer in ["", "ba7816b", "ba7816be", "a7816bf8", &format!("{digest}0")] {
            assert!(!begins(&digest, answer), "{answer}");
        }
    }
}
