//! `policy-server init`: makes an installation in an empty directory.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use attestation::token::TokenIssuer;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::authentication::Role;
use crate::clock;
use crate::configuration::{Configuration, Layout};
use crate::error::ServerError;
use crate::new_file::{PRIVATE, PUBLIC, create};
use crate::operators;
use crate::store::Store;

/// Validity of the CA and of the server's certificate. There is no renewal: another `init` makes another CA.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How far clocks of clients may stand behind.
const CLOCK_SKEW: Duration = Duration::from_secs(86_400);

/// Makes an installation in `directory`.
///
/// # Errors
/// [`ServerError::DirectoryInUse`] where it is not empty, and whatever goes wrong while writing.
pub async fn init(directory: &Path, listen: SocketAddr, dns: &[String]) -> Result<(), ServerError> {
    empty_directory(directory)?;
    let layout = Layout::new(directory);
    let now = clock::now()?;

    let text = toml::to_string(&Configuration::new(listen)).map_err(|error| ServerError::KeyMaterial {
        what: "the configuration could not be written",
        problem: error.to_string(),
    })?;
    create(&layout.configuration(), PUBLIC, text.as_bytes())?;

    let certificates = certificates(listen, dns, now).map_err(|error| ServerError::KeyMaterial {
        what: "the certificates could not be made",
        problem: error.to_string(),
    })?;
    create(&layout.ca_key(), PRIVATE, certificates.ca.key().serialize_pem().as_bytes())?;
    create(&layout.ca_certificate(), PUBLIC, certificates.ca.pem().as_bytes())?;
    create(&layout.tls_key(), PRIVATE, certificates.leaf_key.serialize_pem().as_bytes())?;
    create(&layout.tls_certificate(), PUBLIC, certificates.leaf.pem().as_bytes())?;

    let (issuer, pem) = TokenIssuer::generate().map_err(|error| ServerError::Token(error.to_string()))?;
    create(&layout.token_key(), PRIVATE, pem.as_bytes())?;
    create(&layout.anchors(), PUBLIC, issuer.jwks().as_bytes())?;

    // SQLite gives its journals the mode of the database file.
    create(&layout.database(), PRIVATE, b"")?;
    let store = Store::open(&layout.database()).await?;
    operators::enter(&store, "admin", Role::Approver, &layout.admin_token()).await?;
    store.close().await;
    tracing::info!(directory = %directory.display(), token_key = issuer.key_id(), "installation made");
    Ok(())
}

fn empty_directory(path: &Path) -> Result<(), ServerError> {
    let failed = |error| ServerError::File { path: path.to_owned(), error };
    match fs::read_dir(path) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(ServerError::DirectoryInUse { path: path.to_owned() }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            fs::create_dir_all(path).map_err(failed)?;
            fs::set_permissions(path, Permissions::from_mode(0o755)).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

struct Certificates {
    ca: CertifiedIssuer<'static, KeyPair>,
    leaf: Certificate,
    leaf_key: KeyPair,
}

fn certificates(listen: SocketAddr, dns: &[String], now: u64) -> Result<Certificates, rcgen::Error> {
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    let named = |name: &str| {
        let mut names = DistinguishedName::new();
        names.push(DnType::CommonName, name);
        names
    };

    let mut ca = CertificateParams::new(Vec::new())?;
    ca.distinguished_name = named("Trustshim policy server CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (ca.not_before, ca.not_after) = (now - CLOCK_SKEW, now + VALIDITY);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;

    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !listen.ip().is_unspecified() {
        names.push(listen.ip().to_string());
    }
    names.extend(dns.iter().cloned());
    names.sort();
    names.dedup();
    let mut leaf = CertificateParams::new(names)?;
    leaf.distinguished_name = named("Trustshim policy server");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    (leaf.not_before, leaf.not_after) = (now - CLOCK_SKEW, now + VALIDITY);
    let leaf_key = KeyPair::generate()?;
    let leaf = leaf.signed_by(&leaf_key, &ca)?;
    Ok(Certificates { ca, leaf, leaf_key })
}
