//! Who may do what.
//!
//! Owns the answer to two questions: who sends this request, and may they do this to that
//! repository. Users come from an htpasswd file; they say who they are with every request (Basic),
//! or fetch a token first (Bearer), which then says by itself what it is good for.

mod scope;
mod token;
mod users;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};

pub(crate) use scope::{CATALOG, REPOSITORY, Scope};
pub(crate) use token::{Kind, Mint, Token};
pub use users::{Users, UsersError};

use crate::error::{ApiError, Code};
use crate::route::RepositoryName;

/// Who may do what. Without one, everybody may do everything.
#[derive(Clone)]
pub struct Access {
    pub users: Users,
    /// What browsers and clients are told they log in to.
    pub realm: String,
    /// Let everybody read. Docker asks for a token also to read, so this needs `tokens` to work
    /// with it.
    pub anonymous_pull: bool,
    /// Ask for bearer tokens, and issue them under `/token`. Without, clients send their password
    /// with every request.
    pub tokens: Option<Tokens>,
    /// Narrows down what users may do. Without, whoever is logged in may do everything.
    pub permit: Option<Permit>,
}

/// Whether a user (nobody: anonymous) may do this to a repository.
pub type Permit = Arc<dyn Fn(Option<&str>, &str, Action) -> bool + Send + Sync>;

/// How tokens are issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// How long a token is good for.
    pub lifetime: Duration,
    /// Where clients are sent for one. Without, to `/token` of whatever address they used; behind a
    /// proxy that speaks TLS, that has to be said.
    pub realm: Option<String>,
}

/// What can be done to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub(crate) const ALL: [Self; 3] = [Self::Pull, Self::Push, Self::Delete];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("users", &self.users)
            .field("realm", &self.realm)
            .field("anonymous_pull", &self.anonymous_pull)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// The door of a registry.
pub(crate) struct Door {
    access: Option<Access>,
    mint: Mint,
}

/// Who sends a request, and what that is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// There is no access control.
    Anybody,
    Anonymous,
    User(String),
    /// Whoever has a token may do what it says.
    Bearer(Vec<Scope>),
}

/// What a request needs before it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To be known; the endpoint that clients use to find out how to log in.
    Login,
    /// To see what repositories there are.
    Catalog,
    /// The same, by a person with a browser.
    Page,
    Repository(RepositoryName, Action),
}

/// How a request came: what a client has to be told to come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Front {
    pub(crate) secure: bool,
    pub(crate) host: Option<String>,
}

impl Door {
    pub(crate) fn new(access: Option<Access>) -> Self {
        Self {
            access,
            mint: Mint::new(),
        }
    }

    pub(crate) fn access(&self) -> Option<&Access> {
        self.access.as_ref()
    }

    pub(crate) fn mint(&self) -> &Mint {
        &self.mint
    }

    /// Who sends this. What cannot be believed is refused, also where nobody needs to be known: a
    /// client whose password is wrong wants to hear of it.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        front: &Front,
        need: &Need,
    ) -> Result<Caller, ApiError> {
        let Some(access) = &self.access else {
            return Ok(Caller::Anybody);
        };
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Ok(Caller::Anonymous);
        };
        let (scheme, rest) = header
            .to_str()
            .ok()
            .and_then(|text| text.trim().split_once(' '))
            .unwrap_or_default();
        if scheme.eq_ignore_ascii_case("basic") {
            return match access.password(rest).await {
                Some(caller) => Ok(caller),
                None => {
                    Err(self.challenge(front, need, None, "the user name or the password is wrong"))
                }
            };
        }
        if scheme.eq_ignore_ascii_case("bearer") && access.tokens.is_some() {
            let token = self.mint.read(rest.trim(), Kind::Access);
            return token
                .map(|token| Caller::Bearer(token.scopes))
                .ok_or_else(|| {
                    let message = "the token has expired, or is none of ours";
                    self.challenge(front, need, Some("invalid_token"), message)
                });
        }
        Err(self.challenge(front, need, None, "this kind of credential is not taken"))
    }

    /// Refuses a caller who may not have this.
    pub(crate) fn require(
        &self,
        caller: &Caller,
        need: &Need,
        front: &Front,
    ) -> Result<(), ApiError> {
        let allowed = match need {
            Need::Login => *caller != Caller::Anonymous,
            Need::Catalog | Need::Page => self.lists(caller),
            Need::Repository(name, action) => self.may(caller, name, *action),
        };
        match caller {
            _ if allowed => Ok(()),
            Caller::User(user) => Err(ApiError::new(
                Code::Denied,
                format!("{user} may not do this"),
            )),
            Caller::Bearer(_) => Err(self.challenge(
                front,
                need,
                Some("insufficient_scope"),
                "the token is not for this",
            )),
            Caller::Anybody | Caller::Anonymous => {
                Err(self.challenge(front, need, None, "log in first"))
            }
        }
    }

    /// Whether a caller may do this to a repository.
    pub(crate) fn may(&self, caller: &Caller, name: &RepositoryName, action: Action) -> bool {
        match (caller, &self.access) {
            (Caller::Bearer(scopes), _) => scopes
                .iter()
                .any(|scope| scope.covers(REPOSITORY, name.as_str(), action)),
            (Caller::User(user), Some(access)) => access.permits(Some(user), name.as_str(), action),
            (Caller::Anonymous, Some(access)) => access.permits(None, name.as_str(), action),
            (_, None) | (Caller::Anybody, _) => true,
        }
    }

    /// Whether a caller may read every repository there is, so that any copy of a blob will do.
    pub(crate) fn reads_everything(&self, caller: &Caller) -> bool {
        match (caller, &self.access) {
            (Caller::Bearer(_), _) => false,
            (Caller::User(_), Some(access)) => access.permit.is_none(),
            (Caller::Anonymous, Some(access)) => access.anonymous_pull && access.permit.is_none(),
            (_, None) | (Caller::Anybody, _) => true,
        }
    }

    /// Whether a token with more in it could let this caller read a repository.
    pub(crate) fn could_read(&self, caller: &Caller, name: &RepositoryName) -> bool {
        match (caller, &self.access) {
            (Caller::Bearer(_), Some(access)) => access.permit.is_none(),
            _ => self.may(caller, name, Action::Pull),
        }
    }

    fn lists(&self, caller: &Caller) -> bool {
        match (caller, &self.access) {
            (Caller::Bearer(scopes), _) => scopes
                .iter()
                .any(|scope| scope.kind == CATALOG.0 && scope.name == CATALOG.1),
            (Caller::Anonymous, Some(access)) => access.anonymous_pull,
            _ => true,
        }
    }

    /// A 401 that says how to come back.
    pub(crate) fn challenge(
        &self,
        front: &Front,
        need: &Need,
        error: Option<&str>,
        message: &str,
    ) -> ApiError {
        let refusal = ApiError::new(Code::Unauthorized, message);
        let Some(access) = &self.access else {
            return refusal;
        };
        let header = match (&access.tokens, need) {
            // Browsers know no tokens.
            (None, _) | (_, Need::Page) => basic(&access.realm),
            (Some(tokens), _) => {
                let scopes: Vec<String> = match need {
                    Need::Login | Need::Page => Vec::new(),
                    Need::Catalog => vec![format!("{}:{}:*", CATALOG.0, CATALOG.1)],
                    Need::Repository(name, action) => vec![format!(
                        "{REPOSITORY}:{name}:{}",
                        match action {
                            // Who pushes looks first.
                            Action::Push => "pull,push",
                            action => action.as_str(),
                        }
                    )],
                };
                bearer(tokens, front, &scopes, error)
            }
        };
        refusal.header(WWW_AUTHENTICATE, header)
    }

    /// A 401 that asks for a token that is also good for reading the source of a mount.
    pub(crate) fn challenge_mount(
        &self,
        front: &Front,
        to: &RepositoryName,
        from: &RepositoryName,
    ) -> ApiError {
        let refusal = ApiError::new(
            Code::Unauthorized,
            format!("the token is not good for reading {from}"),
        );
        match self
            .access
            .as_ref()
            .and_then(|access| access.tokens.as_ref())
        {
            None => refusal,
            Some(tokens) => {
                let scopes = [
                    format!("{REPOSITORY}:{to}:pull,push"),
                    format!("{REPOSITORY}:{from}:pull"),
                ];
                let error = Some("insufficient_scope");
                refusal.header(WWW_AUTHENTICATE, bearer(tokens, front, &scopes, error))
            }
        }
    }
}

impl Access {
    /// Whoever this base64 of a name and a password stands for; `None` when it is wrong.
    pub(crate) async fn password(&self, encoded: &str) -> Option<Caller> {
        let bytes = STANDARD.decode(encoded.trim()).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (user, password) = text.split_once(':')?;
        // What some clients send when they have nothing to send.
        if user.is_empty() && password.is_empty() {
            return Some(Caller::Anonymous);
        }
        let right = self.users.verify(user, password).await;
        right.then(|| Caller::User(user.to_owned()))
    }

    pub(crate) fn permits(&self, user: Option<&str>, repository: &str, action: Action) -> bool {
        let in_general = user.is_some() || (self.anonymous_pull && action == Action::Pull);
        in_general
            && self
                .permit
                .as_ref()
                .is_none_or(|permit| permit(user, repository, action))
    }
}

/// The challenge of Basic authentication (RFC 7617).
pub(crate) fn basic(realm: &str) -> HeaderValue {
    let text = format!("Basic realm={}, charset=\"UTF-8\"", quoted(realm));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Basic realm=\"registry\""))
}

/// The challenge of Docker's token protocol, after RFC 6750.
fn bearer(tokens: &Tokens, front: &Front, scopes: &[String], error: Option<&str>) -> HeaderValue {
    let host = front.host.as_deref().unwrap_or("localhost");
    let realm = tokens.realm.clone().unwrap_or_else(|| {
        let scheme = if front.secure { "https" } else { "http" };
        format!("{scheme}://{host}/token")
    });
    let mut text = format!("Bearer realm={},service={}", quoted(&realm), quoted(host));
    if !scopes.is_empty() {
        text.push_str(&format!(",scope={}", quoted(&scopes.join(" "))));
    }
    if let Some(error) = error {
        text.push_str(&format!(",error={}", quoted(error)));
    }
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer"))
}

fn quoted(text: &str) -> String {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", plain.replace('\\', "\\\\").replace('"', "\\\""))
}
