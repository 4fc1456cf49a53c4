//! The terms of a grant on the command line: the same for `grant add` and for `approve`.

use attestation::api::{GrantRecord, GrantTerms};
use attestation::grant::{Operation, Rate};
use attestation::key_uri::KeyUri;
use attestation::token::Mode;
use clap::ValueEnum;

use crate::date;
use crate::error::CliError;
use crate::mechanism::{mechanism_name, mechanism_number};
use crate::output;

/// Everything that narrows or widens a grant.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits of the grant")]
pub struct Limits {
    /// Only with this mechanism; may be given several times
    #[arg(long = "mechanism", value_name = "NAME", value_parser = mechanism_number)]
    mechanisms: Vec<u64>,
    /// So many operations in any one second: of each process in inline mode, of each host in guarded mode
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    per_second: Option<u32>,
    /// So many operations altogether: of each process in inline mode, of each host as long as its guard runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    total: Option<u64>,
    /// Until then: 30d, 12h, 2026-12-31 (that day included, UTC) or 2026-12-31T18:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<u64>,
    /// Only for this version and those approved after it
    #[arg(long, value_name = "V")]
    min_version: Option<String>,
    /// Only where the host attests in this mode
    #[arg(long)]
    mode: Option<ModeName>,
    /// The URI may match more than one key, and make keys of any name that it leaves open
    #[arg(long)]
    many: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    Inline,
    Guarded,
}

impl Limits {
    /// Whether any is given.
    pub fn are_given(&self) -> bool {
        let Self { mechanisms, per_second, total, expires, min_version, mode, many } = self;
        !mechanisms.is_empty()
            || per_second.is_some()
            || total.is_some()
            || expires.is_some()
            || min_version.is_some()
            || mode.is_some()
            || *many
    }

    /// Whether the URI may match more than one key.
    pub fn many(&self) -> bool {
        self.many
    }
}

/// A list of operations from the command line: not empty, no duplicates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operations(pub Vec<Operation>);

/// Reads `sign,decrypt` or `all`.
pub fn operations(text: &str) -> Result<Operations, String> {
    if text.trim() == "all" {
        return Ok(Operations(Operation::ALL.to_vec()));
    }
    let mut operations = text
        .split(',')
        .map(|name| {
            Operation::ALL.into_iter().find(|operation| operation.name() == name.trim()).ok_or_else(|| {
                let names: Vec<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
                format!("{name:?} is no operation; there are {} and all", names.join(", "))
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    operations.sort_unstable();
    operations.dedup();
    Ok(Operations(operations))
}

/// A key URI that can be read; whether it is narrow enough is [`terms`]'s question.
pub fn key(text: &str) -> Result<String, String> {
    KeyUri::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn expiry(text: &str) -> Result<u64, String> {
    date::from_people(text, date::now()).ok_or_else(|| {
        format!("{text:?} is no moment; there are 30d, 12h, 2026-12-31, 2026-12-31T18:00:00Z and the like")
    })
}

/// Refuses a URI that may name several keys, unless that is wanted. A URI of one whole token is narrow enough for
/// administering it.
pub fn terms(key: &str, operations: &Operations, limits: &Limits) -> Result<GrantTerms, CliError> {
    let uri = KeyUri::parse(key).ok();
    let states_name = uri.as_ref().is_some_and(KeyUri::states_whole_name);
    let names_one = uri.as_ref().is_some_and(KeyUri::names_one_key);
    let names_token =
        uri.is_some_and(|uri| uri.names_no_object() && (uri.token().is_some() || uri.serial().is_some()));
    let administers = operations.0 == [Operation::Administer];
    let is_narrow = names_one || names_token && administers;
    if !is_narrow && !limits.many {
        return Err(CliError::Usage(format!(
            "{key} may name more than one key: add token= or serial=, type=, and object= or id=; or say --many"
        )));
    }
    if let Some(operation) = operations.0.iter().find(|operation| operation.can_name())
        && !states_name
        && !limits.many
    {
        return Err(CliError::Usage(format!(
            "{key} leaves id, label or type open, and who may {operation} could make a key of any such name, also one that \
             another grant names: state id=, object= and type= (`object=` where there is no label); or say --many"
        )));
    }
    let rate = Rate { per_second: limits.per_second, total: limits.total };
    Ok(GrantTerms {
        key: key.to_owned(),
        operations: operations.0.clone(),
        many: limits.many,
        mode: limits.mode.map(|mode| match mode {
            ModeName::Inline => Mode::Inline,
            ModeName::Guarded => Mode::Guarded,
        }),
        mechanisms: limits.mechanisms.clone(),
        rate: Some(rate).filter(Rate::is_stated),
        expires_at: limits.expires,
        min_version: limits.min_version.clone(),
    })
}

/// One grant in one line.
pub fn describe(record: &GrantRecord) -> String {
    let limits = limits(&record.terms);
    let limits = if limits.is_empty() { String::new() } else { format!(" ({})", limits.join(", ")) };
    output::one_line(&format!(
        "{}: {} may {} with {}{limits}",
        record.id,
        record.component,
        names(&record.terms.operations),
        record.terms.key
    ))
}

/// The limits in words; empty where there is none.
pub fn limits(terms: &GrantTerms) -> Vec<String> {
    let GrantTerms { key: _, operations: _, many: _, mode, mechanisms, rate, expires_at, min_version } =
        terms;
    let mut limits = Vec::new();
    if !mechanisms.is_empty() {
        let names: Vec<String> = mechanisms.iter().map(|number| mechanism_name(*number)).collect();
        limits.push(format!("mechanism {}", names.join(" or ")));
    }
    if let Some(Rate { per_second, total }) = rate {
        limits.extend(per_second.map(|count| format!("{count} per second")));
        limits.extend(total.map(|count| format!("{count} altogether")));
    }
    limits.extend(expires_at.map(|at| format!("until {}", date::utc(at))));
    limits.extend(min_version.as_ref().map(|version| format!("from version {version} on")));
    limits.extend(mode.map(|mode| format!("{} mode", mode.name())));
    limits
}

/// `sign, decrypt`, or `all operations`.
pub fn names(operations: &[Operation]) -> String {
    if operations.len() == Operation::ALL.len() {
        return "all operations".to_owned();
    }
    operations.iter().map(|operation| operation.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const ONE: &str = "pkcs11:token=web;object=tls;type=private";

    #[test]
    fn operations_are_read_sorted_and_once() {
        assert_eq!(operations("sign,decrypt, sign").unwrap().0, [Operation::Decrypt, Operation::Sign]);
        assert_eq!(operations("all").unwrap().0, Operation::ALL);
        for text in ["", ",", "sign,", "Sign", "sign decrypt", "all,sign"] {
            assert!(operations(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_wide_uri_needs_the_word_many_unless_one_token_is_administered() {
        let sign = Operations(vec![Operation::Sign]);
        let administer = Operations(vec![Operation::Administer]);
        let both = Operations(vec![Operation::Administer, Operation::Sign]);
        let (one, many) = (Limits::default(), Limits { many: true, ..Limits::default() });
        assert!(terms(ONE, &sign, &one).is_ok());
        assert!(terms("pkcs11:token=web", &administer, &one).is_ok());
        for (key, operations) in
            [("pkcs11:token=web", &sign), ("pkcs11:token=web", &both), ("pkcs11:model=x", &administer)]
        {
            assert!(matches!(terms(key, operations, &one), Err(CliError::Usage(_))), "{key}");
            assert!(terms(key, operations, &many).unwrap().many);
        }
    }

    #[test]
    fn who_may_make_keys_needs_a_whole_name_or_the_word_many() {
        let (one, many) = (Limits::default(), Limits { many: true, ..Limits::default() });
        let whole = "pkcs11:token=web;id=%01;object=tls;type=private";
        let without_label = "pkcs11:token=web;id=%01;object=;type=private";
        for operation in Operation::ALL {
            let operations = Operations(vec![operation]);
            assert_eq!(terms(ONE, &operations, &one).is_err(), operation.can_name(), "{operation}");
            assert!(terms(ONE, &operations, &many).is_ok());
            assert!(terms(whole, &operations, &one).is_ok());
            assert!(terms(without_label, &operations, &one).is_ok());
        }
        assert!(terms(ONE, &operations("all").unwrap(), &one).is_err());
    }

    #[test]
    fn a_grant_reads_as_a_sentence_with_its_limits() {
        let mut record = GrantRecord {
            id: "G-1".to_owned(),
            component: "nginx".to_owned(),
            terms: terms(ONE, &operations("sign").unwrap(), &Limits::default()).unwrap(),
            granted_at: 0,
        };
        assert_eq!(describe(&record), format!("G-1: nginx may sign with {ONE}"));
        let limits = Limits {
            mechanisms: vec![0x1041, 0x40],
            per_second: Some(5),
            total: Some(1000),
            expires: Some(86_400),
            min_version: Some("1.2".to_owned()),
            mode: Some(ModeName::Guarded),
            many: false,
        };
        record.terms = terms(ONE, &operations("sign").unwrap(), &limits).unwrap();
        assert_eq!(
            describe(&record),
            format!(
                "G-1: nginx may sign with {ONE} (mechanism CKM_ECDSA or CKM_SHA256_RSA_PKCS, 5 per second, 1000 altogether, until \
                 1970-01-02 00:00:00 UTC, from version 1.2 on, guarded mode)"
            )
        );
    }
}
