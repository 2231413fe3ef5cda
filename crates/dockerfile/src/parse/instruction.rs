//! One logical line to one instruction.

use launchway_diagnostics::{Diagnostic, Spanned, closest};

use super::flags::{self, Flags, Takes};
use super::line::Piece;
use super::words::{self, Json, Split};
use super::{files, health, run, signal};
use crate::{
    ArgDef, CommandLine, Instruction, InstructionKind, Onbuild, Written, codes, exposed_ports,
};

pub(crate) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// A line as an instruction.
pub(crate) enum Item {
    From(FromLine),
    Instruction(Instruction),
}

/// A `FROM`, before it is known which stage it starts.
pub(crate) struct FromLine {
    pub(crate) image: Spanned<String>,
    pub(crate) name: Option<Spanned<String>>,
    pub(crate) alias: Option<(Spanned<String>, Spanned<String>)>,
    pub(crate) platform: Option<Spanned<String>>,
}

/// Reads one instruction after the other and keeps what is wrong with them.
pub(crate) struct Reader {
    pub(crate) escape: char,
    pub(crate) problems: Vec<Diagnostic>,
}

impl Reader {
    /// `None` when the line is too wrong to be an instruction; problems tell why.
    pub(crate) fn item(&mut self, split: &Split<'_>, line: Piece<'_>) -> Option<Item> {
        if split.name.text().eq_ignore_ascii_case("from") {
            return self.from(split).map(Item::From);
        }
        let kind = self.kind(split)?;
        Some(Item::Instruction(Instruction {
            span: line.span(),
            written: line.written(split.name),
            kind,
            text: line.with_heredocs(),
        }))
    }

    fn kind(&mut self, split: &Split<'_>) -> Option<InstructionKind> {
        let name = split.name.text().to_ascii_uppercase();
        let arguments = split.arguments;
        match name.as_str() {
            "RUN" => run::read(self, split).map(InstructionKind::Run),
            "COPY" => files::copy(self, split).map(InstructionKind::Copy),
            "ADD" => files::add(self, split).map(InstructionKind::Add),
            "HEALTHCHECK" => health::read(self, split).map(InstructionKind::Healthcheck),
            "ONBUILD" => self.onbuild(split).map(InstructionKind::Onbuild),
            _ if !NAMES.contains(&name.as_str()) => {
                self.unknown(split);
                None
            }
            _ => {
                self.flags(split, &[]);
                match name.as_str() {
                    "ARG" => self.arg(split).map(InstructionKind::Arg),
                    "ENV" => self.pairs(split).map(InstructionKind::Env),
                    "LABEL" => self.pairs(split).map(InstructionKind::Label),
                    "EXPOSE" => self.expose(split).map(InstructionKind::Expose),
                    "VOLUME" => self.volume(split).map(InstructionKind::Volume),
                    "CMD" => self.command(arguments).map(InstructionKind::Cmd),
                    "ENTRYPOINT" => self.command(arguments).map(InstructionKind::Entrypoint),
                    "SHELL" => self.shell(split).map(InstructionKind::Shell),
                    "STOPSIGNAL" => {
                        let signal = self.one(split)?;
                        signal::check(&signal, &mut self.problems);
                        Some(InstructionKind::StopSignal(signal))
                    }
                    "USER" => self.one(split).map(InstructionKind::User),
                    "WORKDIR" => self.one(split).map(InstructionKind::Workdir),
                    // All other names were handled above.
                    _ => self.one(split).map(InstructionKind::Maintainer),
                }
            }
        }
    }

    fn unknown(&mut self, split: &Split<'_>) {
        let name = split.name;
        let mut problem = Diagnostic::error(
            codes::UNKNOWN_INSTRUCTION,
            format!("unknown instruction `{}`", name.text()),
        )
        .at(name.span(), "not an instruction");
        if let Some(near) = closest(name.text(), NAMES) {
            problem = problem.help(format!("did you mean `{near}`?"));
        }
        self.problems.push(problem);
    }

    pub(crate) fn flags(&mut self, split: &Split<'_>, known: &[(&'static str, Takes)]) -> Flags {
        flags::read(split, known, &mut self.problems)
    }

    /// Reports malformed arguments.
    pub(crate) fn arguments(&mut self, split: &Split<'_>, message: &str, help: &str) {
        let place = if split.arguments.is_empty() {
            split.name
        } else {
            split.arguments
        };
        let name = split.name.text().to_ascii_uppercase();
        self.problems.push(
            Diagnostic::error(codes::BAD_ARGUMENTS, format!("{name} {message}"))
                .at(place.span(), "")
                .help(help),
        );
    }

    fn from(&mut self, split: &Split<'_>) -> Option<FromLine> {
        let flags = self.flags(split, &[("platform", Takes::Value)]);
        let words = words::blank_separated(split.arguments);
        let (image, alias) = match words[..] {
            [image] => (image, None),
            [image, and, name] if and.text().eq_ignore_ascii_case("as") => {
                (image, Some((and.spanned(), name.spanned())))
            }
            _ => {
                let message = "needs an image, and may be followed by `AS` and a name";
                self.arguments(split, message, "write `FROM image` or `FROM image AS name`");
                return None;
            }
        };
        let name = alias
            .clone()
            .map(|(_, name)| name.map(|name| name.to_lowercase()));
        if let Some(name) = &name {
            let good = |c: char| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
            };
            let letter_first = name.starts_with(|c: char| c.is_ascii_lowercase());
            if !letter_first || !name.chars().all(good) {
                self.problems.push(
                    Diagnostic::error(
                        codes::BAD_STAGE_NAME,
                        format!("`{}` cannot name a stage", name.value),
                    )
                    .at(name.span, "not a name")
                    .help("start with a letter, then use letters, digits, `-`, `_` and `.`"),
                );
            }
        }
        Some(FromLine {
            image: image.spanned(),
            name,
            alias,
            platform: flags.value("platform"),
        })
    }

    fn arg(&mut self, split: &Split<'_>) -> Option<Vec<ArgDef>> {
        let help = "write `ARG NAME` or `ARG NAME=default`";
        let words = words::quoted_words(split.arguments, self.escape);
        if words.is_empty() {
            self.arguments(split, "needs a name", help);
            return None;
        }
        let definitions = words.iter().map(|word| match word.text.split_once('=') {
            Some((name, default)) => ArgDef {
                name: Spanned::new(name.to_owned(), word.piece.part(0..name.len()).span()),
                default: Some(Spanned::new(
                    default.to_owned(),
                    word.piece.from(name.len() + 1).span(),
                )),
            },
            None => ArgDef {
                name: Spanned::new(word.text.clone(), word.piece.span()),
                default: None,
            },
        });
        let definitions: Vec<ArgDef> = definitions.collect();
        if definitions
            .iter()
            .any(|definition| definition.name.is_empty())
        {
            self.arguments(split, "has a value without a name", help);
            return None;
        }
        Some(definitions)
    }

    /// `ENV` and `LABEL`.
    fn pairs(&mut self, split: &Split<'_>) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
        let name = split.name.text().to_ascii_uppercase();
        let help = format!("write `{name} name=value …`, with quotes around values with spaces");
        let words = words::quoted_words(split.arguments, self.escape);
        let Some(first) = words.first() else {
            self.arguments(split, "needs a name and a value", &help);
            return None;
        };
        if !first.text.contains('=') {
            let Some((key, value)) = words::name_and_rest(split.arguments) else {
                self.arguments(split, "needs a value", &help);
                return None;
            };
            return Some(vec![(key.spanned(), value.spanned())]);
        }
        let mut pairs = Vec::new();
        let mut good = true;
        for word in &words {
            match word.text.split_once('=') {
                Some((key, value)) if !key.is_empty() => pairs.push((
                    Spanned::new(key.to_owned(), word.piece.part(0..key.len()).span()),
                    Spanned::new(value.to_owned(), word.piece.from(key.len() + 1).span()),
                )),
                other => {
                    let what = if other.is_some() {
                        "the name is missing"
                    } else {
                        "the `=` is missing"
                    };
                    self.problems.push(
                        Diagnostic::error(
                            codes::BAD_ARGUMENTS,
                            format!("{name} has a word that is not `name=value`"),
                        )
                        .at(word.piece.span(), what)
                        .help(help.as_str()),
                    );
                    good = false;
                }
            }
        }
        good.then_some(pairs)
    }

    fn expose(&mut self, split: &Split<'_>) -> Option<Vec<Spanned<String>>> {
        let words = words::blank_separated(split.arguments);
        if words.is_empty() {
            self.arguments(
                split,
                "needs a port",
                "write `EXPOSE 8080` or `EXPOSE 53/udp`",
            );
            return None;
        }
        for word in &words {
            if word.text().contains(['$', '"', '\'', self.escape]) {
                continue;
            }
            if let Err(error) = exposed_ports(word.text()) {
                self.problems.push(
                    Diagnostic::error(codes::BAD_PORT, "EXPOSE names no port")
                        .at(word.span(), error.to_string()),
                );
            } else if word.text().contains(':') {
                self.problems.push(
                    Diagnostic::warning(codes::BAD_PORT, "EXPOSE maps no ports")
                        .at(word.span(), "the part before the last `:` has no effect"),
                );
            }
        }
        Some(words.into_iter().map(Piece::spanned).collect())
    }

    fn volume(&mut self, split: &Split<'_>) -> Option<Vec<Spanned<String>>> {
        let volumes = self.json_or_words(split)?;
        if volumes.is_empty() || volumes.iter().any(|volume| volume.trim().is_empty()) {
            self.arguments(
                split,
                "needs a path",
                "write `VOLUME /data` or `VOLUME [\"/data\"]`",
            );
            return None;
        }
        let trimmed = |volume: Spanned<String>| volume.map(|path| path.trim().to_owned());
        Some(volumes.into_iter().map(trimmed).collect())
    }

    /// A JSON array of strings, or words between spaces.
    pub(crate) fn json_or_words(&mut self, split: &Split<'_>) -> Option<Vec<Spanned<String>>> {
        let arguments = split.arguments;
        match words::json(arguments.text()) {
            Json::Strings(strings) => {
                let place = |text| Spanned::new(text, arguments.span());
                Some(strings.into_iter().map(place).collect())
            }
            Json::NotStrings => {
                self.not_strings(arguments);
                None
            }
            Json::Malformed => {
                let words = words::blank_separated(arguments);
                Some(words.into_iter().map(Piece::spanned).collect())
            }
        }
    }

    /// The JSON form or the shell form.
    pub(crate) fn command(&mut self, arguments: Piece<'_>) -> Option<CommandLine> {
        match words::json(arguments.text()) {
            Json::Strings(strings) => Some(CommandLine::Exec(strings)),
            Json::NotStrings => {
                self.not_strings(arguments);
                None
            }
            Json::Malformed => {
                let inside = arguments.text().strip_prefix('[').map(str::trim_start);
                let quoted = inside.is_some_and(|inside| inside.starts_with(['"', '\'']));
                if quoted && arguments.text().ends_with(']') {
                    self.problems.push(
                        Diagnostic::warning(
                            codes::LOOKS_LIKE_JSON,
                            "this looks like JSON but is not, so a shell gets it",
                        )
                        .at(arguments.span(), "not a JSON array")
                        .help("use double quotes, and check commas and escapes"),
                    );
                }
                Some(CommandLine::Shell(arguments.text().to_owned()))
            }
        }
    }

    fn shell(&mut self, split: &Split<'_>) -> Option<Vec<String>> {
        let help = "write `SHELL [\"/bin/bash\", \"-c\"]`";
        match words::json(split.arguments.text()) {
            Json::Strings(strings) if !strings.is_empty() => Some(strings),
            Json::NotStrings => {
                self.not_strings(split.arguments);
                None
            }
            Json::Strings(_) => {
                self.arguments(split, "needs a program", help);
                None
            }
            Json::Malformed if split.arguments.is_empty() => {
                self.arguments(split, "needs a program", help);
                None
            }
            Json::Malformed => {
                self.problems.push(
                    Diagnostic::error(codes::BAD_JSON, "SHELL has the JSON form only")
                        .at(split.arguments.span(), "not a JSON array")
                        .help(help),
                );
                None
            }
        }
    }

    fn not_strings(&mut self, place: Piece<'_>) {
        self.problems.push(
            Diagnostic::error(codes::BAD_JSON, "the JSON form takes strings only")
                .at(place.span(), "something here is not a string")
                .help("put double quotes around every element"),
        );
    }

    fn one(&mut self, split: &Split<'_>) -> Option<Spanned<String>> {
        if split.arguments.is_empty() {
            let name = split.name.text().to_ascii_uppercase();
            self.arguments(split, "needs an argument", &format!("write `{name} …`"));
            return None;
        }
        Some(split.arguments.spanned())
    }

    fn onbuild(&mut self, split: &Split<'_>) -> Option<Onbuild> {
        self.flags(split, &[]);
        if split.arguments.is_empty() {
            self.arguments(split, "needs an instruction", "write `ONBUILD RUN …`");
            return None;
        }
        let inner = words::split(split.arguments, self.escape);
        let name = inner.name.text().to_ascii_uppercase();
        if matches!(name.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
            self.problems.push(
                Diagnostic::error(codes::BAD_ONBUILD, format!("ONBUILD cannot trigger {name}"))
                    .at(inner.name.span(), "not allowed here"),
            );
            return None;
        }
        let kind = self.kind(&inner)?;
        let text = split.arguments.with_heredocs();
        Some(Onbuild {
            instruction: Box::new(Instruction {
                span: split.arguments.span(),
                written: Written {
                    comments: Vec::new(),
                    empty_line: None,
                    ..split.arguments.written(inner.name)
                },
                kind,
                text: text.clone(),
            }),
            text,
        })
    }
}
