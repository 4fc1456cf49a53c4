//! A gate whose real module is the spy token in front of the vendor's module.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::mode::Mode;
use crate::probe::Probe;
use crate::spy_record::SpyRecord;
use crate::stack::Stack;

/// What leads an application there.
pub struct Spied {
    variables: BTreeMap<String, PathBuf>,
}

impl Spied {
    /// A gate with these variables for the spy, and with its configuration, named `name`, changed by `change`.
    pub fn on(
        stack: &Stack,
        name: &str,
        of_spy: &[(&str, &str)],
        change: impl FnOnce(String) -> String,
    ) -> Self {
        let mut of_module: Vec<_> =
            of_spy.iter().map(|(name, value)| (*name, PathBuf::from(value))).collect();
        of_module.push(("SPY_REAL", stack.real_module().to_owned()));
        if stack.mode() == Mode::Guarded {
            of_module.push(("SPY_LOG", pattern(stack)));
        }
        let variables = stack.gate(name, &of_module, |text| {
            let spy = stack.built("libspytoken.so");
            change(text.replace(stack.variable("REAL_MODULE"), spy.to_str().expect("UTF-8")))
        });
        Self { variables }
    }

    /// The variables of an application that comes to this gate. In inline mode its record is told from others by `name`.
    pub fn environment(&self, stack: &Stack, name: &str) -> BTreeMap<String, PathBuf> {
        let mut variables = self.variables.clone();
        if stack.mode() == Mode::Inline {
            variables.insert("SPY_LOG".to_owned(), own(stack, name));
        }
        variables
    }

    /// Starts a probe that is told from others by `name`; `prepare` completes its environment.
    pub fn probe(&self, stack: &Stack, name: &str, prepare: impl FnOnce(&mut Command)) -> (Probe, SpyRecord) {
        let probe = Probe::start(stack, |command| {
            command.arg(name).envs(self.environment(stack, name));
            prepare(command);
        });
        let record = match stack.mode() {
            Mode::Inline => SpyRecord::at(own(stack, name)),
            Mode::Guarded => SpyRecord::of_worker(&pattern(stack), probe.id()),
        };
        (probe, record)
    }
}

fn own(stack: &Stack, name: &str) -> PathBuf {
    stack.file(&format!("{name}.record"))
}

/// Of the records of a guard's processes, each of which has one.
fn pattern(stack: &Stack) -> PathBuf {
    stack.file("process-%p.record")
}
