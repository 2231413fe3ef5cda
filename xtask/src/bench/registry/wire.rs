//! Just enough HTTP/1.1 to fill registries, to look into them and to load them: one connection that
//! blocks, bodies of a known length.
//!
//! Not the client that is measured, on purpose: what prepares and checks a measurement, and what
//! loads two servers alike, has no part in it.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How much is read or written at once.
const CHUNK: usize = 256 * 1024;

pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    host: String,
    buffer: Vec<u8>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) digest: Option<String>,
    location: Option<String>,
    length: u64,
}

/// What goes with a request.
struct Body<'a> {
    kind: &'a str,
    bytes: &'a mut dyn Read,
    length: u64,
}

impl Connection {
    pub(super) fn open(host: &str) -> Result<Self> {
        let stream = TcpStream::connect(host).with_context(|| format!("cannot reach {host}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(64 * 1024, stream),
            host: host.to_owned(),
            buffer: vec![0; CHUNK],
        })
    }

    /// Whether a blob or manifest is there, and its digest if the registry says it.
    pub(super) fn head(&mut self, path: &str) -> Result<Answer> {
        self.request("HEAD", path, None)
    }

    /// Reads an answer and forgets it; says how long its body was.
    pub(super) fn get_and_forget(&mut self, path: &str) -> Result<u64> {
        let answer = self.request("GET", path, None)?;
        self.forget(answer.length)?;
        expect(&answer, 200, path)?;
        Ok(answer.length)
    }

    /// Uploads a blob as most clients do: one request to open the upload, one with all of it.
    pub(super) fn put_blob(
        &mut self,
        repository: &str,
        digest: &str,
        bytes: &mut dyn Read,
        length: u64,
    ) -> Result<()> {
        let start = format!("/v2/{repository}/blobs/uploads/");
        let opened = self.request("POST", &start, None)?;
        self.forget(opened.length)?;
        expect(&opened, 202, &start)?;
        let location = opened
            .location
            .context("the registry opened an upload and did not say where")?;
        let path = location
            .strip_prefix("http://")
            .and_then(|rest| rest.find('/').map(|slash| &rest[slash..]))
            .unwrap_or(&location);
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}digest={digest}");
        let body = Body {
            kind: "application/octet-stream",
            bytes,
            length,
        };
        let stored = self.request("PUT", &path, Some(body))?;
        self.forget(stored.length)?;
        expect(&stored, 201, &path)
    }

    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        reference: &str,
        kind: &str,
        manifest: &[u8],
    ) -> Result<()> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let body = Body {
            kind,
            bytes: &mut &*manifest,
            length: manifest.len() as u64,
        };
        let stored = self.request("PUT", &path, Some(body))?;
        self.forget(stored.length)?;
        expect(&stored, 201, &path)
    }

    /// Writes a manifest whose parts are there already.
    pub(super) fn put_tag(
        &mut self,
        layout: &Path,
        digest: &str,
        repository: &str,
        tag: &str,
    ) -> Result<()> {
        let bytes = fs::read(layout.join("blobs").join(digest.replace(':', "/")))?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        let kind = manifest["mediaType"].as_str().unwrap_or_default();
        self.put_manifest(repository, tag, kind, &bytes)
    }

    /// Uploads everything that a manifest of an OCI layout leads to, then the manifest itself.
    pub(super) fn put_image(
        &mut self,
        layout: &Path,
        digest: &str,
        repository: &str,
        reference: &str,
    ) -> Result<()> {
        let file = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
        let bytes = fs::read(file(digest))?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for child in manifest["manifests"].as_array().into_iter().flatten() {
            let digest = text(&child["digest"]);
            self.put_image(layout, &digest, repository, &digest)?;
        }
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for blob in layers.chain(manifest.get("config")) {
            let digest = text(&blob["digest"]);
            let mut bytes = File::open(file(&digest))?;
            let length = bytes.metadata()?.len();
            self.put_blob(repository, &digest, &mut bytes, length)?;
        }
        self.put_manifest(repository, reference, &text(&manifest["mediaType"]), &bytes)
    }

    fn request(&mut self, method: &str, path: &str, body: Option<Body<'_>>) -> Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        // Whatever a registry may hold.
        head += "accept: application/vnd.oci.image.index.v1+json, \
                 application/vnd.oci.image.manifest.v1+json, \
                 application/vnd.docker.distribution.manifest.list.v2+json, \
                 application/vnd.docker.distribution.manifest.v2+json, */*\r\n";
        match &body {
            Some(body) => {
                head += &format!(
                    "content-type: {}\r\ncontent-length: {}\r\n\r\n",
                    body.kind, body.length
                );
            }
            None if matches!(method, "GET" | "HEAD") => head += "\r\n",
            None => head += "content-length: 0\r\n\r\n",
        }
        self.stream.get_mut().write_all(head.as_bytes())?;
        if let Some(body) = body {
            let mut left = body.length;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
                let read = body.bytes.read(&mut self.buffer[..most])?;
                if read == 0 {
                    bail!("{method} {path}: the body ended {left} bytes early");
                }
                self.stream.get_mut().write_all(&self.buffer[..read])?;
                left -= read as u64;
            }
        }
        self.answer(method == "HEAD")
            .with_context(|| format!("{method} {path}"))
    }

    fn answer(&mut self, headless: bool) -> Result<Answer> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .split_whitespace()
            .nth(1)
            .and_then(|word| word.parse().ok());
        let mut answer = Answer {
            status: status.with_context(|| format!("an answer began with {line:?}"))?,
            digest: None,
            location: None,
            length: 0,
        };
        loop {
            line.clear();
            self.stream.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(answer);
            };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" if !headless => answer.length = value.parse()?,
                "docker-content-digest" => answer.digest = Some(value.to_owned()),
                "location" => answer.location = Some(value.to_owned()),
                "transfer-encoding" => bail!("the answer's body comes without a length"),
                _ => {}
            }
        }
    }

    fn forget(&mut self, length: u64) -> Result<()> {
        let mut left = length;
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = self.stream.read(&mut self.buffer[..most])?;
            if read == 0 {
                bail!("an answer ended {left} bytes early");
            }
            left -= read as u64;
        }
        Ok(())
    }
}

fn expect(answer: &Answer, status: u16, path: &str) -> Result<()> {
    if answer.status != status {
        bail!("{path}: the registry answered {}", answer.status);
    }
    Ok(())
}
