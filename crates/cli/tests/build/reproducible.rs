//! The same inputs give the same bytes.

use std::fs;
use std::process::Command;

use crate::lab::{BUSYBOX, Lab};

const STEPS: &str = "COPY dir /dir\nWORKDIR /made\nRUN echo x > file; busybox ln file link; busybox mkdir sub\nRUN --network=none busybox rm /dir/b\n";

#[test]
fn the_same_inputs_give_the_same_digest() {
    const NAME: &str = "the_same_inputs_give_the_same_digest";
    let dockerfile = format!("{BUSYBOX}{STEPS}");
    let Some(one) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    for name in ["dir/a", "dir/b", "dir/sub/c"] {
        one.write(name, name);
    }
    let another = Lab::new(&dockerfile);
    // A copy with other times, whose entries were also made in another order.
    for name in ["dir/sub/c", "dir/b", "dir/a"] {
        another.write(name, name);
    }
    fs::copy(
        one.context().join("busybox"),
        another.context().join("busybox"),
    )
    .expect("copying busybox");
    let flags = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"];
    let first = one.digest(&flags);
    assert!(first.starts_with("sha256:"), "{first}");
    assert_eq!(one.digest(&flags), first, "built again");
    let _ = Command::new("touch")
        .args(["-d", "2031-01-01", "dir/a", "dir/sub", "busybox"])
        .current_dir(another.context())
        .status();
    assert_eq!(another.digest(&flags), first, "built from another copy");
    let later = ["--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000001"];
    assert_ne!(one.digest(&later), first, "another time");
    // What was cached with another time, or with none, is not what was asked for.
    one.digest(&[]);
    assert_eq!(one.digest(&flags[1..]), first, "with the cache");
}

#[test]
fn what_comes_from_the_cache_is_as_old_as_it_was() {
    let lab = Lab::new("FROM scratch\nENV A=1\nCOPY f /f\nLABEL b=c\n");
    lab.write("f", "x");
    let first = lab.image(&[]);
    // Times have whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    let again = lab.image(&[]);
    assert_eq!(first.config, again.config);
    assert!(first.config["created"].is_string());
    let made = lab.image(&["--no-cache"]);
    assert_ne!(first.config["created"], made.config["created"]);

    lab.write("Dockerfile", "FROM scratch\nENV A=1\n");
    let layerless = lab.image(&[]);
    assert!(layerless.config.get("created").is_none());
    let epoch = lab.image(&["--build-arg", "SOURCE_DATE_EPOCH=1000000000"]);
    assert!(epoch.config["created"].to_string().contains("2001-09-09"));
}
