//! How faults are written: `add_watch:ENOSPC:when=3`, as strace(1) has it for its `inject`.

use std::fmt;
use std::str::FromStr;

use nix::errno::Errno;
use uinotify_core::Delay;
use uinotify_core::schedule::{Choice, MILLION};

use super::FaultPlan;

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `inotify_init` and `inotify_init1`
    Init,
    /// `inotify_add_watch`, once the path has led to something
    AddWatch,
    /// `inotify_rm_watch`
    RemoveWatch,
    /// `read` and its kin
    Read,
    /// `ioctl(INOTIFY_IOC_SETNEXTWD)`
    SetNextWd,
}

impl Call {
    /// All, in the order of a program's life.
    pub const ALL: [Self; 5] = [Self::Init, Self::AddWatch, Self::RemoveWatch, Self::Read, Self::SetNextWd];

    /// As rules and descriptions write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::AddWatch => "add_watch",
            Self::RemoveWatch => "rm_watch",
            Self::Read => "read",
            Self::SetNextWd => "setnextwd",
        }
    }
}

/// What can happen to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFault {
    /// It meets a queue that is as good as full.
    Overflow,
    /// It is lost: with an overflow, or without one where lies are allowed.
    Drop,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A call, and the errno with which it fails.
    Call(Call, Errno),
    /// Events on their way into a queue.
    Queue(QueueFault),
}

/// One fault, and when it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRule {
    /// What fails.
    pub target: Target,
    /// Which of its occurrences.
    pub choice: Choice,
    /// For `add_watch`: only those of this path, as the program writes it.
    pub path: Option<Vec<u8>>,
}

impl FaultRule {
    pub(super) fn is_of(&self, path: &[u8]) -> bool {
        self.path.as_deref().is_none_or(|own| own == path)
    }
}

/// Why a text is no rule: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotARule(String);

impl fmt::Display for NotARule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotARule {}

/// The largest errno that Linux gives to programs is below this.
const ERRNOS: std::ops::Range<i32> = 1..134;

fn errno(name: &str) -> Result<Errno, NotARule> {
    let found = ERRNOS.map(Errno::from_raw).find(|errno| format!("{errno:?}") == name);
    match name {
        "EWOULDBLOCK" => Ok(Errno::EAGAIN),
        "UnknownErrno" => Err(()),
        _ => found.ok_or(()),
    }
    .map_err(|()| NotARule(format!("{name:?} is no errno of Linux, such as ENOSPC")))
}

fn number(text: &str, of: &str) -> Result<u64, NotARule> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| NotARule(format!("{text:?} is no number, in {of}")))
}

/// `N`, `N+`, `N+STEP`, `N..LAST`, `N..LAST+STEP`: as strace(1).
fn when(text: &str) -> Result<Choice, NotARule> {
    let of = format!("when={text}");
    let (range, step) = match text.split_once('+') {
        None => (text, None),
        Some((range, "")) => (range, Some(1)),
        Some((range, step)) => (range, Some(number(step, &of)?)),
    };
    let (first, last) = match range.split_once("..") {
        None => (number(range, &of)?, None),
        Some((first, last)) => (number(first, &of)?, Some(number(last, &of)?)),
    };
    if first == 0 || step == Some(0) || last.is_some_and(|last| last < first) {
        return Err(NotARule(format!("{of} means nothing: the first is 1, and so is the smallest step")));
    }
    let step = step.unwrap_or(u64::from(last.is_some()));
    Ok(Choice { first, last, step, ..Choice::ALL })
}

/// `0.1` or `10%`.
fn chance(text: &str) -> Result<u32, NotARule> {
    let (digits, unit) = text.strip_suffix('%').map_or((text, 1.0), |digits| (digits, 100.0));
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let parsed: Option<f64> = digits.parse().ok().filter(|_| plain);
    let chance = parsed.map(|chance| chance / unit).filter(|chance| (0.0..=1.0).contains(chance));
    let chance = chance.ok_or_else(|| NotARule(format!("probability={text} is none from 0 to 1, or to 100%")))?;
    // Within 0 and a million.
    Ok((chance * f64::from(MILLION)).round() as u32)
}

impl FromStr for FaultRule {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<Self, NotARule> {
        // A path may hold colons: it stands last.
        let (rest, path) = match text.split_once(":path=") {
            Some((rest, path)) => (rest, Some(path.as_bytes().to_vec())),
            None => (text, None),
        };
        let mut parts = rest.split(':');
        let of = parts.next().unwrap_or_default();
        let kind = parts.next().ok_or_else(|| {
            NotARule(format!("{text:?} is no fault: one is WHAT:HOW[:WHEN], such as add_watch:ENOSPC:when=3"))
        })?;
        let target = if of == "queue" {
            Target::Queue(match kind {
                "overflow" => QueueFault::Overflow,
                "drop" => QueueFault::Drop,
                _ => return Err(NotARule(format!("a queue has no fault {kind:?}; there are overflow and drop"))),
            })
        } else {
            let call = Call::ALL.into_iter().find(|call| call.name() == of).ok_or_else(|| {
                let known: Vec<_> = Call::ALL.iter().map(|call| call.name()).collect();
                NotARule(format!("{of:?} is nothing that fails; there are {} and queue", known.join(", ")))
            })?;
            Target::Call(call, errno(kind)?)
        };
        let mut choice = Choice::ALL;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let before = choice;
            match name {
                "when" => choice = Choice { chance: before.chance, ..when(value)? },
                "after" => {
                    let first = number(value, part)?.saturating_add(1);
                    choice = Choice { chance: before.chance, ..Choice::only(first) };
                }
                "probability" => choice.chance = chance(value)?,
                _ => {
                    let known = "when=N, when=N+, when=N+STEP, when=N..M, after=N, probability=P and path=PATH";
                    return Err(NotARule(format!("{part:?} says nothing about a fault; there are {known}")));
                }
            }
        }
        if path.is_some() && !matches!(target, Target::Call(Call::AddWatch, _)) {
            return Err(NotARule("path= is for add_watch alone".to_owned()));
        }
        Ok(Self { target, choice, path })
    }
}

impl fmt::Display for FaultRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.target {
            Target::Call(call, errno) => write!(formatter, "{}:{errno:?}", call.name())?,
            Target::Queue(QueueFault::Overflow) => formatter.write_str("queue:overflow")?,
            Target::Queue(QueueFault::Drop) => formatter.write_str("queue:drop")?,
        }
        let Choice { first, last, step, chance } = self.choice;
        match (first, last, step) {
            (1, None, 1) => {}
            (first, None, 0) => write!(formatter, ":when={first}")?,
            (first, None, 1) => write!(formatter, ":when={first}+")?,
            (first, None, step) => write!(formatter, ":when={first}+{step}")?,
            (first, Some(last), 0 | 1) => write!(formatter, ":when={first}..{last}")?,
            (first, Some(last), step) => write!(formatter, ":when={first}..{last}+{step}")?,
        }
        if chance < MILLION {
            write!(formatter, ":probability={}", f64::from(chance) / f64::from(MILLION))?;
        }
        match &self.path {
            Some(path) => write!(formatter, ":path={}", String::from_utf8_lossy(path)),
            None => Ok(()),
        }
    }
}

/// `events=N`, `time=50ms`, `barrier`, or `none`: how long events are held back.
///
/// # Errors
///
/// If it is none of these.
pub fn parse_delay(text: &str) -> Result<Delay, NotARule> {
    let wrong = || {
        let known = "events=N, time=N with us, ms or s behind it, barrier and none";
        NotARule(format!("{text:?} is no delay; there are {known}"))
    };
    match text.split_once('=') {
        None if text == "barrier" => Ok(Delay::Release),
        None if text == "none" => Ok(Delay::None),
        Some(("events", count)) => {
            let count = u32::try_from(number(count, text)?).map_err(|_| wrong())?;
            Ok(if count == 0 { Delay::None } else { Delay::Events(count) })
        }
        Some(("time", length)) => {
            let digits = length.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
            let unit: u64 = match &length[digits.len()..] {
                "us" => 1,
                "ms" => 1000,
                "s" => 1_000_000,
                _ => return Err(wrong()),
            };
            let length = number(digits, text)?.checked_mul(unit).ok_or_else(wrong)?;
            Ok(if length == 0 { Delay::None } else { Delay::Time(length) })
        }
        _ => Err(wrong()),
    }
}

/// Adds what a file says: a rule a line, `delay=...`, `seed=N` or `lie`; `#` begins a comment.
///
/// # Errors
///
/// The first line that is none of these, with its number.
pub fn parse_plan(text: &str, plan: &mut FaultPlan) -> Result<(), NotARule> {
    for (index, line) in text.lines().enumerate() {
        let line = if line.starts_with('#') { "" } else { line.split(" #").next().unwrap_or_default().trim() };
        let at = |problem: NotARule| NotARule(format!("line {}: {problem}", index + 1));
        match line.split_once('=') {
            _ if line.is_empty() => {}
            _ if line == "lie" => plan.may_lie = true,
            Some(("delay", delay)) => plan.delay = parse_delay(delay).map_err(at)?,
            Some(("seed", seed)) => plan.seed = number(seed, line).map_err(at)?,
            _ => plan.rules.push(line.parse().map_err(at)?),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> FaultRule {
        text.parse().unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    #[test]
    fn rules_are_written_as_straces() {
        let all = Choice::ALL;
        for (text, choice) in [
            ("add_watch:ENOSPC", all),
            ("add_watch:ENOSPC:when=3", Choice::only(3)),
            ("add_watch:ENOSPC:when=3+", Choice { first: 3, ..all }),
            ("add_watch:ENOSPC:when=3+2", Choice { first: 3, step: 2, ..all }),
            ("add_watch:ENOSPC:when=3..9", Choice { first: 3, last: Some(9), ..all }),
            ("add_watch:ENOSPC:when=3..9+2", Choice { first: 3, last: Some(9), step: 2, ..all }),
            ("add_watch:ENOSPC:probability=0.25", Choice { chance: 250_000, ..all }),
            ("add_watch:ENOSPC:when=2:probability=0.5", Choice { chance: 500_000, ..Choice::only(2) }),
        ] {
            let expected = FaultRule { target: Target::Call(Call::AddWatch, Errno::ENOSPC), choice, path: None };
            assert_eq!(rule(text), expected, "{text}");
            assert_eq!(expected.to_string(), text);
        }
        assert_eq!(rule("init:EMFILE").target, Target::Call(Call::Init, Errno::EMFILE));
        assert_eq!(rule("rm_watch:EINVAL").target, Target::Call(Call::RemoveWatch, Errno::EINVAL));
        assert_eq!(rule("read:EWOULDBLOCK").target, Target::Call(Call::Read, Errno::EAGAIN));
        let overflow = FaultRule { target: Target::Queue(QueueFault::Overflow), choice: Choice::only(11), path: None };
        assert_eq!(rule("queue:overflow:after=10"), overflow);
        assert_eq!(rule("queue:drop:probability=5%").choice.chance, 50_000);
        assert_eq!(rule("add_watch:EACCES:path=/a:b:when=3").path.as_deref(), Some(&b"/a:b:when=3"[..]));
    }

    #[test]
    fn what_is_no_rule_is_told_apart() {
        for (text, part) in [
            ("", "WHAT:HOW"),
            ("add_watch", "WHAT:HOW"),
            ("open:ENOENT", "\"open\""),
            ("add_watch:ENOTHING", "\"ENOTHING\""),
            ("add_watch:UnknownErrno", "\"UnknownErrno\""),
            ("add_watch:enospc", "\"enospc\""),
            ("queue:full", "\"full\""),
            ("read:EIO:when=0", "when=0"),
            ("read:EIO:when=", "when="),
            ("read:EIO:when=3+0", "when=3+0"),
            ("read:EIO:when=3..2", "when=3..2"),
            ("read:EIO:when=+1", "when=+1"),
            ("read:EIO:after=-1", "after=-1"),
            ("read:EIO:probability=2", "probability=2"),
            ("read:EIO:probability=-0.1", "probability=-0.1"),
            ("read:EIO:probability=nan", "probability=nan"),
            ("read:EIO:sometimes", "\"sometimes\""),
            ("read:EIO:path=/a", "path="),
        ] {
            let problem = text.parse::<FaultRule>().expect_err(text).to_string();
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn delays_have_units() {
        for (text, delay) in [
            ("events=3", Delay::Events(3)),
            ("events=0", Delay::None),
            ("time=50ms", Delay::Time(50_000)),
            ("time=7us", Delay::Time(7)),
            ("time=2s", Delay::Time(2_000_000)),
            ("barrier", Delay::Release),
            ("none", Delay::None),
        ] {
            assert_eq!(parse_delay(text), Ok(delay), "{text}");
        }
        for text in ["", "3", "time=3", "time=ms", "time=3h", "events=x", "events=", "time=99999999999999999999s"] {
            assert!(parse_delay(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_holds_rules_and_settings() {
        let mut plan = FaultPlan::default();
        let text = "# a watcher under load\nadd_watch:ENOSPC:when=3 # the third\n\n  queue:drop\ndelay=events=2\nseed=7\nlie\n";
        parse_plan(text, &mut plan).expect("a plan");
        let expected = FaultPlan {
            rules: vec![rule("add_watch:ENOSPC:when=3"), rule("queue:drop")],
            delay: Delay::Events(2),
            seed: 7,
            may_lie: true,
        };
        assert_eq!(plan, expected);
        let problem = parse_plan("\n\nnonsense\n", &mut plan).expect_err("no rule").to_string();
        assert!(problem.starts_with("line 3: "), "{problem}");
    }
}
