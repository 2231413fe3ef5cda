//! What a step answers, and where the answer goes wrong.

use std::time::Duration;

use bytes::Bytes;

/// What a step answers, and where it goes wrong.
#[derive(Clone, Debug)]
pub struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Bytes,
    pub(super) delay: Duration,
    pub(super) fault: Fault,
    pub(super) reading: Reading,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// The connection is reset instead of an answer.
    Reset,
    /// The connection is closed in good order instead of an answer.
    Close,
    /// The connection is reset after so many bytes of the head.
    ResetInHead(usize),
    /// The head comes byte by byte, with this pause before each.
    DripHead(Duration),
    /// The body comes byte by byte, with this pause before each.
    DripBody(Duration),
    /// The connection is reset after so many bytes of the body.
    ResetAfter(usize),
    /// The connection is closed in good order after so many bytes of the body.
    CloseAfter(usize),
    /// So many bytes of the body come, and then nothing more.
    StallAfter(usize),
    /// Nothing comes at all.
    Silence,
    /// The bytes of the body come instead of an answer.
    Raw,
    /// They come again and again.
    RawEndless,
    /// The body comes again and again, and its length is not told.
    Endless,
}

/// How much of a request's body is read before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    All,
    Upto(usize),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            delay: Duration::ZERO,
            fault: Fault::None,
            reading: Reading::All,
        }
    }

    /// The connection is reset instead of an answer.
    pub fn reset() -> Self {
        Self::status(0).fault(Fault::Reset)
    }

    /// The connection is closed in good order instead of an answer.
    pub fn close() -> Self {
        Self::status(0).fault(Fault::Close)
    }

    /// Nothing comes, and the connection stays open.
    pub fn silence() -> Self {
        Self::status(0).fault(Fault::Silence)
    }

    /// These bytes come, whatever they are, and the connection is closed.
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::status(0).body(bytes).fault(Fault::Raw)
    }

    /// These bytes come again and again, until the client goes away.
    pub fn raw_endless(bytes: impl Into<Bytes>) -> Self {
        Self::status(0).body(bytes).fault(Fault::RawEndless)
    }

    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Without the headers of this name.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers
            .retain(|(found, _)| !found.eq_ignore_ascii_case(name));
        self
    }

    /// With one header of this name, whatever there was.
    #[must_use]
    pub fn set(self, name: &str, value: impl Into<String>) -> Self {
        self.without(name).header(name, value)
    }

    /// Another status, the rest as it is.
    #[must_use]
    pub fn code(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// The body; its length is told unless a header tells another one.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A page for people, as proxies answer.
    #[must_use]
    pub fn html(self, text: &str) -> Self {
        self.header("content-type", "text/html")
            .body(format!("<html><body>{text}</body></html>"))
    }

    /// A registry's error document.
    #[must_use]
    pub fn error(self, code: &str, message: &str) -> Self {
        self.header("content-type", "application/json")
            .body(format!(
                r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#
            ))
    }

    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    #[must_use]
    pub fn reset_after(self, bytes: usize) -> Self {
        self.fault(Fault::ResetAfter(bytes))
    }

    #[must_use]
    pub fn close_after(self, bytes: usize) -> Self {
        self.fault(Fault::CloseAfter(bytes))
    }

    #[must_use]
    pub fn stall_after(self, bytes: usize) -> Self {
        self.fault(Fault::StallAfter(bytes))
    }

    #[must_use]
    pub fn reset_in_head(self, bytes: usize) -> Self {
        self.fault(Fault::ResetInHead(bytes))
    }

    /// The head comes byte by byte.
    #[must_use]
    pub fn drip_head(self, pause: Duration) -> Self {
        self.fault(Fault::DripHead(pause))
    }

    /// The body comes byte by byte.
    #[must_use]
    pub fn drip_body(self, pause: Duration) -> Self {
        self.fault(Fault::DripBody(pause))
    }

    /// The body comes again and again, until the client goes away.
    #[must_use]
    pub fn endless(self) -> Self {
        self.fault(Fault::Endless)
    }

    /// Answers as soon as the head of the request is there, and then closes the connection.
    #[must_use]
    pub fn early(self) -> Self {
        self.after_reading(0)
    }

    /// Answers after so many bytes of the request's body, and then closes the connection. A
    /// request with fewer is read whole.
    #[must_use]
    pub fn after_reading(mut self, bytes: usize) -> Self {
        self.reading = Reading::Upto(bytes);
        self
    }

    pub fn status_code(&self) -> u16 {
        self.status
    }

    pub fn bytes(&self) -> &Bytes {
        &self.body
    }

    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    fn fault(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }
}
