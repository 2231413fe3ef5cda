//! From a host as people write it to the address requests go to, and the rule for plain HTTP.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;

use launchway_model::{DEFAULT_REGISTRY, RegistryHost, Repository, is_loopback_host};
use reqwest::Url;

use crate::answer::Failure;
use crate::codes;
use crate::{ClientError, Mirror};

/// Docker Hub's registry answers under another name than the one in references.
const DOCKER_HUB: &str = "registry-1.docker.io";

/// Which hosts may be spoken to without TLS, and what stands in for which registry.
#[derive(Debug)]
pub(crate) struct Endpoints {
    plain_http: Vec<RegistryHost>,
    mirrors: Vec<Mirror>,
    /// What servers on this machine turned out to speak, by `host:port`.
    spoken: Mutex<HashMap<String, Speaks>>,
}

/// What a server understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    Plain,
    Tls,
}

impl Endpoints {
    pub(crate) fn new(
        plain_http: Vec<RegistryHost>,
        mirrors: Vec<Mirror>,
    ) -> Result<Self, ClientError> {
        for mirror in &mirrors {
            if let Some(prefix) = &mirror.prefix
                && Repository::new(mirror.host.clone(), prefix).is_err()
            {
                return Err(ClientError::MirrorPrefix {
                    prefix: prefix.clone(),
                });
            }
        }
        Ok(Self {
            plain_http,
            mirrors,
            spoken: Mutex::default(),
        })
    }

    /// The copies of a repository on mirrors, in the order they are to be asked.
    pub(crate) fn copies_of(&self, repository: &Repository) -> Vec<Repository> {
        self.mirrors
            .iter()
            .filter(|mirror| mirror.of == *repository.host())
            .filter_map(|mirror| {
                let path = match &mirror.prefix {
                    Some(prefix) => format!("{prefix}/{}", repository.path()),
                    None => repository.path().to_owned(),
                };
                // Too long a path cannot be asked for; the registry itself still can.
                Repository::new(mirror.host.clone(), &path).ok()
            })
            .collect()
    }

    fn is_plain(&self, host: &RegistryHost) -> bool {
        host.is_loopback() || self.plain_http.contains(host)
    }

    /// The URL of a path below `/v2/` on a registry.
    pub(crate) fn url(&self, host: &RegistryHost, path: &str) -> Result<Url, Failure> {
        let scheme = if self.is_plain(host) { "http" } else { "https" };
        let name = match host.as_str() {
            DEFAULT_REGISTRY => DOCKER_HUB,
            other => other,
        };
        Url::parse(&format!("{scheme}://{name}/v2/{path}"))
            .map_err(|error| Failure::permanent(format!("{host} makes no address: {error}")))
    }

    /// Whether nothing is known yet about what a server on this machine speaks.
    pub(crate) fn is_unknown(&self, url: &Url) -> bool {
        url.scheme() == "http"
            && is_loopback_host(url.host_str().unwrap_or_default())
            && self.speaks(url).is_none()
    }

    pub(crate) fn learn(&self, url: &Url, speaks: Speaks) {
        let mut spoken = self.spoken.lock().expect("no holder of the list panics");
        spoken.insert(authority_with_port(url), speaks);
    }

    /// The same place by TLS where that is what the server on this machine speaks.
    pub(crate) fn as_spoken(&self, mut url: Url) -> Url {
        if url.scheme() == "http" && self.speaks(&url) == Some(Speaks::Tls) {
            let port = url.port_or_known_default();
            let changed = url.set_scheme("https").and_then(|()| url.set_port(port));
            debug_assert!(changed.is_ok(), "http can become https");
        }
        url
    }

    fn speaks(&self, url: &Url) -> Option<Speaks> {
        let spoken = self.spoken.lock().expect("no holder of the list panics");
        spoken.get(&authority_with_port(url)).copied()
    }

    /// Checks a URL that a registry sent us to, before anything goes there: it has to be TLS, or
    /// one of the hosts that may do without. A registry elsewhere cannot send us to loopback.
    pub(crate) fn check_sent_to(&self, from: &Url, to: &Url) -> Result<(), Failure> {
        let what = shown(to);
        if !to.username().is_empty() || to.password().is_some() {
            return Err(Failure::permanent(format!(
                "the registry sent us to {what} with a user name in the address"
            )));
        }
        if let Some(why) = out_of_reach(from, to) {
            return Err(Failure::permanent(format!(
                "a registry elsewhere sent us to {what}, which is {why}"
            )));
        }
        match to.scheme() {
            "https" => Ok(()),
            "http" if is_loopback_host(to.host_str().unwrap_or_default()) => Ok(()),
            "http" if self.lists(to) => Ok(()),
            "http" => Err(Failure::permanent(format!(
                "the registry sent us to {what}, which is plain HTTP; if that is intended, list \
                 the host under `plain-http` or give --plain-http {}",
                authority(to)
            ))
            .with_code(codes::PLAIN_HTTP)),
            _ => Err(Failure::permanent(format!(
                "the registry sent us to {what}, which is no web address"
            ))),
        }
    }

    fn lists(&self, url: &Url) -> bool {
        let name = url.host_str().unwrap_or_default();
        let with_port = match url.port() {
            Some(port) => format!("{name}:{port}"),
            None => name.to_owned(),
        };
        self.plain_http
            .iter()
            .any(|host| host.as_str() == with_port || host.as_str() == name)
    }
}

/// Why a server may not send us there, unless it is there itself: on this machine, and at addresses
/// that only the own network segment has, are services that trust whoever can reach them.
pub(crate) fn out_of_reach(from: &Url, to: &Url) -> Option<&'static str> {
    let name = |url: &Url| {
        let name = url.host_str().unwrap_or_default();
        name.trim_matches(['[', ']']).to_owned()
    };
    let is_link_local = |url: &Url| match name(url).parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address
            .to_ipv4_mapped()
            .map_or(address.is_unicast_link_local(), |v4| v4.is_link_local()),
        Err(_) => false,
    };
    let is_unspecified =
        |url: &Url| matches!(name(url).parse::<IpAddr>(), Ok(ip) if ip.is_unspecified());
    let is_here = |url: &Url| is_loopback_host(url.host_str().unwrap_or_default());
    if is_here(to) && !is_here(from) {
        Some("on this machine")
    } else if is_unspecified(to) {
        Some("no address of a server")
    } else if is_link_local(to) && !is_link_local(from) {
        Some("an address of the own network segment alone")
    } else {
        None
    }
}

/// A URL for people: scheme, host and path. The query may be a signature.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), authority(url), url.path())
}

/// Host and port of a URL.
pub(crate) fn authority(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

/// Host and port of a URL, the usual port as well.
fn authority_with_port(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Whether two URLs lead to the same server, so that credentials for one may go to the other.
pub(crate) fn same_server(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints() -> Endpoints {
        let mirror = |host: &str, prefix: Option<&str>| Mirror {
            of: "docker.io".parse().unwrap(),
            host: host.parse().unwrap(),
            prefix: prefix.map(str::to_owned),
        };
        Endpoints::new(
            vec!["plain.lan:5000".parse().unwrap()],
            vec![mirror("m1.io", Some("hub/cache")), mirror("m2.io", None)],
        )
        .unwrap()
    }

    #[test]
    fn hosts_become_addresses() {
        for (host, want) in [
            ("docker.io", "https://registry-1.docker.io/v2/x"),
            ("ghcr.io", "https://ghcr.io/v2/x"),
            ("127.0.0.1:5000", "http://127.0.0.1:5000/v2/x"),
            ("[::1]:5000", "http://[::1]:5000/v2/x"),
            ("localhost", "http://localhost/v2/x"),
            ("plain.lan:5000", "http://plain.lan:5000/v2/x"),
            ("plain.lan", "https://plain.lan/v2/x"),
        ] {
            let url = endpoints().url(&host.parse().unwrap(), "x").unwrap();
            assert_eq!(url.as_str(), want);
        }
    }

    #[test]
    fn mirrors_come_in_order_and_with_their_prefix() {
        let found = endpoints().copies_of(&"debian".parse().unwrap());
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            ["m1.io/hub/cache/library/debian", "m2.io/library/debian"]
        );
        assert!(
            endpoints()
                .copies_of(&"ghcr.io/a/b".parse().unwrap())
                .is_empty()
        );
    }

    #[test]
    fn a_wrong_mirror_prefix_is_refused() {
        let mirror = Mirror {
            of: "docker.io".parse().unwrap(),
            host: "m.io".parse().unwrap(),
            prefix: Some("Not/This".to_owned()),
        };
        assert!(Endpoints::new(Vec::new(), vec![mirror]).is_err());
    }

    #[test]
    fn what_was_learned_changes_addresses() {
        let endpoints = endpoints();
        let url = |text: &str| Url::parse(text).unwrap();
        let (tls, plain) = (
            url("http://127.0.0.1:5000/v2/"),
            url("http://localhost/v2/"),
        );
        assert!(endpoints.is_unknown(&tls) && endpoints.is_unknown(&plain));
        assert!(!endpoints.is_unknown(&url("http://plain.lan:5000/v2/")));
        assert!(!endpoints.is_unknown(&url("https://127.0.0.1:5000/v2/")));
        endpoints.learn(&tls, Speaks::Tls);
        endpoints.learn(&plain, Speaks::Plain);
        assert!(!endpoints.is_unknown(&tls) && !endpoints.is_unknown(&plain));
        assert_eq!(
            endpoints.as_spoken(tls).as_str(),
            "https://127.0.0.1:5000/v2/"
        );
        assert_eq!(endpoints.as_spoken(plain.clone()), plain);
    }

    #[test]
    fn where_a_registry_may_send_us() {
        for (from, to, good) in [
            ("https://a.io/v2/", "https://b.io/x?sig=1", true),
            ("https://a.io/v2/", "http://b.io/x", false),
            ("https://a.io/v2/", "http://a.io/x", false),
            ("https://a.io/v2/", "http://plain.lan:5000/x", true),
            ("https://a.io/v2/", "http://plain.lan:5001/x", false),
            ("https://a.io/v2/", "http://127.0.0.1:80/x", false),
            ("http://127.0.0.1:5000/v2/", "http://localhost:81/x", true),
            ("https://a.io/v2/", "https://127.0.0.1/x", false),
            ("https://a.io/v2/", "https://localhost/x", false),
            ("https://a.io/v2/", "https://[::1]:5000/x", false),
            ("https://a.io/v2/", "http://169.254.169.254/latest", false),
            ("https://a.io/v2/", "https://169.254.169.254/latest", false),
            ("https://a.io/v2/", "https://[fe80::1]/x", false),
            (
                "https://a.io/v2/",
                "https://[::ffff:169.254.169.254]/x",
                false,
            ),
            ("https://a.io/v2/", "https://0.0.0.0/x", false),
            ("https://a.io/v2/", "http://10.0.0.1/x", false),
            ("https://a.io/v2/", "https://10.0.0.1/x", true),
            (
                "http://127.0.0.1:5000/v2/",
                "https://127.0.0.1:5001/x",
                true,
            ),
            ("http://127.0.0.1:5000/v2/", "http://10.0.0.1/x", false),
            ("https://a.io/v2/", "https://u:p@b.io/x", false),
            ("https://a.io/v2/", "file:///etc/passwd", false),
        ] {
            let (from, to) = (Url::parse(from).unwrap(), Url::parse(to).unwrap());
            let result = endpoints().check_sent_to(&from, &to);
            assert_eq!(result.is_ok(), good, "{to}");
            if let Err(failure) = result
                && to.scheme() == "http"
                && out_of_reach(&from, &to).is_none()
            {
                assert!(
                    failure.detail.contains("`plain-http`"),
                    "{}",
                    failure.detail
                );
            }
        }
    }
}
