//! A TLS server on a thread of its own that behaves as it is told, and the authority that certifies it.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::PrivateKeyDer;

/// A CA whose certificate lies in a file of its own.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, directory }
    }

    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    fn server_config(&self, name: &str, expired: bool) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 2);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

/// What the server does with each connection.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Sends these bytes over TLS and closes.
    Answer(Vec<u8>),
    /// Sends these bytes over TLS after each request, for as long as there are any.
    Converse(Vec<u8>),
    /// Accepts the connection and says nothing.
    NeverShakeHands,
    /// Takes the request and says nothing.
    NeverAnswer,
    /// Sends these bytes without TLS.
    PlainText(Vec<u8>),
    /// Sends these bytes over TLS, one each 200 ms.
    Trickle(Vec<u8>),
}

pub struct Server {
    port: u16,
    requests: Receiver<String>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    pub fn start(authority: &Authority, name: &str, behaviour: Behaviour) -> Self {
        Self::run(authority.server_config(name, false), behaviour)
    }

    pub fn start_expired(authority: &Authority, name: &str, behaviour: Behaviour) -> Self {
        Self::run(authority.server_config(name, true), behaviour)
    }

    fn run(config: Arc<ServerConfig>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                // A client that hangs up early is what some tests are about.
                let _ = serve(stream.unwrap(), &config, &behaviour, &sender);
            }
        });
        Self { port, requests, connections }
    }

    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.port)
    }

    /// The next request, complete.
    pub fn request(&self) -> String {
        self.requests.recv_timeout(Duration::from_secs(5)).unwrap()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(
    mut stream: TcpStream,
    config: &Arc<ServerConfig>,
    behaviour: &Behaviour,
    requests: &Sender<String>,
) -> io::Result<()> {
    match behaviour {
        Behaviour::NeverShakeHands => {
            thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
        Behaviour::PlainText(bytes) => {
            let _ = stream.read(&mut [0; 4096])?;
            return stream.write_all(bytes);
        }
        Behaviour::Answer(_) | Behaviour::Converse(_) | Behaviour::NeverAnswer | Behaviour::Trickle(_) => {}
    }
    let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
    let mut tls = StreamOwned::new(connection, stream);
    let _ = requests.send(read_request(&mut tls)?);
    match behaviour {
        Behaviour::Answer(bytes) => tls.write_all(bytes)?,
        Behaviour::Converse(bytes) => loop {
            tls.write_all(bytes)?;
            tls.flush()?;
            let _ = requests.send(read_request(&mut tls)?);
        },
        Behaviour::Trickle(bytes) => {
            for byte in bytes {
                tls.write_all(&[*byte])?;
                tls.flush()?;
                thread::sleep(Duration::from_millis(200));
            }
        }
        _ => thread::sleep(Duration::from_secs(5)),
    }
    tls.conn.send_close_notify();
    tls.flush()
}

fn read_request(stream: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<String> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return Ok(text);
            }
        }
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&buffer[..count]);
    }
}
