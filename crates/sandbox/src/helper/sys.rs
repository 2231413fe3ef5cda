//! The kernel calls that have no safe wrapper elsewhere. Every unsafe block of the crate is in this file.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::process::Pid;

/// Which of the two processes `fork` came back in.
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// Splits the process in two.
///
/// # Errors
/// Fails when this process has more than one thread: the child could then only make syscalls.
pub(crate) fn fork() -> io::Result<Forked> {
    if thread_count()? != 1 {
        return Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the process has several threads",
        ));
    }
    // SAFETY: there is no other thread whose locks the child could inherit, as was just checked.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Pid::from_raw(pid).map_or(Forked::Child, Forked::Parent))
}

/// How many threads this process has.
pub(crate) fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Ends the process without running anything that was registered for its end, which belongs to the parent.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Leaves the namespaces that `flags` (CLONE_NEW…) name.
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: the flags given in this crate never include CLONE_FILES, so no file descriptor changes its meaning.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Attributes of mounts, as `mount_setattr` takes them.
pub(crate) const MOUNT_READ_ONLY: u64 = libc::MOUNT_ATTR_RDONLY;
pub(crate) const MOUNT_NO_SETUID: u64 = libc::MOUNT_ATTR_NOSUID;
pub(crate) const MOUNT_NO_DEVICES: u64 = libc::MOUNT_ATTR_NODEV;
pub(crate) const MOUNT_NO_EXEC: u64 = libc::MOUNT_ATTR_NOEXEC;

/// Sets attributes on a mount and all mounts below it.
pub(crate) fn set_mount_attributes(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let request = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the path is an empty C string and the structure has the size that is given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const request,
            size_of::<libc::mount_attr>(),
        )
    };
    check(result)
}

/// Marks every descriptor from 3 on to be closed by exec.
pub(crate) fn close_on_exec_all() -> io::Result<()> {
    // SAFETY: nothing is closed now; exec replaces everything that knows the descriptors.
    check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            3,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
}

/// Gives this process an empty session keyring of its own.
pub(crate) fn new_session_keyring() -> io::Result<()> {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: without a name the call takes no memory of ours.
    check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    })
}

/// One instruction of a syscall filter; `struct sock_filter`.
pub(crate) type FilterInstruction = libc::sock_filter;

/// Puts this thread, and all it starts, under a syscall filter.
pub(crate) fn install_syscall_filter(program: &[FilterInstruction]) -> io::Result<()> {
    let length =
        u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let request = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the program lives until the call returns, and the kernel only reads it.
    check(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const request,
        )
    })
}

/// Gives every signal its default effect and lets all of them through, as a freshly started program expects.
pub(crate) fn reset_signals() {
    // The C library keeps two signals for itself and refuses to touch them, but passes on what they were set to. So
    // the kernel is asked, whose structure begins with the action; all zero is the default one.
    let action = [0_u64; 4];
    let none = 0_u64;
    // SAFETY: the default action runs no code of this program, and the kernel reads no more than the given sizes: four
    // words of a structure, eight bytes of a signal set.
    unsafe {
        for signal in 1..=64 {
            // Refused for the two signals that cannot be handled.
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                &raw const action,
                std::ptr::null_mut::<u64>(),
                8,
            );
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            8,
        );
    }
}

/// Replaces this program. Only comes back when that failed.
pub(crate) fn exec(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(environment);
    // SAFETY: both lists end with a null pointer, and the strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Replaces this program with the one an open file holds.
pub(crate) fn exec_file(file: BorrowedFd<'_>, arguments: &[CString]) -> io::Error {
    let arguments = pointers(arguments);
    let environment = pointers(&[]);
    // SAFETY: both lists end with a null pointer, and the strings outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero bytes are a valid ifreq, and both ioctls read and write nothing but it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        check(
            libc::ioctl(
                socket.as_fd().as_raw_fd(),
                libc::SIOCGIFFLAGS,
                &raw mut request,
            )
            .into(),
        )?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        check(
            libc::ioctl(
                socket.as_fd().as_raw_fd(),
                libc::SIOCSIFFLAGS,
                &raw const request,
            )
            .into(),
        )
    }
}

/// True when this machine runs 32-bit programs of its own processor family. On arm64 that depends on the processor,
/// and asking for the 32-bit personality is how the kernel tells.
#[cfg(target_arch = "aarch64")]
pub(crate) fn runs_32_bit() -> bool {
    const QUERY: libc::c_ulong = 0xffff_ffff;
    const LINUX32: libc::c_ulong = 8;
    // SAFETY: personality takes a number and changes only what uname answers to this thread, which is put back.
    unsafe {
        let before = libc::personality(QUERY);
        let able = libc::personality(LINUX32) != -1;
        libc::personality(before as libc::c_ulong);
        able
    }
}

#[cfg(not(target_arch = "aarch64"))]
pub(crate) fn runs_32_bit() -> bool {
    cfg!(target_arch = "x86_64")
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
