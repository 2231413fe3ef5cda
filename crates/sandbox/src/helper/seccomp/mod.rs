//! The syscall filter: which syscalls a command may make, compiled to the kernel's filter program.
//!
//! What is not allowed answers "not permitted"; syscalls newer than the table answer "no such syscall", so that programs
//! fall back to older ones. An emulator's syscalls are those of the host, so the filter is always for the host's
//! processor and its 32-bit mode.

mod allowed;

use std::io;

use allowed::ALLOWED;

use crate::helper::sys;

/// `AUDIT_ARCH_*` of linux/audit.h.
const ARCH_X86_64: u32 = 0xc000_003e;
const ARCH_I386: u32 = 0x4000_0003;
const ARCH_AARCH64: u32 = 0xc000_00b7;
const ARCH_ARM: u32 = 0x4000_0028;

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// The low half of the first argument; both hosts are little endian.
const FIRST_ARGUMENT: u32 = 16;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;

/// Syscalls from here on are unknown to the table. The numbers above 450 are the same on all processors.
const FIRST_UNKNOWN: u32 = 467;
/// arm has a few of its own far above, which the table knows.
const ARM_PRIVATE: u32 = 0x000f_0000;
/// x86-64 calls with this bit are of the x32 interface, which no distribution uses.
const X32_BIT: u32 = 0x4000_0000;

/// Namespace flags of `clone`: new namespaces are not for builds.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Values of `personality` that only select how addresses and system names look.
const PERSONALITIES: [u32; 5] = [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// The kernel's ciphers and the hypervisor: families that Docker's profile closes.
const CLOSED_FAMILIES: [u32; 2] = [38, 40];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// EPERM.
    Deny,
    /// ENOSYS.
    Unknown,
    /// Only when it makes no namespace.
    Clone,
    Personality,
    Socket,
}

/// One interface of the kernel: a processor mode with its own syscall numbers.
#[derive(Clone, Copy)]
struct Interface {
    audit: u32,
    column: usize,
    clone: u32,
    clone3: u32,
    personality: u32,
    socket: u32,
}

const X86_64: Interface = Interface {
    audit: ARCH_X86_64,
    column: 0,
    clone: 56,
    clone3: 435,
    personality: 135,
    socket: 41,
};
const I386: Interface = Interface {
    audit: ARCH_I386,
    column: 1,
    clone: 120,
    clone3: 435,
    personality: 136,
    socket: 359,
};
const AARCH64: Interface = Interface {
    audit: ARCH_AARCH64,
    column: 2,
    clone: 220,
    clone3: 435,
    personality: 92,
    socket: 198,
};
const ARM: Interface = Interface {
    audit: ARCH_ARM,
    column: 3,
    clone: 120,
    clone3: 435,
    personality: 136,
    socket: 281,
};

/// Compiled before the first fork: the child that installs it only makes syscalls.
pub(crate) fn filter() -> io::Result<Vec<sys::FilterInstruction>> {
    let interfaces = match std::env::consts::ARCH {
        "x86_64" => [X86_64, I386],
        "aarch64" => [AARCH64, ARM],
        _ => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "there is no syscall filter for this processor",
            ));
        }
    };
    Ok(compile(&interfaces))
}

fn compile(interfaces: &[Interface]) -> Vec<sys::FilterInstruction> {
    let mut program = vec![load(ARCHITECTURE)];
    for interface in interfaces {
        let mut body = vec![load(NUMBER)];
        search(&mut body, &segments(*interface));
        // A conditional jump reaches 255 instructions, an unconditional one as far as needed.
        program.push(jump(JUMP_EQUAL, interface.audit, 1, 0));
        program.push(sys::FilterInstruction {
            code: JUMP_ALWAYS,
            jt: 0,
            jf: 0,
            k: offset(body.len()),
        });
        program.append(&mut body);
    }
    program.push(verdict_return(Verdict::Deny));
    program
}

/// The number line cut where the verdict changes: first number and verdict of each piece, ascending, starting at 0.
fn segments(interface: Interface) -> Vec<(u32, Verdict)> {
    let mut known: Vec<(u32, Verdict)> = ALLOWED
        .iter()
        .filter_map(|(_, numbers)| u32::try_from(numbers[interface.column]).ok())
        .map(|number| (number, Verdict::Allow))
        .chain([
            (interface.clone, Verdict::Clone),
            (interface.clone3, Verdict::Unknown),
            (interface.personality, Verdict::Personality),
            (interface.socket, Verdict::Socket),
        ])
        .collect();
    known.sort_unstable_by_key(|piece| piece.0);
    known.dedup();

    let otherwise = |number: u32| {
        if number < FIRST_UNKNOWN || (ARM_PRIVATE..X32_BIT).contains(&number) {
            Verdict::Deny
        } else {
            Verdict::Unknown
        }
    };
    let mut pieces: Vec<(u32, Verdict)> = Vec::new();
    let mut add = |number: u32, verdict: Verdict| {
        // Argument checks stay pieces of their own: merging equal neighbours is only sound for plain verdicts.
        if pieces.last().is_none_or(|last| last.1 != verdict) {
            pieces.push((number, verdict));
        }
    };
    let mut next = 0;
    let mut boundaries = vec![FIRST_UNKNOWN, ARM_PRIVATE, X32_BIT];
    boundaries.retain(|boundary| !known.iter().any(|(number, _)| number == boundary));
    let mut points: Vec<(u32, Option<Verdict>)> = known
        .iter()
        .map(|(number, verdict)| (*number, Some(*verdict)))
        .collect();
    points.extend(boundaries.into_iter().map(|number| (number, None)));
    points.sort_unstable_by_key(|point| point.0);
    for (number, verdict) in points {
        if next < number {
            add(next, otherwise(next));
        }
        match verdict {
            Some(verdict) => {
                add(number, verdict);
                next = number + 1;
            }
            None => next = number,
        }
    }
    add(next, otherwise(next));
    pieces
}

/// A binary search over the pieces; the syscall's number is in the accumulator.
fn search(program: &mut Vec<sys::FilterInstruction>, pieces: &[(u32, Verdict)]) {
    let [only] = pieces else {
        let (left, right) = pieces.split_at(pieces.len() / 2);
        let mut below = Vec::new();
        search(&mut below, left);
        program.push(jump(JUMP_AT_LEAST, right[0].0, 0, 1));
        program.push(sys::FilterInstruction {
            code: JUMP_ALWAYS,
            jt: 0,
            jf: 0,
            k: offset(below.len()),
        });
        program.append(&mut below);
        search(program, right);
        return;
    };
    match only.1 {
        plain @ (Verdict::Allow | Verdict::Deny | Verdict::Unknown) => {
            program.push(verdict_return(plain))
        }
        Verdict::Clone => {
            program.push(load(FIRST_ARGUMENT));
            program.push(jump(JUMP_ANY_BIT, NEW_NAMESPACES, 1, 0));
            program.push(verdict_return(Verdict::Allow));
            program.push(verdict_return(Verdict::Deny));
        }
        Verdict::Socket => {
            program.push(load(FIRST_ARGUMENT));
            for family in CLOSED_FAMILIES {
                program.push(jump(JUMP_EQUAL, family, 0, 1));
                program.push(verdict_return(Verdict::Deny));
            }
            program.push(verdict_return(Verdict::Allow));
        }
        Verdict::Personality => {
            program.push(load(FIRST_ARGUMENT));
            for value in PERSONALITIES {
                program.push(jump(JUMP_EQUAL, value, 0, 1));
                program.push(verdict_return(Verdict::Allow));
            }
            program.push(verdict_return(Verdict::Deny));
        }
    }
}

const JUMP_EQUAL: u16 = 0x15;
const JUMP_AT_LEAST: u16 = 0x35;
const JUMP_ANY_BIT: u16 = 0x45;
const JUMP_ALWAYS: u16 = 0x05;
const LOAD_WORD: u16 = 0x20;
const RETURN: u16 = 0x06;

fn load(at: u32) -> sys::FilterInstruction {
    sys::FilterInstruction {
        code: LOAD_WORD,
        jt: 0,
        jf: 0,
        k: at,
    }
}

fn jump(code: u16, value: u32, if_true: u8, if_false: u8) -> sys::FilterInstruction {
    sys::FilterInstruction {
        code,
        jt: if_true,
        jf: if_false,
        k: value,
    }
}

fn verdict_return(verdict: Verdict) -> sys::FilterInstruction {
    let value = match verdict {
        Verdict::Allow => RETURN_ALLOW,
        Verdict::Unknown => RETURN_ERRNO | libc::ENOSYS.unsigned_abs(),
        _ => RETURN_ERRNO | libc::EPERM.unsigned_abs(),
    };
    sys::FilterInstruction {
        code: RETURN,
        jt: 0,
        jf: 0,
        k: value,
    }
}

fn offset(length: usize) -> u32 {
    u32::try_from(length).expect("the filter has a few hundred instructions")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel would.
    fn run(
        program: &[sys::FilterInstruction],
        architecture: u32,
        number: u32,
        argument: u32,
    ) -> u32 {
        let mut accumulator = 0;
        let mut at = 0;
        loop {
            let instruction = &program[at];
            at += 1;
            let taken = match instruction.code {
                LOAD_WORD => {
                    accumulator = match instruction.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        FIRST_ARGUMENT => argument,
                        other => panic!("load from {other}"),
                    };
                    continue;
                }
                RETURN => return instruction.k,
                JUMP_ALWAYS => {
                    at += instruction.k as usize;
                    continue;
                }
                JUMP_EQUAL => accumulator == instruction.k,
                JUMP_AT_LEAST => accumulator >= instruction.k,
                JUMP_ANY_BIT => accumulator & instruction.k != 0,
                other => panic!("instruction {other}"),
            };
            at += usize::from(if taken {
                instruction.jt
            } else {
                instruction.jf
            });
        }
    }

    #[test]
    fn verdicts() {
        const ALLOW: u32 = RETURN_ALLOW;
        const DENY: u32 = RETURN_ERRNO | 1;
        const UNKNOWN: u32 = RETURN_ERRNO | 38;
        let intel = compile(&[X86_64, I386]);
        let arm = compile(&[AARCH64, ARM]);
        type Case<'a> = (&'a str, &'a [sys::FilterInstruction], u32, u32, u32, u32);
        let cases: &[Case<'_>] = &[
            ("read", &intel, ARCH_X86_64, 0, 0, ALLOW),
            ("mount", &intel, ARCH_X86_64, 165, 0, DENY),
            ("umount2", &intel, ARCH_X86_64, 166, 0, DENY),
            ("reboot", &intel, ARCH_X86_64, 169, 0, DENY),
            ("kexec_load", &intel, ARCH_X86_64, 246, 0, DENY),
            ("bpf", &intel, ARCH_X86_64, 321, 0, DENY),
            ("unshare", &intel, ARCH_X86_64, 272, 0, DENY),
            ("setns", &intel, ARCH_X86_64, 308, 0, DENY),
            ("keyctl", &intel, ARCH_X86_64, 250, 0, DENY),
            ("io_uring_setup", &intel, ARCH_X86_64, 425, 0, DENY),
            ("open_by_handle_at", &intel, ARCH_X86_64, 304, 0, DENY),
            ("chroot", &intel, ARCH_X86_64, 161, 0, ALLOW),
            ("ptrace", &intel, ARCH_X86_64, 101, 0, ALLOW),
            (
                "clone of a thread",
                &intel,
                ARCH_X86_64,
                56,
                0x003d_0f00,
                ALLOW,
            ),
            (
                "clone into a user namespace",
                &intel,
                ARCH_X86_64,
                56,
                0x1000_0011,
                DENY,
            ),
            ("clone3", &intel, ARCH_X86_64, 435, 0, UNKNOWN),
            ("socket", &intel, ARCH_X86_64, 41, 2, ALLOW),
            (
                "socket to the hypervisor",
                &intel,
                ARCH_X86_64,
                41,
                40,
                DENY,
            ),
            (
                "socket to the kernel's ciphers",
                &intel,
                ARCH_X86_64,
                41,
                38,
                DENY,
            ),
            (
                "socket for packets of the link",
                &intel,
                ARCH_X86_64,
                41,
                17,
                ALLOW,
            ),
            ("statmount", &intel, ARCH_X86_64, 457, 0, ALLOW),
            ("lsm_get_self_attr", &intel, ARCH_X86_64, 459, 0, DENY),
            ("open_tree_attr", &intel, ARCH_X86_64, 467, 0, UNKNOWN),
            (
                "personality, no randomisation",
                &intel,
                ARCH_X86_64,
                135,
                0x4_0000,
                DENY,
            ),
            (
                "personality query",
                &intel,
                ARCH_X86_64,
                135,
                0xffff_ffff,
                ALLOW,
            ),
            ("fchmodat2", &intel, ARCH_X86_64, 452, 0, ALLOW),
            (
                "a syscall of the future",
                &intel,
                ARCH_X86_64,
                500,
                0,
                UNKNOWN,
            ),
            ("x32 read", &intel, ARCH_X86_64, X32_BIT, 0, UNKNOWN),
            (
                "the highest number",
                &intel,
                ARCH_X86_64,
                u32::MAX,
                0,
                UNKNOWN,
            ),
            ("i386 read", &intel, ARCH_I386, 3, 0, ALLOW),
            ("i386 mount", &intel, ARCH_I386, 21, 0, DENY),
            ("i386 socketcall", &intel, ARCH_I386, 102, 0, ALLOW),
            ("another processor", &intel, ARCH_AARCH64, 63, 0, DENY),
            ("arm64 read", &arm, ARCH_AARCH64, 63, 0, ALLOW),
            ("arm64 mount", &arm, ARCH_AARCH64, 40, 0, DENY),
            (
                "arm64 clone into a namespace",
                &arm,
                ARCH_AARCH64,
                220,
                0x2000_0000,
                DENY,
            ),
            ("arm read", &arm, ARCH_ARM, 3, 0, ALLOW),
            ("arm set_tls", &arm, ARCH_ARM, 0x000f_0005, 0, ALLOW),
            ("arm private, unknown", &arm, ARCH_ARM, 0x000f_0009, 0, DENY),
        ];
        for (name, program, architecture, number, argument, expected) in cases {
            assert_eq!(
                run(program, *architecture, *number, *argument),
                *expected,
                "{name}"
            );
        }
    }

    #[test]
    fn compiled_program_agrees_with_the_table() {
        for interface in [X86_64, I386, AARCH64, ARM] {
            let program = compile(&[interface]);
            assert!(program.len() < 4096, "the kernel takes no longer filters");
            for number in (0..600).chain(0x000f_0000..0x000f_0010) {
                let listed = ALLOWED
                    .iter()
                    .any(|row| u32::try_from(row.1[interface.column]) == Ok(number));
                let special =
                    [interface.clone, interface.socket, interface.personality].contains(&number);
                let allowed = run(&program, interface.audit, number, 0) == RETURN_ALLOW;
                assert_eq!(
                    allowed,
                    listed || special,
                    "number {number} in column {}",
                    interface.column
                );
            }
        }
    }

    /// The table against the numbers this machine was compiled with.
    #[test]
    fn numbers_are_the_kernels() {
        let column = if cfg!(target_arch = "aarch64") { 2 } else { 0 };
        for (name, number) in [
            ("accept4", libc::SYS_accept4),
            ("execve", libc::SYS_execve),
            ("fchmodat", libc::SYS_fchmodat),
            ("futex", libc::SYS_futex),
            ("getrandom", libc::SYS_getrandom),
            ("mmap", libc::SYS_mmap),
            ("newfstatat", libc::SYS_newfstatat),
            ("openat2", libc::SYS_openat2),
            ("statx", libc::SYS_statx),
            ("prlimit64", libc::SYS_prlimit64),
            ("rt_sigreturn", libc::SYS_rt_sigreturn),
            ("wait4", libc::SYS_wait4),
            ("copy_file_range", libc::SYS_copy_file_range),
            ("epoll_pwait", libc::SYS_epoll_pwait),
        ] {
            let row = ALLOWED.iter().find(|row| row.0 == name).expect(name);
            assert_eq!(i64::from(row.1[column]), number, "{name}");
        }
        assert!(ALLOWED.is_sorted_by(|one, other| one.0 < other.0));
    }
}
