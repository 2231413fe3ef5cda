//! The words of `EXPOSE`.

use std::net::IpAddr;

/// Why a word names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("`{0}` is not a port or a range of ports between 0 and 65535")]
    Port(String),
    #[error("`{0}` is not a protocol: tcp, udp or sctp")]
    Protocol(String),
    #[error("`{0}` is not an address and port of the host")]
    Host(String),
    #[error("`{0}` has another number of ports of the host than of the container")]
    Ranges(String),
}

/// The ports of one expanded word, as the image configuration names them: `8000-8001/UDP` is
/// `8000/udp` and `8001/udp`. A port of the host before it, as in `8080:80`, has no effect.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, PortError> {
    let (host, container) = match word.rsplit_once(':') {
        None => (None, word),
        Some((host, container)) => (host_ports(host)?, container),
    };
    let (ports, protocol) = container.split_once('/').unwrap_or((container, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortError::Protocol(protocol.to_owned())),
    };
    let (first, last) = range(ports).ok_or_else(|| PortError::Port(ports.to_owned()))?;
    if let Some((first_host, last_host)) = host
        && first != last
        && last_host - first_host != last - first
    {
        return Err(PortError::Ranges(word.to_owned()));
    }
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

/// Whether a word that names ports writes its protocol in capitals, and whether it names an
/// address or a port of the host.
pub(crate) fn port_style(word: &str) -> (bool, bool) {
    let (host, container) = word.rsplit_once(':').unwrap_or(("", word));
    let protocol = container
        .split_once('/')
        .map_or("", |(_, protocol)| protocol);
    let names_host = !host.is_empty() && host != ":";
    (protocol != protocol.to_lowercase(), names_host)
}

/// The ports in `[address:][port]`.
fn host_ports(host: &str) -> Result<Option<(u16, u16)>, PortError> {
    let (address, ports) = host.rsplit_once(':').unwrap_or(("", host));
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    let good_address = bare.is_empty() || bare.parse::<IpAddr>().is_ok();
    match range(ports) {
        found if good_address && (ports.is_empty() || found.is_some()) => Ok(found),
        _ => Err(PortError::Host(host.to_owned())),
    }
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

/// A number, which may have a plus sign.
fn port(text: &str) -> Option<u16> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_ranges_and_protocols() {
        for (word, want) in [
            ("80", Some(vec!["80/tcp"])),
            ("53/UDP", Some(vec!["53/udp"])),
            (
                "8000-8002/tcp",
                Some(vec!["8000/tcp", "8001/tcp", "8002/tcp"]),
            ),
            ("7-7/sctp", Some(vec!["7/sctp"])),
            ("80/", Some(vec!["80/tcp"])),
            ("65536", None),
            ("9-8", None),
            ("", None),
            ("/tcp", None),
            ("80/icmp", None),
            ("8080:80", Some(vec!["80/tcp"])),
            ("127.0.0.1:8080:80/udp", Some(vec!["80/udp"])),
            ("[::1]::80", Some(vec!["80/tcp"])),
            ("host:80", None),
            ("-1", None),
            ("+80", Some(vec!["80/tcp"])),
            ("1-2:3-4", Some(vec!["3/tcp", "4/tcp"])),
            ("1-3:3", Some(vec!["3/tcp"])),
            ("1-3:3-4", None),
            ("1:3-5", None),
        ] {
            let got = exposed_ports(word).ok();
            let want = want.map(|ports| ports.into_iter().map(str::to_owned).collect());
            assert_eq!(got, want, "{word}");
        }
    }
}
