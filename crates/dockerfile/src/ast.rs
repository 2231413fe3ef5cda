//! The tree that a Dockerfile is parsed into.
//!
//! Texts are as written: variables are not filled in and quotes are kept wherever Docker expands a
//! word when it runs the instruction.

use std::borrow::Cow;
use std::time::Duration;

use launchway_diagnostics::{Span, Spanned};

use crate::MountFlag;

/// A whole Dockerfile without errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dockerfile {
    pub directives: Directives,
    /// `ARG` before the first `FROM`: seen by `FROM` lines, and by stages that declare them again.
    pub global_args: Vec<ArgInstruction>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// The comments at the very top that steer the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    pub syntax: Option<Spanned<String>>,
    /// `\` or `` ` ``.
    pub escape: char,
    pub check: Option<Spanned<String>>,
}

/// How a statement stands in the file, apart from what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// `FROM`, `Run`, `copy`, …
    pub keyword: Spanned<String>,
    /// From its first character to the end of its last line, heredocs included.
    pub whole: Span,
    /// The comments right above it, without `#` and spaces.
    pub comments: Vec<String>,
    /// The first empty line within its continuation.
    pub empty_line: Option<Span>,
}

/// One `ARG` line before the first `FROM`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgInstruction {
    pub span: Span,
    pub written: Written,
    pub text: String,
    pub definitions: Vec<ArgDef>,
}

/// `FROM` and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    pub index: usize,
    /// In lower case: stage names are the same in any case.
    pub name: Option<Spanned<String>>,
    /// The `AS` and the name as they are written.
    pub alias: Option<(Spanned<String>, Spanned<String>)>,
    /// Not expanded.
    pub from: Spanned<String>,
    /// Not expanded.
    pub platform: Option<Spanned<String>>,
    pub instructions: Vec<Instruction>,
    /// The `FROM` line.
    pub span: Span,
    pub written: Written,
    /// The `FROM` line as [`Instruction::text`] has it.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub span: Span,
    pub written: Written,
    pub kind: InstructionKind,
    /// The logical line without comments and continuations, then the lines of its heredocs.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    Arg(Vec<ArgDef>),
    /// Names are expanded too; all values see the variables as they were before the instruction.
    Env(Vec<(Spanned<String>, Spanned<String>)>),
    Label(Vec<(Spanned<String>, Spanned<String>)>),
    Run(Run),
    Copy(Copy),
    Add(Add),
    Workdir(Spanned<String>),
    User(Spanned<String>),
    /// Words for [`crate::expand_words`], then [`crate::exposed_ports`].
    Expose(Vec<Spanned<String>>),
    Volume(Vec<Spanned<String>>),
    Entrypoint(CommandLine),
    Cmd(CommandLine),
    Shell(Vec<String>),
    StopSignal(Spanned<String>),
    Healthcheck(Healthcheck),
    Onbuild(Onbuild),
    /// Not expanded.
    Maintainer(Spanned<String>),
}

/// One `NAME` or `NAME=default` of an `ARG`; the name is never expanded, the default is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgDef {
    pub name: Spanned<String>,
    pub default: Option<Spanned<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// For the shell of the stage; never expanded here.
    Shell(String),
    /// The JSON form; never expanded.
    Exec(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub command: CommandLine,
    pub heredocs: Vec<Heredoc>,
    pub mounts: Vec<MountFlag>,
    pub network: RunNetwork,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunNetwork {
    Default,
    None,
    Host,
}

/// What a `RUN` starts, with its heredocs taken into account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunInvocation {
    /// Started as it is.
    Exec(Vec<String>),
    /// The last argument of the stage's shell.
    Shell(String),
    /// A file of mode 0755 to be put at `/dev/pipes/NAME` for the time of the step and started.
    Script { name: String, content: String },
}

/// `COPY`. `--exclude` patterns are not expanded; `--from` may hold no variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// At least one.
    pub sources: Vec<CopySource>,
    pub destination: Spanned<String>,
    pub from: Option<Spanned<String>>,
    pub chown: Option<Spanned<String>>,
    pub chmod: Option<Spanned<String>>,
    pub link: bool,
    pub exclude: Vec<Spanned<String>>,
    /// Sources keep the folders they are in, from the root or from `/./` on.
    pub parents: bool,
}

/// `ADD` of local files and of URLs ([`crate::is_http_source`]). Local archives are unpacked, others
/// are not, unless `unpack` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// At least one.
    pub sources: Vec<CopySource>,
    pub destination: Spanned<String>,
    pub chown: Option<Spanned<String>>,
    pub chmod: Option<Spanned<String>>,
    pub link: bool,
    pub exclude: Vec<Spanned<String>>,
    /// What the content of the only source, a URL, has to be; of a repository, its commit.
    pub checksum: Option<Spanned<String>>,
    /// Whether a repository keeps its `.git`, where it is said.
    pub keep_git_dir: Option<bool>,
    pub unpack: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopySource {
    Path(Spanned<String>),
    /// A file of mode 0644 that stands in the Dockerfile itself, under the name of its delimiter.
    Heredoc(Heredoc),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The delimiter.
    pub name: String,
    /// The lines as they stand in the file; see [`Heredoc::text`].
    pub content: String,
    /// False when the delimiter was quoted. `COPY` and `ADD` then take the text as it is; `RUN`
    /// never expands.
    pub expand: bool,
    /// `<<-`: tabs at the start of lines do not count.
    pub chomp: bool,
    /// The word that announced it.
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Healthcheck {
    /// `HEALTHCHECK NONE`: whatever the base image had is switched off.
    None,
    Command(HealthcheckCommand),
}

/// What is `None` is inherited or Docker's default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthcheckCommand {
    pub command: CommandLine,
    pub interval: Option<Duration>,
    pub timeout: Option<Duration>,
    pub start_period: Option<Duration>,
    pub start_interval: Option<Duration>,
    pub retries: Option<u32>,
}

/// An instruction for images that are built from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    pub instruction: Box<Instruction>,
    /// What the image configuration keeps; [`crate::parse_onbuild`] reads it again.
    pub text: String,
}

impl Heredoc {
    /// The content with the tabs of `<<-` removed.
    pub fn text(&self) -> Cow<'_, str> {
        if !self.chomp {
            return Cow::Borrowed(&self.content);
        }
        let lines = self.content.split_inclusive('\n');
        Cow::Owned(lines.map(|line| line.trim_start_matches('\t')).collect())
    }
}

impl Run {
    /// What to start: a heredoc that is the whole command is the script itself, any other heredoc
    /// is left to the shell.
    pub fn invocation(&self) -> RunInvocation {
        let command = match &self.command {
            CommandLine::Exec(arguments) => return RunInvocation::Exec(arguments.clone()),
            CommandLine::Shell(command) => command,
        };
        if let [only] = self.heredocs.as_slice()
            && crate::parse::is_heredoc_word(command)
        {
            let text = only.text().into_owned();
            return if text.starts_with("#!") {
                RunInvocation::Script {
                    name: only.name.clone(),
                    content: text,
                }
            } else {
                RunInvocation::Shell(text)
            };
        }
        let mut script = command.clone();
        for heredoc in &self.heredocs {
            script.push('\n');
            script.push_str(&heredoc.content);
            script.push_str(&heredoc.name);
        }
        RunInvocation::Shell(script)
    }
}
