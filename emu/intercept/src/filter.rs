//! The filter: which calls stop.

use libc::sock_filter;
use uinotify_wire::{EVENT_BYTES_MAX, FIONREAD, IOC_GETNEXTWD, IOC_SETNEXTWD, PASS_MARK};

use crate::architecture::{ARCHITECTURES, Architecture, X32_BIT};

/// A program of classic BPF, as seccomp(2) takes it.
#[derive(Clone, Debug)]
pub struct Filter {
    program: Vec<sock_filter>,
    stops_reads: bool,
}

/// Offsets in `struct seccomp_data`; the low half of a word stands first on all machines that are meant.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const fn low(argument: u32) -> u32 {
    16 + argument * 8
}
const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

const PASS: sock_filter = sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW };
const STOP: sock_filter = sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_USER_NOTIF };

impl Filter {
    /// The calls about inotify, and those ioctls that instances answer, judged by their request. With `stops_reads` also each read into
    /// less room than the largest event takes.
    #[must_use]
    pub fn new(stops_reads: bool) -> Self {
        let mut program = vec![statement(LOAD, ARCHITECTURE)];
        for architecture in &ARCHITECTURES {
            let part = of(architecture, stops_reads);
            // Parts are shorter than a jump can be long, which the test of all calls would show otherwise.
            program.push(jump(EQUAL, architecture.audit, 0, part.len() as u8));
            program.extend(part);
        }
        program.push(PASS);
        Self { program, stops_reads }
    }

    /// The instructions.
    pub(crate) fn instructions(&self) -> &[sock_filter] {
        &self.program
    }

    /// Whether reads into little room stop.
    #[must_use]
    pub fn stops_reads(&self) -> bool {
        self.stops_reads
    }
}

/// The part for one interface. It returns whatever the call is.
fn of(architecture: &Architecture, stops_reads: bool) -> Vec<sock_filter> {
    let mut part = vec![statement(LOAD, NUMBER)];
    if architecture.has_x32 {
        part.push(statement(AND, !X32_BIT));
    }
    // What is called most often comes first, and ends soonest.
    if stops_reads {
        part.extend([
            jump(EQUAL, architecture.read, 0, 6),
            statement(LOAD, high(2)),
            jump(EQUAL, 0, 0, 2),
            statement(LOAD, low(2)),
            jump(AT_LEAST, EVENT_BYTES_MAX as u32, 0, 1),
            PASS,
            STOP,
        ]);
    }
    for number in architecture.ioctl {
        part.extend([
            jump(EQUAL, *number, 0, 8),
            statement(LOAD, high(1)),
            jump(EQUAL, PASS_MARK, 4, 0),
            statement(LOAD, low(1)),
            jump(EQUAL, FIONREAD, 3, 0),
            jump(EQUAL, IOC_SETNEXTWD, 2, 0),
            jump(EQUAL, IOC_GETNEXTWD, 1, 0),
            PASS,
            STOP,
        ]);
    }
    let whole = [architecture.inotify_init1, architecture.inotify_add_watch, architecture.inotify_rm_watch];
    for number in architecture.inotify_init.into_iter().chain(whole) {
        part.extend([jump(EQUAL, number, 0, 1), STOP]);
    }
    part.push(PASS);
    part
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Call;

    /// What the kernel makes of the program: a machine for the instructions that it has.
    fn stops(filter: &Filter, data: &libc::seccomp_data) -> bool {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&data.nr.to_le_bytes());
        bytes.extend_from_slice(&data.arch.to_le_bytes());
        bytes.extend_from_slice(&data.instruction_pointer.to_le_bytes());
        data.args.iter().for_each(|argument| bytes.extend_from_slice(&argument.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter.instructions()[at];
            at += 1;
            let taken = match code {
                LOAD => {
                    let start = k as usize;
                    accumulator = u32::from_le_bytes(bytes[start..start + 4].try_into().expect("four bytes"));
                    continue;
                }
                AND => {
                    accumulator &= k;
                    continue;
                }
                RETURN => return k == libc::SECCOMP_RET_USER_NOTIF,
                EQUAL => accumulator == k,
                AT_LEAST => accumulator >= k,
                code => panic!("an instruction of code {code:#x}"),
            };
            at += usize::from(if taken { jt } else { jf });
        }
    }

    #[test]
    fn it_stops_what_a_call_is_read_from_and_nothing_else() {
        let commands = [0, 0x541b, 0x5421, 0x4004_4900, 0x8004_4980, 0x5401];
        let counts = [0, 1, 271, 272, 4096, 1 << 32];
        let marks = [0, 1, u64::from(PASS_MARK)];
        for stops_reads in [false, true] {
            let filter = Filter::new(stops_reads);
            for arch in [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x4000_0028, 7] {
                for nr in (0..600).flat_map(|number| [number, number | 0x4000_0000]) {
                    for (command, count) in commands.into_iter().zip(counts) {
                        for mark in marks {
                            let args = [3, mark << 32 | command, count, 0, 0, 0];
                            let data = libc::seccomp_data { nr, arch, instruction_pointer: 0, args };
                            let is_meant = match Call::new(&data) {
                                None => false,
                                Some(Call::Read { count, .. }) => stops_reads && count < 272,
                                Some(Call::Control { command, .. }) => {
                                    matches!(command, FIONREAD | IOC_SETNEXTWD | IOC_GETNEXTWD)
                                }
                                Some(_) => true,
                            };
                            assert_eq!(stops(&filter, &data), is_meant, "{nr} of {arch:#x} with {args:x?}");
                        }
                    }
                }
            }
        }
    }
}
