//! COPY, ADD and WORKDIR as steps: what is taken, the cache key, the new layer.

use std::collections::BTreeSet;
use std::path::PathBuf;

use launchway_context::{Filter, Selected, digest_until, walk};
use launchway_diagnostics::{Span, Spanned};
use launchway_dockerfile::{
    Add, Copy, CopySource, Heredoc, expand_keep_quotes, git_source, is_http_source,
};
use launchway_model::ContentHasher;
use launchway_oci::{Stack, Tree};

use crate::claim::Claim;
use crate::copy::{CopyOptions, LayerBuilder, Ownership};
use crate::native::{Build, StageState, StepDone};
use crate::permissions::Permissions;
use crate::place::{Place, can_be_planned, place_plain};
use crate::problems::{cannot_place, changed_meanwhile, missing, unknown_user, unreadable};
use crate::remote::{Repository, check_local};
use crate::users::Accounts;
use crate::web::{self, Download};
use crate::{Cancellation, EngineError, Event, Step, codes};

/// COPY and ADD in one form.
pub(crate) struct CopyStep<'a> {
    pub(crate) word: &'static str,
    sources: &'a [CopySource],
    destination: &'a Spanned<String>,
    pub(crate) from: Option<&'a Spanned<String>>,
    pub(crate) chown: Option<&'a Spanned<String>>,
    chmod: Option<&'a Spanned<String>>,
    exclude: &'a [Spanned<String>],
    link: bool,
    parents: bool,
    pub(crate) checksum: Option<&'a Spanned<String>>,
    pub(crate) keep_git_dir: Option<bool>,
    /// Whether archives are unpacked, where it is said.
    pub(crate) unpack: Option<bool>,
}

impl<'a> CopyStep<'a> {
    pub(crate) fn of_copy(copy: &'a Copy) -> Self {
        Self {
            word: "COPY",
            sources: &copy.sources,
            destination: &copy.destination,
            from: copy.from.as_ref(),
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            exclude: &copy.exclude,
            link: copy.link,
            parents: copy.parents,
            checksum: None,
            keep_git_dir: None,
            unpack: Some(false),
        }
    }

    pub(crate) fn of_add(add: &'a Add) -> Self {
        Self {
            word: "ADD",
            sources: &add.sources,
            destination: &add.destination,
            from: None,
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            exclude: &add.exclude,
            link: add.link,
            parents: false,
            checksum: add.checksum.as_ref(),
            keep_git_dir: add.keep_git_dir,
            unpack: add.unpack,
        }
    }
}

/// One source with its variables filled in and its files found.
pub(crate) enum Taken {
    Files {
        word: String,
        selected: Vec<Selected>,
        span: Span,
    },
    Text {
        name: String,
        content: String,
    },
    Web {
        word: String,
        download: Download,
        span: Span,
    },
    Repository(Repository),
}

impl Build<'_> {
    pub(crate) fn copy_step(
        &self,
        state: &StageState<'_>,
        step: &CopyStep<'_>,
        span: Span,
        at: &Step,
    ) -> Result<StepDone, EngineError> {
        let named = match step.from {
            Some(from) => {
                let base = state
                    .resolved
                    .from_sources
                    .get(&from.value)
                    .expect("the graph resolved every --from");
                Some(self.source_tree(base, state.platform(), from.span)?)
            }
            None => None,
        };
        let context = self.request.context;
        let tree = match &named {
            Some(named) => named.tree(),
            None => context,
        };
        let excludes: Vec<String> = step
            .exclude
            .iter()
            .map(|pattern| pattern.value.clone())
            .collect();
        let mut taken = Vec::new();
        for source in step.sources {
            taken.push(match source {
                CopySource::Path(path) => {
                    let word = state.scope.expand(path)?;
                    if let Some(Ok(source)) = git_source(&word).filter(|_| step.word == "ADD") {
                        let source = (word, source);
                        let repository = self.repository(state, step, source, path.span)?;
                        taken.push(Taken::Repository(repository));
                        continue;
                    }
                    if step.word == "ADD" && is_http_source(&word) {
                        taken.push(self.download(state, step, word, path.span)?);
                        continue;
                    }
                    check_local(&word, path.span, step)?;
                    let selected = match (&named, step.parents) {
                        (Some(named), true) => named.select_with_parents(&word, &excludes),
                        (Some(named), false) => named.select(&word, &excludes),
                        (None, true) => context.select_with_parents(&word, &excludes),
                        (None, false) => context.select(&word, &excludes),
                    }
                    .map_err(|error| {
                        missing(&error, path.span, step.from.map(|from| from.value.as_str()))
                    })?;
                    Taken::Files {
                        word,
                        selected,
                        span: path.span,
                    }
                }
                CopySource::Heredoc(heredoc) => Taken::Text {
                    name: heredoc.name.clone(),
                    content: heredoc_text(heredoc, state)?,
                },
            });
        }
        let destination = self.destination(state, step.destination)?;
        let below = state.stack();
        let owner = match step.chown {
            Some(spec) => {
                let value = state.scope.expand(spec)?;
                let (uid, gid) = self.owner(&below, &value, step.word, spec.span)?;
                Ownership::Set(uid, gid)
            }
            None if step.from.is_some() || context.keeps_owners() => Ownership::Keep,
            None => Ownership::Set(0, 0),
        };
        let mode = step
            .chmod
            .map(|spec| permissions(&state.scope.expand(spec)?, spec.span))
            .transpose()?;
        let options = CopyOptions {
            owner,
            mode,
            filter: Filter::excluding(&excludes).into(),
            replaces: false,
            implied: BTreeSet::new(),
        };

        // The files are placed as if nothing were below. BuildKit forgets this with --chmod.
        let linked = step.link && step.chmod.is_none();

        let mut key = self.key("copy", &below.layers);
        key.text("word", step.word)
            .text("linked", if linked { "yes" } else { "no" })
            .text("destination", &destination);
        key.text("owner", &format!("{owner:?}"))
            .text("mode", &format!("{:?}", options.mode));
        if step.word == "ADD" {
            key.text("unpack", &format!("{:?}", step.unpack));
        }
        key.list("exclude", &excludes);
        if step.parents {
            key.text("parents", "yes");
        }
        for one in &taken {
            hash_taken(&mut key, one, tree, self.cancellation)?;
            if let (Taken::Files { selected, .. }, Ownership::Keep) = (one, owner) {
                hash_owners(&mut key, tree, selected)?;
            }
        }
        let key = key.finish();
        let changes = || match &named {
            Some(named) => named.changes(),
            None => context.changes(),
        };
        let hashed = changes();
        let told = told(step, &taken, state)?;
        let mut claimed = match self.claim(key, at)? {
            Claim::Found(known) => return Ok(StepDone::cached(known, told)),
            Claim::Ours(claimed) => claimed,
        };
        let seen = if linked {
            Stack::default()
        } else {
            below.clone()
        };
        let options = &options;
        let destination = destination.as_str();
        if can_be_planned(tree, &taken, step)? {
            let mut builder =
                LayerBuilder::planned(&below, &seen).map_err(|error| cannot_place(error, span))?;
            builder.cancellation = self.cancellation.clone();
            for one in &taken {
                place_plain(&mut builder, tree, one, destination, options, span)?;
            }
            let plan = builder.plan().expect("it was planned");
            return self
                .commit_planned(
                    plan,
                    &below,
                    claimed,
                    state,
                    (told, &|| changes() != hashed),
                )
                .map_err(|error| changed_meanwhile(error, span));
        }
        let working = self.engine.store.new_layer_on(&below)?;
        let place = Place {
            upper: working.upper(),
            seen: &seen,
            destination,
            options,
            step,
            cancellation: self.cancellation,
        };
        for one in &taken {
            self.place(&place, tree, one, span)?;
        }
        if changes() != hashed {
            self.doubt(&mut claimed);
        }
        self.commit(working, &below, claimed, state, told)
    }

    pub(crate) fn workdir_step(
        &self,
        state: &mut StageState<'_>,
        path: &Spanned<String>,
        at: &Step,
    ) -> Result<StepDone, EngineError> {
        let word = state.scope.expand(path)?;
        let current = state
            .image
            .config
            .config
            .working_dir
            .clone()
            .unwrap_or_default();
        // The image states an absolute path as it is written, like BuildKit's; an empty one changes
        // nothing.
        let stated = match word.as_str() {
            "" if !current.is_empty() => current.clone(),
            word if word.starts_with('/') => word.to_owned(),
            word => absolute(&current, word),
        };
        let told = format!("WORKDIR {stated}");
        state.image.config.config.working_dir = Some(stated);
        let workdir = absolute(&current, &word);
        // Every image has a root.
        if workdir == "/" {
            return Ok(StepDone::without_layer(told));
        }
        let below = state.stack();
        let user = state.image.config.config.user.clone().unwrap_or_default();
        let owner = if user.is_empty() {
            (0, 0)
        } else {
            self.owner(&below, &user, "WORKDIR", path.span)?
        };
        let mut key = self.key("workdir", &below.layers);
        key.text("path", &workdir)
            .text("owner", &format!("{owner:?}"));
        let key = key.finish();
        let claimed = match self.claim(key, at)? {
            Claim::Found(known) => return Ok(StepDone::cached(known, told)),
            Claim::Ours(claimed) => claimed,
        };
        let working = self.engine.store.new_layer_on(&below)?;
        LayerBuilder::new(working.upper(), &below)
            .make_directories(&workdir, owner, 0o755)
            .map_err(|error| cannot_place(error, path.span))?;
        self.commit(working, &below, claimed, state, told)
    }

    /// Who a step's files belong to. What of it the image does not know is warned about; where
    /// nothing is below that could know anything, it is an error.
    fn owner(
        &self,
        below: &Stack,
        spec: &str,
        word: &str,
        span: Span,
    ) -> Result<(u32, u32), EngineError> {
        let (owner, unknown) = Accounts::of(below).owner(spec);
        for what in unknown {
            if below.layers.is_empty() {
                return Err(unknown_user(&what, span));
            }
            (self.events)(Event::Warning(format!(
                "{word} for `{spec}`: {what}, so the files belong to {}:{}",
                owner.0, owner.1
            )));
        }
        Ok(owner)
    }

    fn destination(
        &self,
        state: &StageState<'_>,
        word: &Spanned<String>,
    ) -> Result<String, EngineError> {
        let text = state.scope.expand(word)?;
        let workdir = state
            .image
            .config
            .config
            .working_dir
            .clone()
            .unwrap_or_default();
        let mut path = absolute(&workdir, &text);
        // The slash at the end says that the destination is a directory; cleaning must not lose it.
        if (text.ends_with('/') || text.ends_with("/.") || text == "." || text.is_empty())
            && !path.ends_with('/')
        {
            path.push('/');
        }
        Ok(path)
    }
}

/// A path made absolute from a working directory, `.` and `..` resolved by name.
pub(crate) fn absolute(workdir: &str, path: &str) -> String {
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{workdir}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    format!("/{}", parts.join("/"))
}

fn heredoc_text(heredoc: &Heredoc, state: &StageState<'_>) -> Result<String, EngineError> {
    let text = heredoc.text();
    if !heredoc.expand {
        return Ok(text.into_owned());
    }
    expand_keep_quotes(&text, '\\', &state.scope.lookup()).map_err(|error| {
        let message = format!("cannot expand the heredoc `{}`", heredoc.name);
        EngineError::at(codes::BAD_WORD, heredoc.span, message, error.to_string()).into()
    })
}

fn hash_taken(
    key: &mut ContentHasher,
    taken: &Taken,
    tree: &(dyn Tree + Sync),
    cancellation: &Cancellation,
) -> Result<(), EngineError> {
    let is_stopped = || cancellation.is_cancelled();
    match taken {
        Taken::Text { name, content } => {
            key.text("heredoc", name).text("content", content);
        }
        Taken::Web { word, download, .. } => {
            key.text("url", &web::file_name(word))
                .text("content", &download.digest.to_string())
                .field("modified", &download.modified.to_le_bytes());
        }
        Taken::Repository(repository) => repository.hash(key),
        Taken::Files { selected, .. } => {
            for one in selected {
                key.text("source", &one.matched.to_string_lossy());
                let content = digest_until(tree, std::slice::from_ref(one), &is_stopped)
                    .map_err(|error| unreadable(&error))?;
                key.field("content", content.hash.as_bytes());
            }
        }
    }
    Ok(())
}

/// Who owns what is taken, which the digest of a context leaves out.
pub(crate) fn hash_owners(
    key: &mut ContentHasher,
    tree: &dyn Tree,
    selected: &[Selected],
) -> Result<(), EngineError> {
    for one in selected {
        for walked in walk(tree, one).map_err(|error| unreadable(&error))? {
            key.number("uid", walked.entry.uid.into())
                .number("gid", walked.entry.gid.into());
        }
    }
    Ok(())
}

/// What history says: not where it came from, and what is written in place last.
fn told(
    step: &CopyStep<'_>,
    taken: &[Taken],
    state: &StageState<'_>,
) -> Result<String, EngineError> {
    let mut text = step.word.to_owned();
    if step.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("--chown", step.chown), ("--chmod", step.chmod)] {
        if let Some(value) = value {
            text.push_str(&format!(" {flag}={}", state.scope.expand(value)?));
        }
    }
    let mut in_place = String::new();
    for one in taken {
        match one {
            Taken::Files { word, .. } => text.push_str(&format!(" {word}")),
            Taken::Web { word, .. } => text.push_str(&format!(" {}", web::told(word))),
            Taken::Repository(repository) => text.push_str(&format!(" {}", repository.told())),
            Taken::Text { name, .. } => in_place.push_str(&format!(" <<{name}")),
        }
    }
    let destination = state.scope.expand(step.destination)?;
    Ok(format!("{text}{in_place} {destination}"))
}

fn permissions(text: &str, span: Span) -> Result<Permissions, EngineError> {
    Permissions::parse(text).ok_or_else(|| {
        EngineError::at(
            codes::BAD_WORD,
            span,
            format!("`{text}` is not a file mode"),
            "octal from 0 to 7777, as in 0755, or symbolic, as in u=rwX,go=rX",
        )
        .into()
    })
}

/// A directory of the image as a path below the root of its trees.
pub(crate) fn below_root(path: &str) -> PathBuf {
    PathBuf::from(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn paths_are_made_absolute_by_name() {
        for (workdir, path, want) in [
            ("/", "a", "/a"),
            ("", "a/", "/a"),
            ("/w", "/a/./b/../c", "/a/c"),
            ("/w/x", "../y", "/w/y"),
            ("/w", "../../..", "/"),
            ("/w", ".", "/w"),
        ] {
            assert_eq!(absolute(workdir, path), want, "{workdir} {path}");
        }
    }
}
