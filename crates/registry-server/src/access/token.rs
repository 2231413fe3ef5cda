//! Tokens: what they are good for and until when, signed. Opaque to clients.
//!
//! The key is random and lives as long as the process; a client whose token died with it fetches
//! another one, as it does for one that expired.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::Scope;

/// Makes tokens and knows its own again.
pub(crate) struct Mint {
    key: hmac::Key,
    /// Times are counted from here, so that a clock that is set changes nothing.
    born: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Good for requests.
    Access,
    /// Good for fetching tokens.
    Refresh,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) user: Option<String>,
    pub(crate) scopes: Vec<Scope>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    kind: Kind,
    user: Option<String>,
    scopes: Vec<String>,
    /// Milliseconds since the mint was made; none: as long as the mint.
    until: Option<u64>,
}

impl Mint {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        SystemRandom::new()
            .fill(&mut key)
            .expect("the operating system gives random bytes");
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            born: Instant::now(),
        }
    }

    pub(crate) fn issue(&self, token: &Token, lifetime: Option<Duration>) -> String {
        let until = lifetime.map(|lifetime| milliseconds(self.born.elapsed() + lifetime));
        let wire = Wire {
            kind: token.kind,
            user: token.user.clone(),
            scopes: token.scopes.iter().map(Scope::text).collect(),
            until,
        };
        let text = serde_json::to_vec(&wire).expect("a token is plain data");
        let seal = hmac::sign(&self.key, &text);
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        format!("{}.{}", encode(&text), encode(seal.as_ref()))
    }

    /// What a token says; `None` when it is not of this mint, not of this kind, or too old.
    pub(crate) fn read(&self, token: &str, kind: Kind) -> Option<Token> {
        let (text, seal) = token.split_once('.')?;
        let text = URL_SAFE_NO_PAD.decode(text).ok()?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        hmac::verify(&self.key, &text, &seal).ok()?;
        let wire: Wire = serde_json::from_slice(&text).ok()?;
        let expired = wire
            .until
            .is_some_and(|until| until <= milliseconds(self.born.elapsed()));
        if wire.kind != kind || expired {
            return None;
        }
        Some(Token {
            kind,
            user: wire.user,
            scopes: wire
                .scopes
                .iter()
                .filter_map(|text| Scope::parse(text))
                .collect(),
        })
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let (mint, other) = (Mint::new(), Mint::new());
        let token = Token {
            kind: Kind::Access,
            user: Some("ann".into()),
            scopes: vec![Scope::parse("repository:a:pull,push").unwrap()],
        };
        let hour = Some(Duration::from_secs(3600));
        let good = mint.issue(&token, hour);
        assert_eq!(mint.read(&good, Kind::Access), Some(token.clone()));
        assert_eq!(
            mint.read(&mint.issue(&token, None), Kind::Access),
            Some(token.clone())
        );
        let (text, seal) = good.split_once('.').unwrap();
        let swapped = mint.issue(
            &Token {
                user: None,
                ..token.clone()
            },
            hour,
        );
        let (other_text, _) = swapped.split_once('.').unwrap();
        for (what, bad) in [
            ("expired", mint.issue(&token, Some(Duration::ZERO))),
            ("another mint's", other.issue(&token, hour)),
            ("another's seal", format!("{other_text}.{seal}")),
            ("no seal", format!("{text}.")),
            ("half", text.to_owned()),
            ("nothing", String::new()),
        ] {
            assert_eq!(mint.read(&bad, Kind::Access), None, "{what}");
        }
        assert_eq!(mint.read(&good, Kind::Refresh), None);
    }
}
