//! What a step writes is shown without the values of its secrets.

use crate::lab::{BUSYBOX, Lab};

#[test]
fn a_value_that_a_step_prints_is_not_shown() {
    let dockerfile = format!(
        "{BUSYBOX}RUN --mount=type=secret,id=key,env=KEY --mount=type=secret,id=file \\\n \
         echo \"key $KEY\"; busybox cat /run/secrets/file; echo \"$KEY\" >&2; exit 3\n"
    );
    let Some(lab) = Lab::with_busybox("a_value_that_a_step_prints_is_not_shown", &dockerfile)
    else {
        return;
    };
    let file = lab.path("secret-file");
    std::fs::write(&file, "first = correct horse\nsecond = battery staple\n")
        .expect("writing a file");
    let file = format!("id=file,src={}", file.display());
    for format in ["text", "json"] {
        let mut command = lab.command(&["--secret", "id=key", "--secret", &file]);
        command.args(["--progress", "plain", "--format", format]);
        let output = command
            .env("key", "tr0ub4dor&3")
            .output()
            .expect("starting launchway");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("key ***"), "{said}");
        for value in ["tr0ub4dor", "correct horse", "battery staple"] {
            assert!(!said.contains(value), "{value} in\n{said}");
        }
    }
}
