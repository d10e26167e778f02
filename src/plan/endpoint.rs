//! Which URLs the admin credential may be sent to, and how often.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use super::Refusal;
use crate::api::{
    CREDENTIAL_ENDPOINT_ANNOTATION, CREDENTIAL_ORGANIZATION_ANNOTATION, Endpoint, Limits, Organization,
    Reason,
};
use crate::platform::client;

/// Clear text is allowed only where no other machine listens: loopback, private addresses, Services of the cluster. Where clouds
/// serve the credentials of a machine, nothing is sent at all.
pub fn check_endpoint(endpoint: &Endpoint) -> Result<(), Refusal> {
    let refuse = |message: &str| {
        Err(Refusal::new(
            Reason::InvalidEndpoint,
            format!("endpoint.url {}: {message}", endpoint.url),
        ))
    };
    let Some((scheme, rest)) = endpoint.url.split_once("://") else {
        return refuse("write it as https://HOST or https://HOST:PORT");
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '\\', '?', '#', '@']) {
        return refuse("give scheme, host and port only");
    }
    // The client reads it in the same way: decimal, octal and hexadecimal addresses are addresses.
    let Some(host) = host(&endpoint.url) else {
        return refuse("write it as https://HOST or https://HOST:PORT");
    };
    if matches!(&host, Host::Name(name) if name.split('.').any(str::is_empty)) {
        return refuse("the host has two dots in a row, or begins with one: correct the name");
    }
    if is_metadata(&host) {
        return refuse(
            "link-local addresses and the metadata services of clouds are no platform: give the platform's own address",
        );
    }
    match scheme {
        "https" => Ok(()),
        "http" if !endpoint.insecure => refuse(
            "the admin credential must not travel in clear text: use https://, or set insecure: true for a platform on loopback or inside the cluster",
        ),
        "http" if is_near(&host) => Ok(()),
        "http" => refuse(
            "insecure: true is for loopback, private addresses and Services of the cluster (NAME.NAMESPACE.svc) only: use https://",
        ),
        _ => refuse("use https://"),
    }
}

/// Whether the Secret of an admin credential says that it may be sent to this organization's endpoint. `secret` is its
/// namespace and name.
pub fn check_grant(
    (namespace, secret): (&str, &str),
    annotations: &BTreeMap<String, String>,
    organization: &Organization,
) -> Result<(), Refusal> {
    let name = organization.metadata.name.as_deref().unwrap_or_default();
    let url = organization.spec.endpoint.url.trim_end_matches('/');
    let by_name = annotations
        .get(CREDENTIAL_ORGANIZATION_ANNOTATION)
        .map(|n| n == name);
    let by_url = annotations
        .get(CREDENTIAL_ENDPOINT_ANNOTATION)
        .map(|granted| origin(granted).is_some_and(|granted| Some(granted) == origin(url)));
    // What another annotation says is for those who may read the Secret.
    let (what, overwrite) = match (by_name, by_url) {
        (Some(false), _) | (_, Some(false)) => ("says that it belongs elsewhere", " --overwrite"),
        (None, None) => ("does not say where it may be sent", ""),
        (Some(true), _) | (_, Some(true)) => return Ok(()),
    };
    let mut keys = vec![format!("{CREDENTIAL_ENDPOINT_ANNOTATION}='{url}'")];
    if by_name == Some(false) {
        keys.push(format!("{CREDENTIAL_ORGANIZATION_ANNOTATION}={name}"));
    }
    let message = format!(
        "Secret {namespace}/{secret} {what}, so that nothing of it is sent to {url} for Organization {name}. If its token belongs there: kubectl -n {namespace} annotate secret {secret}{overwrite} {}",
        keys.join(" ")
    );
    Err(Refusal::new(Reason::CredentialNotGranted, message))
}

/// Limits as an Organization has them; the API server lets nothing below 1 through.
#[must_use]
pub fn limits(wanted: &Limits) -> client::Limits {
    let usual = client::Limits::default();
    let number = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
    let count = |n: Option<i32>| number(n).and_then(|n| usize::try_from(n).ok());
    client::Limits {
        requests_per_minute: number(wanted.requests_per_minute).unwrap_or(usual.requests_per_minute),
        max_in_flight: count(wanted.max_in_flight).unwrap_or(usual.max_in_flight),
        creates_per_hour: count(wanted.creates_per_hour).unwrap_or(usual.creates_per_hour),
        hour: usual.hour,
    }
}

/// Scheme, host and port as the client uses them.
fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url.trim()).ok()?;
    let plain = matches!(url.scheme(), "https" | "http") && url.path() == "/" && url.username().is_empty();
    plain.then(|| url.origin().ascii_serialization())
}

/// An address, or a name.
#[derive(Debug, PartialEq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// The host of a URL as the client uses it.
fn host(url: &str) -> Option<Host> {
    Some(match Url::parse(url).ok()?.host()? {
        url::Host::Ipv4(ip) => Host::Address(ip.into()),
        url::Host::Ipv6(ip) => Host::Address(IpAddr::V6(ip).to_canonical()),
        url::Host::Domain(name) => Host::Name(name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()),
    })
}

/// The IPv4 address that is reached by this one: compatible, or by the well-known prefixes of NAT64 and 6to4.
fn as_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let from = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(from(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 => Some(from(high, low)),
        _ => None,
    }
}

/// Where a cloud tells a machine its credentials, and other addresses that no router passes on.
fn is_metadata(host: &Host) -> bool {
    /// AWS and Google by IPv6; Alibaba.
    const V6: [Ipv6Addr; 2] = [
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    ];
    const V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
    match host {
        Host::Address(IpAddr::V4(ip)) => ip.is_link_local() || *ip == V4,
        Host::Address(IpAddr::V6(ip)) => {
            let v4 = as_v4(*ip).map(|ip| Host::Address(ip.into()));
            ip.is_unicast_link_local() || V6.contains(ip) || v4.is_some_and(|ip| is_metadata(&ip))
        }
        Host::Name(name) => {
            let parent = |of: &str| name == of || name.strip_suffix(of).is_some_and(|n| n.ends_with('.'));
            parent("metadata.google.internal") || parent("metadata.goog") || name == "metadata"
        }
    }
}

#[expect(
    clippy::case_sensitive_file_extension_comparisons,
    reason = "a domain in small letters, not a file"
)]
fn is_near(host: &Host) -> bool {
    match host {
        Host::Address(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Host::Address(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Host::Name(name) => {
            name == "localhost" || name.ends_with(".svc") || name.ends_with(".svc.cluster.local")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{Endpoint, check_endpoint, check_grant};
    use crate::api::Organization;

    /// Each is the metadata service of a cloud, or link-local, in one of the ways to write it.
    #[test]
    fn nothing_is_sent_to_a_metadata_service_however_it_is_written() {
        for host in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1:8080",
            "2852039166",
            "0xA9FEA9FE",
            "0xa9.0xfe.0xa9.0xfe",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.254.169.254.",
            "[fe80::1]",
            "[febf::1]:443",
            "[fd00:ec2::254]",
            "[FD00:0EC2:0:0:0:0:0:0254]",
            "[fd20:ce::254]",
            "[::ffff:169.254.169.254]",
            "[::ffff:a9fe:a9fe]",
            "[::169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:a9fe:a9fe::1]",
            "100.100.100.200",
            "1684301000",
            "metadata.google.internal",
            "METADATA.Google.Internal.",
            "x.metadata.goog",
        ] {
            for url in [format!("https://{host}"), format!("http://{host}/")] {
                let refused = check_endpoint(&endpoint(&url, true)).unwrap_err().message;
                assert!(
                    refused.contains("metadata services of clouds"),
                    "{url}: {refused}"
                );
            }
        }
        for near in [
            "2130706433",
            "0x7f.1",
            "[::ffff:127.0.0.1]",
            "[fd00:ec2::253]",
            "10.100.100.200",
            "[fec0::1]",
        ] {
            assert!(verdict(&format!("https://{near}"), false), "{near}");
        }
    }

    fn endpoint(url: &str, insecure: bool) -> Endpoint {
        Endpoint {
            url: url.to_owned(),
            ca_bundle: None,
            timeout: None,
            insecure,
        }
    }

    /// What the Secret says, and what the operator says then of Organization acme.
    fn granted(url: &str, annotations: &[(&str, &str)]) -> Result<(), String> {
        let organization: Organization = serde_json::from_value(json!({
            "apiVersion": "programmatic-users.io/v1alpha1", "kind": "Organization", "metadata": {"name": "acme"},
            "spec": {"endpoint": {"url": url}, "credentials": {"secretName": "acme-admin"}}
        }))
        .unwrap();
        let annotations: BTreeMap<String, String> = annotations
            .iter()
            .map(|(key, value)| (format!("programmatic-users.io/{key}"), (*value).to_owned()))
            .collect();
        check_grant(("pu-system", "acme-admin"), &annotations, &organization).map_err(|r| r.message)
    }

    #[test]
    fn a_credential_is_sent_only_where_its_secret_says() {
        const URL: &str = "https://api.spotinst.io";
        for (url, expected) in [
            (URL, URL),
            (URL, "https://api.spotinst.io:443/"),
            ("https://API.Spotinst.io/", URL),
            ("http://[::1]:8700", "http://[0:0::1]:8700/"),
            ("http://127.0.0.1:8700", "http://0x7f.1:8700"),
        ] {
            assert_eq!(
                granted(url, &[("endpoint", expected)]),
                Ok(()),
                "{url} {expected}"
            );
        }
        assert_eq!(granted(URL, &[("organization", "acme")]), Ok(()));
        assert_eq!(
            granted(URL, &[("organization", "acme"), ("endpoint", URL)]),
            Ok(())
        );

        let message = granted(URL, &[]).unwrap_err();
        assert_eq!(
            message,
            "Secret pu-system/acme-admin does not say where it may be sent, so that nothing of it is sent to https://api.spotinst.io for Organization acme. If its token belongs there: kubectl -n pu-system annotate secret acme-admin programmatic-users.io/endpoint='https://api.spotinst.io'"
        );
        for annotations in [
            &[("endpoint", "https://api.spotinst.io.evil.example")][..],
            &[("endpoint", "https://api.spotinst.io:8443")],
            &[("endpoint", "http://api.spotinst.io")],
            &[("endpoint", "https://api.spotinst.io@evil.example")],
            &[("endpoint", "https://api.spotinst.io/api")],
            &[("endpoint", "")],
            &[("endpoint", "*")],
            &[("organization", "")],
            &[("organization", "umbrella")],
            &[("organization", "umbrella"), ("endpoint", URL)],
            &[("organization", "acme"), ("endpoint", "https://other.example")],
        ] {
            let message = granted(URL, annotations).unwrap_err();
            assert!(
                message.contains("belongs elsewhere") && message.contains("--overwrite"),
                "{message}"
            );
            for (_, value) in annotations
                .iter()
                .filter(|(_, v)| v.contains("umbrella") || v.contains("other"))
            {
                assert!(!message.contains(value), "{message}");
            }
        }
    }

    fn verdict(url: &str, insecure: bool) -> bool {
        check_endpoint(&endpoint(url, insecure)).is_ok()
    }

    #[test]
    fn clear_text_stays_near() {
        for url in [
            "http://127.0.0.1:8700",
            "http://localhost:1/",
            "http://[::1]:80",
            "http://10.1.2.3",
            "http://p.ns.svc:80",
        ] {
            assert!(verdict(url, true), "{url}");
            assert!(!verdict(url, false), "{url}");
        }
        for url in [
            "http://api.spotinst.io",
            "http://8.8.8.8",
            "http://svc",
            "http://.l.m.svc..",
            "http://.svc",
            "https://a..b",
            "http://x.svc.evil.io",
            // A tunnel to a private address leads through routers that are not.
            "http://[2002:a00:1::]",
            "http://[64:ff9b::a00:1]",
        ] {
            assert!(!verdict(url, true), "{url}");
        }
    }

    #[test]
    fn tls_goes_anywhere_but_plainly() {
        assert!(verdict("https://api.spotinst.io", false));
        for url in [
            "https://user:pw@host",
            "https://host/path",
            "https://host\\path",
            "https://",
            "ftp://host",
            "host",
        ] {
            assert!(!verdict(url, true), "{url}");
        }
    }
}
