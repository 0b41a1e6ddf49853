//! The filter in front of the program: how it comes there, and what is said about it.

use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::Pid;
use uinotify_host::{filters, hand_over};
use uinotify_intercept::{Filter, InstallError, install, is_possible_unprivileged};

use crate::interpose::{Interpose, Way};
use crate::nested;

/// A filter that is about to be put in front of the program.
pub(super) struct Guard {
    filter: Filter,
    /// The emulator's end is away.
    for_program: OwnedFd,
    insists: bool,
    /// The emulator, which reads what a call points to.
    reader: Option<Pid>,
}

/// What has become of it, as the process that becomes the program tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Guarded {
    /// Calls come to the emulator.
    Yes = 1,
    /// They do, and executed programs gain no rights any more.
    GivingUpRights,
    /// The calls come to the emulator around this one, which passes them on.
    ByOuter,
    /// Another supervisor has the one place that there is.
    Supervised,
    /// There is none, as a program would change by it, or the kernel has none.
    No,
}

impl Guarded {
    /// The one with this number.
    pub(super) fn of(number: i32) -> Self {
        let states = [Self::Yes, Self::GivingUpRights, Self::ByOuter, Self::Supervised];
        states.into_iter().find(|state| i32::from(*state as u8) == number).unwrap_or(Self::No)
    }
}

/// Whether a filter is to be had for the asking. With `None` there is none to be had, or none to be asked for.
pub(super) fn is_wanted(interpose: Interpose) -> bool {
    match interpose.way {
        Way::Preload => false,
        Way::Seccomp | Way::Both => true,
        // A checkpointer knows no filter that somebody listens to.
        Way::Auto => {
            std::env::var_os("UINOTIFY_SETTLE").is_none_or(|way| way != "request") && is_possible_unprivileged()
        }
    }
}

impl Guard {
    /// The filter, and the end for the emulator over which it gets it.
    pub(super) fn prepare(interpose: Interpose) -> std::io::Result<(Self, OwnedFd)> {
        let (for_emulator, for_program) = filters()?;
        let guard = Self {
            filter: Filter::new(interpose.stops_reads),
            for_program,
            insists: interpose.insists(),
            reader: None,
        };
        Ok((guard, for_emulator))
    }

    /// With the emulator, now that it has started.
    pub(super) fn with_reader(self, reader: Pid) -> Self {
        Self { reader: Some(reader), ..self }
    }

    /// In the process that is about to execute the program.
    ///
    /// # Errors
    ///
    /// There is none, although there has to be one, or there is one that nobody listens to.
    pub(super) fn enter(&self) -> Result<Guarded, String> {
        if let Some(reader) = self.reader {
            // Where Yama lets only ancestors look into a process, this one names another; elsewhere it is an error without consequences.
            // SAFETY: takes numbers.
            unsafe { libc::prctl(libc::PR_SET_PTRACER, reader.as_raw(), 0, 0, 0) };
        }
        match install(&self.filter, self.insists) {
            Ok(installed) => {
                hand_over(self.for_program.as_fd(), installed.listener.as_fd(), self.filter.stops_reads())
                    .map_err(|error| format!("the emulator cannot answer system calls: {error}"))?;
                Ok(if installed.gave_up_privileges { Guarded::GivingUpRights } else { Guarded::Yes })
            }
            Err(InstallError::Supervised) if nested::is_intercepted() => Ok(Guarded::ByOuter),
            Err(error) if self.insists || error == InstallError::Unusable => {
                Err(format!("the program's system calls cannot be stopped: {error}"))
            }
            Err(InstallError::Supervised) => Ok(Guarded::Supervised),
            Err(_) => Ok(Guarded::No),
        }
    }
}
