//! The words of `EXPOSE`.

/// Why a word names no port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    #[error("{0:?} is not a port or a range of ports between 0 and 65535")]
    Port(String),
    #[error("{0:?} is not a protocol: tcp, udp or sctp")]
    Protocol(String),
    #[error("{0:?} names a host address; EXPOSE takes the container's port alone")]
    Host(String),
}

/// The ports of one expanded word, as the image configuration names them: `8000-8001/UDP` is
/// `8000/udp` and `8001/udp`.
pub fn exposed_ports(word: &str) -> Result<Vec<String>, PortError> {
    Err(PortError::Port(word.to_owned()))
}
