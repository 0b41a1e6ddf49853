//! `select` and `pselect`.

use crate::bitmap::{EPOLLS, INSTANCES, Ones};
use crate::caller_memory::is_array_readable;
use crate::identity;
use crate::raw::{self, POLLIN};
use crate::settle;

/// Larger sets are beyond what libc's own `fd_set` holds; they are settled up to this many words.
const WORDS_MAX: usize = 256;

/// The three sets of a call.
#[derive(Clone, Copy)]
pub struct Sets {
    /// One more than the highest descriptor.
    pub count: i32,
    /// Words of 64 descriptors each, or null.
    pub readable: *mut u64,
    /// The same.
    pub writable: *mut u64,
    /// The same.
    pub exceptional: *mut u64,
}

impl Sets {
    fn words(&self) -> usize {
        (self.count.max(0) as usize).div_ceil(64)
    }

    /// Is any of these descriptors ours, or an epoll that holds one of ours?
    ///
    /// # Safety
    ///
    /// Each set must be null, hold `count` descriptors, or be a bad address.
    #[inline]
    pub unsafe fn concern_us(&self) -> bool {
        let sets = [self.readable, self.writable, self.exceptional];
        INSTANCES.was_used()
            // What cannot be read the kernel refuses.
            && sets.into_iter().all(|set| set.is_null() || is_array_readable(set, self.words()))
            && (0..self.words()).any(|index| {
                let ours = INSTANCES.word(index) | EPOLLS.word(index);
                ours != 0
                    && sets.into_iter().any(|set| {
                        // SAFETY: by this function's contract.
                        !set.is_null() && unsafe { set.wrapping_add(index).read() } & ours != 0
                    })
            })
    }

    /// Runs `wait`, libc's own call, over the sets.
    ///
    /// # Safety
    ///
    /// As for `concern_us`, and the kernel may write the sets.
    pub unsafe fn select(&self, is_immediate: bool, wait: impl FnOnce() -> i32) -> i32 {
        let words = self.words().min(WORDS_MAX);
        let (mut asked, mut hidden) = ([0u64; WORDS_MAX], [0u64; WORDS_MAX]);
        for (index, asked) in asked.iter_mut().enumerate().take(words) {
            // A socket can always be written, inotify never.
            if !self.writable.is_null() {
                // SAFETY: by this function's contract.
                let writable = unsafe { &mut *self.writable.wrapping_add(index) };
                for bit in Ones(*writable & INSTANCES.word(index)) {
                    if identity::instance((index * 64) as i32 + bit).is_some() {
                        *writable &= !(1 << bit);
                        if let Some(hidden) = hidden.get_mut(index) {
                            *hidden |= 1 << bit;
                        }
                    }
                }
            }
            if !self.readable.is_null() {
                // SAFETY: by this function's contract.
                let readable = unsafe { self.readable.wrapping_add(index).read() };
                *asked = readable & (INSTANCES.word(index) | EPOLLS.word(index));
            }
        }
        if is_immediate {
            for_each(&asked, settle_descriptor);
        }
        let mut ready = wait();
        if ready < 0 {
            // Linux leaves the sets as they were.
            for_each(&hidden, |fd| {
                // SAFETY: a bit was hidden only in a set that is not null.
                let word = unsafe { &mut *self.writable.wrapping_add(fd as usize / 64) };
                *word |= 1 << (fd % 64);
            });
        } else if !is_immediate {
            for_each(&asked, |fd| {
                // SAFETY: a descriptor was asked for only from a set that is not null.
                let word = unsafe { &mut *self.readable.wrapping_add(fd as usize / 64) };
                let bit = 1 << (fd % 64);
                if *word & bit == 0 {
                    settle_descriptor(fd);
                    if raw::poll_one(fd, POLLIN, false) & POLLIN != 0 {
                        *word |= bit;
                        ready += 1;
                    }
                }
            });
        }
        ready
    }
}

fn for_each(words: &[u64], mut visit: impl FnMut(i32)) {
    for (index, &word) in words.iter().enumerate() {
        for bit in Ones(word) {
            visit((index * 64) as i32 + bit);
        }
    }
}

fn settle_descriptor(fd: i32) {
    if let Some(instance) = identity::hinted(fd) {
        settle::settle(&instance);
    } else if EPOLLS.contains(fd) {
        settle::settle_all();
    }
}
