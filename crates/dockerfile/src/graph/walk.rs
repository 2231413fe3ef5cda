//! One pass over the instructions of a stage: variables, declared arguments, what is read from the
//! build context, and words that cannot be expanded.

use std::collections::{BTreeMap, BTreeSet};

use launchway_diagnostics::{Diagnostic, Span, Spanned};

use super::ContextSource;
use super::globals::{Globals, bad_expansion};
use super::known::KnownVariables;
use crate::codes;
use crate::parse::{is_signal, remote_source};
use crate::{
    ArgDef, CopySource, Instruction, InstructionKind, MountFlag, MountKind, expand,
    expand_keep_quotes, expand_words, git_source, is_http_source,
};

pub(crate) struct Walk<'a> {
    pub(crate) escape: char,
    pub(crate) build_args: &'a BTreeMap<String, String>,
    pub(crate) globals: &'a Globals,
    pub(crate) variables: KnownVariables,
    pub(crate) declared: &'a mut BTreeSet<String>,
    pub(crate) context_sources: &'a mut Vec<ContextSource>,
    pub(crate) unpinned_urls: &'a mut Vec<Span>,
    pub(crate) problems: &'a mut Vec<Diagnostic>,
}

/// How sources are taken from the build context.
struct OfContext<'a> {
    exclude: &'a [Spanned<String>],
    parents: bool,
    /// There is a checksum.
    pinned: bool,
}

impl Walk<'_> {
    pub(crate) fn instruction(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            InstructionKind::Arg(definitions) => {
                for definition in definitions {
                    self.declare(definition);
                }
            }
            InstructionKind::Env(pairs) => self.set_all(pairs),
            InstructionKind::Copy(copy) => {
                let from_context = copy.from.is_none().then_some(OfContext {
                    exclude: &copy.exclude,
                    parents: copy.parents,
                    pinned: false,
                });
                self.sources("COPY", &copy.sources, from_context);
                self.words(&[
                    Some(&copy.destination),
                    copy.chown.as_ref(),
                    copy.chmod.as_ref(),
                ]);
            }
            InstructionKind::Add(add) => {
                let from_context = OfContext {
                    exclude: &add.exclude,
                    parents: false,
                    pinned: add.checksum.is_some(),
                };
                self.sources("ADD", &add.sources, Some(from_context));
                self.words(&[
                    Some(&add.destination),
                    add.chown.as_ref(),
                    add.chmod.as_ref(),
                    add.checksum.as_ref(),
                ]);
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    self.mount(mount);
                }
            }
            InstructionKind::Label(pairs) => {
                for (name, value) in pairs {
                    self.words(&[Some(name), Some(value)]);
                }
            }
            InstructionKind::Workdir(word) | InstructionKind::User(word) => {
                self.words(&[Some(word)]);
            }
            InstructionKind::StopSignal(word) => {
                if let Some(signal) = self.word(word)
                    && !is_signal(&signal)
                {
                    self.problems.push(
                        Diagnostic::error(codes::BAD_SIGNAL, "STOPSIGNAL names no signal")
                            .at(word.span, format!("is `{signal}`")),
                    );
                }
            }
            InstructionKind::Volume(words) => {
                for word in words {
                    if self.word(word).is_some_and(|path| path.is_empty()) {
                        self.problems.push(
                            Diagnostic::error(codes::BAD_ARGUMENTS, "VOLUME needs a path")
                                .at(word.span, "is empty"),
                        );
                    }
                }
            }
            InstructionKind::Expose(words) => {
                for word in words {
                    let expansion = |lookup: &dyn Fn(&str) -> Option<String>| {
                        expand_words(word, self.escape, lookup)
                    };
                    if let Some(Err(error)) = self.variables.expand(expansion) {
                        self.problems.push(bad_expansion(word, &error));
                    }
                }
            }
            InstructionKind::Entrypoint(_)
            | InstructionKind::Cmd(_)
            | InstructionKind::Shell(_)
            | InstructionKind::Healthcheck(_)
            | InstructionKind::Onbuild(_)
            | InstructionKind::Maintainer(_) => {}
        }
    }

    /// One definition of `ARG`.
    pub(crate) fn declare(&mut self, definition: &ArgDef) {
        let name = &definition.name.value;
        self.declared.insert(name.clone());
        if let Some(given) = self.build_args.get(name) {
            self.variables.declare(name, Some(given.clone()));
        } else if let Some(default) = &definition.default {
            let value = self.word(default);
            self.variables.declare(name, value);
        } else if let Some(value) = self.globals.values().get(name) {
            self.declared.extend(self.globals.made_from(name).cloned());
            self.variables.declare(name, Some(value.clone()));
        }
    }

    /// All values see the variables as they were before the instruction.
    fn set_all(&mut self, pairs: &[(Spanned<String>, Spanned<String>)]) {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (self.word(name), self.word(value)))
            .collect();
        for (name, value) in pairs {
            match name {
                Some(name) => self.variables.set(&name, value),
                None => self.variables.forget(),
            }
        }
    }

    /// Sources of `COPY` and `ADD`; `None` when they are not from the context.
    fn sources(
        &mut self,
        instruction: &str,
        sources: &[CopySource],
        of_context: Option<OfContext<'_>>,
    ) {
        for source in sources {
            match source {
                CopySource::Heredoc(heredoc) if heredoc.expand => {
                    let text = heredoc.text();
                    let expansion = |lookup: &dyn Fn(&str) -> Option<String>| {
                        expand_keep_quotes(&text, '\\', lookup)
                    };
                    if let Some(Err(error)) = self.variables.expand(expansion) {
                        let place = Spanned::new(String::new(), heredoc.span);
                        self.problems.push(bad_expansion(&place, &error));
                    }
                }
                CopySource::Heredoc(_) => {}
                CopySource::Path(path) => {
                    let before = self.problems.len();
                    let pattern = self.word(path);
                    let expanded = Spanned::new(pattern.clone().unwrap_or_default(), path.span);
                    if let Some(problem) = remote_source(instruction, &expanded) {
                        self.problems.push(problem);
                    } else if let Some(Ok(repository)) = git_source(&expanded) {
                        let pinned = of_context.as_ref().is_none_or(|taken| taken.pinned);
                        if !pinned && !repository.is_pinned() {
                            self.unpinned_urls.push(path.span);
                        }
                    } else if is_http_source(&expanded) {
                        if of_context.as_ref().is_some_and(|taken| !taken.pinned) {
                            self.unpinned_urls.push(path.span);
                        }
                    } else if let Some(of_context) = &of_context
                        && self.problems.len() == before
                    {
                        if of_context.pinned && pattern.is_some() {
                            self.problems.push(
                                Diagnostic::error(codes::BAD_FLAG, "--checksum of a local file")
                                    .at(path.span, "not a URL")
                                    .help("take the flag out: the file is at hand"),
                            );
                        }
                        let excludes = of_context.exclude.iter();
                        self.read_from_context(ContextSource {
                            parents: of_context.parents && pattern.is_some(),
                            pattern,
                            excludes: excludes.map(|pattern| pattern.value.clone()).collect(),
                            span: path.span,
                        });
                    }
                }
            }
        }
    }

    fn mount(&mut self, mount: &MountFlag) {
        let escape = self.escape;
        let expansion = |lookup: &dyn Fn(&str) -> Option<String>| {
            mount.resolve(&|word| expand(word, escape, lookup))
        };
        if let Some(Err(problem)) = self.variables.expand(expansion) {
            self.problems.push(problem);
            return;
        }
        if matches!(mount.kind, None | Some(MountKind::Bind)) && mount.from.is_none() {
            let pattern = match mount.source() {
                None => Some(".".to_owned()),
                // A mount takes its source as it is, so no character of it may be a wildcard.
                Some(source) => match self.variables.word(&source, escape) {
                    Ok(path) => path.map(|path| literal(&path)),
                    Err(_) => None,
                },
            };
            self.read_from_context(ContextSource {
                pattern,
                excludes: Vec::new(),
                parents: false,
                span: mount.span,
            });
        }
    }

    fn read_from_context(&mut self, source: ContextSource) {
        if !self.context_sources.contains(&source) {
            self.context_sources.push(source);
        }
    }

    fn words(&mut self, words: &[Option<&Spanned<String>>]) {
        for word in words.iter().copied().flatten() {
            self.word(word);
        }
    }

    /// A word as far as it can be known. Errors are reported.
    fn word(&mut self, word: &Spanned<String>) -> Option<String> {
        match self.variables.word(word, self.escape) {
            Ok(value) => value,
            Err(error) => {
                self.problems.push(bad_expansion(word, &error));
                None
            }
        }
    }
}

/// A pattern that matches one path only.
fn literal(path: &str) -> String {
    let mut pattern = String::new();
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    if pattern.is_empty() {
        ".".to_owned()
    } else {
        pattern
    }
}
