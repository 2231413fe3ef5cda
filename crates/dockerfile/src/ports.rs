//! The words of `EXPOSE`.

/// Why a word names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("`{0}` is not a port or a range of ports between 0 and 65535")]
    Port(String),
    #[error("`{0}` is not a protocol: tcp, udp or sctp")]
    Protocol(String),
    #[error("`{0}` maps a port of the host; EXPOSE takes the container's port alone")]
    Host(String),
}

/// The ports of one expanded word, as the image configuration names them: `8000-8001/UDP` is
/// `8000/udp` and `8001/udp`.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, PortError> {
    if word.contains(':') {
        return Err(PortError::Host(word.to_owned()));
    }
    let (ports, protocol) = word.split_once('/').unwrap_or((word, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortError::Protocol(protocol.to_owned())),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => (first, last),
        _ => return Err(PortError::Port(ports.to_owned())),
    };
    Ok((first..=last)
        .map(|port| format!("{port}/{protocol}"))
        .collect())
}

fn port(text: &str) -> Option<u16> {
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
            ("8080:80", None),
            ("-1", None),
        ] {
            let got = exposed_ports(word).ok();
            let want = want.map(|ports| ports.into_iter().map(str::to_owned).collect());
            assert_eq!(got, want, "{word}");
        }
    }
}
