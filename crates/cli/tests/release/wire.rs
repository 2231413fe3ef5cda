//! The least of an HTTP client, for looking at loopback registries and changing them by hand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }
}

pub(crate) fn get(host: &str, target: &str) -> Answer {
    ask(
        "GET",
        host,
        target,
        &[(
            "accept",
            "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json",
        )],
        &[],
    )
}

pub(crate) fn put(host: &str, target: &str, media_type: &str, body: &[u8]) -> Answer {
    ask("PUT", host, target, &[("content-type", media_type)], body)
}

/// Pushes a blob in one piece.
pub(crate) fn push_blob(host: &str, repository: &str, digest: &str, body: &[u8]) {
    let target = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let answer = ask(
        "POST",
        host,
        &target,
        &[("content-type", "application/octet-stream")],
        body,
    );
    assert_eq!(answer.status, 201, "the blob {digest} is taken");
}

fn ask(method: &str, host: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(host).expect("connecting to the registry");
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream
        .write_all(head.as_bytes())
        .expect("asking the registry");
    stream.write_all(body).expect("asking the registry");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("reading the answer");
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    Answer {
        status: status.expect("an answer has a status"),
        headers: lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect(),
        body: answer[end + 4..].to_vec(),
    }
}
