//! The query of a request's address.

use std::borrow::Cow;

pub(crate) struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    pub(crate) fn parse(text: Option<&'a str>) -> Self {
        // `+` means a space in a form, but media types hold a bare `+` and clients send it so.
        let pairs = text
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key), decode(value))
            });
        Self(pairs.collect())
    }

    /// Reads a form (`application/x-www-form-urlencoded`), in which `+` is a space.
    pub(crate) fn form(text: &'a str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decode = |text: &str| Cow::Owned(decode(&text.replace('+', " ")).into_owned());
            (decode(key), decode(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a key; an empty value counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found
            .map(|(_, value)| value.as_ref())
            .filter(|value| !value.is_empty())
    }

    pub(crate) fn all<'s>(&'s self, key: &'s str) -> impl Iterator<Item = &'s str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_ref())
    }
}

fn decode(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_plus_stays() {
        let query = Query::parse(Some("a=1&a=2&t=x%2Fy+z&e=&digest=sha256%3Aab&flag"));
        assert_eq!(query.all("a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(query.get("t"), Some("x/y+z"));
        assert_eq!(query.get("e"), None);
        assert_eq!(query.get("flag"), None);
        assert_eq!(query.get("digest"), Some("sha256:ab"));
        assert_eq!(Query::parse(None).get("a"), None);
        let form = Query::form("scope=a:b+c:d&p=%2B+x");
        assert_eq!(form.get("scope"), Some("a:b c:d"));
        assert_eq!(form.get("p"), Some("+ x"));
    }
}
