//! Bounds on connections and on time, on the real command.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::{Running, installed};

fn connect(running: &Running) -> TcpStream {
    let stream = TcpStream::connect(running.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn connect_tls(running: &Running) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(running.directory().join("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), connect(running))
}

#[test]
fn connections_beyond_the_bound_are_closed_until_there_is_room() {
    let directory = installed();
    let path = directory.path().join("server");
    let file = path.join("policy-server.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("max_connections = 512", "max_connections = 2")).unwrap();
    let running = Running::start(&path);
    let client = running.client();
    let healthy = || client.get::<serde_json::Value>("/healthz", "none").is_some();
    let mut silent = [connect(&running), connect(&running)];
    let deadline = Instant::now() + Duration::from_secs(4);
    while healthy() {
        assert!(Instant::now() < deadline, "a third connection was served");
    }
    // A handshake that does not come is not waited for.
    let started = Instant::now();
    for stream in &mut silent {
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
    }
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(healthy());
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let directory = installed();
    let running = Running::start(&directory.path().join("server"));
    let mut stream = connect_tls(&running);
    let head = "POST /v1/challenge HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).unwrap();
    let started = Instant::now();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    assert!((9..15).contains(&started.elapsed().as_secs()));
}
