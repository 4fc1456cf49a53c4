//! The client against a real TLS server on the loopback interface that answers well, badly, late or never.

// clippy.toml permits these inside test functions only; here the helpers are test code, too.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod server;

use std::time::{Duration, Instant};

use attestation::api::{AttestRequest, Challenge, ChallengeRequest};
use policy_client::{Client, ClientError, Settings};

use server::{Authority, Behaviour, Server};

const TIMEOUT: Duration = Duration::from_millis(600);

fn client(server: &Server, authority: &Authority) -> Client {
    client_at(&server.url("127.0.0.1"), authority)
}

fn client_at(url: &str, authority: &Authority) -> Client {
    let settings = Settings { url: url.to_owned(), ca_pem: authority.ca_file(), timeout: TIMEOUT };
    Client::new(&settings).unwrap()
}

fn ask() -> ChallengeRequest {
    ChallengeRequest { kid: "kid".to_owned(), cnf: "cnf".to_owned() }
}

fn http(status: &str, media_type: &str, body: &str) -> Behaviour {
    Behaviour::Answer(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
    )
}

const GOOD: &str = r#"{"nonce":"bm9uY2U","expires_in":60}"#;

#[test]
fn a_challenge_arrives() {
    let authority = Authority::new();
    let server = Server::start(&authority, "127.0.0.1", http("200 OK", "application/json", GOOD));
    let challenge = client(&server, &authority).challenge(&ask()).unwrap();
    assert_eq!(challenge, Challenge { nonce: "bm9uY2U".to_owned(), expires_in: 60 });
    let request = server.request();
    assert!(request.starts_with("POST /v1/challenge HTTP/1.1\r\n"), "{request}");
    assert!(request.ends_with(r#"{"kid":"kid","cnf":"cnf"}"#), "{request}");
    assert!(!request.to_lowercase().contains("authorization"), "{request}");
}

#[test]
fn an_operators_credential_goes_into_the_header() {
    let authority = Authority::new();
    let server = Server::start(&authority, "127.0.0.1", http("204 No Content", "text/plain", ""));
    client(&server, &authority).with_admin_token("secret-1").unwrap().delete("/v1/grants/G-1").unwrap();
    let request = server.request();
    assert!(request.starts_with("DELETE /v1/grants/G-1 HTTP/1.1\r\n"), "{request}");
    assert!(request.to_lowercase().contains("authorization: bearer secret-1\r\n"), "{request}");
}

#[test]
fn a_credential_that_would_split_the_header_is_refused() {
    let authority = Authority::new();
    for token in ["", "a b", "a\r\nx: y", "é"] {
        let client = client_at("https://127.0.0.1:1", &authority);
        assert!(matches!(client.with_admin_token(token), Err(ClientError::BadCredential)), "{token:?}");
    }
}

#[test]
fn a_ready_server_tells_its_time() {
    let authority = Authority::new();
    let date = "Sun, 06 Nov 1994 08:49:37 GMT";
    for (status, expected) in [(format!("200 OK\r\ndate: {date}"), Some(date)), ("200 OK".to_owned(), None)] {
        let server = Server::start(&authority, "127.0.0.1", http(&status, "text/plain", "ready"));
        assert_eq!(client(&server, &authority).ready().unwrap().as_deref(), expected);
    }
    let server = Server::start(&authority, "127.0.0.1", http("503 Service Unavailable", "text/plain", "no"));
    assert!(client(&server, &authority).ready().is_err());
}

#[test]
fn two_requests_use_two_connections() {
    let authority = Authority::new();
    let server = Server::start(&authority, "127.0.0.1", http("200 OK", "application/json", GOOD));
    let client = client(&server, &authority);
    for _ in 0..2 {
        client.challenge(&ask()).unwrap();
        assert!(server.request().starts_with("POST"));
    }
    assert_eq!(server.connections(), 2);
}

#[test]
fn requests_share_a_connection_where_they_are_told_to() {
    let authority = Authority::new();
    let Behaviour::Answer(answer) = http("200 OK", "application/json", GOOD) else { panic!("no answer") };
    let server = Server::start(&authority, "127.0.0.1", Behaviour::Converse(answer));
    let client = client(&server, &authority).on_one_connection();
    for timeout in [Duration::from_secs(5), Duration::from_secs(4)] {
        client.within(timeout).challenge(&ask()).unwrap();
        assert!(server.request().starts_with("POST"));
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn a_timeout_of_its_own_holds_for_a_request_on_a_shared_connection() {
    let authority = Authority::new();
    let server = Server::start(&authority, "127.0.0.1", Behaviour::NeverAnswer);
    let client = client(&server, &authority).on_one_connection().within(Duration::from_millis(200));
    let started = std::time::Instant::now();
    assert!(matches!(client.challenge(&ask()), Err(ClientError::TimedOut { .. })));
    assert!(started.elapsed() < Duration::from_secs(4), "the server would have held out for 5 s");
}

#[test]
fn wrong_ca() {
    let theirs = Authority::new();
    let ours = Authority::new();
    let server = Server::start(&theirs, "127.0.0.1", http("200 OK", "application/json", GOOD));
    let error = client(&server, &ours).challenge(&ask()).unwrap_err();
    assert!(matches!(error, ClientError::BadCertificate { .. }), "{error:?}");
}

#[test]
fn wrong_name() {
    let authority = Authority::new();
    let server = Server::start(&authority, "policy.example", http("200 OK", "application/json", GOOD));
    let error = client(&server, &authority).challenge(&ask()).unwrap_err();
    assert!(matches!(error, ClientError::BadCertificate { .. }), "{error:?}");
}

#[test]
fn expired_certificate() {
    let authority = Authority::new();
    let server = Server::start_expired(&authority, "127.0.0.1", http("200 OK", "application/json", GOOD));
    let error = client(&server, &authority).challenge(&ask()).unwrap_err();
    assert!(matches!(error, ClientError::BadCertificate { .. }), "{error:?}");
}

#[test]
fn garbage_answers() {
    let authority = Authority::new();
    for behaviour in [
        http("200 OK", "text/html", "<html>captive portal</html>"),
        http("200 OK", "application/json", r#"{"nonce":"a","expires_in":60,"more":1}"#),
        http("200 OK", "application/json", ""),
        http("302 Found\r\nlocation: https://127.0.0.1:1/", "text/plain", ""),
        http("500 Internal Server Error", "text/plain", "oops"),
        http("403 Forbidden", "application/problem+json", "not json"),
        http("403 Forbidden", "application/json", r#"{"type":"x","title":"y","status":403}"#),
        Behaviour::Answer(b"\0\x01\x02 this is not HTTP\r\n\r\n".to_vec()),
        Behaviour::PlainText(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec()),
    ] {
        let server = Server::start(&authority, "127.0.0.1", behaviour.clone());
        let error = client(&server, &authority).challenge(&ask()).unwrap_err();
        assert!(matches!(error, ClientError::Garbage { .. }), "{behaviour:?}: {error:?}");
    }
}

#[test]
fn the_error_about_a_garbage_answer_does_not_quote_it() {
    let authority = Authority::new();
    let body = r#"{"token":7,"decision":"eyJhbGciOi.secret.token"}"#;
    let server = Server::start(&authority, "127.0.0.1", http("200 OK", "application/json", body));
    let request = AttestRequest { evidence: "e".to_owned(), decisions: Vec::new(), lost: 0 };
    let error = client(&server, &authority).attest(&request).unwrap_err();
    assert!(matches!(error, ClientError::Garbage { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
}

#[test]
fn answer_cut_short() {
    let authority = Authority::new();
    let answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"nonce\":";
    let server = Server::start(&authority, "127.0.0.1", Behaviour::Answer(answer.to_vec()));
    let error = client(&server, &authority).challenge(&ask()).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. } | ClientError::Garbage { .. }), "{error:?}");
}

#[test]
fn oversized_answers() {
    let authority = Authority::new();
    let long = " ".repeat((1 << 20) + 1);
    let endless =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{long}\r\n", long.len());
    for behaviour in [http("200 OK", "application/json", &long), Behaviour::Answer(endless.into_bytes())] {
        let server = Server::start(&authority, "127.0.0.1", behaviour);
        let error = client(&server, &authority).challenge(&ask()).unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { .. }), "{error:?}");
    }
}

#[test]
fn problem_document() {
    let authority = Authority::new();
    let body = r#"{"type":"urn:trustshim:problem:evidence-refused","title":"Evidence refused","status":403,
        "decision":"D-000000000001","reasons":[{"code":"library-unknown","detail":"/tmp/x.so"}]}"#;
    let behaviour = http("403 Forbidden", "application/problem+json; charset=utf-8", body);
    let server = Server::start(&authority, "127.0.0.1", behaviour);
    let request = AttestRequest { evidence: "e".to_owned(), decisions: Vec::new(), lost: 0 };
    let ClientError::Refused(problem) = client(&server, &authority).attest(&request).unwrap_err() else {
        panic!("not a refusal");
    };
    assert_eq!(problem.kind, "urn:trustshim:problem:evidence-refused");
    assert_eq!(problem.decision.unwrap().to_string(), "D-000000000001");
    assert_eq!(problem.reasons[0].code, "library-unknown");
}

#[test]
fn slow_servers_are_bounded_by_the_timeout() {
    let authority = Authority::new();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{GOOD}", GOOD.len()).into_bytes();
    for behaviour in [Behaviour::NeverShakeHands, Behaviour::NeverAnswer, Behaviour::Trickle(answer)] {
        let server = Server::start(&authority, "127.0.0.1", behaviour.clone());
        let started = Instant::now();
        let error = client(&server, &authority).challenge(&ask()).unwrap_err();
        let took = started.elapsed();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{behaviour:?}: {error:?}");
        assert!(took < TIMEOUT * 3, "{behaviour:?}: {took:?}");
    }
}

#[test]
fn connection_refused() {
    let authority = Authority::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = client_at(&format!("https://127.0.0.1:{port}"), &authority).challenge(&ask()).unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
}

#[test]
fn unusable_ca_files() {
    let directory = tempfile::tempdir().unwrap();
    let ca_pem = directory.path().join("ca.pem");
    let settings =
        Settings { url: "https://127.0.0.1:1".to_owned(), ca_pem: ca_pem.clone(), timeout: TIMEOUT };
    assert!(matches!(Client::new(&settings), Err(ClientError::BadCa { .. })), "missing");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let mixed = format!("{}{broken}", std::fs::read_to_string(Authority::new().ca_file()).unwrap());
    for content in ["", "no certificate here", broken, mixed.as_str()] {
        std::fs::write(&ca_pem, content).unwrap();
        assert!(matches!(Client::new(&settings), Err(ClientError::BadCa { .. })), "{content}");
    }
}

#[test]
fn no_thread_and_no_descriptor_is_left_behind() {
    let authority = Authority::new();
    let server = Server::start(&authority, "localhost", http("200 OK", "application/json", GOOD));
    // In a child process, so that the other tests' threads and sockets do not count.
    if let Ok(url) = std::env::var("TRUSTSHIM_TEST_URL") {
        let ca_pem = std::env::var_os("TRUSTSHIM_TEST_CA").unwrap().into();
        let client = Client::new(&Settings { url, ca_pem, timeout: TIMEOUT }).unwrap();
        let count = |what: &str| std::fs::read_dir(what).unwrap().count();
        let before = (count("/proc/self/task"), count("/proc/self/fd"));
        client.challenge(&ask()).unwrap();
        assert_eq!((count("/proc/self/task"), count("/proc/self/fd")), before);
        return;
    }
    let test = "no_thread_and_no_descriptor_is_left_behind";
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--test-threads=1"])
        .env("TRUSTSHIM_TEST_URL", server.url("localhost"))
        .env("TRUSTSHIM_TEST_CA", authority.ca_file())
        .env("HTTPS_PROXY", "http://127.0.0.1:1")
        .env("ALL_PROXY", "socks5://127.0.0.1:1")
        .status()
        .unwrap();
    assert!(status.success());
    assert!(server.request().starts_with("POST /v1/challenge"));
}
