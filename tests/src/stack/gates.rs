//! Gates with other settings than those of `scripts/sandbox`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Stack;

impl Stack {
    /// The file that says what the gate does: the application's own or, in guarded mode, the guard's.
    pub fn gates_configuration(&self) -> PathBuf {
        match self.apart {
            None => self.variable("TRUSTSHIM_CONFIG").into(),
            Some(_) => self.directory().join("guard.toml"),
        }
    }

    /// What an application's `TRUSTSHIM_CONFIG` has to be for the gate to have its configuration changed by `change`.
    pub fn configuration(&self, name: &str, change: impl FnOnce(String) -> String) -> PathBuf {
        self.gate(name, &[], change).remove("TRUSTSHIM_CONFIG").expect("a configuration")
    }

    /// A gate with its configuration changed by `change`, and these variables in the environment of the real module: the
    /// variables of an application that comes to it. In guarded mode it has a guard of its own.
    pub fn gate(
        &self,
        name: &str,
        of_module: &[(&str, PathBuf)],
        change: impl FnOnce(String) -> String,
    ) -> BTreeMap<String, PathBuf> {
        let text = fs::read_to_string(self.gates_configuration()).expect("a configuration");
        let changed = change(text.clone());
        assert_ne!(changed, text, "{name} does not differ");
        let Some(apart) = &self.apart else {
            let variables = of_module.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let configuration = ("TRUSTSHIM_CONFIG".to_owned(), self.write(name, changed));
            return variables.chain([configuration]).collect();
        };
        let (guards, sockets) = (self.file(&format!("guard-of-{name}")), self.file(&format!("{name}.sock")));
        let socket = self.directory().join("guard.sock");
        let moved = changed.replace(text_of(&socket), text_of(&sockets));
        fs::write(&guards, with_variables(&moved, of_module)).expect("a file of the test");
        apart.start(&self.guard(), &guards, &sockets);
        let application = fs::read_to_string(self.variable("TRUSTSHIM_CONFIG")).expect("trustshim.toml");
        let application = self.write(name, application.replace(text_of(&socket), text_of(&sockets)));
        BTreeMap::from([("TRUSTSHIM_CONFIG".to_owned(), application)])
    }

    /// The shim's configuration with a policy server that is not there: the port on this host is free for whoever listens.
    pub fn silent_configuration(&self) -> (PathBuf, u16) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let server = self.variable("TRUSTSHIM_SERVER");
        let path = self
            .configuration("silent.toml", |text| text.replace(server, &format!("https://127.0.0.1:{port}")));
        (path, port)
    }
}

/// A guard's configuration with these variables for both its users of the real module.
fn with_variables(configuration: &str, variables: &[(&str, PathBuf)]) -> String {
    let more: String = variables.iter().map(|(name, value)| format!(", {name} = {value:?}")).collect();
    let lines = configuration.lines().map(|line| match line.strip_suffix(" }") {
        Some(start) if line.contains("_environment = {") => format!("{start}{more} }}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}

fn text_of(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
