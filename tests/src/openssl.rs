//! OpenSSL as the somebody else who says whether a value is right.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::client::run;
use crate::probe::hex;
use crate::stack::Stack;

/// What `openssl` with these arguments prints.
#[track_caller]
pub fn openssl(arguments: &[&str]) -> Vec<u8> {
    run(Command::new("openssl").args(arguments)).must_succeed().stdout
}

/// A key wrapped under another by AES Key Wrap (RFC 3394).
#[track_caller]
pub fn aes_key_wrap(stack: &Stack, wrapping: &[u8; 32], key: &[u8]) -> Vec<u8> {
    let plain = stack.write("to-wrap", key);
    let iv = "A6A6A6A6A6A6A6A6";
    openssl(&["enc", "-id-aes256-wrap", "-K", &hex(wrapping), "-iv", iv, "-in", text(&plain)])
}

/// Blocks under a key by AES-256 in ECB mode.
#[track_caller]
pub fn aes_ecb(stack: &Stack, key: &[u8; 32], blocks: &[u8]) -> Vec<u8> {
    let plain = stack.write("to-encrypt", blocks);
    openssl(&["enc", "-aes-256-ecb", "-nopad", "-K", &hex(key), "-in", text(&plain)])
}

/// Whether an RSA signature (PKCS #1 v1.5 over this SHA-256 digest) is by the key in a PEM file.
pub fn is_rsa_signature(stack: &Stack, public: &Path, digest: &[u8], signature: &[u8]) -> bool {
    let (digest, signature) = (stack.write("digest", digest), stack.write("signature", signature));
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-verify", "-pubin", "-pkeyopt", "digest:sha256", "-inkey"]).arg(public);
    run(command.arg("-in").arg(digest).arg("-sigfile").arg(signature)).success
}

/// A P-256 key pair outside the HSM.
pub struct PeerKey {
    private: PathBuf,
}

impl PeerKey {
    /// Makes one.
    pub fn generate(stack: &Stack) -> Self {
        let private = stack.file("peer.pem");
        let options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", text(&private)];
        openssl(&[&["genpkey"][..], &options].concat());
        Self { private }
    }

    /// The public key as `SubjectPublicKeyInfo`.
    pub fn public_der(&self) -> Vec<u8> {
        openssl(&["pkey", "-in", text(&self.private), "-pubout", "-outform", "DER"])
    }

    /// The public point, uncompressed.
    pub fn point(&self) -> Vec<u8> {
        let public = self.public_der();
        public[public.len() - 65..].to_vec()
    }

    /// The secret that it shares with the key in a PEM file.
    pub fn shared_secret(&self, public: &Path) -> Vec<u8> {
        openssl(&["pkeyutl", "-derive", "-inkey", text(&self.private), "-peerkey", text(public)])
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
