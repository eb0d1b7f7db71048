//! Who called, as far as it can be believed: the caller's address, and whether they speak TLS to
//! the outermost proxy.
//!
//! Of the two headers that say so, the configured one alone is read: a proxy appends to one and
//! passes the other on as it came, with whatever the caller wrote into it.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::HeaderMap;

/// Which proxies are believed. The default believes none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// How many stand before the server. Without networks, so many entries from the right are
    /// believed; with them, at most so many, and 0 sets no bound.
    pub hops: usize,
    /// The networks they stand in. Where there are any, only what comes from them is believed.
    pub networks: Vec<Network>,
    /// The header they write.
    pub header: ForwardedHeader,
}

/// The header in which proxies name who called them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    #[default]
    XForwardedFor,
    /// `Forwarded`, RFC 7239.
    Forwarded,
}

impl FromStr for ForwardedHeader {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(()),
        }
    }
}

/// A network, `192.0.2.0/24` or `2001:db8::/32`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// IPv4 as its IPv6-mapped form.
    first: u128,
    /// Bits that count, of 128.
    bits: u32,
}

impl Network {
    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let shift = 128 - self.bits;
        // A shift by all bits: the network of everything.
        let cut = |value: u128| value.checked_shr(shift).unwrap_or(0);
        cut(number(address)) == cut(self.first)
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u32>().map_err(|_| ())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let (width, before) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let bits = bits.unwrap_or(width);
        if bits > width {
            return Err(());
        }
        let (first, bits) = (number(address), bits + before);
        // `10.0.0.1/8` is a slip of the pen: which of both is meant is not guessed.
        let rest = 128 - bits;
        let beyond = rest > 0 && first & (u128::MAX >> bits) != 0;
        if beyond {
            Err(())
        } else {
            Ok(Self { first, bits })
        }
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What is known of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Caller {
    /// Its address; `None` where the proxies named none.
    pub(crate) address: Option<IpAddr>,
    /// Whether it speaks TLS.
    pub(crate) is_https: bool,
}

/// The caller of a request: the connection's other end, or whom trusted proxies name.
pub(crate) fn caller(request: &ServiceRequest, trusted: &TrustedProxies) -> Caller {
    let peer = request.peer_addr().map(|address| plain(address.ip()));
    let direct = Caller {
        address: peer,
        is_https: request.app_config().secure(),
    };
    let by_network = !trusted.networks.is_empty();
    let is_trusted = |address: IpAddr| trusted.networks.iter().any(|it| it.contains(address));
    if by_network {
        if !peer.is_some_and(is_trusted) {
            return direct;
        }
    } else if trusted.hops == 0 {
        return direct;
    }
    let chain = chain(request.headers(), trusted.header);
    let hop = if by_network {
        // From the right, past every proxy of ours, to the first who is none.
        let most = if trusted.hops == 0 {
            usize::MAX
        } else {
            trusted.hops
        };
        let near = chain.iter().rev().take(most);
        let ours = near
            .take_while(|hop| hop.address.is_some_and(is_trusted))
            .count();
        let ours = ours.min(most - 1).min(chain.len().saturating_sub(1));
        chain.len().checked_sub(ours + 1)
    } else {
        chain.len().checked_sub(trusted.hops)
    };
    let hop = hop.and_then(|at| chain.get(at));
    match hop {
        Some(hop) => Caller {
            address: hop.address,
            is_https: hop.is_https,
        },
        // A proxy called by itself, such as a probe: its own address, where it is known to be one.
        None if by_network && chain.is_empty() => direct,
        None => Caller::default(),
    }
}

/// One entry, as some proxy wrote it.
#[derive(Debug, Clone, Copy, Default)]
struct Hop {
    address: Option<IpAddr>,
    is_https: bool,
}

fn chain(headers: &HeaderMap, kind: ForwardedHeader) -> Vec<Hop> {
    let items = |name: &'static str| {
        headers
            .get_all(name)
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
    };
    match kind {
        ForwardedHeader::XForwardedFor => {
            // Proxies overwrite this one more often than they append: the last counts.
            let is_https = items("x-forwarded-proto")
                .last()
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
            items("x-forwarded-for")
                .map(|text| Hop {
                    address: node(text),
                    is_https,
                })
                .collect()
        }
        ForwardedHeader::Forwarded => items("forwarded").map(forwarded).collect(),
    }
}

/// One element of `Forwarded`: pairs with semicolons between them, in any order.
fn forwarded(element: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in element.split(';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.address = node(value),
            "proto" => hop.is_https = value.eq_ignore_ascii_case("https"),
            _ => {}
        }
    }
    hop
}

/// An address with or without a port and brackets; `None` for `unknown` and for hidden names.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text,
    };
    let found = bare.parse().ok().or_else(|| {
        let (address, port) = bare.split_once(':')?;
        port.parse::<u16>().ok()?;
        address.parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4)
    });
    found.map(plain)
}

/// An IPv4 address in IPv6's clothes is the IPv4 address: one caller, one address.
fn plain(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// What one subscriber is: an IPv4 address, or the /64 in which an IPv6 subscriber picks theirs.
pub fn subscriber(address: IpAddr) -> IpAddr {
    match plain(address) {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(
            address.to_bits() & !u128::from(u64::MAX),
        )),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may")]

    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    fn seen(trusted: &TrustedProxies, headers: &[(&str, &str)]) -> Option<String> {
        let mut request = TestRequest::get().peer_addr(([192, 0, 2, 1], 4711).into());
        for (name, value) in headers {
            request = request.append_header((*name, *value));
        }
        let found = caller(&request.to_srv_request(), trusted);
        found.address.map(|address| address.to_string())
    }

    fn hops(hops: usize) -> TrustedProxies {
        TrustedProxies {
            hops,
            ..TrustedProxies::default()
        }
    }

    fn networks(texts: &[&str]) -> TrustedProxies {
        TrustedProxies {
            networks: texts.iter().map(|text| text.parse().unwrap()).collect(),
            ..TrustedProxies::default()
        }
    }

    const FORGED: &[(&str, &str)] = &[
        ("X-Forwarded-For", "198.51.100.1, 203.0.113.9"),
        ("X-Forwarded-For", "10.0.0.7"),
    ];

    #[test]
    fn without_trusted_proxies_the_connection_alone_is_believed() {
        let seen = seen(&hops(0), &[("X-Forwarded-For", "203.0.113.9")]);
        assert_eq!(seen.as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn of_each_trusted_proxy_one_entry_from_the_right_is_believed() {
        assert_eq!(seen(&hops(1), FORGED).as_deref(), Some("10.0.0.7"));
        assert_eq!(seen(&hops(2), FORGED).as_deref(), Some("203.0.113.9"));
        // Fewer entries than proxies: nothing is believed.
        assert_eq!(seen(&hops(2), &[("X-Forwarded-For", "203.0.113.9")]), None);
        assert_eq!(seen(&hops(1), &[("X-Forwarded-For", "somebody")]), None);
    }

    #[test]
    fn with_networks_the_first_from_the_right_who_is_no_proxy_of_ours_called() {
        let ours = networks(&["192.0.2.0/24", "10.0.0.0/8"]);
        assert_eq!(seen(&ours, FORGED).as_deref(), Some("203.0.113.9"));
        // From elsewhere the header is not read at all.
        let others = networks(&["198.51.100.0/24"]);
        assert_eq!(seen(&others, FORGED).as_deref(), Some("192.0.2.1"));
        // With a bound, no entry beyond it.
        let bounded = TrustedProxies {
            hops: 1,
            ..ours.clone()
        };
        assert_eq!(seen(&bounded, FORGED).as_deref(), Some("10.0.0.7"));
        // A proxy that asks for itself.
        assert_eq!(seen(&ours, &[]).as_deref(), Some("192.0.2.1"));
    }

    #[test]
    fn the_header_that_is_not_configured_is_not_read() {
        let forwarded = TrustedProxies {
            header: ForwardedHeader::Forwarded,
            ..hops(1)
        };
        assert_eq!(seen(&forwarded, FORGED), None);
        let value = "for=198.51.100.1, For=\"[2001:db8::7]:4711\";proto=https";
        assert_eq!(
            seen(&forwarded, &[("Forwarded", value)]).as_deref(),
            Some("2001:db8::7")
        );
        assert_eq!(seen(&hops(1), &[("Forwarded", value)]), None);
        for hidden in ["for=unknown", "for=_hidden", "by=203.0.113.9", ";;="] {
            assert_eq!(seen(&forwarded, &[("Forwarded", hidden)]), None);
        }
    }

    #[test]
    fn tls_is_believed_of_trusted_proxies_alone() {
        let request = || {
            TestRequest::get()
                .peer_addr(([192, 0, 2, 1], 4711).into())
                .insert_header(("X-Forwarded-Proto", "https"))
                .insert_header(("X-Forwarded-For", "203.0.113.9"))
                .to_srv_request()
        };
        assert!(!caller(&request(), &hops(0)).is_https);
        assert!(caller(&request(), &hops(1)).is_https);
        assert!(!caller(&request(), &networks(&["10.0.0.0/8"])).is_https);
    }

    #[test]
    fn networks_are_read_strictly() {
        for right in [
            "10.0.0.0/8",
            "192.0.2.1",
            "::1",
            "2001:db8::/32",
            "0.0.0.0/0",
            "::/0",
        ] {
            assert!(right.parse::<Network>().is_ok(), "{right}");
        }
        for wrong in [
            "",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "x",
            "10.0.0/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains([203, 0, 113, 9].into()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        assert!(
            "::/0"
                .parse::<Network>()
                .unwrap()
                .contains([1, 2, 3, 4].into())
        );
    }

    #[test]
    fn an_ipv6_subscriber_is_a_network_of_64_bits() {
        let of = |text: &str| subscriber(text.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(value in "[ -~]{0,60}", hops in 0_usize..4) {
            for header in [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded] {
                let mut trusted = TrustedProxies { hops, header, ..TrustedProxies::default() };
                let _ = seen(&trusted, &[("Forwarded", &value), ("X-Forwarded-For", &value)]);
                trusted.networks = networks(&["192.0.2.0/24"]).networks;
                let _ = seen(&trusted, &[("Forwarded", &value), ("X-Forwarded-For", &value)]);
            }
        }

        #[test]
        fn what_the_caller_writes_to_the_left_changes_nothing(forged in "[0-9a-f:., ]{0,40}") {
            let ours = networks(&["192.0.2.0/24", "10.0.0.0/8"]);
            let value = format!("{forged}, 203.0.113.9, 10.0.0.7");
            let seen = seen(&ours, &[("X-Forwarded-For", &value)]);
            prop_assert_eq!(seen.as_deref(), Some("203.0.113.9"));
        }
    }
}
