//! Caches, binds and what one step leaves in them for another.

use std::fs;
use std::path::Path;

use crate::lab::{BUSYBOX, Lab};
use crate::outside::Outside;

/// CVE-2024-23651 and 23652: one step turns a place in a cache into a link while another mounts there, or the place of a
/// mount into a link that is followed when the mount is taken away.
#[test]
fn caches_and_places_of_mounts_that_become_links() {
    const NAME: &str = "caches_and_places_of_mounts_that_become_links";
    let outside = Outside::new();
    let host = outside.folder().display().to_string();
    let up = format!("{}{}", "../".repeat(20), host.trim_start_matches('/'));
    let dockerfile = format!(
        "{BUSYBOX}RUN --mount=type=cache,id=shared,target=/c busybox rm -rf /c/*; busybox ln -s {host} /c/a; busybox ln -s {up} /c/b; busybox mkdir /c/d\n\
         RUN --mount=type=cache,id=shared,target=/c --mount=type=tmpfs,target=/c/a busybox touch /c/a/new\n\
         RUN --mount=type=cache,id=shared,target=/c --mount=type=cache,id=other,target=/c/b/new busybox touch /c/b/new/x\n\
         RUN --mount=type=cache,id=shared,target=/c --mount=type=bind,source=file,target=/c/a/secret busybox cat /c/a/secret\n\
         RUN --mount=type=cache,id=shared,target=/c busybox touch /c/a/new; busybox rm -rf /c/a/* /c/b/*; true\n\
         RUN --mount=type=tmpfs,target=/place/inner cd /; busybox mv /place /moved; busybox ln -s {host} /place; true\n\
         RUN --mount=type=tmpfs,target=/place/secret true\n\
         RUN --mount=type=bind,source=file,target=/place/secret busybox cat /place/secret\n"
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    lab.write("file", "of the context");
    // Each step on its own, so that one that is refused does not hide the next.
    let lines: Vec<&str> = dockerfile.lines().collect();
    let head = lines[..3].join("\n");
    for step in &lines[3..] {
        lab.write("Dockerfile", &format!("{head}\n{}\n{step}\n", lines[3]));
        let _ = lab.build(&["--no-cache"]);
        outside.untouched();
    }
    lab.write("Dockerfile", &dockerfile);
    let _ = lab.build(&["--no-cache"]);
    outside.untouched();
}

/// The same as a race: one build turns a place in a shared cache into a link and back, another mounts there.
#[test]
fn a_cache_that_changes_while_it_is_mounted() {
    const NAME: &str = "a_cache_that_changes_while_it_is_mounted";
    let outside = Outside::new();
    let host = outside.folder().display().to_string();
    let flip = format!(
        "{BUSYBOX}RUN --mount=type=cache,id=race,target=/c i=0; while [ $i -lt 3000 ]; do i=$((i+1)); busybox rm -rf /c/d; busybox ln -s {host} /c/d; busybox rm -f /c/d; busybox mkdir /c/d; done\n"
    );
    let Some(flipper) = Lab::with_busybox(NAME, &flip) else {
        return;
    };
    let Some(lab) = Lab::with_busybox(
        NAME,
        &format!(
            "{BUSYBOX}RUN --mount=type=cache,id=race,target=/c --mount=type=tmpfs,target=/c/d/new busybox touch /c/d/new/x\n"
        ),
    ) else {
        return;
    };
    let mut flipping = flipper
        .command(&["--no-cache", "--step-timeout", "60s"])
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starting launchway");
    for _ in 0..15 {
        let _ = crate::lab::outcome(
            std::process::Command::new(env!("CARGO_BIN_EXE_launchway"))
                .arg("--state-dir")
                .arg(flipper.state())
                .args(["dockerfile", "build", "--no-cache"])
                .arg(lab.context()),
        );
    }
    let _ = flipping.kill();
    let _ = flipping.wait();
    outside.untouched();
}

/// What is bound is a copy: neither the context nor another stage is changed through it.
#[test]
fn binds_do_not_write_back() {
    const NAME: &str = "binds_do_not_write_back";
    let dockerfile = format!(
        "{BUSYBOX}RUN --mount=type=bind,target=/m,rw echo changed > /m/file; busybox rm /m/other; busybox chmod 777 /m\n"
    );
    let Some(lab) = Lab::with_busybox(NAME, &dockerfile) else {
        return;
    };
    lab.write("file", "kept");
    lab.write("other", "kept");
    lab.digest(&[]);
    for name in ["file", "other"] {
        assert_eq!(
            fs::read_to_string(lab.context().join(name)).expect("reading"),
            "kept"
        );
    }
}

/// Devices and programs with the rights of root that a step leaves in a cache are not usable there.
#[test]
fn devices_in_mounts_are_dead() {
    const NAME: &str = "devices_in_mounts_are_dead";
    let steps: String = [
        "type=cache,id=nodes,target=/m",
        "type=tmpfs,target=/m",
        "type=bind,target=/m,rw",
    ]
    .iter()
    .map(|mount| {
        format!(
            "RUN --mount={mount} busybox mknod /m/zero c 1 5; ! busybox head -c 1 /m/zero 2>/dev/null\n"
        )
    })
    .collect();
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}{steps}")) else {
        return;
    };
    if !crate::lab::is_root() {
        return crate::lab::lacking(NAME, "root, who can make device nodes");
    }
    lab.digest(&[]);
}

/// A step is not given what another build holds: sockets without a name are of the network, so `none` closes them.
#[test]
fn sockets_of_the_host() {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    const NAME: &str = "sockets_of_the_host";
    let name = format!("launchway-escape-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("listening");
    let seen = format!("busybox grep -q '@{name}' /proc/net/unix");
    let Some(lab) = Lab::with_busybox(NAME, &format!("{BUSYBOX}RUN --network=none ! {seen}\n"))
    else {
        return;
    };
    lab.digest(&[]);
    // It would be found with the host's network, which is the default, as `docs/security.md` says.
    lab.write(
        "Dockerfile",
        &format!("{BUSYBOX}RUN --network=host {seen}\n"),
    );
    lab.digest(&["--allow", "network.host"]);
    assert!(Path::new("/proc/net/unix").exists());
}
