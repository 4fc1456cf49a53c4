//! `policy-server serve`: TLS, bounds on connections and time, and an orderly end.

use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use attestation::token::TokenIssuer;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use zeroize::Zeroizing;

use crate::configuration::{Configuration, Layout};
use crate::error::ServerError;
use crate::routes::router;
use crate::state::Server;
use crate::store::Store;

/// Longest TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a request's head, at the start of a connection and between requests.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long running requests may take to end after SIGTERM.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Runs the installation in `directory` until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServerError`], with the file or address that is the matter.
pub async fn serve(directory: &Path, print_address: bool) -> Result<(), ServerError> {
    let layout = Layout::new(directory);
    let server = Arc::new(open(&layout).await?);
    let tls = tls(&layout)?;
    let listen = server.configuration.listen;
    let failed = |error| ServerError::Listen { address: listen.to_string(), error };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;

    let handle = Handle::new();
    let stop = stop_at_signal(handle.clone()).map_err(failed)?;
    tracing::info!(%address, token_key = server.issuer.key_id(), "listening");
    if print_address {
        // Who asked for the address and does not read it has a problem of their own.
        let _ = writeln!(io::stdout(), "https://{address}");
        let _ = io::stdout().flush();
    }
    let connections = server.configuration.max_connections;
    let app = router(Arc::clone(&server));
    let ended = listen_on(listener, tls, app, connections, handle).await;
    stop.abort();
    server.store.close().await;
    tracing::info!("stopped");
    ended.map_err(failed)
}

/// Reads everything that an installation consists of.
///
/// # Errors
/// [`ServerError`], with the file that is the matter.
pub async fn open(layout: &Layout) -> Result<Server, ServerError> {
    let configuration = Configuration::load(&layout.configuration())?;
    let pem = secret_file(&layout.token_key())?;
    let issuer = TokenIssuer::from_pkcs8_pem(&pem).map_err(|error| ServerError::KeyMaterial {
        what: "token-signing.pem is not an Ed25519 key",
        problem: error.to_string(),
    })?;
    let store = Store::open(&layout.database()).await?;
    Server::new(store, issuer, configuration)
}

fn secret_file(path: &Path) -> Result<Zeroizing<String>, ServerError> {
    let failed = |error| ServerError::File { path: path.to_owned(), error };
    let mode = fs::metadata(path).map_err(failed)?.mode();
    if mode & 0o077 != 0 {
        return Err(ServerError::FileNotPrivate { path: path.to_owned() });
    }
    fs::read_to_string(path).map(Zeroizing::new).map_err(failed)
}

fn tls(layout: &Layout) -> Result<Arc<ServerConfig>, ServerError> {
    let wrong = |what| {
        move |error: &dyn core::fmt::Display| ServerError::KeyMaterial { what, problem: error.to_string() }
    };
    let certificates = CertificateDer::pem_file_iter(layout.tls_certificate())
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong("tls.pem is not a certificate")(&error))?;
    let pem = secret_file(&layout.tls_key())?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| wrong("tls.key is not a private key")(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(|error| wrong("tls.pem and tls.key cannot be used")(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn stop_at_signal(handle: Handle<SocketAddr>) -> io::Result<tokio::task::JoinHandle<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        handle.graceful_shutdown(Some(SHUTDOWN_GRACE));
    }))
}

/// Serves until `handle` says stop. More than `connections` at a time are closed as they come.
async fn listen_on(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    app: Router,
    connections: u32,
    handle: Handle<SocketAddr>,
) -> io::Result<()> {
    // With Nagle's algorithm an answer waits for the acknowledgement of the session tickets before it, which the client
    // delays: 40 ms for each request.
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(tls))
        .handshake_timeout(HANDSHAKE_TIMEOUT)
        .acceptor(NoDelayAcceptor::new());
    let places = Arc::new(Semaphore::new(usize::try_from(connections).unwrap_or(Semaphore::MAX_PERMITS)));
    let per_connection = tower::service_fn(move |_peer: SocketAddr| {
        let place = Arc::clone(&places).try_acquire_owned().map(Arc::new);
        let app = app.clone();
        async move {
            // The place is held by the connection's service, and so for as long as the connection.
            let place = place.map_err(io::Error::other)?;
            Ok::<_, io::Error>(tower::service_fn(move |request| {
                let place = Arc::clone(&place);
                let answer = app.clone().oneshot(request);
                async move {
                    let answer = answer.await;
                    drop(place);
                    answer
                }
            }))
        }
    });
    let mut server = axum_server::Server::<SocketAddr>::from_listener(listener)
        .acceptor(acceptor)
        .handle(handle)
        .first_request_timeout(HEADER_TIMEOUT)
        .http1_only();
    server.http_builder().http1().header_read_timeout(HEADER_TIMEOUT);
    server.serve(per_connection).await
}
