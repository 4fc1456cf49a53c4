//! `trustshim token inspect`: what a trust token says, and whether a pinned key signed it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

use attestation::api::GrantTerms;
use attestation::base64url;
use attestation::token::{Anchors, Expected, Presented, TokenClaims, verify_token};
use serde::Serialize;
use serde_json::Value;

use super::super::grant_terms;
use crate::date;
use crate::error::{CliError, Ended};
use crate::local_attester::boottime_ms;
use crate::output;

/// Bytes that a token may have.
const LIMIT: u64 = 256 << 10;

#[derive(clap::Args)]
pub struct Inspect {
    /// File with the token; - is standard input
    #[arg(default_value = "-")]
    file: PathBuf,
    /// JWKS file with the keys that sign trust tokens
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    json: bool,
}

/// What is known about the signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "signature", content = "why")]
enum Genuine {
    /// Signed by a pinned key.
    Valid,
    /// Not by a pinned key, or not a trust token.
    Invalid(String),
    /// No anchors were given.
    NotChecked,
}

/// A token taken apart.
#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    genuine: Genuine,
    header: Value,
    claims: Value,
}

/// Shows the claims, and whether a pinned key has signed them.
pub fn inspect(Inspect { file, anchors, json }: &Inspect) -> Result<Ended, CliError> {
    let jwt = if file.as_os_str() == "-" {
        read(io::stdin().lock()).map_err(|source| CliError::File { path: file.clone(), source })?
    } else {
        let opened = File::open(file).and_then(read);
        opened.map_err(|source| CliError::File { path: file.clone(), source })?
    };
    let jwt = jwt.trim();
    let (header, claims) = decode(jwt)?;
    let genuine = match anchors {
        None => Genuine::NotChecked,
        Some(path) => {
            let text =
                fs::read_to_string(path).map_err(|source| CliError::File { path: path.clone(), source })?;
            let anchors = Anchors::parse(&text).map_err(|error| CliError::TrustToken(error.to_string()))?;
            verify(jwt, &claims, &anchors)
        }
    };
    let failed = matches!(genuine, Genuine::Invalid(_));
    if *json {
        output::print_json(&Inspected { genuine, header, claims })?;
    } else {
        output::print(&text(&genuine, &header, &claims, date::now()))?;
    }
    Ok(if failed { Ended::WithFailures } else { Ended::Well })
}

fn read(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input.take(LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// Header and claims, whoever signed them.
fn decode(jwt: &str) -> Result<(Value, Value), CliError> {
    let refuse = |why: &str| CliError::TrustToken(why.to_owned());
    let mut parts = jwt.split('.');
    let (Some(header), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(refuse("it has not three parts"));
    };
    let json = |part: &str| {
        let bytes = base64url::decode(part).ok_or_else(|| refuse("a part of it is not base64url"))?;
        serde_json::from_slice(&bytes).map_err(|_| refuse("a part of it is not JSON"))
    };
    Ok((json(header)?, json(claims)?))
}

/// Checks everything that can be checked away from the attester: what the token says of host, key and process
/// is taken as expected, and the moment just before its deadline as now.
fn verify(jwt: &str, claims: &Value, anchors: &Anchors) -> Genuine {
    let claims: TokenClaims = match serde_json::from_value(claims.clone()) {
        Ok(claims) => claims,
        Err(_) => return Genuine::Invalid("its claims are not those of a trust token".to_owned()),
    };
    let private = &claims.trustshim;
    let expected = Expected {
        hsm: &private.hsm,
        host: &private.host,
        mode: private.mode,
        boot_id: &private.boot_id,
        measurement: private.measurement,
        presented: match (&claims.cnf, &claims.eat_nonce) {
            (Some(cnf), Some(nonce)) => Presented::Answer { cnf: &cnf.jkt, nonce },
            _ => Presented::HandedIn,
        },
    };
    match verify_token(jwt, anchors, &expected, private.deadline_boottime_ms.saturating_sub(1)) {
        Ok(_) => Genuine::Valid,
        Err(error) => Genuine::Invalid(error.to_string()),
    }
}

fn text(genuine: &Genuine, header: &Value, claims: &Value, now: u64) -> String {
    let mut text = String::new();
    let mut line =
        |name: &str, value: &str| text.push_str(&format!("{name:<14} {}\n", output::one_line(value)));
    line(
        "Signature",
        &match genuine {
            Genuine::Valid => "valid, by a pinned key".to_owned(),
            Genuine::Invalid(why) => format!("NOT VALID: {why}"),
            Genuine::NotChecked => "not checked (give --anchors): nothing below is proven".to_owned(),
        },
    );
    line("Signing key", &member(header, "/kid"));
    line("Issuer", &member(claims, "/iss"));
    line("Token id", &member(claims, "/jti"));
    for (name, path) in [("Issued", "/iat"), ("Expires", "/exp")] {
        line(name, &moment(claims.pointer(path), now));
    }
    for (name, path) in [
        ("Component", "/trustshim/component"),
        ("Version", "/trustshim/version"),
        ("Measurement", "/trustshim/measurement"),
        ("Host", "/trustshim/host"),
        ("Mode", "/trustshim/mode"),
        ("Attestation key", "/trustshim/hsm"),
        ("Boot", "/trustshim/boot_id"),
    ] {
        line(name, &member(claims, path));
    }
    line("Deadline", &deadline(claims));
    let bound = claims.get("cnf").is_some_and(|cnf| !cnf.is_null());
    line(
        "Bound to",
        if bound { "the attester whose evidence it answers" } else { "nothing: to be handed in" },
    );
    let grants = claims.pointer("/trustshim/grants").and_then(Value::as_array);
    for grant in grants.into_iter().flatten() {
        line("May", &grant_text(grant));
    }
    text
}

fn member(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn moment(value: Option<&Value>, now: u64) -> String {
    match value.and_then(Value::as_u64) {
        Some(seconds) => format!("{} ({})", date::utc(seconds), date::relative(seconds, now)),
        None => "-".to_owned(),
    }
}

/// The deadline counts by the clock of the attester's boot; elsewhere it says nothing about now.
fn deadline(claims: &Value) -> String {
    let Some(deadline) = claims.pointer("/trustshim/deadline_boottime_ms").and_then(Value::as_u64) else {
        return "-".to_owned();
    };
    let boot = claims.pointer("/trustshim/boot_id").and_then(Value::as_str);
    let here = measurement::boot_id().ok();
    if boot.is_none() || here.as_deref() != boot {
        return format!("{} s after its host's boot, which is not this one", deadline / 1000);
    }
    date::relative(deadline / 1000, boottime_ms() / 1000)
}

fn grant_text(value: &Value) -> String {
    match serde_json::from_value::<attestation::grant::Grant>(value.clone()) {
        Ok(grant) => {
            let mut text = format!("{} with {}", grant_terms::names(&grant.operations), grant.key);
            let limits = grant_terms::limits(&GrantTerms {
                mechanisms: grant.mechanisms.unwrap_or_default(),
                rate: grant.rate,
                ..GrantTerms::new(String::new(), Vec::new())
            });
            let end =
                grant.deadline_boottime_ms.map(|ms| format!("until {} s after its host's boot", ms / 1000));
            let limits: Vec<String> = limits.into_iter().chain(end).collect();
            if !limits.is_empty() {
                text.push_str(&format!(" ({})", limits.join(", ")));
            }
            text
        }
        Err(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use attestation::digest::Digest;
    use attestation::token::{ISSUER, Mode, Statuses, Tier, TokenFacts, TokenIssuer, TrustshimClaims};
    use serde_json::json;

    use super::*;

    fn jwt(header: &str, claims: &str) -> String {
        format!("{}.{}.AAAA", base64url::encode(header.as_bytes()), base64url::encode(claims.as_bytes()))
    }

    #[test]
    fn header_and_claims_are_shown_unproven() {
        let claims = r#"{"iss":"https://a","iat":0,"trustshim":{"component":"nginx","deadline_boottime_ms":5000,
            "boot_id":"another","grants":[{"id":"G-1","key":"pkcs11:token=t","operations":["sign"]}]}}"#;
        let (header, claims) = decode(&jwt(r#"{"kid":"k\u001b[2J"}"#, claims)).unwrap();
        let text = text(&Genuine::NotChecked, &header, &claims, 60);
        for part in [
            "Signature      not checked",
            "Issued         1970-01-01 00:00:00 UTC (60 s ago)",
            "Component      nginx",
            "Deadline       5 s after its host's boot",
            "May            sign with pkcs11:token=t",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn malformed_tokens_are_refused() {
        for jwt in ["", "a.b", "a.b.c.d", "!.!.!", &jwt("x", "{}"), &jwt("{}", "x")] {
            assert!(matches!(decode(jwt), Err(CliError::TrustToken(_))), "{jwt}");
        }
    }

    fn facts() -> TokenFacts {
        TokenFacts {
            issuer: ISSUER.to_owned(),
            jti: "jti".to_owned(),
            issued_at: 1,
            lifetime_s: 300,
            binding: Some(attestation::token::Binding { nonce: "nonce".to_owned(), cnf: "cnf".to_owned() }),
            statuses: Statuses { boot: Tier::None, attester: Tier::Affirming, component: Tier::Affirming },
            trustshim: TrustshimClaims {
                hsm: "hsm".to_owned(),
                host: "web1".to_owned(),
                mode: Mode::Inline,
                boot_id: "boot".to_owned(),
                deadline_boottime_ms: 5000,
                component: "nginx".to_owned(),
                version: "1".to_owned(),
                measurement: Digest::of(b"x"),
                grants: Vec::new(),
                epoch: 1,
            },
        }
    }

    fn genuine() -> (TokenIssuer, String) {
        let (issuer, _) = TokenIssuer::generate().unwrap();
        let token = issuer.issue(&facts()).unwrap();
        (issuer, token)
    }

    #[test]
    fn a_token_of_a_pinned_key_is_valid_and_of_another_is_not() {
        let (issuer, token) = genuine();
        let (_, claims) = decode(&token).unwrap();
        let anchors = Anchors::parse(&issuer.jwks()).unwrap();
        assert_eq!(verify(&token, &claims, &anchors), Genuine::Valid);
        let others = Anchors::parse(&genuine().0.jwks()).unwrap();
        assert!(matches!(verify(&token, &claims, &others), Genuine::Invalid(_)));
    }

    #[test]
    fn a_token_with_exchanged_claims_is_not_valid() {
        let (issuer, token) = genuine();
        let anchors = Anchors::parse(&issuer.jwks()).unwrap();
        let (_, mut claims) = decode(&token).unwrap();
        claims["trustshim"]["component"] = json!("another");
        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        parts[1] = base64url::encode(claims.to_string().as_bytes());
        assert!(matches!(verify(&parts.join("."), &claims, &anchors), Genuine::Invalid(_)));
    }

    #[test]
    fn claims_of_something_else_are_not_valid() {
        let anchors = Anchors::parse(&genuine().0.jwks()).unwrap();
        assert!(matches!(verify("a.b.c", &json!({ "iss": "x" }), &anchors), Genuine::Invalid(_)));
    }
}
