//! What was checked, one line each, and how it came out.

use serde::Serialize;

use crate::error::{CliError, Ended};
use crate::output;

/// How one check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// Not as it should be.
    Fail,
    /// Could not be looked at, because of another line or of the configuration.
    Skipped,
}

/// One line.
#[derive(Debug, Serialize)]
pub struct Check {
    name: &'static str,
    outcome: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// The lines so far.
#[derive(Default)]
pub struct Report(Vec<Check>);

impl Report {
    /// A line that is as it should be.
    pub fn ok(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Ok, detail: detail.into(), advice: None });
    }

    /// A line that is not, and what to do about it.
    pub fn fail(&mut self, name: &'static str, detail: impl Into<String>, advice: impl Into<String>) {
        self.0.push(Check {
            name,
            outcome: Outcome::Fail,
            detail: detail.into(),
            advice: Some(advice.into()),
        });
    }

    /// A line that could not be looked at.
    pub fn skip(&mut self, name: &'static str, detail: impl Into<String>) {
        self.0.push(Check { name, outcome: Outcome::Skipped, detail: detail.into(), advice: None });
    }

    /// Records how a step went, and gives what it made.
    pub fn step<T>(
        &mut self,
        name: &'static str,
        result: Result<T, CliError>,
        detail: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        match result {
            Ok(made) => {
                self.ok(name, detail(&made));
                Some(made)
            }
            Err(error) => {
                self.fail(name, error.to_string(), error.advice());
                None
            }
        }
    }

    /// Whether a line of that name is not as it should be.
    pub fn has_failed(&self, name: &str) -> bool {
        self.0.iter().any(|check| check.name == name && check.outcome == Outcome::Fail)
    }

    /// For programs.
    pub fn checks(&self) -> &[Check] {
        &self.0
    }

    /// How the command ends.
    pub fn ended(&self) -> Ended {
        let failed = self.0.iter().any(|check| check.outcome == Outcome::Fail);
        if failed { Ended::WithFailures } else { Ended::Well }
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for check in &self.0 {
            let word = match check.outcome {
                Outcome::Ok => "ok  ",
                Outcome::Fail => "FAIL",
                Outcome::Skipped => "skip",
            };
            text.push_str(&format!("{word}  {:<18} {}\n", check.name, output::one_line(&check.detail)));
            if let Some(advice) = &check.advice {
                text.push_str(&format!("      {:<18} -> {}\n", "", output::one_line(advice)));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_makes_the_whole_fail_and_carries_advice() {
        let mut report = Report::default();
        report.ok("a", "fine");
        report.skip("b", "because of a");
        assert_eq!(report.ended(), Ended::Well);
        report.fail("c", "broken\u{1b}[1m\nok    d", "mend it");
        assert_eq!(report.ended(), Ended::WithFailures);
        let text = report.text();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("FAIL  c ") && text.ends_with("-> mend it\n"), "{text}");
    }
}
