//! Debian packages that a task needs: looked for, and installed when this is root.

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// A package, and a file that shows it is there: a program on the PATH or an absolute path.
pub(crate) struct Package {
    pub(crate) name: &'static str,
    pub(crate) shows: &'static str,
}

pub(crate) const MMDEBSTRAP: Package = package("mmdebstrap", "mmdebstrap");
pub(crate) const ARCH_TEST: Package = package("arch-test", "arch-test");
pub(crate) const BINFMT: Package = package("binfmt-support", "update-binfmts");
pub(crate) const QEMU_ARM64: Package = package("qemu-user-static", "qemu-aarch64-static");
pub(crate) const QEMU_AMD64: Package = package("qemu-user-static", "qemu-x86_64-static");
pub(crate) const DPKG: Package = package("dpkg", "dpkg-deb");
pub(crate) const GIT: Package = package("git", "git");
pub(crate) const SSH: Package = package("openssh-client", "ssh-agent");
/// For tests, which start it themselves.
pub(crate) const SSHD: Package = package("openssh-server", "/usr/sbin/sshd");
pub(crate) const CURL: Package = package("curl", "curl");
pub(crate) const NPM: Package = package("npm", "npm");
pub(crate) const UIDMAP: Package = package("uidmap", "newuidmap");
pub(crate) const FUSE_OVERLAYFS: Package = package("fuse-overlayfs", "fuse-overlayfs");
pub(crate) const BUSYBOX: Package = package("busybox-static", "busybox");
pub(crate) const BUILDAH: Package = package("buildah", "buildah");
/// Without it buildah starts nothing, not even a pull.
pub(crate) const NETAVARK: Package = package("netavark", "/usr/lib/podman/netavark");
pub(crate) const CHROMIUM: Package = package("chromium", "chromium");
pub(crate) const ZSTD: Package = package("zstd", "zstd");
pub(crate) const DOCKER_REGISTRY: Package = package("docker-registry", "docker-registry");
pub(crate) const SKOPEO: Package = package("skopeo", "skopeo");
pub(crate) const CERTIFICATES: Package =
    package("ca-certificates", "/etc/ssl/certs/ca-certificates.crt");
pub(crate) const DEBIAN_KEYS: Package = package(
    "debian-archive-keyring",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
);

const fn package(name: &'static str, shows: &'static str) -> Package {
    Package { name, shows }
}

/// What has to be installed first, by someone who may.
#[derive(Debug)]
pub(crate) struct Missing {
    command: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "this machine lacks some packages; install them and run this again:\n    {}",
            self.command
        )
    }
}

impl std::error::Error for Missing {}

/// Makes sure that the packages are there.
///
/// As root they are installed; anyone else is told the command. Where there is no apt, the names
/// are all that can be said.
pub(crate) fn ensure(packages: &[&Package]) -> Result<()> {
    let mut missing: Vec<&str> = packages
        .iter()
        .filter(|package| !present(package.shows))
        .map(|package| package.name)
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !shell::on_path("apt-get") {
        let command = format!("(with this system's package manager) {names}");
        return Err(Missing { command }.into());
    }
    if !shell::is_root() {
        let command = format!(
            "sudo apt-get update && sudo apt-get install --yes --no-install-recommends {names}"
        );
        return Err(Missing { command }.into());
    }
    shell::say(&format!("installing {names}"));
    // Sources that have nothing to do with these packages may be out of reach; what counts is
    // whether the installation works.
    let _ = shell::quietly(Command::new("apt-get").args(["update", "-qq"]));
    shell::quietly(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // Nothing that is installed for tests is to be started as a service.
            .env("RUNLEVEL", "1")
            .args(["install", "--yes", "-qq", "--no-install-recommends"])
            .args(&missing),
    )?;
    Ok(())
}

/// Makes sure that programs of the architecture run here, natively or by emulation.
pub(crate) fn ensure_runs(architecture: &str) -> Result<()> {
    if architecture == shell::host_architecture()? {
        return Ok(());
    }
    let (package, handler) = match architecture {
        "amd64" => (&QEMU_AMD64, "qemu-x86_64"),
        _ => (&QEMU_ARM64, "qemu-aarch64"),
    };
    ensure(&[package, &BINFMT])?;
    let handlers = Path::new("/proc/sys/fs/binfmt_misc");
    if handlers.join(handler).exists() {
        return Ok(());
    }
    if !shell::is_root() {
        let command = format!(
            "sudo mount -t binfmt_misc binfmt_misc {}; sudo update-binfmts --enable {handler}",
            handlers.display()
        );
        return Err(Missing { command }.into());
    }
    if !handlers.join("register").exists() {
        shell::quietly(
            Command::new("mount")
                .args(["-t", "binfmt_misc", "binfmt_misc"])
                .arg(handlers),
        )
        .context("the kernel cannot hand programs of other machines to an emulator")?;
    }
    shell::quietly(Command::new("update-binfmts").args(["--enable", handler]))?;
    Ok(())
}

fn present(shows: &str) -> bool {
    if shows.starts_with('/') {
        Path::new(shows).exists()
    } else {
        shell::on_path(shows)
            || ["/usr/sbin", "/sbin"]
                .iter()
                .any(|at| Path::new(at).join(shows).exists())
    }
}
