//! Checks of what instructions mean, with the variables as they are at each.

use std::cell::RefCell;
use std::collections::BTreeSet;

use launchway_diagnostics::{Span, Spanned};

use super::{At, BaseImage, CheckInputs, Findings, Rule, Told};
use crate::graph::globals::Globals;
use crate::graph::known::KnownVariables;
use crate::ports::port_style;
use crate::{
    ArgDef, CommandLine, CopySource, Dockerfile, ExpandError, Instruction, InstructionKind, Stage,
    expand, expand_keep_quotes, expand_words, exposed_ports, is_remote_source,
};

/// A stage so far.
pub(super) struct State {
    variables: KnownVariables,
    /// Arguments, those of the stages it is from included.
    declared: BTreeSet<String>,
    has_workdir: bool,
    has_shell: bool,
    cmd: Option<Span>,
    entrypoint: Option<Span>,
    healthcheck: Option<Span>,
}

impl State {
    pub(super) fn new(variables: KnownVariables) -> Self {
        Self {
            variables,
            declared: BTreeSet::new(),
            has_workdir: false,
            has_shell: false,
            cmd: None,
            entrypoint: None,
            healthcheck: None,
        }
    }

    pub(super) fn of(image: &BaseImage) -> Self {
        Self {
            has_shell: image.has_shell,
            ..Self::new(KnownVariables::of_image(&image.env))
        }
    }

    /// What a stage from this one starts with.
    pub(super) fn next(&self) -> Self {
        Self {
            declared: self.declared.clone(),
            has_workdir: self.has_workdir,
            has_shell: self.has_shell,
            ..Self::new(self.variables.for_next_stage())
        }
    }
}

/// One pass over the instructions of a stage.
pub(super) struct Walk<'a, 'f> {
    pub(super) file: &'a Dockerfile,
    pub(super) inputs: &'a CheckInputs<'a>,
    pub(super) globals: &'a Globals,
    pub(super) findings: &'a mut Findings<'f>,
    /// The stage whose base brought the instruction along; the place is then its `FROM`.
    pub(super) trigger: Option<&'a Stage>,
    pub(super) state: State,
}

impl Walk<'_, '_> {
    pub(super) fn instruction(&mut self, instruction: &Instruction) {
        match &instruction.kind {
            InstructionKind::Arg(definitions) => {
                for definition in definitions {
                    self.secret(instruction, "ARG", &definition.name);
                    self.declare(instruction, definition);
                }
            }
            InstructionKind::Env(pairs) => {
                let expanded = self.pairs(instruction, pairs);
                self.legacy(instruction, pairs);
                for ((written, _), (name, value)) in pairs.iter().zip(expanded) {
                    match name {
                        Some(name) => {
                            self.secret(
                                instruction,
                                "ENV",
                                &Spanned::new(name.clone(), written.span),
                            );
                            self.state.variables.set(&name, value);
                        }
                        None => self.state.variables.forget(),
                    }
                }
            }
            InstructionKind::Label(pairs) => {
                self.pairs(instruction, pairs);
                self.legacy(instruction, pairs);
            }
            InstructionKind::Copy(copy) => {
                let first = [&copy.chown, &copy.chmod];
                self.words(instruction, first.into_iter().flatten());
                let of_context = copy.from.is_none();
                self.sources(instruction, &copy.sources, &copy.destination, of_context);
            }
            InstructionKind::Add(add) => {
                let first = [&add.chown, &add.chmod, &add.checksum];
                self.words(instruction, first.into_iter().flatten());
                self.sources(instruction, &add.sources, &add.destination, true);
            }
            InstructionKind::Run(run) => {
                let values = run.mounts.iter().flat_map(|mount| mount.values());
                self.words(instruction, values);
            }
            InstructionKind::Workdir(path) => self.workdir(instruction, path),
            InstructionKind::User(word) | InstructionKind::StopSignal(word) => {
                self.words(instruction, [word]);
            }
            InstructionKind::Volume(words) => self.words(instruction, words),
            InstructionKind::Expose(words) => self.expose(instruction, words),
            InstructionKind::Cmd(command) => {
                let earlier = self
                    .state
                    .cmd
                    .replace(self.at(instruction, instruction.span).statement);
                self.used_twice(instruction, earlier);
                self.command(instruction, command);
            }
            InstructionKind::Entrypoint(command) => {
                let earlier = self
                    .state
                    .entrypoint
                    .replace(self.at(instruction, instruction.span).statement);
                self.used_twice(instruction, earlier);
                self.command(instruction, command);
            }
            InstructionKind::Healthcheck(_) => {
                let earlier = self
                    .state
                    .healthcheck
                    .replace(self.at(instruction, instruction.span).statement);
                self.used_twice(instruction, earlier);
            }
            InstructionKind::Shell(_) => self.state.has_shell = true,
            InstructionKind::Onbuild(_) | InstructionKind::Maintainer(_) => {}
        }
    }

    /// A place in an instruction, or the `FROM` that brought it along.
    fn at<'i>(&self, instruction: &'i Instruction, place: Span) -> At<'i> {
        match self.trigger {
            None => instruction.written.at(place),
            Some(stage) => At {
                place: stage.from.span,
                statement: stage.written.whole,
                comments: &[],
            },
        }
    }

    fn add(&mut self, instruction: &Instruction, place: Span, rule: Rule, told: Told) {
        let at = self.at(instruction, place);
        self.findings.add(at, rule, told);
    }

    fn declare(&mut self, instruction: &Instruction, definition: &ArgDef) {
        let name = &definition.name.value;
        let given = self.inputs.build.build_args.get(name);
        let value = match (given, &definition.default) {
            (Some(given), _) => Some(Some(given.clone())),
            (None, Some(default)) => Some(self.word(instruction, default)),
            (None, None) => self.globals.values().get(name).cloned().map(Some),
        };
        if !self.inputs.args_are_known {
            self.state.variables.declare(name, None);
        } else if let Some(value) = value {
            self.state.variables.declare(name, value);
        }
        self.state.declared.insert(name.clone());
    }

    fn pairs(
        &mut self,
        instruction: &Instruction,
        pairs: &[(Spanned<String>, Spanned<String>)],
    ) -> Vec<(Option<String>, Option<String>)> {
        pairs
            .iter()
            .map(|(name, value)| (self.word(instruction, name), self.word(instruction, value)))
            .collect()
    }

    fn legacy(&mut self, instruction: &Instruction, pairs: &[(Spanned<String>, Spanned<String>)]) {
        let [(name, value)] = pairs else {
            return;
        };
        let keyword = instruction.written.keyword.as_str();
        let rest = instruction.text.trim_start_matches(keyword).trim_start();
        let rest = rest.strip_prefix("--").map_or(rest, str::trim_start);
        if rest
            .strip_prefix(name.as_str())
            .is_some_and(|rest| rest.starts_with('='))
        {
            return;
        }
        let keyword = keyword.to_uppercase();
        let quoted = if value.contains(char::is_whitespace) && !value.contains(['"', '\'']) {
            format!("\"{}\"", value.value)
        } else {
            value.value.clone()
        };
        self.add(
            instruction,
            name.span.to(value.span),
            Rule::LegacyKeyValueFormat,
            Told::new(
                format!("{keyword} without a `=`"),
                "the old form, which takes the whole line for one value",
                format!("write `{keyword} {}={quoted}`", name.value),
            ),
        );
    }

    fn secret(&mut self, instruction: &Instruction, keyword: &str, name: &Spanned<String>) {
        if !sounds_secret(name) {
            return;
        }
        self.add(
            instruction,
            name.span,
            Rule::SecretsUsedInArgOrEnv,
            Told::new(
                format!("{keyword} `{}` sounds like a secret", name.value),
                "its value can be read from the image and its history",
                "use `RUN --mount=type=secret,id=…,env=…` in the steps that need it",
            ),
        );
    }

    fn workdir(&mut self, instruction: &Instruction, path: &Spanned<String>) {
        let expanded = self.word(instruction, path);
        let first = !std::mem::replace(&mut self.state.has_workdir, true);
        if first && expanded.is_some_and(|path| !path.starts_with('/')) {
            self.add(
                instruction,
                path.span,
                Rule::WorkdirRelativePath,
                Told::new(
                    "where this WORKDIR leads depends on the base image",
                    "relative, and no WORKDIR stands above",
                    "write an absolute path",
                ),
            );
        }
    }

    fn expose(&mut self, instruction: &Instruction, words: &[Spanned<String>]) {
        for word in words {
            let escape = self.file.directives.escape;
            let expanded = self
                .state
                .variables
                .expand(|lookup| expand_words(word, escape, lookup));
            let ports = expanded.and_then(Result::ok).unwrap_or_default();
            for port in ports.iter().filter(|port| exposed_ports(port).is_ok()) {
                let (capitals, of_host) = port_style(port);
                if capitals {
                    self.add(
                        instruction,
                        word.span,
                        Rule::ExposeProtoCasing,
                        Told::new(
                            format!("`{port}` has its protocol in capitals"),
                            "protocols are in lower case",
                            format!("write `{}`", port.to_lowercase()),
                        ),
                    );
                }
                if of_host {
                    let container = port.rsplit(':').next().unwrap_or(port);
                    self.add(
                        instruction,
                        word.span,
                        Rule::ExposeInvalidFormat,
                        Told::new(
                            format!("`{port}` names an address or a port of the host"),
                            "an image cannot choose them, so this has no effect",
                            format!(
                                "write `{container}`, and publish the port when a container starts"
                            ),
                        ),
                    );
                }
            }
        }
    }

    fn used_twice(&mut self, instruction: &Instruction, earlier: Option<Span>) {
        let Some(earlier) = earlier else {
            return;
        };
        let name = instruction.written.keyword.to_uppercase();
        let told = Told::new(
            format!("a later {name} of this stage replaces this one"),
            "has no effect",
            "remove it",
        );
        let later = self.at(instruction, instruction.written.keyword.span).place;
        let at = At {
            place: earlier,
            statement: earlier,
            comments: &instruction.written.comments,
        };
        let told = told.also(later, "the one that counts");
        self.findings
            .add(at, Rule::MultipleInstructionsDisallowed, told);
    }

    fn command(&mut self, instruction: &Instruction, command: &CommandLine) {
        let CommandLine::Shell(text) = command else {
            return;
        };
        if self.state.has_shell {
            return;
        }
        let name = instruction.written.keyword.to_uppercase();
        let words: Vec<String> = text
            .split_whitespace()
            .map(|word| format!("\"{word}\""))
            .collect();
        let plain = !text.contains([
            '$', '"', '\'', '\\', '|', '&', ';', '<', '>', '*', '(', '`', '~', '#',
        ]);
        let help = if plain && !words.is_empty() {
            format!("write `{name} [{}]`", words.join(", "))
        } else {
            "write a list of strings; where a shell is needed, let it `exec` the program, or set it with SHELL".to_owned()
        };
        self.add(
            instruction,
            instruction.written.keyword.span,
            Rule::JsonArgsRecommended,
            Told::new(
                format!("{name} is run by a shell, which gets the signals in its place"),
                "not a list",
                help,
            ),
        );
    }

    fn sources(
        &mut self,
        instruction: &Instruction,
        sources: &[CopySource],
        destination: &Spanned<String>,
        of_context: bool,
    ) {
        let mut taken = Vec::new();
        for source in sources {
            if let CopySource::Path(path) = source
                && let Some(expanded) = self.word(instruction, path)
            {
                taken.push(Spanned::new(expanded, path.span));
            }
        }
        self.word(instruction, destination);
        for source in sources {
            if let CopySource::Heredoc(heredoc) = source
                && heredoc.expand
            {
                let text = Spanned::new(heredoc.text().into_owned(), heredoc.span);
                self.expanded(instruction, &text, |lookup| {
                    expand_keep_quotes(&text, '\\', lookup)
                });
            }
        }
        let Some(ignore) = self.inputs.ignore.filter(|_| of_context) else {
            return;
        };
        let keyword = instruction.written.keyword.to_uppercase();
        for path in taken {
            if !is_remote_source(&path) && ignore.excludes_source(&path) {
                self.add(
                    instruction,
                    path.span,
                    Rule::CopyIgnoredFile,
                    Told::new(
                        format!(
                            "{keyword} of `{}`, which .dockerignore leaves out",
                            path.value
                        ),
                        "is not in the build context",
                        "take it in again with a `!` line in .dockerignore, or do not copy it",
                    ),
                );
            }
        }
    }

    fn words<'w>(
        &mut self,
        instruction: &Instruction,
        words: impl IntoIterator<Item = &'w Spanned<String>>,
    ) {
        for word in words {
            self.word(instruction, word);
        }
    }

    /// A word as far as it can be known; variables without a value are told.
    fn word(&mut self, instruction: &Instruction, word: &Spanned<String>) -> Option<String> {
        let escape = self.file.directives.escape;
        self.expanded(instruction, word, |lookup| expand(word, escape, lookup))
    }

    fn expanded(
        &mut self,
        instruction: &Instruction,
        word: &Spanned<String>,
        expansion: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<String, ExpandError>,
    ) -> Option<String> {
        let asked = RefCell::new(BTreeSet::new());
        let expanded = self.state.variables.expand(|lookup| {
            expansion(&|name| {
                asked.borrow_mut().insert(name.to_owned());
                lookup(name)
            })
        });
        for name in asked.into_inner() {
            if self.state.variables.is_unset(&name) && !self.state.declared.contains(&name) {
                let help = match self.findings.near(&name, self.state.variables.names()) {
                    Some(near) => format!("did you mean `${near}`?"),
                    None => format!("declare it above with `ARG {name}`, or write `\\${name}`"),
                };
                self.add(
                    instruction,
                    word.span,
                    Rule::UndefinedVar,
                    Told::new(
                        format!("the variable `{name}` has no value here"),
                        "is empty",
                        help,
                    ),
                );
            }
        }
        expanded.and_then(Result::ok)
    }
}

/// Whether the name of a variable has a word for something secret in it, and none that tells
/// otherwise.
fn sounds_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let lower = name.to_ascii_lowercase();
    let has = |words: &[&str]| lower.split('_').any(|part| words.contains(&part));
    has(&SECRET) && !has(&HARMLESS)
}
