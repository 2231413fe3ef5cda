//! The faults, one row each. A row is laid on every request it fits of every operation, once and
//! for ever; to add a fault is to add a row.

use std::time::Duration;

use launchway_registry::ErrorClass::{self, Auth, Missing, Permanent, Throttled, Transient};
use launchway_testkit::http::{Answer, Seen};

use crate::faults::model::{PASSWORD, Role};

/// Stands in addresses that nobody may see or repeat.
pub(super) const SIGNATURE: &str = "s1gnature-of-the-storage";

/// What a fault knows of the request it comes to.
pub(super) struct Moment<'a> {
    pub(super) seen: &'a Seen,
    pub(super) host: &'a str,
    /// Another server, which has the same content and wants no proof.
    pub(super) elsewhere: &'a str,
    /// The challenge of a registry that does not know who asks.
    pub(super) challenge: Answer,
    /// How often the fault has come before.
    pub(super) before: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Deed {
    /// This is answered, and the registry never hears of the request.
    Instead(fn(&Moment<'_>) -> Answer),
    /// The registry does what was asked, and its answer is spoiled.
    Spoil(fn(Answer, &Moment<'_>) -> Answer),
    /// The connection is reset after so many thousandths of the request's body; the registry
    /// keeps what came.
    CutUpload(usize),
    /// The registry answers this after so many thousandths, and closes the connection.
    StopUpload(usize, u16),
}

/// Which requests a fault makes a difference to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum On {
    Any,
    /// Those whose success has a body.
    Bodies,
    /// Those whose redirects are followed.
    Reads,
    /// Those that change something.
    Writes,
    /// Those that send a body.
    Uploads,
    Only(Role),
    Both(Role, Role),
    /// Those for lists that come in pages.
    Lists,
}

impl On {
    pub(super) fn fits(self, role: Role) -> bool {
        match self {
            Self::Any => true,
            Self::Bodies => role.reads(),
            Self::Reads => role.is_safe(),
            Self::Writes => !role.is_safe(),
            Self::Uploads => role.has_upload(),
            Self::Only(only) => role == only,
            Self::Both(one, other) => role == one || role == other,
            Self::Lists => matches!(role, Role::Tags | Role::Catalog | Role::Referrers),
        }
    }
}

/// What has to come of it. The world has to be whole whatever comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// Got over when it comes once, an error of this class when it stays.
    Survived(ErrorClass),
    /// An error of this class at once.
    Fails(ErrorClass),
    /// The answer to a challenge that leads astray.
    Denied,
    /// No difference.
    Harmless,
    /// Right in the end, or an error of this class.
    Either(ErrorClass),
    /// Right in the end or an error, never believed.
    NotBelieved,
    /// Nothing in the answer tells that it is a lie: only what holds for all is asked for.
    Undetectable,
}

pub(super) struct Fault {
    pub(super) name: &'static str,
    pub(super) on: On,
    pub(super) want: Want,
    pub(super) deed: Deed,
    /// Whether the client has to lose its patience.
    pub(super) stalls: bool,
}

const fn row(name: &'static str, on: On, want: Want, deed: Deed) -> Fault {
    Fault {
        name,
        on,
        want,
        deed,
        stalls: false,
    }
}

const fn stall(name: &'static str, on: On, deed: Deed) -> Fault {
    Fault {
        name,
        on,
        want: Want::Survived(Transient),
        deed,
        stalls: true,
    }
}

use Deed::{CutUpload, Instead, Spoil, StopUpload};
use On::{Any, Bodies, Both, Lists, Only, Reads, Uploads, Writes};
use Want::{Fails, Harmless, NotBelieved, Survived};

const STUMBLE: Want = Survived(Transient);
/// A challenge that is not followed, whether it is refused for itself or for coming twice.
const DENIED: Want = Want::Denied;

fn half(answer: &Answer) -> usize {
    answer.bytes().len() / 2
}

/// A head with this in it, before a body that fits.
fn raw(answer: &Answer, lines: &str) -> Answer {
    let status = answer.status_code();
    let mut bytes = format!("HTTP/1.1 {status} x\r\n{lines}\r\n").into_bytes();
    bytes.extend_from_slice(answer.bytes());
    Answer::raw(bytes)
}

fn sized(answer: &Answer, lines: &str) -> Answer {
    let length = answer.bytes().len();
    raw(answer, &format!("content-length: {length}\r\n{lines}"))
}

fn limited(retry_after: &str) -> Answer {
    Answer::status(429)
        .header("retry-after", retry_after)
        .error("TOOMANYREQUESTS", "slow down")
}

fn redirect(to: impl Into<String>) -> Answer {
    Answer::status(307).header("location", to)
}

fn page() -> Answer {
    Answer::status(200).html(&format!("log in {SIGNATURE}"))
}

/// The request as it should be asked of the other server.
fn there(moment: &Moment<'_>) -> String {
    let query = format!("X-Sig={SIGNATURE}");
    format!("http://{}{}?{query}", moment.elsewhere, moment.seen.path())
}

fn sent_to(answer: Answer, location: impl Into<String>) -> Answer {
    match answer.status_code() {
        202 => answer.set("location", location),
        _ => answer,
    }
}

const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

#[rustfmt::skip]
pub(super) const FAULTS: &[Fault] = &[
    // Connections.
    row("reset before the answer", Any, STUMBLE, Instead(|_| Answer::reset())),
    row("the answer is lost", Any, STUMBLE, Spoil(|_, _| Answer::reset())),
    row("closed before the answer", Any, STUMBLE, Instead(|_| Answer::close())),
    row("reset within the head", Any, STUMBLE, Spoil(|answer, _| answer.reset_in_head(12))),
    row("reset within the body", Bodies, STUMBLE, Spoil(|answer, _| { let n = half(&answer); answer.reset_after(n) })),
    row("closed within the body", Bodies, STUMBLE, Spoil(|answer, _| { let n = half(&answer); answer.close_after(n) })),
    row("closed before the body", Bodies, STUMBLE, Spoil(|answer, _| answer.close_after(0))),
    stall("silence", Any, Instead(|_| Answer::silence())),
    stall("silence after it was done", Any, Spoil(|_, _| Answer::silence())),
    stall("head byte by byte", Any, Spoil(|answer, _| answer.drip_head(Duration::from_millis(20)))),
    stall("stall within the body", Bodies, Spoil(|answer, _| { let n = half(&answer); answer.stall_after(n) })),
    stall("body byte by byte", Bodies, Spoil(|answer, _| answer.drip_body(Duration::from_millis(30)))),
    stall("100 Continue for ever", Any, Instead(|_| Answer::raw_endless("HTTP/1.1 100 Continue\r\n\r\n"))),
    row("upload reset at its start", Uploads, STUMBLE, CutUpload(0)),
    row("upload reset in the middle", Uploads, STUMBLE, CutUpload(500)),
    row("upload reset near its end", Uploads, STUMBLE, CutUpload(990)),
    row("upload stopped by a 503", Uploads, STUMBLE, StopUpload(300, 503)),

    // Not HTTP, or not as it should be.
    row("not HTTP", Any, STUMBLE, Instead(|_| Answer::raw("SSH-2.0-OpenSSH_9.2\r\n\r\n"))),
    row("a status of two digits", Any, STUMBLE, Instead(|_| Answer::raw("HTTP/1.1 20 x\r\n\r\n"))),
    row("100 Continue, then the answer", Any, Harmless, Spoil(|answer, moment| interim(&answer, moment, 1))),
    row("100 Continue many times, then the answer", Any, Harmless, Spoil(|answer, moment| interim(&answer, moment, 50))),
    row("101 Switching Protocols", Any, NotBelieved, Instead(|_| Answer::raw("HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"))),
    row("a header of 1 MB", Any, STUMBLE, Spoil(|answer, _| answer.header("x-large", "x".repeat(1 << 20)))),
    row("5,000 headers", Any, STUMBLE, Spoil(|answer, _| (0..5_000).fold(answer, |answer, n| answer.header(&format!("x-{n}"), "y")))),
    row("headers without end", Any, STUMBLE, Instead(|_| Answer::raw_endless("HTTP/1.1 200 x\r\n".to_owned() + &"x: y\r\n".repeat(1_000)))),
    row("two lengths", Bodies, STUMBLE, Spoil(|answer, _| sized(&answer, "content-length: 3\r\n"))),
    row("a length that is no number", Bodies, STUMBLE, Spoil(|answer, _| raw(&answer, "content-length: many\r\n"))),
    row("a negative length", Bodies, STUMBLE, Spoil(|answer, _| raw(&answer, "content-length: -1\r\n"))),
    row("broken chunks", Bodies, STUMBLE, Spoil(|answer, _| raw(&answer, "transfer-encoding: chunked\r\n"))),
    row("chunks without their end", Bodies, STUMBLE, Spoil(|answer, _| chunked(&answer, false))),
    row("chunks", Bodies, Harmless, Spoil(|answer, _| chunked(&answer, true))),
    row("no length, ended by closing", Bodies, Harmless, Spoil(|answer, _| raw(&answer, &typed(&answer)))),
    row("more behind the end", Bodies, Harmless, Spoil(|answer, _| longer_than_told(answer))),
    row("a control character in a header", Any, STUMBLE, Spoil(|answer, _| sized(&answer, "x-bad: a\u{1}b\r\n"))),

    // Statuses that may pass.
    row("408", Any, STUMBLE, Instead(|_| Answer::status(408))),
    row("425", Any, STUMBLE, Instead(|_| Answer::status(425))),
    row("500", Any, STUMBLE, Instead(|_| Answer::status(500))),
    row("500 that did it", Any, STUMBLE, Spoil(|_, _| Answer::status(500))),
    row("502 with a page", Any, STUMBLE, Instead(|_| Answer::status(502).html("bad gateway"))),
    row("503 with a date", Any, STUMBLE, Instead(|_| Answer::status(503).header("retry-after", "Fri, 02 Jan 2026 03:00:00 GMT"))),
    row("504 that did it", Any, STUMBLE, Spoil(|_, _| Answer::status(504).html("gateway timeout"))),
    row("520", Any, STUMBLE, Instead(|_| Answer::status(520))),
    row("524", Any, STUMBLE, Instead(|_| Answer::status(524))),
    row("530", Any, STUMBLE, Instead(|_| Answer::status(530))),
    row("500 with a body without end", Any, STUMBLE, Instead(|_| Answer::status(500).body("x".repeat(4096)).endless())),

    // Limits.
    row("429", Any, Survived(Throttled), Instead(|_| Answer::status(429))),
    row("429, at once", Any, Survived(Throttled), Instead(|_| limited("0"))),
    row("429 until the past", Any, Survived(Throttled), Instead(|_| limited("Fri, 02 Jan 2026 03:00:00 GMT"))),
    row("429 for an hour", Any, Fails(Throttled), Instead(|_| limited("3600"))),
    row("429 until 2100", Any, Fails(Throttled), Instead(|_| limited("Fri, 31 Dec 2100 23:59:59 GMT"))),
    row("429 for ever", Any, Fails(Throttled), Instead(|_| limited("18446744073709551615"))),
    row("429 for more than ever", Any, Fails(Throttled), Instead(|_| limited("99999999999999999999999"))),
    row("429 for a negative time", Any, Survived(Throttled), Instead(|_| limited("-5"))),
    row("429 for soon", Any, Survived(Throttled), Instead(|_| limited("soon"))),
    row("403 that is a limit", Any, Survived(Throttled), Instead(|_| Answer::status(403).error("TOOMANYREQUESTS", "pull rate limit"))),
    row("503 for ever", Any, Fails(Transient), Instead(|_| Answer::status(503).header("retry-after", "18446744073709551615"))),

    // Who we are.
    row("401 with a challenge", Any, Survived(Auth), Instead(|moment| moment.challenge.clone())),
    row("401 without a challenge", Any, Fails(Auth), Instead(|_| Answer::status(401))),
    row("401 with a strange challenge", Any, Fails(Auth), Instead(|_| Answer::status(401).header("www-authenticate", "Negotiate abc"))),
    row("a token server by plain HTTP", Any, DENIED, Instead(|_| realm("http://10.0.0.1/token"))),
    row("a token server that is a file", Any, DENIED, Instead(|_| realm("file:///token"))),
    row("a token server with a name in it", Any, DENIED, Instead(|moment| realm(&format!("http://me:{PASSWORD}@{}/token", moment.host)))),
    row("a token server that is no address", Any, DENIED, Instead(|_| realm("to:ken\\"))),
    row("403", Any, Fails(Auth), Instead(|_| Answer::status(403).error("DENIED", "no"))),

    // Refusals.
    row("400", Any, Fails(Permanent), Instead(|_| Answer::status(400).error("DIGEST_INVALID", "no"))),
    row("404", Any, Fails(Missing), Instead(|_| Answer::status(404))),
    row("404 with a page", Any, Fails(Missing), Instead(|_| Answer::status(404).html("not found"))),
    row("405", Any, Fails(Permanent), Instead(|_| Answer::status(405).error("UNSUPPORTED", "no"))),
    row("409", Any, Fails(Permanent), Instead(|_| Answer::status(409))),
    row("410", Any, Fails(Permanent), Instead(|_| Answer::status(410))),
    row("413", Any, Fails(Permanent), Instead(|_| Answer::status(413).html("too large"))),
    row("416", Any, Fails(Permanent), Instead(|_| Answer::status(416))),
    row("418", Any, Fails(Permanent), Instead(|_| Answer::status(418))),
    row("451", Any, Fails(Permanent), Instead(|_| Answer::status(451))),
    row("501", Any, Fails(Permanent), Instead(|_| Answer::status(501))),
    row("505", Any, Fails(Permanent), Instead(|_| Answer::status(505))),
    row("507", Any, Fails(Permanent), Instead(|_| Answer::status(507))),
    row("511", Any, Fails(Permanent), Instead(|_| Answer::status(511).html("log in"))),
    row("600", Any, Fails(Permanent), Instead(|_| Answer::status(600))),
    row("an error that repeats secrets", Any, Fails(Permanent), Instead(echo)),

    // Success that is none.
    row("200 and a page to log in", Any, NotBelieved, Instead(|_| page())),
    row("200 and nothing", Any, NotBelieved, Instead(|_| Answer::status(200))),
    row("201 and nothing", Reads, NotBelieved, Instead(|_| Answer::status(201))),
    row("204", Any, NotBelieved, Instead(|_| Answer::status(204))),
    row("205", Any, NotBelieved, Instead(|_| Answer::status(205))),
    row("304", Any, NotBelieved, Instead(|_| Answer::status(304))),
    row("206 from the middle", Bodies, NotBelieved, Spoil(|answer, _| answer.code(206).header("content-range", "bytes 7-9/100"))),
    row("206 with a range that is none", Bodies, NotBelieved, Spoil(|answer, _| answer.code(206).set("content-range", "bytes x-y/z"))),
    row("204 after it was done", Writes, NotBelieved, Spoil(|answer, _| answer.code(204))),

    // Redirects.
    row("redirect elsewhere", Reads, NotBelieved, Instead(|moment| redirect(there(moment)))),
    row("redirect of a write elsewhere", Writes, Fails(Permanent), Instead(|moment| redirect(there(moment)))),
    row("redirect to itself", Reads, Survived(Permanent), Instead(|moment| redirect(moment.seen.target.clone()))),
    row("redirect without end", Reads, Survived(Permanent), Instead(|moment| redirect(format!("{}?n={}", moment.seen.path(), moment.before)))),
    row("redirect without a place", Any, Fails(Permanent), Instead(|_| Answer::status(302))),
    row("redirect to no address", Any, Fails(Permanent), Instead(|_| redirect("http://[/"))),
    row("redirect to plain HTTP", Any, Fails(Permanent), Instead(|_| redirect(format!("http://10.0.0.1/x?{SIGNATURE}")))),
    row("redirect to the cloud's metadata", Any, Fails(Permanent), Instead(|_| redirect("http://169.254.169.254/latest/meta-data/"))),
    row("redirect to a file", Any, Fails(Permanent), Instead(|_| redirect("file:///etc/passwd"))),
    row("redirect with a name in it", Any, Fails(Permanent), Instead(|moment| redirect(format!("http://me:{PASSWORD}@{}/x", moment.elsewhere)))),
    row("300 with choices", Any, Fails(Permanent), Instead(|moment| Answer::status(300).header("location", there(moment)))),

    // Content that is not what was asked for.
    row("other bytes of the same length", Bodies, NotBelieved, Spoil(|answer, _| flipped(answer))),
    row("half the bytes", Bodies, NotBelieved, Spoil(|answer, _| { let n = half(&answer); let bytes = answer.bytes().slice(..n); answer.without("content-length").body(bytes) })),
    row("more bytes", Bodies, NotBelieved, Spoil(|answer, _| { let bytes = [&answer.bytes()[..], b"\n\n"].concat(); answer.without("content-length").body(bytes) })),
    row("bytes without end", Bodies, NotBelieved, Spoil(|answer, _| answer.without("content-length").body("[ ".repeat(32 * 1024)).endless())),
    row("bytes packed with gzip", Bodies, NotBelieved, Spoil(|answer, _| gzipped(answer))),
    row("a BOM before it", Bodies, NotBelieved, Spoil(|answer, _| { let bytes = [b"\xef\xbb\xbf", &answer.bytes()[..]].concat(); answer.without("content-length").body(bytes) })),
    row("no UTF-8", Bodies, NotBelieved, Spoil(|answer, _| answer.without("content-length").body(&b"{\"tags\":[\"\xff\"],\"repositories\":[\"\xff\"],\"token\":\"\xff\"}"[..]))),
    row("brackets 100,000 deep", Bodies, NotBelieved, Spoil(|answer, _| answer.without("content-length").body("[".repeat(100_000)))),
    row("objects 100,000 deep", Bodies, NotBelieved, Spoil(|answer, _| answer.without("content-length").body("{\"a\":".repeat(100_000)))),
    row("null", Bodies, NotBelieved, Spoil(|answer, _| answer.without("content-length").body("null"))),
    row("another digest in the header", Any, NotBelieved, Spoil(|answer, _| answer.set("docker-content-digest", OTHER))),
    row("no digest in the header", Any, Harmless, Spoil(|answer, _| answer.without("docker-content-digest"))),
    row("a digest in the header that is none", Any, Harmless, Spoil(|answer, _| answer.set("docker-content-digest", "sha256:short"))),
    row("no type in the header", Any, Harmless, Spoil(|answer, _| answer.without("content-type"))),
    row("another type in the header", Any, Harmless, Spoil(|answer, _| answer.set("content-type", "application/octet-stream"))),
    row("a type that is no text", Any, NotBelieved, Spoil(|answer, _| answer.set("content-type", "\u{fffd}/json"))),

    // Lists.
    row("a list that goes on at itself", Lists, NotBelieved, Spoil(|answer, moment| answer.set("link", format!("<{}>; rel=\"next\"", moment.seen.target)))),
    row("a list that goes round", Lists, NotBelieved, Spoil(|answer, moment| answer.set("link", format!("<{}?round={}>; rel=\"next\"", moment.seen.path(), moment.before % 2)))),
    row("a list that goes on elsewhere", Lists, Fails(Permanent), Spoil(|answer, moment| answer.set("link", format!("<{}>; rel=\"next\"", there(moment))))),
    row("a list that goes on by plain HTTP", Lists, Fails(Permanent), Spoil(|answer, _| answer.set("link", "<http://10.0.0.1/v2/a/tags/list>; rel=next"))),
    row("a list that goes on nowhere", Lists, Fails(Permanent), Spoil(|answer, _| answer.set("link", "<http://[>; rel=next"))),
    row("a link that is none", Only(Role::Referrers), Harmless, Spoil(|answer, _| answer.set("link", "<; rel=next"))),

    // Uploads.
    row("mounted another blob", Only(Role::Mount), Fails(Permanent), Instead(|_| Answer::status(201).header("docker-content-digest", OTHER))),
    row("no place for the upload", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|_| Answer::status(202))),
    row("an upload to no address", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|_| sent_to(Answer::status(202), "http://[/"))),
    row("an upload to a file", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|_| sent_to(Answer::status(202), "file:///dev/null"))),
    row("an upload by plain HTTP", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|_| sent_to(Answer::status(202), "http://10.0.0.1/up"))),
    row("an upload with a name in it", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|moment| sent_to(Answer::status(202), format!("http://me:{PASSWORD}@{}/up", moment.host)))),
    row("an upload elsewhere", Both(Role::BeginUpload, Role::Mount), Harmless, Spoil(|answer, moment| {
        let place = answer.header_value("location").unwrap_or_default().to_owned();
        sent_to(answer, format!("http://{}{place}?X-Sig={SIGNATURE}", moment.elsewhere))
    })),
    row("an upload that is forgotten", Both(Role::BeginUpload, Role::Mount), NotBelieved, Instead(|_| sent_to(Answer::status(202), "/v2/a/blobs/uploads/u999"))),

    // The token server.
    row("no token", Only(Role::Token), Fails(Permanent), Instead(|_| Answer::status(200).body("{}"))),
    row("an empty token", Only(Role::Token), Fails(Permanent), Instead(|_| Answer::status(200).body(r#"{"token":""}"#))),
    row("a token that is a number", Only(Role::Token), Fails(Permanent), Instead(|_| Answer::status(200).body(r#"{"token":5}"#))),
    row("a token with a line break", Only(Role::Token), NotBelieved, Instead(|_| Answer::status(200).body(r#"{"token":"a\r\nx-evil: 1"}"#))),
    row("a token of the past", Only(Role::Token), Harmless, Spoil(|answer, _| lifetime(&answer, "0"))),
    row("a token for ever", Only(Role::Token), Harmless, Spoil(|answer, _| lifetime(&answer, "18446744073709551615"))),
    row("a token for a negative time", Only(Role::Token), NotBelieved, Spoil(|answer, _| lifetime(&answer, "-1"))),
];

fn realm(address: &str) -> Answer {
    Answer::status(401).header(
        "www-authenticate",
        format!(r#"Bearer realm="{address}",service="s""#),
    )
}

/// Repeats whatever proof the request brought.
fn echo(moment: &Moment<'_>) -> Answer {
    let proof = moment.seen.header("authorization").unwrap_or_default();
    let secret = proof.split_once(' ').map_or("", |(_, secret)| secret);
    Answer::status(400).error(
        "DENIED",
        &format!("not with {secret} at https://x/y?X-Sig={SIGNATURE}"),
    )
}

/// The answer, after some interim ones.
fn interim(answer: &Answer, moment: &Moment<'_>, times: usize) -> Answer {
    let mut bytes = "HTTP/1.1 100 Continue\r\n\r\n".repeat(times).into_bytes();
    let mut head = format!("HTTP/1.1 {} x\r\n{}", answer.status_code(), typed(answer));
    for name in ["docker-content-digest", "location", "link", "range"] {
        if let Some(value) = answer.header_value(name) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let is_head = moment.seen.method == "HEAD";
    if answer.status_code() != 204 {
        head.push_str(&format!("content-length: {}\r\n", answer.bytes().len()));
    }
    bytes.extend_from_slice(head.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    if !is_head {
        bytes.extend_from_slice(answer.bytes());
    }
    Answer::raw(bytes)
}

/// The lines that a reader of the body needs.
fn typed(answer: &Answer) -> String {
    ["content-type", "link", "content-range"]
        .iter()
        .filter_map(|name| Some(format!("{name}: {}\r\n", answer.header_value(name)?)))
        .collect()
}

fn chunked(answer: &Answer, whole: bool) -> Answer {
    let mut lines = typed(answer);
    lines.push_str("transfer-encoding: chunked\r\n");
    let mut body = Vec::new();
    for piece in answer.bytes().chunks(1_000) {
        body.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        body.extend_from_slice(piece);
        body.extend_from_slice(b"\r\n");
    }
    if whole {
        body.extend_from_slice(b"0\r\n\r\n");
    }
    let mut bytes = format!("HTTP/1.1 {} x\r\n{lines}\r\n", answer.status_code()).into_bytes();
    bytes.extend_from_slice(&body);
    Answer::raw(bytes)
}

fn longer_than_told(answer: Answer) -> Answer {
    let length = answer.bytes().len().to_string();
    let bytes = [&answer.bytes()[..], b"HTTP/1.1 200 x\r\n\r\n"].concat();
    answer.set("content-length", length).body(bytes)
}

/// The last letter or digit is another one.
fn flipped(answer: Answer) -> Answer {
    let mut bytes = answer.bytes().to_vec();
    if let Some(last) = bytes
        .iter_mut()
        .rev()
        .find(|byte| byte.is_ascii_alphanumeric())
    {
        *last = if *last == b'0' { b'1' } else { b'0' };
    }
    answer.body(bytes)
}

fn gzipped(answer: Answer) -> Answer {
    // The header of a gzip file is enough: nobody is to unpack it.
    let bytes = [&b"\x1f\x8b\x08\x00\x00\x00\x00\x00"[..], answer.bytes()].concat();
    answer
        .without("content-length")
        .header("content-encoding", "gzip")
        .body(bytes)
}

fn lifetime(answer: &Answer, seconds: &str) -> Answer {
    let text = String::from_utf8_lossy(answer.bytes());
    let text = text.replace("300", seconds);
    answer.clone().body(text)
}
