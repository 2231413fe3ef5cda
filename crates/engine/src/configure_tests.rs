//! What instructions make of a configuration, as `key=value` lines of its JSON.

use launchway_diagnostics::SourceMap;
use launchway_dockerfile::parse;
use launchway_oci::spec::ImageConfig;
use serde_json::{Value, json};

use super::{SetHere, configure, set_env};
use crate::scope::Scope;

/// Applies the instructions of one stage to a configuration.
fn apply(base: &ImageConfig, instructions: &str) -> Result<ImageConfig, String> {
    let text = format!("FROM scratch\n{instructions}\n");
    let mut sources = SourceMap::new();
    let source = sources.add("Dockerfile", text.clone());
    let parsed = parse(source, &text);
    let file = parsed
        .dockerfile
        .ok_or_else(|| format!("{:?}", parsed.diagnostics))?;
    let mut image = base.clone();
    let mut scope = Scope {
        escape: '\\',
        ..Scope::default()
    };
    let mut here = SetHere::default();
    for instruction in &file.stages[0].instructions {
        configure(&instruction.kind, &mut image, &mut scope, &mut here)
            .map_err(|problem| problem.message)?
            .expect("an instruction that changes only the configuration");
    }
    Ok(image)
}

fn check(instructions: &str, field: &str, want: Value) {
    let image = apply(&ImageConfig::default(), instructions).expect(instructions);
    let config = serde_json::to_value(&image.config).unwrap();
    assert_eq!(config[field], want, "{instructions}");
}

#[test]
fn variables() {
    check("ENV a=1\nENV a=2 b=$a", "Env", json!(["a=2", "b=1"]));
    check("ENV a=1 b=2\nENV a=3", "Env", json!(["a=3", "b=2"]));
    check("ENV a one two", "Env", json!(["a=one two"]));
    check(
        "ENV a=1\nLABEL l=${a:-x} m='$a'",
        "Labels",
        json!({"l": "1", "m": "$a"}),
    );
}

#[test]
fn commands() {
    check(
        "CMD echo $HOME",
        "Cmd",
        json!(["/bin/sh", "-c", "echo $HOME"]),
    );
    check(
        "SHELL [\"/bin/bash\", \"-c\"]\nCMD echo",
        "Cmd",
        json!(["/bin/bash", "-c", "echo"]),
    );
    check(
        "CMD [\"a\", \"b\"]\nENTRYPOINT [\"e\"]",
        "Cmd",
        json!(["a", "b"]),
    );
    check("ENTRYPOINT e", "Entrypoint", json!(["/bin/sh", "-c", "e"]));
}

#[test]
fn an_entrypoint_clears_an_inherited_command_only() {
    let base = apply(&ImageConfig::default(), "CMD [\"inherited\"]").unwrap();
    let child = apply(&base, "ENTRYPOINT [\"e\"]").unwrap();
    assert_eq!(child.config.cmd, None);
    let child = apply(&base, "ENTRYPOINT [\"e\"]\nCMD [\"own\"]").unwrap();
    assert_eq!(child.config.cmd, Some(vec!["own".to_owned()]));
}

#[test]
fn ports_volumes_and_the_rest() {
    check(
        "ENV p=80\nEXPOSE $p 53/udp 8000-8001",
        "ExposedPorts",
        json!({
            "53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {},
        }),
    );
    check(
        "VOLUME /a /b\nVOLUME [\"/c d\"]",
        "Volumes",
        json!({"/a": {}, "/b": {}, "/c d": {}}),
    );
    check("ENV u=me\nUSER $u:1", "User", json!("me:1"));
    check("STOPSIGNAL SIGINT", "StopSignal", json!("SIGINT"));
    check(
        "ONBUILD RUN a\nONBUILD COPY b c",
        "OnBuild",
        json!(["RUN a", "COPY b c"]),
    );
    check("HEALTHCHECK NONE", "Healthcheck", json!({"Test": ["NONE"]}));
    check(
        "HEALTHCHECK --interval=2s --retries=3 CMD true",
        "Healthcheck",
        json!({"Test": ["CMD-SHELL", "true"], "Interval": 2_000_000_000_i64, "Retries": 3}),
    );
}

#[test]
fn words_that_cannot_be_used() {
    for (instructions, want) in [
        ("ENV a=${b:?unset}", "cannot expand `${b:?unset}`"),
        ("EXPOSE ${q:-x}", "cannot use `${q:-x}`"),
        ("VOLUME $nothing", "cannot use `$nothing`"),
    ] {
        assert_eq!(
            apply(&ImageConfig::default(), instructions).unwrap_err(),
            want
        );
    }
}

#[test]
fn a_variable_keeps_its_place() {
    let mut image = ImageConfig::default();
    for (name, value) in [("a", "1"), ("ab", "2"), ("a", "3")] {
        set_env(&mut image.config, name, value);
    }
    assert_eq!(
        image.config.env,
        Some(vec!["a=3".to_owned(), "ab=2".to_owned()])
    );
}
