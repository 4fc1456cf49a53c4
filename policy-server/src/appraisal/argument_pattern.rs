//! Patterns for arguments: which argument one matches, and which arguments a list of them matches.
//!
//! The set of places where a pattern may stand in the text is carried from part to part, so that no text makes the
//! comparison go back: it takes time in proportion to the text for each part of the pattern.

use attestation::reference::ArgumentPatterns;

/// Longest pattern in bytes.
const MAX_PATTERN: usize = 1024;
/// Most wildcards in one pattern.
const MAX_WILDCARDS: usize = 16;
/// Most patterns in one list.
const MAX_PATTERNS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `*`
    WithinName,
    /// `**`
    Anything,
}

/// Why patterns are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is too long, or has too many wildcards.
    #[error("an argument's pattern has at most {MAX_PATTERN} bytes and {MAX_WILDCARDS} wildcards")]
    TooComplex,
    /// There are too many.
    #[error("at most {MAX_PATTERNS} arguments can have patterns")]
    TooMany,
    /// It could not be told from what a process passes.
    #[error("the pattern {0} is not escaped as arguments are measured; take it from `trustshim explain`")]
    NotEscaped(String),
}

/// Checks the limits of every pattern in a list.
///
/// # Errors
/// [`PatternError`].
pub fn check(patterns: &ArgumentPatterns) -> Result<(), PatternError> {
    if patterns.each.len() > MAX_PATTERNS {
        return Err(PatternError::TooMany);
    }
    for pattern in patterns.each.iter().chain(&patterns.more) {
        let wildcards = parts(pattern).iter().filter(|part| !matches!(part, Part::Text(_))).count();
        if pattern.len() > MAX_PATTERN || wildcards > MAX_WILDCARDS {
            return Err(PatternError::TooComplex);
        }
        if !crate::text::is_escaped(pattern) {
            return Err(PatternError::NotEscaped(crate::text::bounded(pattern, 200)));
        }
    }
    Ok(())
}

/// The positions at which `arguments` do not match, each with the pattern that is expected there, where one is.
pub fn mismatches<'a>(
    patterns: &'a ArgumentPatterns,
    arguments: &[String],
) -> Vec<(usize, Option<&'a String>)> {
    (0..patterns.each.len().max(arguments.len()))
        .filter_map(|position| {
            let pattern = patterns.each.get(position).or(patterns.more.as_ref());
            match (pattern, arguments.get(position)) {
                (Some(pattern), Some(argument)) if matches(pattern, argument) => None,
                _ => Some((position, pattern)),
            }
        })
        .collect()
}

/// Whether `pattern` is nothing but itself.
pub fn is_literal(pattern: &str) -> bool {
    parts(pattern).iter().all(|part| matches!(part, Part::Text(_)))
}

/// The pattern that only `argument` matches. Measured arguments hold no `\*`: their backslashes are escaped.
pub fn literal(argument: &str) -> String {
    argument.replace('*', r"\*")
}

/// Whether `argument` matches `pattern` from end to end.
pub fn matches(pattern: &str, argument: &str) -> bool {
    let text = argument.as_bytes();
    let mut here = vec![false; text.len() + 1];
    if let Some(start) = here.first_mut() {
        *start = true;
    }
    for part in parts(pattern) {
        here = match part {
            Part::Text(literal) => after_text(&here, text, literal.as_bytes()),
            Part::WithinName => after_wildcard(&here, text, |byte| byte != b'/'),
            Part::Anything => after_wildcard(&here, text, |_| true),
        };
    }
    here.last() == Some(&true)
}

/// The places that `literal` leads to from the places `here`.
fn after_text(here: &[bool], text: &[u8], literal: &[u8]) -> Vec<bool> {
    let mut there = vec![false; here.len()];
    for (place, _) in here.iter().enumerate().filter(|(_, reached)| **reached) {
        let rest = text.get(place..).unwrap_or_default();
        if rest.starts_with(literal)
            && let Some(end) = there.get_mut(place + literal.len())
        {
            *end = true;
        }
    }
    there
}

/// The places that any run of the bytes that `takes` leads to.
fn after_wildcard(here: &[bool], text: &[u8], takes: impl Fn(u8) -> bool) -> Vec<bool> {
    let mut running = false;
    here.iter()
        .enumerate()
        .map(|(place, reached)| {
            let goes_on = place.checked_sub(1).and_then(|before| text.get(before)).is_some_and(|b| takes(*b));
            running = *reached || running && goes_on;
            running
        })
        .collect()
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = pattern;
    let end_of_text = |literal: &mut String, parts: &mut Vec<Part>| {
        if !literal.is_empty() {
            parts.push(Part::Text(core::mem::take(literal)));
        }
    };
    while let Some(character) = rest.chars().next() {
        let (taken, part) = if rest.starts_with("**") {
            (2, Some(Part::Anything))
        } else if character == '*' {
            (1, Some(Part::WithinName))
        } else if rest.starts_with(r"\*") {
            literal.push('*');
            (2, None)
        } else if rest.starts_with(r"\\") {
            // One escaped backslash: what follows it is not escaped by its second half.
            literal.push_str(r"\\");
            (2, None)
        } else {
            literal.push(character);
            (character.len_utf8(), None)
        };
        if let Some(part) = part {
            end_of_text(&mut literal, &mut parts);
            parts.push(part);
        }
        rest = rest.get(taken..).unwrap_or_default();
    }
    end_of_text(&mut literal, &mut parts);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_what_they_say() {
        for (pattern, argument, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("*", "a/c", false),
            ("**", "a/c", true),
            ("--in=/var/spool/*", "--in=/var/spool/job-1", true),
            ("--in=/var/spool/*", "--in=/var/spool/../../etc/shadow", false),
            ("--in=/var/spool/*", "--in=/var/spool/", true),
            ("--in=/var/spool/*", "--out=/var/spool/x", false),
            ("/a/**/c", "/a/b/d/c", true),
            ("/a/**/c", "/a/c", false),
            ("*.deb", "x.deb.deb", true),
            ("*.deb", "x.deb.rpm", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b**c*d", "axb//cyd", true),
            ("a*b**c*d", "axb//c/d", false),
            ("***", "a/b", true),
            ("ä*ö", "äüö", true),
            ("?[a]", "?[a]", true),
            ("?", "x", false),
            (r"\*", "*", true),
            (r"\*", "x", false),
            (r"\\*", r"\\anything", true),
            (r"\\\*", r"\\*", true),
            (r"\\\*", r"\\x", false),
            (r"a\x0a*", r"a\x0ab", true),
        ] {
            assert_eq!(matches(pattern, argument), expected, "{pattern} {argument}");
        }
    }

    #[test]
    fn the_literal_pattern_of_an_argument_matches_it_and_nothing_else() {
        for argument in ["", "*", "**", r"\\*", r"a\\", "a*b", "--in=x"] {
            let pattern = literal(argument);
            assert!(is_literal(&pattern), "{pattern}");
            for other in ["", "*", "**", r"\\*", r"a\\", "a*b", "--in=x", "acb", "x"] {
                assert_eq!(matches(&pattern, other), argument == other, "{pattern} {other}");
            }
        }
    }

    /// The definition, with all its going back.
    fn by_definition(parts: &[Part], text: &str) -> bool {
        match parts.split_first() {
            None => text.is_empty(),
            Some((Part::Text(literal), rest)) => {
                text.strip_prefix(literal.as_str()).is_some_and(|text| by_definition(rest, text))
            }
            Some((wildcard, rest)) => (0..=text.len()).any(|end| {
                let may_pass = *wildcard == Part::Anything || !text[..end].contains('/');
                may_pass && by_definition(rest, &text[end..])
            }),
        }
    }

    #[test]
    fn every_short_pattern_matches_as_its_definition_says() {
        fn words(alphabet: &[char], longest: usize) -> Vec<String> {
            let mut all = vec![String::new()];
            let mut last = all.clone();
            for _ in 0..longest {
                last = last
                    .iter()
                    .flat_map(|word| alphabet.iter().map(move |letter| format!("{word}{letter}")))
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        }
        let texts = words(&['a', 'b', '/'], 4);
        for pattern in words(&['a', '/', '*'], 5) {
            let parts = parts(&pattern);
            for text in &texts {
                assert_eq!(matches(&pattern, text), by_definition(&parts, text), "{pattern} {text}");
            }
        }
    }

    #[test]
    fn a_pattern_made_for_going_back_is_compared_at_once() {
        let pattern = format!("{}b", "**a".repeat(MAX_WILDCARDS));
        assert!(!matches(&pattern, &"a".repeat(200_000)));
    }

    #[test]
    fn the_number_of_arguments_is_fixed_unless_more_may_follow() {
        let arguments = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let mut patterns = ArgumentPatterns { each: arguments(&["tool", "--in=*"]), more: None };
        let found = |patterns: &ArgumentPatterns, list| {
            mismatches(patterns, &arguments(list)).into_iter().map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(found(&patterns, &["tool", "--in=x"]), [0; 0]);
        assert_eq!(found(&patterns, &["tool"]), [1]);
        assert_eq!(found(&patterns, &["tool", "--in=x", "y"]), [2]);
        patterns.more = Some("*.deb".to_owned());
        assert_eq!(found(&patterns, &["tool", "--in=x"]), [0; 0]);
        assert_eq!(found(&patterns, &["tool", "--in=x", "a.deb", "b.rpm", "c.deb"]), [3]);
    }

    #[test]
    fn patterns_beyond_the_limits_are_refused() {
        let list = |pattern: &str| ArgumentPatterns { each: vec![pattern.to_owned()], more: None };
        assert_eq!(check(&list(&"*a".repeat(MAX_WILDCARDS))), Ok(()));
        assert_eq!(check(&list(&"*a".repeat(MAX_WILDCARDS + 1))), Err(PatternError::TooComplex));
        assert_eq!(check(&list(&"a".repeat(MAX_PATTERN + 1))), Err(PatternError::TooComplex));
        assert!(matches!(check(&list("a\u{1b}")), Err(PatternError::NotEscaped(_))));
        let many = ArgumentPatterns { each: vec![String::new(); MAX_PATTERNS + 1], more: None };
        assert_eq!(check(&many), Err(PatternError::TooMany));
    }
}
