//! A call that was stopped, by its meaning.

use uinotify_wire::PASS_MARK;

use crate::architecture::{Architecture, X32_BIT};

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `inotify_init` and `inotify_init1`.
    Init {
        /// Its flags; none for the older call.
        flags: i32,
    },
    /// `inotify_add_watch`.
    AddWatch {
        /// The instance.
        fd: i32,
        /// Address of the path.
        path: u64,
        /// What to watch for.
        mask: u32,
    },
    /// `inotify_rm_watch`.
    RemoveWatch {
        /// The instance.
        fd: i32,
        /// The watch.
        wd: i32,
    },
    /// `ioctl`.
    Control {
        /// Of whatever kind.
        fd: i32,
        /// The request.
        command: u32,
        /// A number or an address.
        argument: u64,
    },
    /// `read`.
    Read {
        /// Of whatever kind.
        fd: i32,
        /// Address of the buffer.
        buffer: u64,
        /// Its length.
        count: u64,
    },
}

impl Call {
    /// Reads what the kernel tells of a call. `None` for one that the filter does not stop.
    #[must_use]
    pub fn new(data: &libc::seccomp_data) -> Option<Self> {
        let architecture = Architecture::of(data.arch)?;
        let number = data.nr.cast_unsigned();
        let number = if architecture.has_x32 { number & !X32_BIT } else { number };
        // The kernel takes as much of an argument as the call's parameter is long.
        let word = |index: usize| (data.args[index] & u64::from(u32::MAX)) as u32;
        let fd = word(0).cast_signed();
        Some(match number {
            number if Some(number) == architecture.inotify_init => Self::Init { flags: 0 },
            number if number == architecture.inotify_init1 => Self::Init { flags: fd },
            number if number == architecture.inotify_add_watch => {
                Self::AddWatch { fd, path: data.args[1], mask: word(2) }
            }
            number if number == architecture.inotify_rm_watch => Self::RemoveWatch { fd, wd: word(1).cast_signed() },
            number if architecture.ioctl.contains(&number) && data.args[1] >> 32 != u64::from(PASS_MARK) => {
                Self::Control { fd, command: word(1), argument: data.args[2] }
            }
            number if number == architecture.read => Self::Read { fd, buffer: data.args[1], count: data.args[2] },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(arch: u32, nr: i32, args: [u64; 3]) -> libc::seccomp_data {
        let [a, b, c] = args;
        libc::seccomp_data { nr, arch, instruction_pointer: 0, args: [a, b, c, 0, 0, 0] }
    }

    #[test]
    fn a_call_means_the_same_through_each_interface() {
        for (arch, numbers) in [
            (0xc000_003e, [253, 294, 254, 255, 16, 0]),
            (0xc000_003e, [253, 294, 254, 255, 514, 0].map(|number| number | 0x4000_0000)),
            (0x4000_0003, [291, 332, 292, 293, 54, 3]),
            (0xc000_00b7, [-1, 26, 27, 28, 29, 63]),
            (0x4000_0028, [316, 360, 317, 318, 54, 3]),
        ] {
            let [init, init1, add, remove, control, read] = numbers;
            let call = |nr, args| Call::new(&data(arch, nr, args));
            if init >= 0 {
                assert_eq!(call(init, [7, 0, 0]), Some(Call::Init { flags: 0 }));
            }
            assert_eq!(call(init1, [0x800, 0, 0]), Some(Call::Init { flags: 0x800 }));
            assert_eq!(call(add, [3, 0x1000, 2]), Some(Call::AddWatch { fd: 3, path: 0x1000, mask: 2 }));
            assert_eq!(call(remove, [3, 0xffff_ffff, 0]), Some(Call::RemoveWatch { fd: 3, wd: -1 }));
            let control_args = [1 << 40 | 3, 0x1_0000_541b, 0x2000];
            let expected = Call::Control { fd: 3, command: 0x541b, argument: 0x2000 };
            assert_eq!(call(control, control_args), Some(expected));
            assert_eq!(call(read, [3, 0x2000, 8]), Some(Call::Read { fd: 3, buffer: 0x2000, count: 8 }));
            assert_eq!(call(9999, [0; 3]), None);
        }
        assert_eq!(Call::new(&data(1, 254, [0; 3])), None, "an unknown interface");
    }
}
