//! `RUN --mount`: the fields as written, and the mount they mean once variables are known.

mod read;

#[cfg(test)]
mod tests;

use launchway_diagnostics::{Diagnostic, Span, Spanned};

pub(crate) use read::parse;

use crate::ignore::clean;
use crate::{ExpandError, codes};

/// One `--mount` flag. Docker expands every value but `from` when the step runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFlag {
    /// `None`: a variable tells it, when the step runs.
    pub kind: Option<MountKind>,
    /// The stage, named context or image that a bind or cache mount is filled from.
    pub from: Option<Spanned<String>>,
    pub span: Span,
    fields: Vec<Field>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    Bind,
    Cache,
    Secret,
    Ssh,
    Tmpfs,
}

/// A mount with all values known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunMount {
    Cache {
        /// The target, cleaned, when not given.
        id: String,
        target: String,
        sharing: CacheSharing,
        from: Option<String>,
        /// A path within `from`; `None` is its root.
        source: Option<String>,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        readonly: bool,
    },
    Bind {
        target: String,
        /// A path within `from`, or within the build context; `None` is the root.
        source: Option<String>,
        from: Option<String>,
        /// The step can write, and what it wrote is thrown away.
        readwrite: bool,
    },
    Secret {
        id: String,
        /// `None` when the secret is wanted in a variable alone.
        target: Option<String>,
        /// The variable that holds it.
        env: Option<String>,
        required: bool,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    /// The socket of an ssh agent.
    Ssh {
        id: String,
        /// `None` for a place of the builder's choice.
        target: Option<String>,
        required: bool,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
    },
    Tmpfs {
        target: String,
        /// Bytes.
        size: Option<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheSharing {
    Shared,
    Private,
    Locked,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Field {
    key: Key,
    /// As it is written, for messages.
    name: Spanned<String>,
    value: Option<Spanned<String>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Type,
    From,
    Source,
    Target,
    ReadOnly,
    ReadWrite,
    Required,
    Size,
    Id,
    Sharing,
    Mode,
    Uid,
    Gid,
    Env,
}

impl MountFlag {
    /// Fills in variables and checks every field.
    pub fn resolve(
        &self,
        expand: &dyn Fn(&str) -> Result<String, ExpandError>,
    ) -> Result<RunMount, Diagnostic> {
        let known = Known { flag: self, expand };
        let kind = known.kind()?;
        let from = self.from.as_ref().map(|from| from.value.clone());
        let from = from.filter(|_| kind != MountKind::Tmpfs);
        Ok(match kind {
            MountKind::Bind => RunMount::Bind {
                target: known.target()?,
                source: known.text(Key::Source)?,
                from,
                readwrite: !known.readonly(true)?,
            },
            MountKind::Cache => {
                let target = known.target()?;
                RunMount::Cache {
                    id: known.text(Key::Id)?.unwrap_or_else(|| clean(&target)),
                    target,
                    sharing: known.sharing()?,
                    from,
                    source: known.text(Key::Source)?,
                    mode: known.number(Key::Mode, 8)?,
                    uid: known.number(Key::Uid, 10)?,
                    gid: known.number(Key::Gid, 10)?,
                    readonly: known.readonly(false)?,
                }
            }
            MountKind::Secret => known.secret()?,
            MountKind::Ssh => RunMount::Ssh {
                id: known.text(Key::Id)?.unwrap_or_else(|| "default".to_owned()),
                target: known.text(Key::Target)?,
                required: known.required()?,
                mode: known.number(Key::Mode, 8)?,
                uid: known.number(Key::Uid, 10)?,
                gid: known.number(Key::Gid, 10)?,
            },
            MountKind::Tmpfs => RunMount::Tmpfs {
                target: known.target()?,
                size: known.size()?,
            },
        })
    }

    /// The fields as they are written.
    pub(crate) fn written_fields(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let fields = self.fields.iter();
        fields.map(|field| {
            let value = field.value.as_ref().map(|value| value.as_str());
            (field.name.as_str(), value)
        })
    }

    /// Every value that has variables filled in.
    pub(crate) fn values(&self) -> impl Iterator<Item = &Spanned<String>> {
        self.fields.iter().filter_map(|field| field.value.as_ref())
    }

    /// The expanded path in the build context that a bind mount shows; `None` is its root.
    pub(crate) fn source(&self) -> Option<Spanned<String>> {
        self.text(Key::Source)
    }

    fn text(&self, key: Key) -> Option<Spanned<String>> {
        // As in Docker, the last one counts.
        let field = self.fields.iter().rev().find(|field| field.key == key)?;
        field.value.clone()
    }
}

impl MountKind {
    fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
            Self::Tmpfs => "tmpfs",
        }
    }
}

/// A flag at the time its variables are known.
struct Known<'a> {
    flag: &'a MountFlag,
    expand: &'a dyn Fn(&str) -> Result<String, ExpandError>,
}

impl Known<'_> {
    /// What the mount is, with fields that go with it. As in Docker, `required` and `size` stand
    /// behind the type that they are for.
    fn kind(&self) -> Result<MountKind, Diagnostic> {
        use MountKind as Kind;
        let mut kind = Kind::Bind;
        const REQUIRED: &[Kind] = &[Kind::Secret, Kind::Ssh];
        let mut early: Vec<(&Field, &[Kind])> = Vec::new();
        for field in &self.flag.fields {
            match (field.key, &field.value) {
                (Key::Type, Some(value)) => {
                    let text = self.expanded(value)?;
                    kind = read::kind(&Spanned::new(text, value.span))?;
                }
                (Key::Required, _) if !REQUIRED.contains(&kind) => early.push((field, REQUIRED)),
                (Key::Size, _) if kind != Kind::Tmpfs => early.push((field, &[Kind::Tmpfs])),
                _ => {}
            }
        }
        if let Some((field, wanted)) = early.first() {
            let what = if wanted.contains(&kind) {
                format!("must stand after `type={}`", kind.name())
            } else {
                format!("no field of a {} mount", kind.name())
            };
            return Err(bad(field.name.span, what));
        }
        for field in &self.flag.fields {
            let allowed = match field.key {
                Key::Env => kind == Kind::Secret,
                Key::Source => kind != Kind::Ssh,
                Key::Sharing => kind == Kind::Cache,
                Key::Mode | Key::Uid | Key::Gid => {
                    matches!(kind, Kind::Cache | Kind::Secret | Kind::Ssh)
                }
                Key::From => !matches!(kind, Kind::Secret | Kind::Ssh),
                _ => true,
            };
            if !allowed {
                let kind = kind.name();
                return Err(bad(field.name.span, format!("no field of a {kind} mount")));
            }
        }
        Ok(kind)
    }

    fn expanded(&self, value: &Spanned<String>) -> Result<String, Diagnostic> {
        (self.expand)(value).map_err(|error| {
            Diagnostic::error(codes::BAD_EXPANSION, "cannot expand a field of a mount")
                .at(value.span, error.to_string())
        })
    }

    /// The last value of a key, unless it is missing or empty.
    fn text(&self, key: Key) -> Result<Option<String>, Diagnostic> {
        Ok(self.spanned(key)?.map(|value| value.value))
    }

    fn spanned(&self, key: Key) -> Result<Option<Spanned<String>>, Diagnostic> {
        let Some(value) = self.flag.text(key) else {
            return Ok(None);
        };
        let expanded = self.expanded(&value)?;
        Ok((!expanded.is_empty()).then(|| Spanned::new(expanded, value.span)))
    }

    /// Without one, it is the working directory, as in Docker.
    fn target(&self) -> Result<String, Diagnostic> {
        let Some(target) = self.spanned(Key::Target)? else {
            return Ok(".".to_owned());
        };
        if clean(&target) == "/" {
            return Err(bad(target.span, "nothing can be mounted over the root"));
        }
        Ok(target.value)
    }

    /// `ro`, `readonly`, `rw` and `readwrite`; the last one counts.
    fn readonly(&self, default: bool) -> Result<bool, Diagnostic> {
        let mut readonly = default;
        for field in &self.flag.fields {
            let when_true = match field.key {
                Key::ReadOnly => true,
                Key::ReadWrite => false,
                _ => continue,
            };
            readonly = self.boolean(field)? == when_true;
        }
        Ok(readonly)
    }

    fn boolean(&self, field: &Field) -> Result<bool, Diagnostic> {
        let Some(value) = &field.value else {
            return Ok(true);
        };
        match (self.expand)(value).unwrap_or_default().as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(bad(value.span, "not `true` or `false`")),
        }
    }

    fn number(&self, key: Key, radix: u32) -> Result<Option<u32>, Diagnostic> {
        let Some(value) = self.spanned(key)? else {
            return Ok(None);
        };
        let digits = value.chars().all(|c| c.is_digit(radix));
        let number = u32::from_str_radix(&value, radix).ok().filter(|_| digits);
        let number = number.ok_or_else(|| {
            let kind = if radix == 8 {
                "an octal number"
            } else {
                "a number"
            };
            bad(value.span, format!("not {kind}"))
        })?;
        Ok(Some(number))
    }

    fn sharing(&self) -> Result<CacheSharing, Diagnostic> {
        let Some(value) = self.spanned(Key::Sharing)? else {
            return Ok(CacheSharing::Shared);
        };
        match value.to_ascii_lowercase().as_str() {
            "shared" => Ok(CacheSharing::Shared),
            "private" => Ok(CacheSharing::Private),
            "locked" => Ok(CacheSharing::Locked),
            _ => Err(bad(value.span, "not `shared`, `private` or `locked`")),
        }
    }

    /// A number of bytes with a unit of 1024, as Docker's: `64m`, `1.5GiB`.
    fn size(&self) -> Result<Option<u64>, Diagnostic> {
        let Some(value) = self.spanned(Key::Size)? else {
            return Ok(None);
        };
        let size = parse_size(&value).ok_or_else(|| bad(value.span, "not a size such as `64m`"))?;
        Ok((size > 0).then_some(size))
    }

    fn required(&self) -> Result<bool, Diagnostic> {
        let mut required = false;
        for field in &self.flag.fields {
            if field.key == Key::Required {
                required = self.boolean(field)?;
            }
        }
        Ok(required)
    }

    fn secret(&self) -> Result<RunMount, Diagnostic> {
        let source = self.spanned(Key::Source)?;
        let id = self.text(Key::Id)?;
        let target = self.text(Key::Target)?;
        if let (Some(source), Some(_)) = (&source, &id) {
            return Err(bad(source.span, "means the same as `id`: give one of them"));
        }
        let id = source.map(|source| source.value).or(id);
        let id = id.or_else(|| target.as_deref().map(|target| last_part(target).to_owned()));
        let id = id.ok_or_else(|| bad(self.flag.span, "needs an `id` or a `target`"))?;
        let env = self.text(Key::Env)?;
        let target = match (&env, target) {
            (None, None) => Some(format!("/run/secrets/{}", last_part(&id))),
            (_, target) => target,
        };
        Ok(RunMount::Secret {
            id,
            target,
            env,
            required: self.required()?,
            mode: self.number(Key::Mode, 8)?,
            uid: self.number(Key::Uid, 10)?,
            gid: self.number(Key::Gid, 10)?,
        })
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let number_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(number_end);
    let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        "p" | "pb" | "pib" => 1 << 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * factor as f64;
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

fn last_part(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

fn bad(span: Span, what: impl Into<String>) -> Diagnostic {
    Diagnostic::error(codes::BAD_MOUNT, "malformed --mount").at(span, what)
}
