//! The build checks find what BuildKit's find, in a table of Dockerfiles and in the whole corpus: the
//! same rules on the same lines.
//!
//! `LAUNCHWAY_CORPUS_ONLY` picks cases by words.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use launchway_testkit::corpus::{self, Bases, Case};
use launchway_testkit::peers;
use serde_json::Value;

/// So many files are checked at a time.
const THREADS: usize = 3;

/// `CopyIgnoredFile` is asked for because it was experimental in BuildKit 0.25; it is no longer.
///
/// A Dockerfile, the text of its `.dockerignore`, and flags. `$BASE` is a busybox, `$CHILD` an image
/// with triggers, variables and a shell of its own.
struct Row(&'static str, &'static str, &'static [&'static str]);

const TABLE: &[Row] = &[
    Row(
        "FROM scratch AS Foo\nFROM scratch as bar\nfrom scratch as baz\n",
        "",
        &[],
    ),
    Row("from scratch AS foo\nuser x\n", "", &[]),
    Row("From scratch as foo\nUSER x\nuser y\nUsEr z\n", "", &[]),
    Row("from scratch\nUSER x\n", "", &[]),
    Row(
        "FROM scratch\nUSER x \\\n\n\n# c\n \\\n# d\n\nUSER y\nENV a=b \\\n\n c=d\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nCOPY <<A /a \\\n\n /b/\nx\nA\nMAINTAINER a\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS a\nFROM scratch AS A\nFROM scratch AS context\nFROM scratch AS scratch\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nCMD a\nENTRYPOINT a\nCMD [\"b\"]\nENTRYPOINT a\nENTRYPOINT []\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nSHELL [\"sh\"]\nCMD a\nENTRYPOINT b\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS a\nSHELL [\"sh\"]\nCMD a\nFROM a\nCMD a\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nHEALTHCHECK NONE\nHEALTHCHECK CMD a\nhealthcheck NONE\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS a\nCMD [\"a\"]\nFROM a\nCMD [\"a\"]\nFROM a\n",
        "",
        &[],
    ),
    Row("FROM scratch\nMAINTAINER a b\n", "", &[]),
    Row(
        "ARG A\nARG B=x\nFROM scratch$NONE AS a\nFROM scratch${C:-} AS b\nFROM $B\n",
        "",
        &["--target", "a"],
    ),
    Row("ARG BASE\nFROM ${BSAE:-scratch}\n", "", &[]),
    Row(
        "ARG A\nFROM scratch AS a\nFROM ${A:-scratch} AS b\nFROM a${A} AS c\n",
        "",
        &["--target", "c"],
    ),
    Row(
        "ARG V\nFROM scratch AS v\nFROM v$V AS w\n",
        "",
        &["--build-arg", "V="],
    ),
    Row(
        "ARG TAG\nFROM scratch AS a\nFROM debian:$TAG AS b\nFROM a\n",
        "",
        &["--target", "a", "--build-arg", "TAG=1"],
    ),
    Row(
        "FROM --platform=$TARGETPLATFORM scratch AS a\nFROM --platform=${TARGETPLATFORM:-x} scratch AS b\n",
        "",
        &[],
    ),
    Row(
        "FROM --platform=$TARGETOS/$TARGETARCH scratch AS a\nFROM --platform=$BUILDPLATFORM scratch AS b\n",
        "",
        &[],
    ),
    Row(
        "FROM --platform=linux/arm64 scratch AS a\nFROM --platform=linux/arm64 scratch AS arm64-b\nFROM --platform=amd64 scratch AS linux-c\nFROM --platform=linux/amd64 scratch\n",
        "",
        &[],
    ),
    Row("FROM scratch\nWORKDIR a\nWORKDIR b\n", "", &[]),
    Row(
        "FROM scratch\nARG A=/x B=y\nWORKDIR $A\nFROM scratch\nARG B=y\nWORKDIR $B/z\nFROM scratch\nWORKDIR $N/z\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n",
        "",
        &[],
    ),
    Row("ARG BASE\nFROM $BASE\nWORKDIR b\n", "", &[]),
    Row(
        "FROM scratch\nENV a $b\nENV c=$a d=$d e=${f:-g} h=${i:+j} k=\"$l\" m='$n'\nENV $o=p\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nLABEL a=$b \"c d\"=$PATH\nUSER $u\nVOLUME /v$v /w$w\nSTOPSIGNAL ${s:-9}\nEXPOSE $e 80\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nARG a b=$c c=$b d=$a\nARG PATHS\nENV x=$PATHX\n",
        "",
        &["--build-arg", "d=e"],
    ),
    Row(
        "FROM scratch AS a\nARG b\nENV c=d\nARG f=g\nFROM a\nUSER $b$c$e$f\n",
        "",
        &[],
    ),
    Row("ARG g=h\nFROM scratch\nUSER $g\nARG g\nUSER $g\n", "", &[]),
    Row(
        "ARG BASE\nFROM $BASE\nCOPY $x $PATH$HOME /y$z/\nRUN echo $nothing\nCMD echo $nothing\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nCOPY --chown=$a --chmod=${b:-1} x$c /d$d/\nADD --chown=$e x /\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nCOPY <<A <<'B' /$c/\n$a ${b}\nA\n$a\nB\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nRUN --mount=type=cache,target=/a$b,id=$c --mount=type=bind,source=$d,target=/e true\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nUSER x\nFROM scratch\nCOPY --from=0 $a /b\n",
        "",
        &[],
    ),
    Row("FROM scratch\nUSER $@ $1 $? ${0}\n", "", &[]),
    Row(
        "FROM scratch\nARG API_KEY=x\nARG MY_TOKEN auth AUTHOR\nENV PASSWORD=a SECRET_FILE=b db_passwd=c KEYS=d key=e PUBLIC_KEY=f\nENV pass word\nENV api_token $x\n",
        "",
        &[],
    ),
    Row("ARG API_KEY=x\nFROM scratch\n", "", &[]),
    Row(
        "FROM scratch\nENV a b\nENV a b=c\nENV a=b c=d\nLABEL a b c\nLABEL a=b\nENV  --  a  b\nENV a\\ b=c\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nEXPOSE 80/TCP 81/tcp 82/Udp 83\nEXPOSE 127.0.0.1:80:80 8080:80 9090:90/TCP :70 1-2:3-4\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch\nARG P=80/TCP\nEXPOSE $P ${Q:-90:90}\n",
        "",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY a b /\nADD a /\nCOPY ./a/../a/ /x\nCOPY a/c /d\nCOPY . /e\n",
        "a\n",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY a* /\nCOPY *.md b.md /\nCOPY . /e\n",
        "*.md\n",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch\nCOPY . /\nADD / /\nCOPY x /\n",
        "*\n",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch AS x\nUSER a\nFROM x\nCOPY --from=x a /\n",
        "a\n",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch AS x\nFROM scratch\nCOPY --from=x a /\nCOPY <<a /a\na\nARG s=a\nCOPY $s /b\n",
        "a\n",
        &[],
    ),
    Row(
        "# check=experimental=CopyIgnoredFile\nFROM scratch\nADD http://localhost/a /\n",
        "**/a\n",
        &[],
    ),
    Row(
        "# check=experimental=all\n#\n# X\nARG A=1\n# B is b\nARG B=2 C=3\n#\n# about\nFROM scratch AS d\n# d\nFROM scratch AS d2\n",
        "",
        &[],
    ),
    Row(
        "# check=experimental=InvalidDefinitionDescription;skip=UndefinedVar\nFROM scratch AS d\n# ok\n\nARG x=$y\n  # x y\nARG x\n#x y\nARG x\n",
        "",
        &[],
    ),
    Row(
        "# check=skip=all\nfrom scratch AS Foo\nMAINTAINER x\n",
        "",
        &[],
    ),
    Row(
        "# check=skip=StageNameCasing,FromAsCasing\nfrom scratch AS Foo\nMAINTAINER x\n",
        "",
        &[],
    ),
    Row(
        "# check=skip=StageNameCasing;error=true\nFROM scratch AS foo\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS Foo\nMAINTAINER x\n",
        "",
        &[
            "--build-arg",
            "BUILDKIT_DOCKERFILE_CHECK=skip=StageNameCasing",
        ],
    ),
    Row(
        "# check=skip=all\nFROM scratch AS Foo\n",
        "",
        &["--build-arg", "BUILDKIT_DOCKERFILE_CHECK=experimental=all"],
    ),
    Row(
        "FROM scratch AS a\nONBUILD USER $x\nONBUILD ENV a b\nONBUILD CMD x\nFROM a\nCMD y\nFROM scratch\n",
        "",
        &[],
    ),
    Row(
        "FROM scratch AS a\nCMD x\nFROM scratch\nUSER $x\n",
        "",
        &["--target", "a"],
    ),
    Row(
        "FROM scratch AS a\nUSER $x\nFROM a AS b\nUSER $y\nFROM scratch AS c\nUSER $z\n",
        "",
        &["--target", "b"],
    ),
    Row(
        "ARG CHILD\nFROM $CHILD\nUSER $VARIABLE$NONE\nCMD x\nENV VARIABEL=$VARIABLES\n",
        "",
        &[],
    ),
    Row(
        "ARG CHILD\nFROM --platform=linux/arm64 $CHILD AS arm64\nUSER $VARIABLE\n",
        "",
        &[],
    ),
];

#[test]
fn the_checks_find_what_buildkit_finds() {
    const NAME: &str = "the_checks_find_what_buildkit_finds";
    let Some(docker) = peers::docker() else {
        return lacking(NAME, "docker with BuildKit");
    };
    if peers::registry().is_none() {
        return lacking(NAME, "registry of the peers");
    }
    let work = empty(Path::new(env!("CARGO_TARGET_TMPDIR")).join("checks"));
    let bases = corpus::bases(&docker, &empty(work.join("bases"))).expect("making the bases");
    let child = child(&docker, &bases, &empty(work.join("child")));
    let only = std::env::var("LAUNCHWAY_CORPUS_ONLY").unwrap_or_default();
    let words: Vec<&str> = only.split_whitespace().collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut inputs = Vec::new();
    for (index, Row(file, ignore, flags)) in TABLE.iter().enumerate() {
        let context = empty(work.join(format!("row-{index}")));
        fs::write(context.join("Dockerfile"), file).expect("writing a Dockerfile");
        fs::write(context.join("a"), "").expect("writing a file");
        if !ignore.is_empty() {
            fs::write(context.join(".dockerignore"), ignore).expect("writing rules");
        }
        let mut all: Vec<OsString> = flags.iter().map(Into::into).collect();
        for (name, value) in [("BASE", &bases.busybox), ("CHILD", &child)] {
            all.extend(["--build-arg".into(), format!("{name}={value}").into()]);
        }
        inputs.push((format!("row {index}"), context, all));
    }
    let cases = corpus::cases().expect("reading the corpus").into_iter();
    for case in cases.filter(|case: &Case| !case.fails) {
        let context = empty(work.join(case.name.replace('/', "-")));
        case.context(&context).expect("making a context");
        let flags = case.flags(&context, &bases);
        inputs.push((case.name.clone(), context, flags));
    }
    inputs.retain(|(name, _, _)| wanted(name));

    let next = AtomicUsize::new(0);
    let compared = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (next, wrong, inputs, docker) = (&next, &wrong, &inputs, &docker);
            let (compared, state) = (&compared, work.join(format!("state-{thread}")));
            scope.spawn(move || {
                while let Some((name, context, flags)) =
                    inputs.get(next.fetch_add(1, Ordering::SeqCst))
                {
                    match compare(docker, context, flags, &state) {
                        Ok(true) => {
                            compared.fetch_add(1, Ordering::SeqCst);
                        }
                        Ok(false) => eprintln!("{name}: BuildKit cannot check it"),
                        Err(problem) => {
                            let mut wrong = wrong.lock().expect("no thread panics with the lock");
                            wrong.push(format!("{name}\n{problem}"));
                        }
                    }
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().expect("no thread panics with the lock");
    wrong.sort();
    let compared = compared.load(Ordering::SeqCst);
    eprintln!("{compared} of {} files are checked alike", inputs.len());
    let _ = fs::remove_dir_all(&work);
    assert!(
        wrong.is_empty(),
        "{} differ\n\n{}",
        wrong.len(),
        wrong.join("\n\n")
    );
    // A BuildKit that checks nothing finds nothing else, either.
    assert!(
        compared * 10 >= inputs.len() * 9,
        "BuildKit checked {compared} of {}",
        inputs.len()
    );
}

/// Whether both find the same; false when BuildKit cannot read the file.
fn compare(
    docker: &Command,
    context: &Path,
    flags: &[OsString],
    state: &Path,
) -> Result<bool, String> {
    let mut theirs = Command::new(docker.get_program());
    theirs.args(docker.get_args());
    for (name, value) in docker.get_envs() {
        if let Some(value) = value {
            theirs.env(name, value);
        }
    }
    theirs.args(["buildx", "build", "--call=check,format=json"]);
    let theirs = finish(theirs.args(flags).arg(context));
    let told = findings(&theirs)?;
    let mut ours = Command::new(env!("CARGO_BIN_EXE_launchway"));
    ours.arg("--state-dir").arg(state);
    ours.args(["dockerfile", "build", "--call=check,format=json"]);
    let ours = finish(ours.args(flags).arg(context));
    let Some(theirs) = told else {
        // What BuildKit cannot read is a matter of the other tests.
        return Ok(false);
    };
    let said = String::from_utf8_lossy(&ours.stderr).into_owned();
    let ours = findings(&ours)?.ok_or_else(|| format!("launchway cannot check it:\n{said}"))?;
    if theirs == ours {
        return Ok(true);
    }
    let file = fs::read_to_string(context.join("Dockerfile")).unwrap_or_default();
    let list = |them: &BTreeSet<String>, other: &BTreeSet<String>| {
        let only = them.difference(other).map(|one| format!("    {one}\n"));
        only.collect::<String>()
    };
    Err(format!(
        "{file}  only BuildKit:\n{}  only Launchway:\n{}",
        list(&theirs, &ours),
        list(&ours, &theirs)
    ))
}

/// Rules with their lines; nothing when the file could not be read.
fn findings(output: &Output) -> Result<Option<BTreeSet<String>>, String> {
    let text = String::from_utf8_lossy(&output.stdout);
    let Ok(value) = serde_json::from_str::<Value>(&text) else {
        return Ok(None);
    };
    if !value["buildError"].is_null() {
        return Ok(None);
    }
    let warnings = value["warnings"].as_array().into_iter().flatten();
    let found: BTreeSet<String> = warnings
        .map(|warning| {
            let ranges = warning["location"]["ranges"]
                .as_array()
                .into_iter()
                .flatten();
            let lines: Vec<String> = ranges
                .flat_map(|range| {
                    let line = |end: &str| range[end]["line"].as_u64().unwrap_or_default();
                    line("start")..=line("end")
                })
                .map(|line| line.to_string())
                .collect();
            let rule = warning["ruleName"].as_str().unwrap_or_default();
            format!("{rule} on {}", lines.join(","))
        })
        .collect();
    let wanted = if found.is_empty() { Some(0) } else { Some(1) };
    if output.status.code() == wanted {
        Ok(Some(found))
    } else {
        Err(format!("{} with {found:?}", output.status))
    }
}

fn finish(command: &mut Command) -> Output {
    command.output().expect("starting a program")
}

/// An image with triggers, variables and a shell of its own.
fn child(docker: &Command, bases: &Bases, work: &Path) -> String {
    let registry = peers::registry().expect("it was there a moment ago");
    let name = format!("{registry}/launchway/checks-child:1");
    let text = "ARG BASE\nFROM $BASE\nENV VARIABLE=value\nSHELL [\"/bin/sh\", \"-ec\"]\nONBUILD USER $MISSING\nONBUILD WORKDIR relative\n";
    fs::write(work.join("Dockerfile"), text).expect("writing a Dockerfile");
    let mut command = Command::new(docker.get_program());
    command.args(docker.get_args());
    for (name, value) in docker.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.args([
        "buildx",
        "build",
        "--push",
        "--provenance=false",
        "-t",
        &name,
    ]);
    command.args(["--platform", "linux/amd64,linux/arm64"]);
    command
        .arg("--build-arg")
        .arg(format!("BASE={}", bases.busybox));
    let output = finish(command.arg(work));
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    name
}

/// Where nothing may be skipped, what is missing is a failure.
fn lacking(test: &str, what: &str) {
    assert!(
        std::env::var_os("CI").is_none(),
        "this machine has no {what}, and in CI nothing is skipped"
    );
    peers::skipped(test, what);
}

fn empty(path: PathBuf) -> PathBuf {
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("making a folder");
    path
}
