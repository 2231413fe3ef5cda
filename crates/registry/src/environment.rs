//! Credentials in variables: `LAUNCHWAY_REGISTRY_<HOST>_USERNAME` and `…_PASSWORD`, or `…_TOKEN` with a
//! finished bearer token.
//!
//! The host is written in capitals; a hyphen becomes two underscores and every other sign one.
//! With a single underscore for both, the credential of `a.b.io` would be given to `a-b.io`, and
//! anybody may own that.

use std::ffi::OsString;

use launchway_model::RegistryHost;

use crate::{Credential, CredentialsError, Login, Secret};

/// What the variables of a host begin with.
fn prefix(host: &RegistryHost) -> String {
    let mut name = "LAUNCHWAY_REGISTRY_".to_owned();
    for c in host.as_str().chars() {
        match c {
            '-' => name.push_str("__"),
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_uppercase()),
            _ => name.push('_'),
        }
    }
    name
}

/// The credential that the variables name for a host.
pub(crate) fn find(
    host: &RegistryHost,
    variable: &(dyn Fn(&str) -> Option<OsString> + Send + Sync),
) -> Result<Option<Login>, CredentialsError> {
    let prefix = prefix(host);
    let read = |suffix: &str| {
        let name = format!("{prefix}_{suffix}");
        match variable(&name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|_| CredentialsError::Variable {
                    variable: name,
                    reason: "is not text",
                }),
        }
    };
    let incomplete = |suffix: &str, reason: &'static str| {
        Err(CredentialsError::Variable {
            variable: format!("{prefix}_{suffix}"),
            reason,
        })
    };
    let (credential, source) = match (read("USERNAME")?, read("PASSWORD")?, read("TOKEN")?) {
        (None, None, None) => return Ok(None),
        (Some(username), Some(password), None) => (
            Credential::Basic {
                username,
                password: Secret::new(password),
            },
            format!("the variables {prefix}_USERNAME and {prefix}_PASSWORD"),
        ),
        (None, None, Some(token)) => (
            Credential::BearerToken(Secret::new(token)),
            format!("the variable {prefix}_TOKEN"),
        ),
        (Some(_), None, None) => return incomplete("PASSWORD", "is not set, but the user name is"),
        (None, Some(_), None) => return incomplete("USERNAME", "is not set, but the password is"),
        (_, _, Some(_)) => {
            return incomplete("TOKEN", "is set beside a user name or a password");
        }
    };
    Ok(Some(Login {
        credential,
        source: Some(source),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_variables_of_their_own() {
        for (host, want) in [
            ("ghcr.io", "GHCR_IO"),
            ("docker.io", "DOCKER_IO"),
            ("registry.example.com:5000", "REGISTRY_EXAMPLE_COM_5000"),
            ("registry-example.com", "REGISTRY__EXAMPLE_COM"),
            ("127.0.0.1:5000", "127_0_0_1_5000"),
        ] {
            let prefix = prefix(&host.parse().unwrap());
            assert_eq!(prefix, format!("LAUNCHWAY_REGISTRY_{want}"));
        }
    }

    #[test]
    fn what_the_variables_say() {
        let basic = Ok(Some("u:hunter2"));
        for (set, want) in [
            (&[][..], Ok(None)),
            (&["USERNAME", "PASSWORD"], basic),
            (&["TOKEN"], Ok(Some("bearer hunter2"))),
            (&["USERNAME"], Err("A_IO_PASSWORD is not set")),
            (&["PASSWORD"], Err("A_IO_USERNAME is not set")),
            (
                &["USERNAME", "PASSWORD", "TOKEN"],
                Err("A_IO_TOKEN is set beside"),
            ),
        ] {
            let found = find(&"a.io".parse().unwrap(), &|name| {
                let suffix = name.strip_prefix("LAUNCHWAY_REGISTRY_A_IO_")?;
                let value = if suffix == "USERNAME" { "u" } else { "hunter2" };
                set.contains(&suffix).then(|| value.into())
            });
            match (&found, want) {
                (Ok(None), Ok(None)) => {}
                (Ok(Some(login)), Ok(Some(want))) => {
                    let got = match &login.credential {
                        Credential::Basic { username, password } => {
                            format!("{username}:{}", password.expose())
                        }
                        Credential::BearerToken(token) => format!("bearer {}", token.expose()),
                        Credential::IdentityToken(_) => "identity".to_owned(),
                    };
                    assert_eq!(got, want);
                    assert!(!format!("{login:?}").contains("hunter2"));
                }
                (Err(error), Err(want)) => {
                    assert!(error.to_string().contains(want), "{error}");
                    assert!(!error.to_string().contains("hunter2"), "{error}");
                }
                (found, want) => panic!("{found:?} instead of {want:?}"),
            }
        }
    }
}
