//! Smoke tests: commands in the engine's sandbox, on the image that was pushed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use launchway_engine::{ContainerRun, EngineError};
use launchway_manifest::SmokeAction;
use launchway_model::{Platform, Reference};
use launchway_plan::{Node, Smoke};
use launchway_sandbox::{ExecError, ExecFailure, Exit, SandboxError};

use crate::error::ReleaseError;
use crate::event::Event;
use crate::images::blocking;
use crate::work::Shop;

/// Where a script stands inside the container.
const SCRIPT: &str = "/run/launchway/smoke";

/// Runs every smoke test of a node on one platform of what stands behind `reference`, which names a
/// digest.
pub(crate) async fn smoke(
    shop: &Arc<Shop>,
    node: &Node,
    platform: &Platform,
    reference: &Reference,
) -> Result<(), ReleaseError> {
    shop.tell(Event::SmokeStarted {
        node: node.id.clone(),
        platform: platform.clone(),
    });
    let started = Instant::now();
    // The registry is asked, so that what is tested is what stands there, not what was meant to.
    shop.puller.client().manifest(reference).await?;
    let remote = shop.puller.find(reference, platform).await?;
    let image = shop.puller.layers(&remote).await?;
    for test in &node.smoke {
        let (shop_, test_, platform_, image_) = (
            Arc::clone(shop),
            test.clone(),
            platform.clone(),
            image.clone(),
        );
        let verdict = blocking(move || run_one(&shop_, &test_, &platform_, &image_)).await?;
        if let Err(why) = verdict {
            let name = name_of(test);
            shop.tell(Event::SmokeFailed {
                node: node.id.clone(),
                platform: platform.clone(),
                test: name.clone(),
                why: why.clone(),
            });
            return Err(ReleaseError::Smoke {
                node: node.id.to_string(),
                platform: platform.to_string(),
                test: name,
                why,
            });
        }
    }
    shop.tell(Event::SmokeDone {
        node: node.id.clone(),
        platform: platform.clone(),
        tests: node.smoke.len(),
        took: started.elapsed(),
    });
    Ok(())
}

fn run_one(
    shop: &Shop,
    test: &Smoke,
    platform: &Platform,
    image: &launchway_engine::Image,
) -> Result<Result<(), String>, ReleaseError> {
    let (arguments, files) = match &test.action {
        SmokeAction::Run(arguments) => (arguments.clone(), Vec::new()),
        SmokeAction::Script(path) => {
            let script = shop.project.root.join(&path.value);
            (
                vec![SCRIPT.to_owned()],
                vec![(script, PathBuf::from(SCRIPT))],
            )
        }
    };
    let run = ContainerRun {
        image,
        platform,
        arguments,
        entrypoint: true,
        files,
        user: test.user.clone(),
        network: shop.settings.network,
        timeout: Some(test.timeout),
    };
    let outcome = match shop.engine.run(&run, &shop.cancellation) {
        Ok(outcome) => outcome,
        // A command that cannot even start is a fault of the image or of the test.
        Err(EngineError::Sandbox(SandboxError::Exec(error))) => {
            return Ok(Err(cannot_start(test, &error)));
        }
        Err(error) => {
            return Err(ReleaseError::engine(format!(
                "run the smoke test `{}`",
                name_of(test)
            ))(error));
        }
    };
    Ok(judge(test, outcome.exit, &outcome.stdout, &outcome.stderr))
}

fn cannot_start(test: &Smoke, error: &ExecError) -> String {
    match (&test.action, &error.cause) {
        (SmokeAction::Script(path), ExecFailure::PermissionDenied) => format!(
            "{0} cannot be executed: it needs the permission (chmod +x {0})",
            path.value
        ),
        (SmokeAction::Script(path), cause) => format!("starting {} failed: {cause}", path.value),
        (SmokeAction::Run(_), _) => error.to_string(),
    }
}

/// Whether an outcome is what a test asks for; else why not.
fn judge(test: &Smoke, exit: Exit, stdout: &[u8], stderr: &[u8]) -> Result<(), String> {
    let tail = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let lines: Vec<&str> = text.trim_end().lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    };
    let wrote = |what: &str, bytes: &[u8]| {
        if bytes.is_empty() {
            String::new()
        } else {
            format!("\n{what}:\n{}", tail(bytes))
        }
    };
    let output = || format!("{}{}", wrote("stdout", stdout), wrote("stderr", stderr));
    match exit {
        Exit::Code(code) if code == test.exit => {}
        Exit::Code(code) => {
            return Err(format!(
                "exit code {code}, expected {}{}",
                test.exit,
                output()
            ));
        }
        Exit::Signal(signal) => return Err(format!("killed by signal {signal}{}", output())),
        Exit::TimedOut => {
            return Err(format!(
                "took longer than {} s{}",
                test.timeout.as_secs(),
                output()
            ));
        }
    }
    match &test.stdout {
        Some(wanted) if !String::from_utf8_lossy(stdout).contains(wanted.as_str()) => {
            Err(format!("stdout does not contain `{wanted}`{}", output()))
        }
        _ => Ok(()),
    }
}

fn name_of(test: &Smoke) -> String {
    match &test.action {
        SmokeAction::Run(arguments) => arguments.join(" "),
        SmokeAction::Script(path) => path.value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn verdicts() {
        let test = Smoke {
            action: SmokeAction::Run(vec!["x".into()]),
            stdout: Some("1.2.3".into()),
            exit: 0,
            timeout: Duration::from_secs(9),
            user: None,
        };
        let of = |exit, stdout: &str| judge(&test, exit, stdout.as_bytes(), b"oops\n");
        assert_eq!(of(Exit::Code(0), "v1.2.3\n"), Ok(()));
        assert_eq!(
            of(Exit::Code(0), "v1.2.4\n").unwrap_err(),
            "stdout does not contain `1.2.3`\nstdout:\nv1.2.4\nstderr:\noops"
        );
        assert!(
            of(Exit::Code(3), "1.2.3")
                .unwrap_err()
                .starts_with("exit code 3, expected 0")
        );
        assert!(
            of(Exit::Signal(9), "")
                .unwrap_err()
                .starts_with("killed by signal 9")
        );
        assert!(
            of(Exit::TimedOut, "")
                .unwrap_err()
                .starts_with("took longer than 9 s")
        );
    }
}
