//! Operations at random, drained now and then.

use anyhow::{Result, ensure};
use uinotify_core::Mask;

use crate::actor::{Act, SLOTS};
use crate::both::ensure_equal;
use crate::class;
use crate::lists::prepare;
use crate::scene::Scene;

const NAMES: [&str; 12] = ["a", "b", "f", "p", "d", "e", "d/a", "d/b", "d/s", "d/s/a", "e/a", "e/b"];

/// xorshift64*
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    fn name(&mut self) -> String {
        NAMES[self.below(NAMES.len())].to_owned()
    }

    fn act(&mut self, alone: bool) -> Act {
        let flags = [libc::O_RDONLY, libc::O_RDWR, libc::O_RDWR | libc::O_CREAT, libc::O_WRONLY | libc::O_TRUNC];
        let slot = self.below(SLOTS);
        match self.below(26) {
            0..3 => Act::Touch(self.name(), flags[self.below(flags.len())]),
            3 | 4 => Act::Open(slot, self.name(), flags[self.below(flags.len())]),
            5 | 6 => Act::Close(slot),
            7 => Act::WriteOpen(slot),
            8 => Act::ReadOpen(slot),
            9 => Act::Mkdir(self.name()),
            10 => Act::Rmdir(self.name()),
            11 => Act::List(self.name()),
            12 | 13 => Act::Unlink(self.name()),
            14..18 => Act::Rename(self.name(), self.name()),
            18 => Act::Exchange(self.name(), self.name()),
            19 => Act::Link(self.name(), self.name()),
            20 => Act::Symlink("x".into(), self.name()),
            // Before anybody asks what it is it may be gone.
            21 if alone => Act::Mkfifo(self.name()),
            22 | 23 => Act::Mode(self.name(), 0o700),
            24 => {
                let name = self.name();
                // One time of a FIFO's looks like what is read from it or written to it.
                let kind = std::fs::symlink_metadata(&name).map(|metadata| metadata.file_type());
                let is_plain = kind.is_ok_and(|kind| kind.is_file() || kind.is_dir());
                Act::Times(name, !is_plain || !alone || self.below(2) == 0, true)
            }
            _ => Act::Truncate(self.name()),
        }
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// `together`: so many operations at most between two drains. With one the order is the kernel's too.
pub(crate) fn lists(scene: &Scene, together: usize) -> Result<()> {
    let (seed, steps) = (number("UINOTIFY_SEED", 1), number("UINOTIFY_STEPS", 600) as usize);
    let mut random = Random::new(seed + together as u64);
    let (mut actor, mut both) = prepare(scene, libc::IN_ALL_EVENTS)?;
    both.watch("p", "p", libc::IN_ALL_EVENTS)?;
    let mut done = 0;
    let mut history: Vec<String> = Vec::new();
    while done < steps {
        let acts: Vec<_> = (0..=random.below(together)).map(|_| random.act(together == 1)).collect();
        done += acts.len();
        let errnos = actor.act(&acts)?;
        let told = both.take()?;
        history.push(format!("{acts:?} {errnos:?}"));
        let latest = history[history.len().saturating_sub(12)..].join("\n");
        let what = format!("seed {seed}, step {done}:\n{latest}");
        if together == 1 {
            ensure_equal(&what, &told)?;
        } else {
            class::ensure_same(&what, &told)?;
        }
        let ended = told.kernel.iter().any(|event| event.mask & Mask::IN_IGNORED.bits() != 0);
        if ended || random.below(20) == 0 {
            let name = random.name();
            if std::fs::symlink_metadata(&name).is_ok() {
                both.watch(&name, &format!("{name}@{done}"), libc::IN_ALL_EVENTS)?;
                history.push(format!("watch {name}"));
            }
        }
    }
    let (watched, known, _) = both.source.volumes().size();
    ensure!(known < watched + 1100, "{watched} objects are watched, {known} known");
    Ok(())
}
