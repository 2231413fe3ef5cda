//! Sources of ADD that are not in the build context.

use launchway_diagnostics::Span;
use std::path::PathBuf;

use launchway_diagnostics::Diagnostic;
use launchway_dockerfile::{GitSource, is_remote_source};
use launchway_git::{Access, GitError, Resolved};
use launchway_model::{ContentHasher, Digest};
use launchway_oci::WorkingLayer;

use crate::claim::wait_for;
use crate::files::{CopyStep, Taken};
use crate::native::{Build, StageState};
use crate::problems::not_fetched;
use crate::repository::{RepositoryError, Rights, with_git};
use crate::{EngineError, codes, web};

/// A repository of which it is known what it holds.
pub(crate) struct Repository {
    /// As it stands in the Dockerfile, with its variables filled in.
    word: String,
    source: GitSource,
    resolved: Resolved,
    keep_git_dir: bool,
    span: Span,
}

impl Repository {
    /// What decides which files it gives.
    pub(crate) fn hash(&self, key: &mut ContentHasher) {
        let Self {
            source,
            resolved,
            keep_git_dir,
            ..
        } = self;
        key.text("repository", &resolved.commit)
            .text("folder", &source.folder)
            .text("submodules", &source.submodules.to_string());
        if source.time_of_checkout {
            key.text("times", "checkout");
        }
        // Addresses of submodules may be relative to the repository's.
        if source.submodules || *keep_git_dir {
            key.text("remote", &source.remote);
        }
        if *keep_git_dir {
            key.text("keep", resolved.name.as_deref().unwrap_or_default())
                .text("object", &resolved.object);
        }
    }

    /// As history tells of it: as it was written, unless that would tell a password.
    pub(crate) fn told(&self) -> String {
        match self.source.user_info {
            None => self.word.clone(),
            Some(_) => self.source.shown(),
        }
    }
}

impl Build<'_> {
    /// Finds out which commit a repository is at.
    pub(crate) fn repository(
        &self,
        state: &StageState<'_>,
        step: &CopyStep<'_>,
        (word, mut source): (String, GitSource),
        span: Span,
    ) -> Result<Repository, EngineError> {
        if let Some(text) = step.checksum {
            let wanted = state.scope.expand(text)?;
            let digits = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
            let conflict = source.commit.as_ref().is_some_and(|other| *other != wanted);
            if !digits || conflict {
                let label = match digits {
                    true => "the URL names another commit",
                    false => "of a repository it is the digits of a commit",
                };
                let message = format!("`{wanted}` cannot be the checksum");
                return Err(EngineError::at(codes::BAD_WORD, text.span, message, label).into());
            }
            source.commit = Some(wanted);
        }
        let keep_git_dir = match (step.keep_git_dir, source.keep_git_dir) {
            (Some(flag), Some(other)) if flag != other => {
                let message = "--keep-git-dir and the URL differ";
                let label = "this says otherwise";
                return Err(EngineError::at(codes::BAD_WORD, span, message, label).into());
            }
            (flag, other) => flag.or(other).unwrap_or(false),
        };
        if !source.is_pinned() && !self.request.options.unpinned_urls {
            let message = format!("{} names no commit", source.shown());
            let label = "a family is made of what can be known before it is built";
            return Err(EngineError::at(codes::UNPINNED_URL, span, message, label)
                .help("write #COMMIT, all its digits, or add --checksum=COMMIT")
                .into());
        }
        let resolved = self.with_git(&source, span, |access| {
            self.engine.repositories.resolve(&source, access)
        })?;
        Ok(Repository {
            word,
            source,
            resolved,
            keep_git_dir,
            span,
        })
    }

    /// Puts its files into a working layer, which has to be kept as long as they are wanted.
    pub(crate) fn check_out(
        &self,
        repository: &Repository,
    ) -> Result<(WorkingLayer, PathBuf), EngineError> {
        let folder = self.engine.store.new_layer()?;
        let Repository {
            source,
            resolved,
            keep_git_dir,
            span,
            ..
        } = repository;
        let checkout = self.with_git(source, *span, |access| {
            let repositories = &self.engine.repositories;
            repositories.checkout(source, resolved, *keep_git_dir, access, folder.upper())
        })?;
        Ok((folder, checkout.path))
    }

    fn with_git<T>(
        &self,
        source: &GitSource,
        span: Span,
        work: impl FnOnce(&Access<'_>) -> Result<T, GitError>,
    ) -> Result<T, EngineError> {
        let rights = Rights {
            secrets: self.request.secrets,
            agents: self.request.agents,
        };
        with_git(source, &rights, self.cancellation, work)
            .map_err(|error| not_cloned(source, &error, span))
    }

    /// Fetches a source that is a file of the web.
    pub(crate) fn download(
        &self,
        state: &StageState<'_>,
        step: &CopyStep<'_>,
        word: String,
        span: Span,
    ) -> Result<Taken, EngineError> {
        let checksum = step
            .checksum
            .map(|text| checksum(&state.scope.expand(text)?, text.span))
            .transpose()?;
        let shown = web::shown(&word);
        if checksum.is_none() && !self.request.options.unpinned_urls {
            let message = format!("{shown} has no checksum");
            let label = "a family is made of what can be known before it is built";
            return Err(EngineError::at(codes::UNPINNED_URL, span, message, label)
                .help("add --checksum=sha256:…")
                .into());
        }
        // What two want at once is fetched once.
        let _turn = wait_for(self.cancellation, || self.downloads.try_turn(&word), || {})?;
        let download = self
            .downloads
            .get(self.request.web, &word, checksum.as_ref())
            .map_err(|error| not_fetched(&shown, &error, span))?;
        Ok(Taken::Web {
            word,
            download,
            span,
        })
    }
}

fn not_cloned(source: &GitSource, error: &RepositoryError, span: Span) -> EngineError {
    if error.is_cancelled() {
        return EngineError::Cancelled;
    }
    let told = error.to_string();
    let mut lines = told.splitn(2, '\n');
    let label = lines.next().unwrap_or_default();
    let message = format!("cannot take the repository {}", source.shown());
    let mut diagnostic =
        Diagnostic::error(codes::NOT_CLONED, message).at(span, label.trim_end_matches(':'));
    if let Some(said) = lines.next() {
        diagnostic = diagnostic.note(format!("it said:\n{said}"));
    }
    if let Some(cause) = std::error::Error::source(error) {
        diagnostic = diagnostic.note(cause.to_string());
    }
    if let Some(help) = error.help() {
        diagnostic = diagnostic.help(help);
    }
    diagnostic.into()
}

fn checksum(text: &str, span: Span) -> Result<Digest, EngineError> {
    let digest = text.parse::<Digest>().ok();
    digest
        .filter(|digest| digest.to_string().starts_with("sha256:"))
        .ok_or_else(|| {
            let message = format!("`{text}` is not a checksum");
            EngineError::at(
                codes::BAD_WORD,
                span,
                message,
                "write sha256: and 64 digits from 0 to f",
            )
            .into()
        })
}

/// What the parser could not see because of variables in the word.
pub(crate) fn check_local(word: &str, span: Span, step: &CopyStep<'_>) -> Result<(), EngineError> {
    if let Some(checksum) = step.checksum {
        let label = format!("`{word}` is no such thing");
        return Err(EngineError::at(
            codes::BAD_WORD,
            checksum.span,
            "--checksum is for files of the web and repositories",
            label,
        )
        .into());
    }
    if step.from.is_some() || !is_remote_source(word) {
        return Ok(());
    }
    let message = format!("{} does not fetch `{word}`", step.word);
    let diagnostic = EngineError::at(
        codes::BAD_WORD,
        span,
        message,
        "this becomes a remote source",
    );
    Err(diagnostic
        .help("download it in a RUN step, or put the file into the context")
        .into())
}
