//! The rules of single values: names, paths and the server's address.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use crate::guard::Account;

/// DNS names end at 253 characters (RFC 1035 section 2.3.4, without the final dot).
const MAX_HOST: usize = 253;
const MAX_COMPONENT: usize = 64;
const MAX_INTERFACE: usize = 64;
/// Names from directories can be those of e-mail addresses; useradd(8) makes none that is longer than 32.
const MAX_ACCOUNT: usize = 64;
const MAX_VARIABLE: usize = 64;
const MAX_VALUE: usize = 4096;
/// What the dynamic loader and the C library load code by (ld.so(8), iconv(1)).
const LOADERS_VARIABLES: [&str; 2] = ["GCONV_PATH", "GLIBC_TUNABLES"];
/// `sockaddr_un.sun_path` without the NUL behind it (unix(7)).
const MAX_SOCKET: usize = 107;

/// Absolute, and something that the kernel could take for a path.
pub(crate) fn is_absolute_path(path: &Path) -> bool {
    path.is_absolute() && !path.as_os_str().as_bytes().contains(&0)
}

/// Fits into a socket's address.
pub(crate) fn is_socket_path(path: &Path) -> bool {
    path.as_os_str().len() <= MAX_SOCKET
}

/// A user or group by its name, or by its number in digits.
pub(crate) fn account(text: &str) -> Option<Account> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        return account_number(text.parse().ok()?);
    }
    let is_name = (1..=MAX_ACCOUNT).contains(&text.len())
        && !text.starts_with(['-', '.'])
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'@' | b'$'));
    is_name.then(|| Account::Name(text.to_owned()))
}

/// A user or group by its number. The greatest of 32 bits means "no change" to the kernel (setresuid(2)).
pub(crate) fn account_number(number: i64) -> Option<Account> {
    u32::try_from(number).ok().filter(|number| *number != u32::MAX).map(Account::Number)
}

/// A number that is written in hexadecimal: `0x`, and one to sixteen digits.
pub(crate) fn hexadecimal(text: &str) -> Option<u64> {
    // Signs are no digits to us, though they are to the parser.
    let digits =
        text.strip_prefix("0x").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u64::from_str_radix(digits, 16).ok().filter(|_| digits.len() <= 16)
}

/// The name of an environment variable that somebody else than the loader and ourselves goes by.
pub(crate) fn is_variable(text: &str) -> bool {
    (1..=MAX_VARIABLE).contains(&text.len())
        && !text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.starts_with("LD_")
        && !text.starts_with("TRUSTSHIM_")
        && !LOADERS_VARIABLES.contains(&text)
}

/// The value of an environment variable.
pub(crate) fn is_value_of_variable(text: &str) -> bool {
    text.len() <= MAX_VALUE && !text.contains('\0')
}

/// A host name or the text of an IPv4 address: letters, digits, `-`, `_` and single dots.
pub(crate) fn is_host_name(text: &str) -> bool {
    text.len() <= MAX_HOST
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// What operators type as a component's name.
pub(crate) fn is_component_name(text: &str) -> bool {
    (1..=MAX_COMPONENT).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// The name of a vendor's own PKCS#11 interface; the standard's are no vendor's.
pub(crate) fn is_vendors_interface(text: &str) -> bool {
    (1..=MAX_INTERFACE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && text != "PKCS 11"
}

/// `https://HOST[:PORT][/PATH]`: no credentials, which would end in logs, and nothing behind the path.
pub(crate) fn is_https_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    is_authority(authority)
        && path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\'))
}

fn is_authority(text: &str) -> bool {
    let (host_is_good, port) = match text.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((address, port)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
            None => return false,
        },
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            (is_host_name(host), port)
        }
    };
    host_is_good && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for good in [
            "https://127.0.0.1:8443",
            "https://[::1]:8443",
            "https://policy.example",
            "https://policy.example:443/trustshim/",
        ] {
            assert!(is_https_url(good), "{good}");
        }
        for bad in [
            "",
            "http://127.0.0.1:8443",
            "HTTPS://policy.example",
            "https://",
            "https:///v1",
            "https://:8443",
            "https://policy.example:",
            "https://policy.example:0",
            "https://policy.example:+443",
            "https://policy.example:65536",
            "https://policy..example",
            "https://user:secret@policy.example",
            "https://policy.example/?query",
            "https://policy.example/#fragment",
            "https://policy.example\\@other.example",
            "https://policy.example\n",
            "https://policy example",
            "https://[::1",
            "https://[policy.example]",
            "https://[::1]8443",
        ] {
            assert!(!is_https_url(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_hosts_and_components() {
        assert!(is_host_name("build-7.example"));
        assert!(!is_host_name(""));
        assert!(!is_host_name("a..b"));
        assert!(!is_host_name("a b"));
        assert!(!is_host_name(&"a".repeat(MAX_HOST + 1)));
        assert!(is_component_name("nginx-1.24_x"));
        assert!(!is_component_name(""));
        assert!(!is_component_name("nginx\u{1b}[2J"));
        assert!(!is_component_name(&"a".repeat(MAX_COMPONENT + 1)));
    }

    #[test]
    fn hexadecimal_numbers() {
        for (text, number) in [
            ("0x80000101", 0x8000_0101),
            ("0xCe534351", 0xce53_4351),
            ("0x0", 0),
            ("0xffffffffffffffff", u64::MAX),
        ] {
            assert_eq!(hexadecimal(text), Some(number), "{text}");
        }
        for bad in [
            "",
            "0x",
            "80000101",
            "0X80000101",
            "0x+1",
            "0x-1",
            "0x8000_0101",
            " 0x1",
            "0x1 ",
            "0x10000000000000000",
        ] {
            assert_eq!(hexadecimal(bad), None, "{bad}");
        }
        assert_eq!(hexadecimal("0x00000000080000101"), None, "longer than any number");
    }

    #[test]
    fn names_of_vendors_interfaces() {
        assert!(is_vendors_interface("Vendor NSS Module Interface"));
        for bad in ["", "PKCS 11", "Vendor\0", "Vendor\n", &"a".repeat(MAX_INTERFACE + 1)] {
            assert!(!is_vendors_interface(bad), "{bad}");
        }
    }

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        for (text, account_of) in [
            ("trustshim-token", Account::Name("trustshim-token".into())),
            ("_apt", Account::Name("_apt".into())),
            ("4711a", Account::Name("4711a".into())),
            ("svc@example.org", Account::Name("svc@example.org".into())),
            ("0", Account::Number(0)),
            ("4294967294", Account::Number(u32::MAX - 1)),
        ] {
            assert_eq!(account(text), Some(account_of), "{text}");
        }
        let long = "a".repeat(MAX_ACCOUNT + 1);
        for bad in [
            "",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "a b",
            "a:b",
            "a\0",
            ".a",
            &long,
        ] {
            assert_eq!(account(bad), None, "{bad}");
        }
        for bad in [-1, i64::MIN, i64::from(u32::MAX), i64::MAX] {
            assert_eq!(account_number(bad), None, "{bad}");
        }
    }
}
