//! A Dockerfile's tree as text again: what is parsed from it is the same tree, places left out.
//!
//! The text is plain, not pretty: no continuations, one space between words, comments where they
//! belong to an instruction.

use std::fmt::Write as _;

use launchway_diagnostics::{SourceId, Spanned};

use crate::parse::{is_heredoc_word, parse};
use crate::{
    ArgDef, CommandLine, CopySource, Dockerfile, Healthcheck, HealthcheckCommand, Heredoc,
    Instruction, InstructionKind, MountFlag, RunNetwork, Stage, Written,
};

/// Writes a Dockerfile.
pub fn print(file: &Dockerfile) -> String {
    let mut printer = Printer {
        escape: file.directives.escape,
        text: String::new(),
    };
    let directives = &file.directives;
    for (name, value) in [("syntax", &directives.syntax), ("check", &directives.check)] {
        if let Some(value) = value {
            printer.line(&format!("# {name}={}", value.value));
        }
    }
    if directives.escape != '\\' {
        printer.line(&format!("# escape={}", directives.escape));
    }
    // Ends the directives, so that no comment becomes one.
    printer.line("#");
    for arg in &file.global_args {
        printer.begin(&arg.written);
        printer.words(arg.definitions.iter().map(definition));
        printer.end(&[]);
    }
    for stage in &file.stages {
        printer.stage(stage);
    }
    printer.text
}

struct Printer {
    escape: char,
    text: String,
}

impl Printer {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn begin(&mut self, written: &Written) {
        for comment in &written.comments {
            self.line(&format!("# {comment}"));
        }
        self.text.push_str(&written.keyword);
    }

    fn word(&mut self, word: &str) {
        self.text.push(' ');
        self.text.push_str(word);
    }

    fn words(&mut self, words: impl Iterator<Item = String>) {
        for word in words {
            self.word(&word);
        }
    }

    fn end(&mut self, heredocs: &[&Heredoc]) {
        // A last line can end with a space, or like a continuation, when it was one, of nothing.
        if self.text.ends_with([' ', '\t']) {
            self.text.push(self.escape);
        }
        let line = self.text.rsplit('\n').next().unwrap_or_default();
        let before = line.trim_end_matches([' ', '\t']).strip_suffix(self.escape);
        if before.is_some_and(|before| !before.ends_with(self.escape)) {
            self.text.push(' ');
            self.text.push(self.escape);
        }
        self.text.push('\n');
        for heredoc in heredocs {
            self.text.push_str(&heredoc.content);
            self.line(&heredoc.name);
        }
    }

    /// A flag with its value, which is written so that it is one word.
    fn flag(&mut self, name: &str, value: &str) {
        let mut word = format!("--{name}=");
        for c in value.chars() {
            if c.is_whitespace() || c == '"' || c == '\'' || c == self.escape {
                word.push(self.escape);
            }
            word.push(c);
        }
        self.word(&word);
    }

    fn flags(&mut self, flags: &[(&str, &Option<Spanned<String>>)]) {
        for (name, value) in flags {
            if let Some(value) = value {
                self.flag(name, value);
            }
        }
    }

    fn switches(&mut self, switches: &[(&str, Option<bool>)]) {
        for (name, on) in switches {
            if let Some(on) = on {
                self.flag(name, if *on { "true" } else { "false" });
            }
        }
    }

    /// Text to the end of the line. One that looks like a flag is kept from being one.
    fn rest(&mut self, text: &str) {
        if text.starts_with("--") {
            self.word("--");
        }
        if !text.is_empty() {
            self.word(text);
        }
    }

    fn command(&mut self, command: &CommandLine) {
        match command {
            CommandLine::Shell(text) => self.rest(text),
            CommandLine::Exec(arguments) => self.word(&list(arguments)),
        }
    }

    fn stage(&mut self, stage: &Stage) {
        self.begin(&stage.written);
        self.flags(&[("platform", &stage.platform)]);
        self.rest(&stage.from);
        if let Some((and, name)) = &stage.alias {
            self.words([and, name].into_iter().map(|word| word.value.clone()));
        }
        self.end(&[]);
        for instruction in &stage.instructions {
            for comment in &instruction.written.comments {
                self.line(&format!("# {comment}"));
            }
            self.instruction(instruction);
        }
    }

    fn instruction(&mut self, instruction: &Instruction) {
        self.text.push_str(&instruction.written.keyword);
        let mut heredocs: Vec<&Heredoc> = Vec::new();
        match &instruction.kind {
            InstructionKind::Arg(definitions) => self.words(definitions.iter().map(definition)),
            InstructionKind::Env(pairs) | InstructionKind::Label(pairs) => {
                self.pairs(pairs, instruction.span.source);
            }
            InstructionKind::Run(run) => {
                for mount in &run.mounts {
                    self.flag("mount", &fields(mount));
                }
                match run.network {
                    RunNetwork::Default => {}
                    RunNetwork::None => self.flag("network", "none"),
                    RunNetwork::Host => self.flag("network", "host"),
                }
                self.command(&run.command);
                heredocs.extend(&run.heredocs);
            }
            InstructionKind::Copy(copy) => {
                self.flags(&[
                    ("from", &copy.from),
                    ("chown", &copy.chown),
                    ("chmod", &copy.chmod),
                ]);
                self.switches(&[
                    ("link", copy.link.then_some(true)),
                    ("parents", copy.parents.then_some(true)),
                ]);
                for pattern in &copy.exclude {
                    self.flag("exclude", pattern);
                }
                heredocs = self.paths(&copy.sources, &copy.destination);
            }
            InstructionKind::Add(add) => {
                self.flags(&[
                    ("chown", &add.chown),
                    ("chmod", &add.chmod),
                    ("checksum", &add.checksum),
                ]);
                self.switches(&[
                    ("link", add.link.then_some(true)),
                    ("keep-git-dir", add.keep_git_dir),
                    ("unpack", add.unpack),
                ]);
                for pattern in &add.exclude {
                    self.flag("exclude", pattern);
                }
                heredocs = self.paths(&add.sources, &add.destination);
            }
            InstructionKind::Workdir(text)
            | InstructionKind::User(text)
            | InstructionKind::StopSignal(text)
            | InstructionKind::Maintainer(text) => self.rest(text),
            InstructionKind::Expose(words) => {
                self.words(words.iter().map(|word| word.value.clone()));
            }
            InstructionKind::Volume(paths) => {
                let paths: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
                self.word(&list(&paths));
            }
            InstructionKind::Entrypoint(command) | InstructionKind::Cmd(command) => {
                self.command(command);
            }
            InstructionKind::Shell(words) => self.word(&list(words)),
            InstructionKind::Healthcheck(Healthcheck::None) => self.word("NONE"),
            InstructionKind::Healthcheck(Healthcheck::Command(check)) => self.healthcheck(check),
            InstructionKind::Onbuild(onbuild) => {
                self.text.push(' ');
                self.instruction(&onbuild.instruction);
                return;
            }
        }
        self.end(&heredocs);
    }

    fn pairs(&mut self, pairs: &[(Spanned<String>, Spanned<String>)], source: SourceId) {
        if let [(name, value)] = pairs {
            let word = format!("{}={}", name.value, value.value);
            if !self.reads_as(&word, (&name.value, &value.value), source) {
                // The old form takes the whole line for the value.
                self.rest(&format!("{} {}", name.value, value.value));
                return;
            }
        }
        let words = pairs.iter();
        self.words(words.map(|(name, value)| format!("{}={}", name.value, value.value)));
    }

    /// Whether a word is read as this one pair. Quotes that stay open take in more than one would
    /// think, so the parser is asked.
    fn reads_as(&self, word: &str, pair: (&str, &str), source: SourceId) -> bool {
        let mut trial = Printer {
            escape: self.escape,
            text: format!("# escape={}\nFROM x\nENV", self.escape),
        };
        trial.word(word);
        trial.end(&[]);
        let parsed = parse(source, &trial.text).dockerfile;
        let instructions = parsed.as_ref().and_then(|file| {
            let stage = file.stages.first()?;
            Some(stage.instructions.as_slice())
        });
        let Some([only]) = instructions else {
            return false;
        };
        let InstructionKind::Env(pairs) = &only.kind else {
            return false;
        };
        matches!(pairs.as_slice(), [(name, value)] if (name.as_str(), value.as_str()) == pair)
    }

    fn paths<'h>(
        &mut self,
        sources: &'h [CopySource],
        destination: &Spanned<String>,
    ) -> Vec<&'h Heredoc> {
        let mut words = Vec::new();
        let mut heredocs = Vec::new();
        for source in sources {
            match source {
                CopySource::Path(path) => words.push(path.value.clone()),
                CopySource::Heredoc(heredoc) => {
                    words.push(announcement(heredoc));
                    heredocs.push(heredoc);
                }
            }
        }
        words.push(destination.value.clone());
        let odd = |word: &String| {
            word.is_empty() || word.contains(char::is_whitespace) || is_heredoc_word(word)
        };
        let first_is_odd = words[0].starts_with('[') || words[0].starts_with("--");
        if heredocs.is_empty() && (first_is_odd || words.iter().any(odd)) {
            self.word(&list(&words));
        } else {
            self.words(words.into_iter());
        }
        heredocs
    }

    fn healthcheck(&mut self, check: &HealthcheckCommand) {
        for (name, duration) in [
            ("interval", check.interval),
            ("timeout", check.timeout),
            ("start-period", check.start_period),
            ("start-interval", check.start_interval),
        ] {
            if let Some(duration) = duration {
                self.flag(name, &format!("{}ns", duration.as_nanos()));
            }
        }
        if let Some(retries) = check.retries {
            self.flag("retries", &retries.to_string());
        }
        self.word("CMD");
        match &check.command {
            CommandLine::Shell(text) => self.word(text),
            CommandLine::Exec(arguments) => self.word(&list(arguments)),
        }
    }
}

fn definition(definition: &ArgDef) -> String {
    match &definition.default {
        Some(default) => format!("{}={}", definition.name.value, default.value),
        None => definition.name.value.clone(),
    }
}

/// The JSON form.
fn list(words: &[impl AsRef<str>]) -> String {
    let words = words
        .iter()
        .map(|word| serde_json::Value::from(word.as_ref()));
    serde_json::Value::from_iter(words).to_string()
}

/// The fields of a mount, those with commas and quotes in quotes.
fn fields(mount: &MountFlag) -> String {
    let mut text = String::new();
    for (name, value) in mount.written_fields() {
        if !text.is_empty() {
            text.push(',');
        }
        let field = match value {
            Some(value) => format!("{name}={value}"),
            None => name.to_owned(),
        };
        if field.contains([',', '"']) {
            let _ = write!(text, "\"{}\"", field.replace('"', "\"\""));
        } else {
            text.push_str(&field);
        }
    }
    text
}

/// The word that announces a heredoc.
fn announcement(heredoc: &Heredoc) -> String {
    let chomp = if heredoc.chomp { "-" } else { "" };
    let name = &heredoc.name;
    if !heredoc.expand {
        let quote = if name.contains('\'') { '"' } else { '\'' };
        return format!("<<{chomp}{quote}{name}{quote}");
    }
    let mut word = format!("<<{chomp}");
    for c in name.chars() {
        if matches!(c, '"' | '\'' | '\\' | '$') {
            word.push('\\');
        }
        word.push(c);
    }
    word
}

#[cfg(test)]
mod tests {
    use launchway_diagnostics::SourceMap;

    use super::*;
    use crate::fuzzing::dockerfile;
    use crate::parse;

    /// Holds one of each kind, and the odd forms of most. More is tried by `fuzzing`.
    #[test]
    fn every_instruction() {
        let text = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\n# x\nARG a=b c\n#\n# d e\n\
             from --platform=linux/arm64 scratch AS Foo\nARG \"x y\"='z' w\nENV a=b c=\"d e\" f=g` h\n\
             ENV a b  c\nLABEL a=\nRUN a b | c\nRUN [\"a\", \"b\\\"\"]\nRUN\nRUN -- --x\n\
             RUN --mount=type=cache,`\"target=/a,b`\",ro --network=none <<A cat <<-B\nx\nA\n\ty\n\tB\n\
             COPY --from=foo --chown=a` b:c --link --exclude=a --exclude=b --parents a b /c\n\
             COPY [\"a b\", \"\", \"/d\"]\nCOPY <<A <<'B' x /e\n$a\nA\n$b\nB\n\
             ADD --checksum=$x --keep-git-dir --unpack=false http://a/b /f\nWORKDIR /a b\nUSER x\nEXPOSE 80 81/udp\n\
             VOLUME /a /b\nVOLUME [\"/a b\"]\nENTRYPOINT []\nCMD\nCMD [ a ]\nSHELL [\"sh\"]\n\
             STOPSIGNAL 9\nHEALTHCHECK NONE\n\
             HEALTHCHECK --interval=1m30s --retries=3 CMD [\"x\"]\nHEALTHCHECK CMD x y\n\
             ONBUILD copy a b\nONBUILD RUN <<A\nx\nA\nMAINTAINER a b\n";
        let mut sources = SourceMap::new();
        let parsed = parse(sources.add("Dockerfile", text), text);
        let file = parsed
            .dockerfile
            .unwrap_or_else(|| panic!("{:?}", parsed.diagnostics));
        assert_eq!(file.stages[0].instructions.len(), 29);
        dockerfile(text.as_bytes());
    }

    #[test]
    fn the_text_is_plain() {
        let text = "FROM  a \\\n  AS b\n\n# c d\nrun x \\\n# e\n y\nCOPY [ \"a\" , \"b\" ]\n";
        let mut sources = SourceMap::new();
        let file = parse(sources.add("Dockerfile", text), text)
            .dockerfile
            .unwrap();
        assert_eq!(print(&file), "#\nFROM a AS b\n# c d\nrun x  y\nCOPY a b\n");
    }
}
