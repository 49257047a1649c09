//! Which addresses a receiver may live on: anybody who may register one must not reach into our own network with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a URL is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Not a URL with a host.
    #[error("the URL cannot be used")]
    Url,
    /// `http` where `https` is required, or something else altogether.
    #[error("the URL must be https")]
    Scheme,
    /// User names and passwords in URLs end up in logs.
    #[error("the URL must not hold a user name or password")]
    Credentials,
    /// A private, loopback, link-local, multicast or otherwise special address.
    #[error("{0} is not a public address")]
    Address(IpAddr),
}

/// What the configuration allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Whether receivers may live on addresses that are not public.
    pub allow_private: bool,
    /// Whether receivers must be https.
    pub require_https: bool,
}

impl Rules {
    /// Checks everything but what the host's name resolves to.
    pub fn check_url(self, text: &str) -> Result<Url, Forbidden> {
        let url = Url::parse(text).map_err(|_| Forbidden::Url)?;
        match url.scheme() {
            "https" => {}
            "http" if !self.require_https => {}
            _ => return Err(Forbidden::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Credentials);
        }
        // Url has already turned 0x7f.1, 127.1 and 2130706433 into addresses.
        match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => {}
            Some(Host::Ipv4(ip)) => self.check_address(ip.into())?,
            Some(Host::Ipv6(ip)) => self.check_address(ip.into())?,
            _ => return Err(Forbidden::Url),
        }
        Ok(url)
    }

    /// Checks an address that a host's name resolved to.
    pub fn check_address(self, address: IpAddr) -> Result<(), Forbidden> {
        if self.allow_private || is_public(address) { Ok(()) } else { Err(Forbidden::Address(address)) }
    }
}

/// Whether the address is one of the open Internet: the IANA special-purpose registries (RFC 6890 and its updates) taken
/// away, and IPv6 addresses that wrap an IPv4 one judged by that.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    !(a == 0                                        // this network
        || a == 10                                  // private
        || (a == 100 && (64..128).contains(&b))     // carrier-grade NAT
        || a == 127                                 // loopback
        || (a == 169 && b == 254)                   // link-local, cloud metadata
        || (a == 172 && (16..32).contains(&b))      // private
        || (a == 192 && b == 0 && c == 0)           // protocol assignments
        || (a == 192 && b == 0 && c == 2)           // documentation
        || (a == 192 && b == 88 && c == 99)         // 6to4 relays
        || (a == 192 && b == 168)                   // private
        || (a == 198 && (b == 18 || b == 19))       // benchmarks
        || (a == 198 && b == 51 && c == 100)        // documentation
        || (a == 203 && b == 0 && c == 113)         // documentation
        || a >= 224) // multicast, reserved, broadcast
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    match ip.segments() {
        // NAT64 and 6to4 wrap an IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)))
        }
        [0x2001, second, ..] if second < 0x200 => false, // Teredo, ORCHID, benchmarks
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => false, // documentation
        // Of the rest only 2000::/3 is handed out for the open Internet: this leaves out ::1, fe80::, fc00::, ff00::
        // and whatever is not assigned yet.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const STRICT: Rules = Rules { allow_private: false, require_https: true };

    #[test]
    fn special_addresses_are_not_public() {
        let special = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "3fff::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ];
        for text in special {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
            "2001:4860:4860::8888",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn urls_in_disguise_are_seen_through() {
        for text in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.0.0.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert!(matches!(STRICT.check_url(text), Err(Forbidden::Address(_))), "{text}");
        }
        assert_eq!(STRICT.check_url("http://example.com/"), Err(Forbidden::Scheme));
        assert_eq!(STRICT.check_url("ftp://example.com/"), Err(Forbidden::Scheme));
        assert_eq!(STRICT.check_url("file:///etc/passwd"), Err(Forbidden::Scheme));
        assert_eq!(STRICT.check_url("https://user:pw@example.com/"), Err(Forbidden::Credentials));
        assert_eq!(STRICT.check_url("https://"), Err(Forbidden::Url));
        assert!(STRICT.check_url("https://example.com/hook?a=b").is_ok());
        let lenient = Rules { allow_private: true, require_https: false };
        assert!(lenient.check_url("http://127.0.0.1:9000/").is_ok());
        assert_eq!(lenient.check_url("gopher://127.0.0.1/"), Err(Forbidden::Scheme));
    }

    proptest! {
        /// However an IPv4 address is wrapped into IPv6, the verdict is the same.
        #[test]
        fn wrapping_changes_nothing(bits: u32) {
            let v4 = Ipv4Addr::from(bits);
            let (high, low) = ((bits >> 16) as u16, (bits & 0xffff) as u16);
            let verdict = is_public(v4.into());
            prop_assert_eq!(is_public(v4.to_ipv6_mapped().into()), verdict);
            prop_assert_eq!(is_public(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into()), verdict);
            prop_assert_eq!(is_public(Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1).into()), verdict);
            prop_assert!(!verdict || !(v4.is_private() || v4.is_loopback() || v4.is_link_local()
                || v4.is_multicast() || v4.is_broadcast() || v4.is_documentation() || v4.is_unspecified()));
        }

        #[test]
        fn nothing_outside_2000_3_is_public_but_wrapped_addresses(bits: u128) {
            let ip = Ipv6Addr::from(bits);
            let wrapped = ip.to_ipv4_mapped().is_some() || ip.segments()[..2] == [0x64, 0xff9b];
            if is_public(ip.into()) && !wrapped {
                prop_assert_eq!(bits >> 125, 1);
            }
        }
    }
}
