//! How a request fails without an answer, sorted into classes and said in words.

use std::error::Error;
use std::io;

use rustls::CertificateError;

use crate::ErrorClass;
use crate::answer::Failure;
use crate::codes;
use crate::redact::{clean, without_queries};

/// How a request can fail without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The name of the host leads to no address. That passes as often as not.
    Name,
    /// No connection: refused or unreachable.
    Connect,
    /// The connection was reset, or the other side gave up a stream of it.
    Reset,
    /// The connection was closed before all was there.
    Closed,
    /// Nothing was heard for too long.
    Silence,
    /// What came is not HTTP.
    NotHttp,
    /// The connection was closed while TLS was being set up.
    Handshake,
    /// The other side does not speak TLS.
    NotTls,
    /// The certificate is signed by nobody we trust.
    UnknownIssuer,
    /// The certificate is not valid any more, or not yet.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// The certificate is wrong otherwise.
    Certificate,
    /// TLS failed otherwise.
    Tls,
    /// The request itself could not be made.
    Request,
}

/// The class of a transport fault.
pub(crate) fn fault_class(fault: Fault) -> ErrorClass {
    match fault {
        Fault::Name
        | Fault::Connect
        | Fault::Reset
        | Fault::Closed
        | Fault::Silence
        | Fault::NotHttp
        | Fault::Handshake => ErrorClass::Transient,
        Fault::NotTls
        | Fault::UnknownIssuer
        | Fault::Expired
        | Fault::WrongName
        | Fault::Certificate
        | Fault::Tls
        | Fault::Request => ErrorClass::Permanent,
    }
}

/// Whether the other side answered in TLS: with a certificate that is not to our liking, or well
/// enough for the fault to come later.
pub(crate) fn speaks_tls(error: &reqwest::Error) -> bool {
    let is_connected = !error.is_connect() && !error.is_builder() && !error.is_timeout();
    is_connected
        || matches!(
            find(error).0,
            Fault::UnknownIssuer
                | Fault::Expired
                | Fault::WrongName
                | Fault::Certificate
                | Fault::Tls
        )
}

/// Whether plain HTTP may have met a server that expects TLS.
pub(crate) fn may_expect_tls(error: &reqwest::Error) -> bool {
    matches!(find(error).0, Fault::NotHttp | Fault::Closed | Fault::Reset)
}

/// Sorts an error of the HTTP library and says it in words, without the URL (its query may be
/// signed). `host` is who was asked.
pub(crate) fn fault_of(error: reqwest::Error, host: &str) -> Failure {
    let error = error.without_url();
    let (fault, last) = find(&error);
    let last = without_queries(&clean(&last));
    let plain = format!(
        "if plain HTTP is intended, list the host under `plain-http` or give --plain-http {host}"
    );
    let trust = "add the authority to the system's store, or name a PEM file with it in \
                 SSL_CERT_FILE";
    let detail = match fault {
        Fault::Name => format!("the name {host} leads to no address: {last}"),
        Fault::Connect => format!("no connection: {last}"),
        Fault::Reset | Fault::Closed => format!("the connection broke off: {last}"),
        Fault::Silence => "no answer in time".to_owned(),
        Fault::NotHttp => format!("the answer is not HTTP: {last}"),
        Fault::Handshake => {
            format!("the connection broke off while TLS was being set up: {last}; {plain}")
        }
        Fault::NotTls => format!("the registry does not speak TLS; {plain}"),
        Fault::UnknownIssuer => format!(
            "the certificate of {host} is signed by an authority that is not trusted here; {trust}"
        ),
        Fault::Expired => format!(
            "the certificate of {host} is not valid now: {last}; it has to be renewed, unless the \
             clock of this machine is wrong"
        ),
        Fault::WrongName => format!(
            "the certificate is not for {host}: {last}; ask for the registry by a name that its \
             certificate is for"
        ),
        // What `openssl req -x509` makes unless told otherwise.
        Fault::Certificate if last.contains("CaUsedAsEndEntity") => format!(
            "the certificate of {host} is that of an authority, which is none for a server: it \
             says CA:TRUE; make one that says CA:FALSE, and trust it or its authority"
        ),
        Fault::Certificate => format!("the certificate of {host} cannot be trusted: {last}"),
        Fault::Tls => format!("TLS failed: {last}"),
        Fault::Request => last,
    };
    let failure = Failure::new(fault_class(fault), detail);
    match fault {
        Fault::UnknownIssuer | Fault::Expired | Fault::WrongName | Fault::Certificate => {
            failure.with_code(codes::CERTIFICATE)
        }
        Fault::NotTls => failure.with_code(codes::PLAIN_HTTP),
        _ => failure,
    }
}

/// The fault behind an error, and its innermost words.
fn find(error: &reqwest::Error) -> (Fault, String) {
    let connecting = error.is_connect();
    let mut fault = if error.is_timeout() {
        Fault::Silence
    } else if error.is_builder() {
        Fault::Request
    } else if connecting {
        Fault::Connect
    } else {
        Fault::Reset
    };
    let mut last = error.to_string();
    let mut next: Option<&(dyn Error + 'static)> = error.source();
    while let Some(cause) = next {
        last = cause.to_string();
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return (of_tls(tls), last);
        }
        // The library's error for a failed look-up has no other mark.
        if connecting && last == "dns error" {
            fault = Fault::Name;
        }
        if let Some(http) = cause.downcast_ref::<hyper::Error>() {
            if http.is_parse() {
                fault = Fault::NotHttp;
            } else if http.is_incomplete_message() || http.is_closed() {
                fault = Fault::Closed;
            }
        }
        let Some(io) = cause.downcast_ref::<io::Error>() else {
            next = cause.source();
            continue;
        };
        fault = match io.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset if connecting => {
                Fault::Handshake
            }
            io::ErrorKind::UnexpectedEof => Fault::Closed,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Fault::Reset,
            io::ErrorKind::TimedOut => Fault::Silence,
            _ => fault,
        };
        // An io::Error hides the error it wraps from `source`.
        next = io
            .get_ref()
            .map(|inner| inner as &(dyn Error + 'static))
            .or(cause.source());
    }
    (fault, last)
}

fn of_tls(error: &rustls::Error) -> Fault {
    match error {
        rustls::Error::InvalidMessage(_) => Fault::NotTls,
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer => Fault::UnknownIssuer,
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Fault::Expired,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Fault::WrongName
            }
            _ => Fault::Certificate,
        },
        _ => Fault::Tls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_class() {
        use ErrorClass::{Permanent, Transient};
        for (fault, want) in [
            (Fault::Name, Transient),
            (Fault::Connect, Transient),
            (Fault::Reset, Transient),
            (Fault::Closed, Transient),
            (Fault::Silence, Transient),
            (Fault::NotHttp, Transient),
            (Fault::Handshake, Transient),
            (Fault::NotTls, Permanent),
            (Fault::UnknownIssuer, Permanent),
            (Fault::Expired, Permanent),
            (Fault::WrongName, Permanent),
            (Fault::Certificate, Permanent),
            (Fault::Tls, Permanent),
            (Fault::Request, Permanent),
        ] {
            assert_eq!(fault_class(fault), want, "{fault:?}");
        }
    }
}
