//! Every family of operations that SoftHSM has, in one call and in parts, as the calls that an application makes.

use cryptoki_sys::*;
use serde_json::{Value, json};

use crate::probe::{Probe, hex};
use crate::stack::Token;

/// One operation.
#[derive(Clone)]
pub struct Operation {
    /// For messages.
    pub name: String,
    /// Class and label of the key.
    pub key: (u64, &'static str),
    /// The init.
    pub init: &'static str,
    mechanism: u64,
    parameter: Value,
    /// The calls behind the init, without their session; the last one completes the operation.
    pub calls: Vec<(&'static str, Value)>,
}

impl Operation {
    /// Arguments of the init.
    pub fn begin(&self, session: u64, key: u64) -> Value {
        json!({ "session": session, "mechanism": self.mechanism, "parameter": self.parameter, "key": key })
    }

    /// Whether it gives output, of which the size can be asked for.
    pub fn has_output(&self) -> bool {
        self.init != "C_VerifyInit"
    }
}

/// Arguments on a session.
pub fn on(session: u64, arguments: &Value) -> Value {
    let mut arguments = arguments.clone();
    arguments["session"] = session.into();
    arguments
}

const DATA: [u8; 64] = [1; 64];
const DEMO_AES: (u64, &str) = (CKO_SECRET_KEY, "demo-aes");
const DEMO_EC: (u64, &str) = (CKO_PRIVATE_KEY, "demo-ec");
const DEMO_ED: (u64, &str) = (CKO_PRIVATE_KEY, "demo-ed");
const DEMO_HMAC: (u64, &str) = (CKO_SECRET_KEY, "demo-hmac");
const DEMO_RSA: (u64, &str) = (CKO_PRIVATE_KEY, "demo-rsa");

/// AES in its modes, each with its parameter.
fn ciphers() -> [(&'static str, u64, Value); 5] {
    let iv = hex(&[0; 16]);
    // CK_AES_CTR_PARAMS and CK_GCM_PARAMS.
    let counter = json!([32, iv]);
    let gcm = json!([{ "at": hex(&[0; 12]) }, 12, 96, 0, 0, 128]);
    [
        ("AES-ECB", CKM_AES_ECB, json!([])),
        ("AES-CBC", CKM_AES_CBC, json!(iv)),
        ("AES-CBC with padding", CKM_AES_CBC_PAD, json!(iv)),
        ("AES-CTR", CKM_AES_CTR, counter),
        ("AES-GCM", CKM_AES_GCM, gcm),
    ]
}

fn signatures() -> [(&'static str, (u64, &'static str), u64, bool); 6] {
    [
        ("RSA", DEMO_RSA, CKM_RSA_PKCS, false),
        ("RSA with a digest", DEMO_RSA, CKM_SHA256_RSA_PKCS, true),
        ("ECDSA", DEMO_EC, CKM_ECDSA, false),
        ("EdDSA", DEMO_ED, CKM_EDDSA, false),
        ("HMAC", DEMO_HMAC, CKM_SHA256_HMAC, true),
        ("CMAC", DEMO_AES, CKM_AES_CMAC, true),
    ]
}

/// Every operation; what is there to be decrypted and verified `owner` has made on a session of its own.
///
/// On Kryoptic without EdDSA, for which there is no key, and CMAC, for which `demo-aes` is not.
pub fn all(owner: &mut Probe, session: u64, token: Token) -> Vec<Operation> {
    let mut all = Vec::new();
    let mut add = |name: String, key, init, mechanism, parameter: &Value, calls| {
        all.push(Operation { name, key, init, mechanism, parameter: parameter.clone(), calls });
    };
    let none = json!([]);
    let input = |data: &[u8]| json!({ "input": hex(data) });
    let half = json!({ "part": hex(&DATA[..32]) });
    let has = |mechanism| token == Token::SoftHsm || !matches!(mechanism, CKM_EDDSA | CKM_AES_CMAC);
    for (name, key, mechanism, in_parts) in signatures().into_iter().filter(|(_, _, it, _)| has(*it)) {
        let data = if in_parts { &DATA[..] } else { &DATA[..32] };
        add(format!("{name}, signing"), key, "C_SignInit", mechanism, &none, vec![("C_Sign", input(data))]);
        if in_parts {
            let parts = vec![
                ("C_SignUpdate", half.clone()),
                ("C_SignUpdate", half.clone()),
                ("C_SignFinal", json!({})),
            ];
            add(format!("{name}, signing in parts"), key, "C_SignInit", mechanism, &none, parts);
        }
        if key.0 == CKO_SECRET_KEY && in_parts {
            let handle = owner.key(session, key.0, key.1);
            let begin = json!({ "session": session, "mechanism": mechanism, "key": handle });
            owner.must("C_SignInit", begin);
            let signature = owner.must("C_Sign", on(session, &input(&DATA))).bytes("output");
            let whole = json!({ "data": hex(&DATA), "signature": hex(&signature) });
            let last = json!({ "signature": hex(&signature) });
            add(
                format!("{name}, verifying"),
                key,
                "C_VerifyInit",
                mechanism,
                &none,
                vec![("C_Verify", whole)],
            );
            let parts = vec![
                ("C_VerifyUpdate", half.clone()),
                ("C_VerifyUpdate", half.clone()),
                ("C_VerifyFinal", last),
            ];
            add(format!("{name}, verifying in parts"), key, "C_VerifyInit", mechanism, &none, parts);
        }
    }
    let aes = owner.key(session, DEMO_AES.0, DEMO_AES.1);
    for (name, mechanism, parameter) in ciphers() {
        let begin = json!({ "session": session, "mechanism": mechanism, "parameter": parameter, "key": aes });
        owner.must("C_EncryptInit", begin);
        let encrypted = owner.must("C_Encrypt", on(session, &input(&DATA))).bytes("output");
        for (direction, init, one, update, last, data) in [
            ("encrypting", "C_EncryptInit", "C_Encrypt", "C_EncryptUpdate", "C_EncryptFinal", &DATA[..]),
            ("decrypting", "C_DecryptInit", "C_Decrypt", "C_DecryptUpdate", "C_DecryptFinal", &encrypted),
        ] {
            let whole = vec![(one, input(data))];
            add(format!("{name}, {direction}"), DEMO_AES, init, mechanism, &parameter, whole);
            let parts = vec![(update, input(&data[..16])), (update, input(&data[16..])), (last, json!({}))];
            add(format!("{name}, {direction} in parts"), DEMO_AES, init, mechanism, &parameter, parts);
        }
    }
    let public = owner.key(session, CKO_PUBLIC_KEY, DEMO_RSA.1);
    owner.must("C_EncryptInit", json!({ "session": session, "mechanism": CKM_RSA_PKCS, "key": public }));
    let encrypted = owner.must("C_Encrypt", on(session, &input(b"secret"))).bytes("output");
    let whole = vec![("C_Decrypt", input(&encrypted))];
    add("RSA, decrypting".to_owned(), DEMO_RSA, "C_DecryptInit", CKM_RSA_PKCS, &none, whole);
    all
}
