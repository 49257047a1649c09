use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use poem::{Addr, FromRequest, Request, RequestBody};

use crate::state::AppState;

/// The client's address: the peer's, or, behind `rate_limit.trusted_proxies` proxies, the entry of `X-Forwarded-For` that
/// the outermost of them wrote. Entries further to the left are the client's own claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAddr(pub IpAddr);

impl ClientAddr {
    /// See [`ClientAddr`].
    pub fn of(request: &Request, trusted_proxies: u16) -> Self {
        let peer = match &request.remote_addr().0 {
            Addr::SocketAddr(address) => address.ip(),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        if trusted_proxies == 0 {
            return Self(peer);
        }
        let forwarded = request.headers().get_all("x-forwarded-for");
        let entries: Vec<&str> = forwarded
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .collect();
        let entry = entries.iter().rev().nth(usize::from(trusted_proxies) - 1);
        Self(entry.and_then(|text| text.trim().parse().ok()).unwrap_or(peer))
    }

    /// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, as hosts choose the rest freely.
    pub fn network(self) -> IpAddr {
        match self.0 {
            IpAddr::V6(address) if address.to_ipv4_mapped().is_none() => {
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
            }
            address => address.to_canonical(),
        }
    }
}

impl<'a> FromRequest<'a> for ClientAddr {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request, AppState::of(request)?.config.rate_limit.trusted_proxies))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn client(forwarded: &str, proxies: u16) -> String {
        let request = Request::builder().header("x-forwarded-for", forwarded).finish();
        ClientAddr::of(&request, proxies).0.to_string()
    }

    #[test]
    fn only_what_a_trusted_proxy_wrote_is_believed() {
        assert_eq!(client("6.6.6.6, 1.2.3.4", 0), "127.0.0.1");
        assert_eq!(client("6.6.6.6, 1.2.3.4", 1), "1.2.3.4");
        assert_eq!(client("6.6.6.6, 1.2.3.4, 10.0.0.1", 2), "1.2.3.4");
        assert_eq!(client("rubbish", 1), "127.0.0.1");
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let address = |text: &str| ClientAddr(text.parse().unwrap()).network().to_string();
        assert_eq!(address("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(address("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
