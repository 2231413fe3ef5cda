//! Layers stacked in user space: the program `fuse-overlayfs` answers for a file system that is mounted here.
//!
//! The program never mounts anything itself. It is given the open device, runs outside of the sandbox's process
//! namespace, where no command sees or kills it, and in a mount namespace of its own, where it keeps the host's files. It
//! ends with the supervisor at the latest.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};
use rustix::thread::UnshareFlags;

use super::{Refused, Step, mounts, sys};

pub(crate) const DEVICE: &str = "/dev/fuse";

/// What is to be stacked.
pub(crate) struct Layers<'a> {
    /// The topmost first.
    pub(crate) lower: &'a [PathBuf],
    pub(crate) upper: &'a Path,
    /// On the file system of `upper`, and empty.
    pub(crate) work: &'a Path,
}

/// The program under way.
pub(crate) struct Daemon {
    process: Pid,
}

/// Mounts layers, attached nowhere yet.
pub(crate) fn mount(
    program: &Path,
    layers: &Layers<'_>,
    attributes: u64,
) -> Result<(OwnedFd, Daemon), Refused> {
    let doing = || format!("stacking {} layers with fuse-overlayfs", layers.lower.len());
    let place = name_layers(layers).step(doing())?;
    let device = openat(CWD, DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .step(format_args!("opening {DEVICE}"))?;
    let root = file_system(&device, attributes).step("mounting a file system in user space")?;
    let said = memfd_create("fuse-overlayfs", MemfdFlags::CLOEXEC).step(doing())?;
    let said = File::from(said);
    let count = layers.lower.len();
    let daemon = match sys::fork().step(doing())? {
        sys::Forked::Child => serve(program, &place, count, &device, &said),
        sys::Forked::Parent(process) => Daemon { process },
    };
    drop(device);
    // The kernel waits here until the program has answered for the first time, or has ended.
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match openat(&root, ".", open, Mode::empty()) {
        Ok(_) => Ok((root, daemon)),
        Err(errno) => {
            daemon.end();
            Err(Refused {
                step: format!("{}{}", doing(), words(said)),
                source: errno.into(),
            })
        }
    }
}

impl Daemon {
    /// Ends it. Everything that was written went through it before the writer went on, so nothing is lost.
    pub(crate) fn end(self) {
        // Fails only when it ended by itself.
        let _ = kill_process(self.process, Signal::KILL);
        while let Err(Errno::INTR) = waitpid(Some(self.process), WaitOptions::empty()) {}
    }
}

/// Short names without separators, which the program's options could not hold otherwise.
fn name_layers(layers: &Layers<'_>) -> io::Result<PathBuf> {
    let names = layers.work.join("names");
    std::fs::create_dir(&names)?;
    for (number, layer) in layers.lower.iter().enumerate() {
        symlink(layer, names.join(number.to_string()))?;
    }
    symlink(layers.upper, names.join("u"))?;
    std::fs::create_dir(names.join("w"))?;
    Ok(names)
}

fn file_system(device: &OwnedFd, attributes: u64) -> rustix::io::Result<OwnedFd> {
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let descriptor = device.as_raw_fd().to_string();
    for (key, value) in [
        ("source", "fuse-overlayfs"),
        ("fd", descriptor.as_str()),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
    ] {
        fsconfig_set_string(&context, key, value)?;
    }
    for key in ["default_permissions", "allow_other"] {
        fsconfig_set_flag(&context, key)?;
    }
    fsconfig_create(&context)?;
    mounts::finish_mount(context.as_fd(), attributes)
}

/// Becomes the program.
fn serve(program: &Path, place: &Path, count: usize, device: &OwnedFd, said: &File) -> ! {
    let failed = |error: io::Error| -> ! {
        // The other side reads this when the mount does not answer.
        use std::io::Write as _;
        let _ = write!(&mut &*said, "{}: {error}", program.display());
        sys::exit_now(1)
    };
    let ready = || -> io::Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        sys::unshare(UnshareFlags::NEWNS)?;
        rustix::process::chdir(place)?;
        let null = openat(
            CWD,
            "/dev/null",
            OFlags::RDWR | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(said)?;
        rustix::stdio::dup2_stderr(said)?;
        sys::close_on_exec_all()?;
        fcntl_setfd(device, FdFlags::empty())?;
        Ok(())
    };
    if let Err(error) = ready() {
        failed(error);
    }
    let lower: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    // Written through, so that nothing waits in the kernel when the program is ended; nothing is flushed to the disk.
    let options = format!(
        "lowerdir={},upperdir=u,workdir=w,writeback=0,volatile",
        lower.join(":")
    );
    let name = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
    let device = format!("/dev/fd/{}", device.as_raw_fd());
    let arguments =
        ["fuse-overlayfs", "-f", "-o", &options, &device].map(|word| name(OsStr::new(word)));
    failed(sys::exec(&name(program.as_os_str()), &arguments, &[]))
}

/// What the program had to say, for an error.
fn words(mut said: File) -> String {
    let mut text = String::new();
    // Nothing to read is nothing to tell.
    let _ = said.rewind();
    let _ = said.read_to_string(&mut text);
    let line = text
        .lines()
        .rfind(|line| !line.trim().is_empty() && !line.contains("argument ignored"));
    line.map(|line| format!(": {}", line.trim()))
        .unwrap_or_default()
}
