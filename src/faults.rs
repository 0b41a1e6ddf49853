//! Faults on the command line: those with which an emulator starts, and `uinotify fault` for one that is running.

use std::path::PathBuf;

use clap::Args;
use uinotify_host::control::Command;
use uinotify_host::fault::{FaultPlan, FaultRule, parse_delay, parse_plan};

use crate::number;
use crate::reach;

/// The faults of an emulator.
#[derive(Args, Debug)]
pub struct PlanArguments {
    /// A call that fails, such as add_watch:ENOSPC:when=3, or a lost event, such as queue:overflow:after=10. May be given
    /// several times (docs/testbed.md)
    #[arg(long, value_name = "WHAT:HOW[:WHEN]", value_parser = rule)]
    fault: Vec<FaultRule>,

    /// Take faults from a file, one a line
    #[arg(long, value_name = "FILE", value_parser = plan_file)]
    fault_file: Vec<FaultPlan>,

    /// Hold events back: events=N until N more have come, time=50ms, or barrier until `uinotify barrier`
    #[arg(long, value_name = "DELAY", value_parser = delay)]
    delay: Option<Delay>,

    /// Lose events, with the overflow that Linux would show: when=N, probability=P and so on, as behind queue:drop
    #[arg(long, value_name = "WHEN", value_parser = drop_rule)]
    drop: Vec<FaultRule>,

    /// Lose what is dropped without an overflow, as no kernel does
    #[arg(long)]
    lie: bool,

    /// Of everything that is left to chance: the same seed, the same faults
    #[arg(long, value_name = "N", value_parser = number::count)]
    seed: Option<u64>,
}

/// How long events are held back.
#[derive(Clone, Copy, Debug)]
struct Delay(uinotify_host::fault::Delay);

fn rule(text: &str) -> Result<FaultRule, String> {
    text.parse().map_err(|problem: uinotify_host::fault::NotARule| problem.to_string())
}

fn drop_rule(text: &str) -> Result<FaultRule, String> {
    rule(&format!("queue:drop:{text}"))
}

fn delay(text: &str) -> Result<Delay, String> {
    parse_delay(text).map(Delay).map_err(|problem| problem.to_string())
}

fn plan_file(path: &str) -> Result<FaultPlan, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut plan = FaultPlan::default();
    parse_plan(&text, &mut plan).map_err(|problem| problem.to_string())?;
    Ok(plan)
}

impl From<PlanArguments> for FaultPlan {
    fn from(arguments: PlanArguments) -> Self {
        let mut plan = Self::default();
        for file in arguments.fault_file {
            let Self { rules, delay, seed, may_lie } = file;
            plan.rules.extend(rules);
            plan.may_lie |= may_lie;
            if delay != uinotify_host::fault::Delay::None {
                plan.delay = delay;
            }
            if seed != 0 {
                plan.seed = seed;
            }
        }
        plan.rules.extend(arguments.fault);
        plan.rules.extend(arguments.drop);
        plan.may_lie |= arguments.lie;
        if let Some(Delay(delay)) = arguments.delay {
            plan.delay = delay;
        }
        plan.seed = arguments.seed.unwrap_or(plan.seed);
        plan
    }
}

/// What `uinotify fault` is told.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    /// Calls that fail and events that are lost from now on, as for --fault of `run`
    #[arg(value_name = "WHAT:HOW[:WHEN]", value_parser = rule)]
    rules: Vec<FaultRule>,

    /// Hold events back from now on; none ends that
    #[arg(long, value_name = "DELAY", value_parser = delay_text)]
    delay: Option<String>,

    /// First end all faults and delays that there are
    #[arg(long)]
    clear: bool,

    /// Ask only the emulator at this path
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn delay_text(text: &str) -> Result<String, String> {
    delay(text).map(|_| text.to_owned())
}

/// Changes the faults of the emulator at a socket, of that of `UINOTIFY_SOCKET`, or of the only one of this user.
///
/// # Errors
/// There is no emulator, or there are several.
pub fn fault(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { rules, delay, clear, socket } = arguments;
    let clear = clear.then_some(Command::ClearFaults {});
    let rules = rules.iter().map(|rule| Command::Fault { rule: rule.to_string() });
    let delay = delay.iter().map(|delay| Command::Delay { delay: delay.clone() });
    let commands: Vec<_> = clear.into_iter().chain(rules).chain(delay).collect();
    let mut emulator = reach::emulator(socket.as_deref())?;
    commands.iter().try_for_each(|command| emulator.ask(command).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use uinotify_host::fault::Delay;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: PlanArguments,
    }

    fn plan(arguments: &[&str]) -> Result<FaultPlan, clap::Error> {
        Line::try_parse_from([&["uinotify"], arguments].concat()).map(|line| line.plan.into())
    }

    #[test]
    fn flags_stand_behind_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "read:EINTR\ndelay=events=2\nseed=7\n").unwrap();
        let path = file.path().to_str().unwrap();
        let found = plan(&["--fault", "add_watch:ENOSPC:when=3", "--fault-file", path, "--drop", "when=5"]).unwrap();
        let rules: Vec<_> = found.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["read:EINTR", "add_watch:ENOSPC:when=3", "queue:drop:when=5"]);
        assert_eq!((found.delay, found.seed, found.may_lie), (Delay::Events(2), 7, false));
        let found = plan(&["--fault-file", path, "--seed", "9", "--delay", "barrier", "--lie"]).unwrap();
        assert_eq!((found.delay, found.seed, found.may_lie), (Delay::Release, 9, true));
    }

    #[test]
    fn what_is_no_fault_is_refused() {
        for arguments in [["--fault", "x"], ["--drop", "x"], ["--delay", "x"], ["--fault-file", "/nonexistent"]] {
            assert!(plan(&arguments).is_err(), "{arguments:?}");
        }
    }
}
