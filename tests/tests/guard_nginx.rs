//! nginx with the token's key by OpenSSL's PKCS#11 engine, unchanged: the master loads the key, and each worker that it forks
//! is a process of its own to the guard, with its own user, measurement and connections.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use e2e::client::run;
use e2e::pkcs11_tool::DEMO_EC;
use e2e::processes::{children, eventually};
use e2e::root::as_root;
use e2e::{Approval, Guarded};

const WORKERS: usize = 3;

/// nginx with its files.
struct Nginx<'a> {
    guarded: &'a Guarded,
    port: u16,
    certificate: PathBuf,
    running: Option<Child>,
}

impl<'a> Nginx<'a> {
    fn configured(guarded: &'a Guarded) -> Self {
        guarded.make_fit_for_the_engine();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let certificate = guarded.certificate("demo-ec");
        guarded.engine_configuration("shim.cnf", guarded.shim());
        let directory = guarded.file("").display().to_string();
        // Without a cache and tickets every handshake takes a signature.
        let text = format!(
            "user nobody trustshim-clients;\nworker_processes {WORKERS};\ndaemon off;\n\
             pid {directory}/nginx.pid;\nerror_log {directory}/error.log warn;\nssl_engine pkcs11;\n\
             env OPENSSL_CONF;\nenv TRUSTSHIM_CONFIG;\nevents {{}}\nhttp {{\n  access_log off;\n  server {{\n\
             listen 127.0.0.1:{port} ssl reuseport;\n    ssl_certificate {};\n\
             ssl_certificate_key \"engine:pkcs11:{DEMO_EC}\";\n    ssl_session_cache off;\n\
             ssl_session_tickets off;\n    location / {{ return 200 \"hello\\n\"; }}\n  }}\n}}\n",
            certificate.display()
        );
        fs::write(guarded.file("nginx.conf"), text).unwrap();
        Self { guarded, port, certificate, running: None }
    }

    /// Starts it as root, which it is started as everywhere.
    fn start(&mut self) {
        let mut command = as_root("env");
        command.args(["-i", "PATH=/usr/sbin:/usr/bin:/bin"]);
        command.arg(format!("OPENSSL_CONF={}", self.guarded.file("shim.cnf").display()));
        command.arg(format!("TRUSTSHIM_CONFIG={}", self.guarded.variable("TRUSTSHIM_CONFIG")));
        command.args(["nginx", "-c"]).arg(self.guarded.file("nginx.conf"));
        let child = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.running = Some(child.spawn().expect("nginx"));
    }

    fn start_and_listen(&mut self) {
        self.start();
        eventually("nginx", || self.workers().len() == WORKERS);
    }

    fn master(&self) -> Option<u32> {
        fs::read_to_string(self.guarded.file("nginx.pid")).ok()?.trim().parse().ok()
    }

    fn workers(&self) -> Vec<u32> {
        let is_one = |pid: &u32| {
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with("nginx: worker process\0")
        };
        self.master().map(|master| children(master).into_iter().filter(is_one).collect()).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        let master = self.master().expect("nginx runs");
        run(as_root("kill").args([signal, &master.to_string()])).must_succeed();
    }

    fn stop(&mut self) {
        self.signal("-QUIT");
        self.running.take().expect("nginx").wait().expect("our own child");
    }

    fn handshake(&self) -> bool {
        let address = format!("127.0.0.1:{}", self.port);
        let mut client = Command::new("openssl");
        client.args(["s_client", "-connect", &address, "-verify_return_error", "-CAfile"]);
        run(client.arg(&self.certificate)).success
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.guarded.file("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx<'_> {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            if let Some(master) = self.master() {
                let _ = run(as_root("kill").arg(master.to_string()));
            }
            let _ = running.wait();
        }
    }
}

/// How many handshakes a client has made in these seconds.
fn handshakes(nginx: &Nginx<'_>, seconds: u32) -> u32 {
    let address = format!("127.0.0.1:{}", nginx.port);
    let mut client = Command::new("openssl");
    client.args(["s_time", "-connect", &address, "-new", "-time", &seconds.to_string(), "-CAfile"]);
    let text = run(client.arg(&nginx.certificate)).must_succeed().text();
    let line = text.lines().find(|line| line.contains(" real seconds"));
    let count = line.and_then(|line| line.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn every_worker_that_nginx_forks_has_connections_of_its_own() {
    let guarded = Guarded::up();
    let mut nginx = Nginx::configured(&guarded);
    // The master logs in and looks for the key.
    nginx.start();
    let status = nginx.running.take().unwrap().wait().unwrap();
    assert!(!status.success());
    assert_eq!(guarded.last_reasons()[0], "executable-unknown");
    let nginx_may = |version| Approval { version, ..Approval::of("nginx", DEMO_EC, "sign") };
    guarded.approve_last(&nginx_may("master").with(&["--any-arguments"]));

    // The workers are another user's, with more libraries, and with their title where the environment was.
    nginx.start_and_listen();
    assert!(!nginx.handshake(), "{}", nginx.errors());
    let refusal = guarded.json(&["explain", "--last"]);
    assert_eq!(refusal["decision"]["executable"], "/usr/sbin/nginx");
    let worker = Approval { grant: None, ..nginx_may("worker") };
    guarded.approve_last(&worker.with(&["--any-arguments"]));
    // The engine holds on to handles of a login that has failed; a worker that is new has none.
    nginx.stop();
    let before = nginx.errors().len();
    nginx.start_and_listen();
    assert!(nginx.handshake(), "{}", nginx.errors());

    let made: u32 = thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| handshakes(&nginx, 4))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    println!("{made} handshakes in 4 seconds");
    assert!(made >= 100, "{made} handshakes");
    assert_eq!(&nginx.errors()[before..], "", "after {made} handshakes");
    // One for the master, one for each worker that was used, and one for whoever comes next.
    let used = guarded.role("worker").len();
    assert!((4..=WORKERS + 2).contains(&used), "{used}");
    assert_eq!(guarded.tokens_of("nginx"), 2, "one for the master, one for all workers");

    // New workers, forked from the same master; the old ones leave.
    let old = nginx.workers();
    nginx.signal("-HUP");
    eventually("new workers", || {
        let now = nginx.workers();
        now.len() == WORKERS && !now.iter().any(|worker| old.contains(worker))
    });
    for _ in 0..20 {
        assert!(nginx.handshake(), "{}", nginx.errors());
    }
    nginx.stop();
    eventually("one worker", || guarded.role("worker").len() == 1);
}
