//! Name resolution on the caller's thread; ureq's own resolver would start a thread.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

const HTTPS_PORT: u16 = 443;
/// ureq's upper limit of addresses for one host.
const MAX_ADDRESSES: usize = 16;

/// Takes IP literals and `localhost` as they are and asks the system (`getaddrinfo`) for other names.
///
/// The system's answer is not bounded by the client's timeout but by `resolv.conf`; an address as IP
/// literal is the way around that.
#[derive(Debug)]
pub(crate) struct CallerResolver;

impl Resolver for CallerResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri.host().ok_or(Error::HostNotFound)?;
        let port = uri.port_u16().unwrap_or(HTTPS_PORT);
        let mut found = self.empty();
        for address in addresses(host, port)?.into_iter().take(MAX_ADDRESSES) {
            found.push(address);
        }
        if found.is_empty() { Err(Error::HostNotFound) } else { Ok(found) }
    }
}

fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    if bare.eq_ignore_ascii_case("localhost") {
        // RFC 6761 section 6.3: always loopback.
        return Ok(vec![
            SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
            SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port),
        ]);
    }
    (bare, port).to_socket_addrs().map(Iterator::collect).map_err(|_| Error::HostNotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_localhost_need_no_lookup() {
        assert_eq!(addresses("192.0.2.1", 1).unwrap(), ["192.0.2.1:1".parse().unwrap()]);
        assert_eq!(addresses("[2001:db8::1]", 2).unwrap(), ["[2001:db8::1]:2".parse().unwrap()]);
        assert_eq!(
            addresses("LocalHost", 3).unwrap(),
            ["127.0.0.1:3".parse().unwrap(), "[::1]:3".parse().unwrap()]
        );
    }

    #[test]
    fn a_name_that_cannot_exist_is_not_found() {
        assert!(matches!(addresses("policy.invalid", 1), Err(Error::HostNotFound)));
    }
}
