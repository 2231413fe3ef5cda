//! Every problem of a build is shown with its place and a code, and leaves no result.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use crate::lab::{BUSYBOX, Lab, Outcome, host_architecture, lacking, outcome};

/// A Dockerfile that cannot be built, and what is in its context.
struct Case {
    name: &'static str,
    dockerfile: &'static str,
    files: &'static [&'static str],
    flags: &'static [&'static str],
}

const fn case(name: &'static str, dockerfile: &'static str) -> Case {
    Case {
        name,
        dockerfile,
        files: &[],
        flags: &[],
    }
}

#[test]
fn what_is_wrong_with_files() {
    for case in [
        Case {
            files: &["start.sh", "src/main.c"],
            ..case("missing_source", "FROM scratch\nCOPY strat.sh /\n")
        },
        Case {
            files: &[".dockerignore:secret*\n", "secret.txt"],
            ..case("ignored_source", "FROM scratch\nCOPY secret.txt /\n")
        },
        Case {
            files: &["f"],
            ..case(
                "missing_in_stage",
                "FROM scratch AS one\nCOPY f /f\nFROM scratch\nCOPY --from=one /g /\n",
            )
        },
        case("link_that_leaves", "FROM scratch\nCOPY outside /\n"),
        Case {
            files: &["f", "dir/x"],
            ..case(
                "directory_over_file",
                "FROM scratch\nCOPY f /f\nCOPY dir /f\n",
            )
        },
        Case {
            files: &["f"],
            ..case("below_a_file", "FROM scratch\nCOPY f /f\nWORKDIR /f/sub\n")
        },
        Case {
            files: &["f"],
            ..case("unknown_user", "FROM scratch\nCOPY --chown=ghost f /f\n")
        },
        Case {
            files: &["f"],
            ..case("bad_mode", "FROM scratch\nCOPY --chmod=u+q f /f\n")
        },
        case("required_variable", "FROM scratch\nENV A=${B:?unset}\n"),
        Case {
            flags: &["--build-arg", "WHERE=https://example.invalid/x.git?no=1"],
            ..case(
                "remote_by_variable",
                "FROM scratch\nARG WHERE\nADD $WHERE /x\n",
            )
        },
        case("escaping_archive", "FROM scratch\nADD evil.tar /in/\n"),
        case("cut_archive", "FROM scratch\nADD cut.tar /in/\n"),
    ] {
        check(&Lab::new(case.dockerfile), &case);
    }
}

#[test]
fn what_is_wrong_with_steps() {
    for case in [
        case("failing_step", "RUN echo first; echo second >&2; exit 7\n"),
        case("killed_step", "RUN kill -9 $$\n"),
        case("missing_program", "RUN [\"/no/such/program\"]\n"),
        case("exec_format", "COPY --chmod=755 f /f\nRUN [\"/f\"]\n"),
        case("not_executable", "COPY f /f\nRUN [\"/f\"]\n"),
        case("unknown_step_user", "USER ghost\nRUN true\n"),
        case(
            "missing_secret",
            "RUN --mount=type=secret,id=token,required=true true\n",
        ),
        case(
            "missing_bind_source",
            "RUN --mount=type=bind,source=none,target=/x true\n",
        ),
    ] {
        let dockerfile = format!("{BUSYBOX}{}", case.dockerfile);
        let Some(lab) = Lab::with_busybox("what_is_wrong_with_steps", &dockerfile) else {
            return;
        };
        lab.write("f", "f\n");
        check(&lab, &case);
    }
    let no_shell = case("no_shell", "FROM scratch\nRUN echo x\n");
    check(&Lab::new(no_shell.dockerfile), &no_shell);
}

#[test]
fn an_image_that_is_not_there() {
    let (server, host) = empty_registry();
    let lab = Lab::new(&format!("FROM {host}/none:1\n"));
    let outcome = lab.build(&[]);
    drop(server);
    let told = told(&lab, &outcome).replace(&host, "HOST");
    // The marks under the reference are as many as it has letters.
    let marks = "^".repeat(host.len() + "/none:1".len());
    insta::assert_snapshot!("unavailable_image", told.replace(&marks, "^ (reference)"));
}

/// A registry on this machine that has nothing; it is gone when the thread's listener is.
fn empty_registry() -> (std::thread::JoinHandle<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listening");
    let host = listener.local_addr().expect("its address").to_string();
    let thread = std::thread::spawn(move || {
        // The thread ends with the test program.
        for connection in listener.incoming().flatten() {
            let mut request = BufReader::new(&connection);
            let mut line = String::new();
            while request.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = (&connection).write_all(answer.as_bytes());
        }
    });
    (thread, host)
}

#[test]
fn a_platform_that_does_not_run_here() {
    if std::path::Path::new("/proc/sys/fs/binfmt_misc/qemu-s390x").exists() {
        return lacking("a_platform_that_does_not_run_here", "foreign platform");
    }
    let case = Case {
        flags: &["--platform", "linux/s390x"],
        ..case(
            "no_emulation",
            "FROM scratch\nCOPY --chmod=755 foreign /x\nRUN [\"/x\"]\n",
        )
    };
    check(&Lab::new(case.dockerfile), &case);
}

/// As people type it who know other builders.
#[test]
fn build_alone_is_no_command() {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_launchway"));
    let refused = outcome(command.args(["build", "-t", "a", "."]));
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    for words in ["launchway dockerfile build .", "launchway release VERSION"] {
        assert!(refused.stderr.contains(words), "{}", refused.stderr);
    }
}

fn check(lab: &Lab, case: &Case) {
    for file in case.files {
        let (path, content) = file.split_once(':').unwrap_or((file, file));
        lab.write(path, content);
    }
    symlink("../../../etc/hostname", lab.context().join("outside")).expect("making a link");
    let evil = tar_with("../../escaped", 0);
    std::fs::write(lab.context().join("evil.tar"), &evil).expect("writing an archive");
    let cut = &tar_with("cut", 5000)[..700];
    std::fs::write(lab.context().join("cut.tar"), cut).expect("writing an archive");
    // The head of a program for s390x: ELF, 64 bits, big endian, a program, machine 22.
    let mut foreign = vec![0; 64];
    foreign[..7].copy_from_slice(b"\x7fELF\x02\x02\x01");
    foreign[17] = 2;
    foreign[19] = 22;
    std::fs::write(lab.context().join("foreign"), foreign).expect("writing a program");

    let layout = lab.path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    let mut flags = vec!["--output", &output];
    flags.extend(case.flags);
    let outcome = lab.build(&flags);
    assert!(!layout.exists(), "{}: there is a result", case.name);
    assert!(!lab.path("escaped").exists(), "{}", case.name);
    assert_eq!(outcome.stdout, "", "{}", case.name);
    insta::assert_snapshot!(case.name, told(lab, &outcome));
}

/// The exit code and the report, without what differs from run to run.
fn told(lab: &Lab, outcome: &Outcome) -> String {
    let context = format!("{}/", lab.context().display());
    let report: String = outcome
        .stderr
        .replace(&context, "")
        .replace(&format!("linux/{}", host_architecture()), "linux/HOST")
        .lines()
        .skip_while(|line| !line.starts_with("error"))
        .map(|line| format!("{}\n", line.trim_end()))
        .collect();
    let code = outcome
        .code
        .map_or("none".to_owned(), |code| code.to_string());
    format!("exit code {code}\n{report}")
}

/// An archive of one file, as hostile programs write it: the library would refuse the name.
fn tar_with(name: &str, size: u64) -> Vec<u8> {
    let mut header = [0; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let content = size.div_ceil(512) * 512;
    let mut archive = header.to_vec();
    archive.resize(
        512 + usize::try_from(content).expect("it is small") + 1024,
        0,
    );
    archive
}
