use launchway_diagnostics::{Code, SourceMap};

use super::*;
use crate::{InstructionKind, expand, parse};

/// The mounts of a step with one flag, and the problems with it: code, and text pointed at.
fn read(flag: &str) -> (Vec<MountFlag>, Vec<(Code, String)>) {
    let text = format!("FROM scratch\nRUN --mount={flag} true");
    let mut sources = SourceMap::new();
    let id = sources.add("Dockerfile", text.as_str());
    let parsed = parse(id, &text);
    let problems = parsed.diagnostics.iter().map(|problem| {
        let span = problem.labels[0].span;
        (problem.code, text[span.range()].to_owned())
    });
    let problems = problems.collect();
    let instruction = parsed
        .dockerfile
        .map(|mut file| file.stages.remove(0).instructions.remove(0));
    let mounts = match instruction.map(|instruction| instruction.kind) {
        Some(InstructionKind::Run(run)) => run.mounts,
        _ => Vec::new(),
    };
    (mounts, problems)
}

#[test]
fn every_type() {
    let lookup = |name: &str| (name == "U").then(|| "1000".to_owned());
    let some = |text: &str| Some(text.to_owned());
    for (flag, want) in [
        (
            "type=cache,target=/root/.npm/,uid=$U,mode=0755,sharing=locked",
            RunMount::Cache {
                id: "/root/.npm".to_owned(),
                target: "/root/.npm/".to_owned(),
                sharing: CacheSharing::Locked,
                from: None,
                source: None,
                mode: Some(0o755),
                uid: Some(1000),
                gid: None,
                readonly: false,
            },
        ),
        (
            "from=build,src=/out,dst=/x,rw",
            RunMount::Bind {
                target: "/x".to_owned(),
                source: some("/out"),
                from: some("build"),
                readwrite: true,
            },
        ),
        (
            "type=secret,id=a/token,required",
            RunMount::Secret {
                id: "a/token".to_owned(),
                target: some("/run/secrets/token"),
                env: None,
                required: true,
                mode: None,
                uid: None,
                gid: None,
            },
        ),
        (
            "type=secret,id=t,env=TOKEN",
            RunMount::Secret {
                id: "t".to_owned(),
                target: None,
                env: some("TOKEN"),
                required: false,
                mode: None,
                uid: None,
                gid: None,
            },
        ),
        (
            "type=ssh",
            RunMount::Ssh {
                id: "default".to_owned(),
                target: None,
                required: false,
                mode: None,
                uid: None,
                gid: None,
            },
        ),
        (
            "type=ssh,id=deploy,target=/agent,required,mode=0666,uid=$U,gid=5",
            RunMount::Ssh {
                id: "deploy".to_owned(),
                target: some("/agent"),
                required: true,
                mode: Some(0o666),
                uid: Some(1000),
                gid: Some(5),
            },
        ),
        (
            "type=tmpfs,target=/t,size=1.5m",
            RunMount::Tmpfs {
                target: "/t".to_owned(),
                size: Some(1_572_864),
            },
        ),
    ] {
        let (mounts, problems) = read(flag);
        assert_eq!(problems, [], "{flag}");
        let got = mounts[0].resolve(&|word| expand(word, '\\', &lookup));
        assert_eq!(got, Ok(want), "{flag}");
    }
    assert_eq!(read("target=/x,ro").0[0].kind, Some(MountKind::Bind));
}

#[test]
fn problems_point_at_the_field() {
    for (flag, code, at) in [
        ("type=ssh,source=/x", codes::BAD_MOUNT, "source"),
        ("type=ssh,from=x", codes::BAD_MOUNT, "from"),
        ("type=ssh,env=X", codes::BAD_MOUNT, "env"),
        ("type=cahe,target=/x", codes::BAD_MOUNT, "cahe"),
        ("taget=/x", codes::BAD_MOUNT, "taget"),
        ("size=1,type=tmpfs", codes::BAD_MOUNT, "size"),
        ("required,type=secret,id=x", codes::BAD_MOUNT, "required"),
        ("target=/x,uid=0", codes::BAD_MOUNT, "uid"),
        ("target=/x,size=1", codes::BAD_MOUNT, "size"),
        ("target=/", codes::BAD_MOUNT, "/"),
        ("target=/x,source", codes::BAD_MOUNT, "source"),
        ("target=/x,ro=maybe", codes::BAD_MOUNT, "maybe"),
        ("target=/x,from=$y", codes::VARIABLE_IN_FROM, "$y"),
        ("type=cache,target=/x,sharing=no", codes::BAD_MOUNT, "no"),
        ("type=cache,target=/x,mode=9", codes::BAD_MOUNT, "9"),
        ("type=tmpfs,target=/x,size=big", codes::BAD_MOUNT, "big"),
        ("type=tmpfs,target=/x,from=b", codes::USELESS_FIELD, "b"),
        ("type=secret,from=b,id=x", codes::BAD_MOUNT, "from"),
        ("type=secret,id=x,source=y", codes::BAD_MOUNT, "y"),
        ("type=secret", codes::BAD_MOUNT, "type=secret"),
    ] {
        let (_, problems) = read(flag);
        assert_eq!(problems, [(code, at.to_owned())], "{flag}");
    }
}

#[test]
fn values_with_variables_are_checked_when_they_are_known() {
    let (mounts, problems) = read("type=cache,target=$T,uid=$U");
    assert_eq!(problems, []);
    let with = |target: &'static str, uid: &'static str| {
        mounts[0].resolve(&|word| Ok(word.replace("$T", target).replace("$U", uid)))
    };
    assert!(with("/x", "0").is_ok());
    assert_eq!(with("/x", "root").unwrap_err().code, codes::BAD_MOUNT);
    // Docker mounts over the working directory then.
    let Ok(RunMount::Cache { target, .. }) = with("", "0") else {
        panic!();
    };
    assert_eq!(target, ".");
    let (mounts, problems) = read("type=$K,target=/x");
    assert_eq!((mounts[0].kind, problems), (None, Vec::new()));
    let of = |kind: &'static str| mounts[0].resolve(&|word| Ok(word.replace("$K", kind)));
    assert!(matches!(of("tmpfs"), Ok(RunMount::Tmpfs { .. })));
    assert_eq!(of("nothing").unwrap_err().code, codes::BAD_MOUNT);
}
