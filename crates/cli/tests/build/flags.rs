//! Flags of buildx that say what is told of a result, and how it is made.

use std::fs;

use launchway_testkit::flatten::flatten;

use crate::lab::{BUSYBOX, Lab, outcome};

/// Without it, images state the present time and are others in the next second.
const EPOCH: &str = "--build-arg=SOURCE_DATE_EPOCH=1000000000";

fn lab() -> Lab {
    let lab = Lab::new("FROM scratch AS one\nCOPY f /f\nFROM one AS two\nCOPY g /g\n");
    lab.write("f", "f");
    lab.write("g", "g");
    lab
}

#[test]
fn ids_and_metadata_are_left_for_other_programs() {
    let lab = lab();
    let (id, told) = (lab.path("id"), lab.path("metadata.json"));
    let (id_flag, told_flag) = (id.display().to_string(), told.display().to_string());
    let flags = [
        "--iidfile",
        &id_flag,
        "--metadata-file",
        &told_flag,
        "-t",
        "a/b:1",
        EPOCH,
    ];
    let digest = lab.digest(&flags);
    let read = || -> serde_json::Value {
        serde_json::from_slice(&fs::read(&told).expect("reading")).expect("JSON")
    };
    let found = read();
    assert_eq!(found["containerimage.digest"], digest);
    assert_eq!(found["containerimage.descriptor"]["digest"], digest);
    assert_eq!(found["image.name"], "docker.io/a/b:1");
    let config = found["containerimage.config.digest"]
        .as_str()
        .expect("a digest");
    assert_eq!(fs::read_to_string(&id).expect("reading"), config);
    // The same id is what -q prints, and nothing else.
    let quiet = lab.build(&["-q", EPOCH]);
    assert_eq!((quiet.stdout.trim(), quiet.stderr.as_str()), (config, ""));
    // Of several platforms it is the index.
    let several = lab.digest(&[
        "--platform=linux/amd64,linux/arm64",
        "--iidfile",
        &id_flag,
        "--metadata-file",
        &told_flag,
    ]);
    assert_eq!(fs::read_to_string(&id).expect("reading"), several);
    assert!(read().get("containerimage.config.digest").is_none());
    // A build that fails leaves no id of an earlier one.
    lab.write("Dockerfile", "FROM scratch\nCOPY none /\n");
    assert_eq!(lab.build(&["--iidfile", &id_flag]).code, Some(1));
    assert!(!id.exists());
    let refused = lab.build(&["--iidfile", &id_flag, "-o", "-"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn stages_can_be_built_without_the_cache() {
    let lab = lab();
    lab.digest(&[]);
    let hits = |flags: &[&str]| {
        let mut all = vec!["--progress=plain"];
        all.extend(flags);
        lab.build(&all).stderr.matches("cached").count()
    };
    assert_eq!(hits(&[]), 2);
    assert_eq!(hits(&["--no-cache-filter", "TWO"]), 1);
    assert_eq!(hits(&["--no-cache-filter=one,two"]), 0);
    assert_eq!(hits(&["--no-cache"]), 0);
    let unknown = lab.build(&["--no-cache-filter", "three"]);
    assert!(
        unknown.stderr.contains("no such stage"),
        "{}",
        unknown.stderr
    );
    assert_eq!(unknown.code, Some(0));
}

#[test]
fn annotations_stand_where_they_are_asked_for() {
    let lab = lab();
    let layout = lab.path("layout");
    let output = format!(
        "type=oci,tar=false,dest={},annotation.c=3",
        layout.display()
    );
    let flags = [
        "-o",
        &output,
        "--annotation",
        "a=1",
        "--annotation",
        "manifest-descriptor:b=2",
    ];
    lab.digest(&flags);
    let image = flatten(&layout, None).expect("reading the layout");
    assert_eq!(
        image.manifest["annotations"],
        serde_json::json!({"a": "1", "c": "3"})
    );
    let index = || -> serde_json::Value {
        let bytes = fs::read(layout.join("index.json")).expect("reading");
        serde_json::from_slice(&bytes).expect("JSON")
    };
    assert_eq!(index()["manifests"][0]["annotations"]["b"], "2");
    fs::remove_dir_all(&layout).expect("removing");
    let digest = lab.digest(&[
        "--platform=linux/amd64,linux/arm64",
        "-o",
        &output,
        "--annotation",
        "index,manifest[linux/arm64]:d=4",
    ]);
    let (_, hex) = digest.split_once(':').expect("a digest");
    let bytes = fs::read(layout.join("blobs/sha256").join(hex)).expect("reading");
    let made: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(made["annotations"], serde_json::json!({"d": "4"}));
    for (platform, want) in [
        ("linux/amd64", serde_json::json!({"c": "3"})),
        ("linux/arm64", serde_json::json!({"c": "3", "d": "4"})),
    ] {
        let image = flatten(&layout, Some(platform)).expect("reading the layout");
        assert_eq!(image.manifest["annotations"], want, "{platform}");
    }
    let refused = lab.build(&["--annotation", "index:a=1"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
}

#[test]
fn times_are_rewritten_unless_it_is_declined() {
    let lab = lab();
    let epoch = 1_000_000_000;
    let argument = format!("SOURCE_DATE_EPOCH={epoch}");
    let layout = lab.path("layout");
    let time = |more: &str| {
        let _ = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={}{more}", layout.display());
        lab.digest(&["--build-arg", &argument, "-o", &output]);
        let image = flatten(&layout, None).expect("reading the layout");
        assert!(image.config["created"].to_string().contains("2001-09-09"));
        image.entries[&b"f".to_vec()].mtime
    };
    assert_eq!(time(""), epoch);
    assert_eq!(time(",rewrite-timestamp=true"), epoch);
    assert!(time(",rewrite-timestamp=false") > epoch);
    // A folder has no time of its own.
    for argument in ["A=", "SOURCE_DATE_EPOCH=context"] {
        let output = "type=cacheonly,rewrite-timestamp=true";
        let built = lab.build(&["--build-arg", argument, "-o", output]);
        assert_eq!(built.code, Some(0), "{}", built.stderr);
        assert!(
            built
                .stderr
                .contains("warning: rewrite-timestamp=true has no time to write")
        );
    }
    // One that is empty is none.
    assert_eq!(
        lab.build(&["--build-arg", "SOURCE_DATE_EPOCH="]).code,
        Some(0)
    );
}

#[test]
fn the_epoch_of_the_environment_is_an_argument() {
    const NAME: &str = "the_epoch_of_the_environment_is_an_argument";
    let dockerfile =
        format!("{BUSYBOX}ARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /epoch\n");
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    let folder = lab.path("files");
    let shown = folder.display().to_string();
    let mut command = lab.command(&["-o", &shown]);
    let built = outcome(command.env("SOURCE_DATE_EPOCH", "12345"));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let text = fs::read_to_string(folder.join("epoch")).expect("reading");
    assert_eq!(text.trim(), "12345");
}

#[test]
fn the_dockerfile_may_say_the_epoch() {
    let lab = lab();
    let text = "ARG DAY=1000000000\nARG SOURCE_DATE_EPOCH=${DAY}\nFROM scratch\nCOPY f /f\n";
    lab.write("Dockerfile", text);
    let layout = lab.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let times = |more: &[&str]| {
        let _ = fs::remove_dir_all(&layout);
        lab.digest(&[&["-o", &output], more].concat());
        let image = flatten(&layout, None).expect("reading the layout");
        let created = image.config["created"]
            .as_str()
            .map(|text| text[..10].to_owned());
        (created, image.entries[&b"f".to_vec()].mtime)
    };
    let day = |text: &str| Some(text.to_owned());
    assert_eq!(times(&[]), (day("2001-09-09"), 1_000_000_000));
    let given = ["--build-arg", "SOURCE_DATE_EPOCH=1100000000"];
    assert_eq!(times(&given), (day("2004-11-09"), 1_100_000_000));
    let through = ["--build-arg", "DAY=1100000000"];
    assert_eq!(times(&through), (day("2004-11-09"), 1_100_000_000));
    let (created, time) = times(&["--build-arg", "SOURCE_DATE_EPOCH="]);
    assert!(created > day("2004-11-09") && time > 1_100_000_000);
    let refused = lab.build(&["--build-arg", "DAY=today"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(refused.stderr.contains("SOURCE_DATE_EPOCH=today"));
}

/// It would have been pushed as `latest`.
#[test]
fn a_tag_has_no_digest() {
    let lab = lab();
    let name = format!("127.0.0.1:1/a@sha256:{}", "0".repeat(64));
    let refused = lab.build(&["-t", &name, "--push"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("has a digest"),
        "{}",
        refused.stderr
    );
}

#[test]
fn the_context_may_say_the_epoch() {
    let lab = lab();
    let layout = lab.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let created = || {
        let image = flatten(&layout, None).expect("reading the layout");
        let _ = fs::remove_dir_all(&layout);
        image.config["created"]
            .as_str()
            .map(|text| text[..10].to_owned())
    };
    let asked = ["-o", &output, "--build-arg", "SOURCE_DATE_EPOCH=context"];
    // A folder has no time of its own.
    lab.digest(&asked);
    assert!(created() > Some("2020".to_owned()));
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content, time) in [
        ("Dockerfile", "FROM scratch\nCOPY deep /\n", 1),
        ("deep/f", "file", 1_000_000_000),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(time);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, path, content.as_bytes())
            .expect("writing to memory");
    }
    let archive = tar.into_inner().expect("writing to memory");
    let built = lab.build_with_stdin(&[&asked[..], &["-"]].concat(), &archive);
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    assert_eq!(created().as_deref(), Some("2001-09-09"));
}

#[test]
fn layers_are_compressed_as_it_is_asked_for() {
    const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
    let (lab, elsewhere) = (lab(), lab());
    let base = elsewhere.path("base");
    elsewhere.digest(&["-o", &format!("type=oci,tar=false,dest={}", base.display())]);
    lab.write("Dockerfile", "FROM base\nCOPY g /h\n");
    let layout = lab.path("layout");
    let context = format!("base=oci-layout://{}", base.display());
    let types = |more: &str| -> Vec<String> {
        let _ = fs::remove_dir_all(&layout);
        let output = format!("type=oci,tar=false,dest={},{more}", layout.display());
        lab.digest(&["--build-context", &context, "-o", &output]);
        let image = flatten(&layout, None).expect("reading the layout");
        let layers = image.manifest["layers"].as_array().expect("layers");
        let told = layers.iter().map(|layer| layer["mediaType"].as_str());
        told.flatten().map(str::to_owned).collect()
    };
    assert_eq!(types("compression=zstd"), [GZIP, GZIP, ZSTD]);
    assert_eq!(types("compression=uncompressed"), [GZIP, GZIP, PLAIN]);
    let all = types("compression=zstd,force-compression=true");
    assert_eq!(all, [ZSTD, ZSTD, ZSTD]);
    let all = types("compression=uncompressed,force-compression=true");
    assert_eq!(all, [PLAIN, PLAIN, PLAIN]);
    assert_eq!(types("compression=gzip"), [GZIP, GZIP, GZIP]);
}

#[test]
fn one_platform_may_be_an_index() {
    let lab = lab();
    let (id, layout) = (lab.path("id"), lab.path("layout"));
    let (id_flag, output) = (
        id.display().to_string(),
        format!("type=oci,tar=false,dest={}", layout.display()),
    );
    let of = |value: &str| {
        let _ = fs::remove_dir_all(&layout);
        let argument = format!("BUILDKIT_MULTI_PLATFORM={value}");
        let flags = [
            "--build-arg",
            &argument,
            "--iidfile",
            &id_flag,
            "-o",
            &output,
        ];
        let digest = lab.digest(&flags);
        let name = digest.trim_start_matches("sha256:");
        let bytes = fs::read(layout.join("blobs/sha256").join(name)).expect("reading");
        let document: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        let id = fs::read_to_string(&id).expect("reading");
        (document["manifests"].as_array().map(Vec::len), id == digest)
    };
    assert_eq!(of("true"), (Some(1), true));
    assert_eq!(of("0"), (None, false));
    assert_eq!(of(""), (None, false));
    for flags in [
        &["--build-arg", "BUILDKIT_MULTI_PLATFORM=perhaps"][..],
        &[
            "--build-arg",
            "BUILDKIT_MULTI_PLATFORM=false",
            "--platform=linux/amd64,linux/arm64",
        ],
    ] {
        let refused = lab.build(flags);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("BUILDKIT_MULTI_PLATFORM"));
    }
}

#[test]
fn what_is_passed_over_is_told_and_what_is_refused_says_why() {
    let lab = lab();
    let told = lab.build(&[
        "--cache-to=type=local,dest=x",
        "--builder",
        "b",
        "--provenance=false",
    ]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(
        told.stderr.matches("warning: --").count(),
        2,
        "{}",
        told.stderr
    );
    for (flag, why) in [
        ("--load", "docker load"),
        ("--sbom=true", "attestation"),
        ("--allow=security.insecure", "sandbox"),
    ] {
        let refused = lab.build(&[flag]);
        assert_eq!(refused.code, Some(2), "{flag}");
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}

#[test]
fn secrets_are_named_as_for_buildx() {
    const NAME: &str = "secrets_are_named_as_for_buildx";
    let dockerfile = format!("{BUSYBOX}RUN --mount=type=secret,id=s,target=/s cat /s > /copy\nRUN --mount=type=secret,id=t,env=T echo $T >> /copy\n").replace("cat", "busybox cat");
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    fs::write(lab.path("a,b"), "from a file\n").expect("writing");
    let folder = lab.path("files");
    let shown = folder.display().to_string();
    let file = format!("type=file,id=s,\"src={}\"", lab.path("a,b").display());
    let mut command = lab.command(&[
        "-o",
        &shown,
        "--secret",
        &file,
        "--secret",
        "type=env,id=t,src=VALUE",
    ]);
    let built = outcome(command.env("VALUE", "from a variable"));
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let text = fs::read_to_string(folder.join("copy")).expect("reading");
    assert_eq!(text, "from a file\nfrom a variable\n");
    for (secret, why) in [
        ("src=x", "no id"),
        ("id=x,to=y", "unknown name"),
        ("id=x,type=ssh", "not known"),
        ("id=none-such", "no value"),
    ] {
        let refused = lab.build(&["--secret", secret]);
        assert_eq!(refused.code, Some(2), "{secret}: {}", refused.stderr);
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
}
