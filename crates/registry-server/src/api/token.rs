//! `/token`: issues bearer tokens, by Docker's token protocol (GET) and its OAuth2 form (POST).

use std::sync::Arc;

use bytes::BytesMut;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use super::{Answer, Call, Incoming, Inner, json as answer_json, set, text};
use crate::access::{
    self, Access, Action, CATALOG, Caller, Kind, REPOSITORY, Scope, Token, Tokens,
};
use crate::error::{ApiError, Code};
use crate::query::Query;

/// The largest form that is read, in bytes.
const FORM: usize = 64 << 10;

pub(super) async fn issue(inner: &Arc<Inner>, call: &Call<'_>, body: Incoming<'_>) -> Answer {
    let nowhere =
        || ApiError::new(Code::Unsupported, "no tokens here").status(StatusCode::NOT_FOUND);
    let access = inner.door.access().ok_or_else(nowhere)?;
    let tokens = access.tokens.as_ref().ok_or_else(nowhere)?;
    match *call.method {
        Method::GET => get(inner, access, tokens, call).await,
        Method::POST => post(inner, access, tokens, body).await,
        _ => Err(ApiError::method("GET, POST")),
    }
}

async fn get(inner: &Arc<Inner>, access: &Access, tokens: &Tokens, call: &Call<'_>) -> Answer {
    let refused = |message: &str| {
        ApiError::new(Code::Unauthorized, message)
            .header(header::WWW_AUTHENTICATE, access::basic(&access.realm))
    };
    let user = match text(call.headers, header::AUTHORIZATION) {
        None => None,
        Some(header) => {
            let encoded = header
                .trim()
                .split_once(' ')
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
                .map(|(_, encoded)| encoded)
                .ok_or_else(|| refused("a token is issued for a user name and a password"))?;
            match access.password(encoded).await {
                Some(Caller::User(user)) => Some(user),
                Some(_) => None,
                None => return Err(refused("the user name or the password is wrong")),
            }
        }
    };
    if user.is_none() && !access.anonymous_pull {
        return Err(refused("a token is issued for a user name and a password"));
    }
    let scopes = granted(access, user.as_deref(), call.query.all("scope"));
    let offline = user.is_some() && call.query.get("offline_token") == Some("true");
    let token = Token {
        kind: Kind::Access,
        user,
        scopes,
    };
    let mint = inner.door.mint();
    let text = mint.issue(&token, Some(tokens.lifetime));
    let mut answer = json!({
        "token": text,
        "access_token": text,
        "expires_in": tokens.lifetime.as_secs(),
    });
    if offline {
        answer["refresh_token"] = mint.issue(&refresh(&token), None).into();
    }
    Ok(private(&answer))
}

async fn post(
    inner: &Arc<Inner>,
    access: &Access,
    tokens: &Tokens,
    mut body: Incoming<'_>,
) -> Answer {
    let mut bytes = BytesMut::new();
    while let Some(piece) = super::receive::next(&mut body, inner.options.body_silence).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > FORM {
            return Ok(oauth_error("invalid_request", "the form is too large"));
        }
    }
    let Ok(form) = std::str::from_utf8(&bytes) else {
        return Ok(oauth_error("invalid_request", "the form is no text"));
    };
    let form = Query::form(form);
    let mint = inner.door.mint();
    let user = match form.get("grant_type") {
        Some("refresh_token") => form
            .get("refresh_token")
            .and_then(|text| mint.read(text, Kind::Refresh))
            .and_then(|token| token.user),
        Some("password") => match (form.get("username"), form.get("password")) {
            (Some(user), Some(password)) if access.users.verify(user, password).await => {
                Some(user.to_owned())
            }
            _ => None,
        },
        _ => {
            let message = "known are the grants refresh_token and password";
            return Ok(oauth_error("unsupported_grant_type", message));
        }
    };
    let Some(user) = user else {
        let mut answer = oauth_error("invalid_grant", "the credentials are wrong or too old");
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(answer);
    };
    let scopes = granted(access, Some(&user), form.all("scope"));
    let token = Token {
        kind: Kind::Access,
        user: Some(user),
        scopes,
    };
    let scope: Vec<_> = token.scopes.iter().map(Scope::text).collect();
    let mut answer = json!({
        "access_token": mint.issue(&token, Some(tokens.lifetime)),
        "expires_in": tokens.lifetime.as_secs(),
        "scope": scope.join(" "),
    });
    match form.get("refresh_token") {
        Some(same) => answer["refresh_token"] = same.into(),
        None if form.get("access_type") == Some("offline") => {
            answer["refresh_token"] = mint.issue(&refresh(&token), None).into();
        }
        None => {}
    }
    Ok(private(&answer))
}

/// Of what is asked for, what the user may have. Less is no error: the client finds out when it
/// uses the token.
fn granted<'a>(
    access: &Access,
    user: Option<&str>,
    asked: impl Iterator<Item = &'a str>,
) -> Vec<Scope> {
    let mut granted = Vec::new();
    for mut scope in asked
        .flat_map(str::split_whitespace)
        .filter_map(Scope::parse)
    {
        let may = |action: &Action| match scope.kind.as_str() {
            REPOSITORY => access.permits(user, &scope.name, *action),
            kind => {
                (kind, scope.name.as_str()) == CATALOG && (user.is_some() || access.anonymous_pull)
            }
        };
        let actions: Vec<_> = scope.actions.iter().copied().filter(may).collect();
        scope.actions = actions;
        if !scope.actions.is_empty() {
            granted.push(scope);
        }
    }
    granted
}

/// What lets the same user fetch other tokens.
fn refresh(token: &Token) -> Token {
    Token {
        kind: Kind::Refresh,
        user: token.user.clone(),
        scopes: Vec::new(),
    }
}

fn private(answer: &serde_json::Value) -> http::Response<crate::Body> {
    let mut response = answer_json(answer);
    set(
        &mut response,
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    response
}

/// A refusal as RFC 6749 (section 5.2) writes it.
fn oauth_error(code: &str, message: &str) -> http::Response<crate::Body> {
    let mut response = private(&json!({"error": code, "error_description": message}));
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
