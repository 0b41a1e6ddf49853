//! Nobody can miss an event: whatever has happened before a call that asks for it is in the call's answer.
//!
//! With `--program` as its first argument this binary is not the test but a program under test, which runs under
//! `uinotify run`. Settings by environment:
//!
//! | Variable | Meaning |
//! | --- | --- |
//! | `UINOTIFY_ROUNDS` | rounds of all kinds outside trees together, 20000; in trees a third of that more |
//! | `UINOTIFY_SEED` | seed of the rounds, to see those of an earlier run again |

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use libtest_mimic::{Arguments, Failed, Trial};

use under::{Program, Unheard};

#[path = "settling/call.rs"]
mod call;
#[path = "settling/constructor.rs"]
mod constructor;
#[path = "settling/cursor.rs"]
mod cursor;
#[path = "settling/death.rs"]
mod death;
#[path = "settling/descriptors.rs"]
mod descriptors;
#[path = "settling/epoll.rs"]
mod epoll;
#[path = "settling/foreign.rs"]
mod foreign;
#[path = "settling/greedy.rs"]
mod greedy;
#[path = "settling/hostile.rs"]
mod hostile;
#[path = "settling/interruption.rs"]
mod interruption;
#[path = "settling/memory.rs"]
mod memory;
#[path = "settling/process.rs"]
mod process;
#[path = "settling/question.rs"]
mod question;
#[path = "settling/queue.rs"]
mod queue;
#[path = "settling/random.rs"]
mod random;
#[path = "settling/readers.rs"]
mod readers;
#[path = "settling/rounds.rs"]
mod rounds;
#[path = "settling/scarcity.rs"]
mod scarcity;
#[path = "settling/scene.rs"]
mod scene;
#[path = "settling/shared.rs"]
mod shared;
#[path = "settling/threads.rs"]
mod threads;
#[path = "settling/threads_asking.rs"]
mod threads_asking;
#[path = "settling/under.rs"]
mod under;
#[path = "settling/wire.rs"]
mod wire;
#[path = "settling/writer.rs"]
mod writer;
#[path = "settling/writers.rs"]
mod writers;

/// A program that takes longer hangs, and ends.
const HANG_SECONDS: u32 = 240;

fn main() -> Result<ExitCode> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, argument, name, folder, rest @ ..] = &arguments[..]
        && argument == under::ARGUMENT
    {
        // SAFETY: takes no pointer; SIGALRM ends a process that does not handle it.
        unsafe { libc::alarm(HANG_SECONDS.max(u32::try_from(rounds_in_all()? / 200)?)) };
        run_program(name, Path::new(folder), rest)?;
        return Ok(ExitCode::SUCCESS);
    }
    uinotify_harness::old_kernel::enter_if_asked();
    let arguments = Arguments::from_args();
    let (rounds, seed) = (rounds_in_all()?, seed()?);
    let share = move |percent: u64| (rounds * percent / 100).max(1);
    let mut trials = vec![
        trial("rounds::fast", Program::new("rounds").argument(share(50)).argument(seed)),
        trial("rounds::by_request", Program::new("rounds").argument(share(20)).argument(seed + 1).by_request()),
        trial("rounds::two_writers", Program::new("writers").argument(share(20)).argument(seed)),
        trial(
            "rounds::two_writers_by_request",
            Program::new("writers").argument(share(10)).argument(seed + 1).by_request(),
        ),
        trial("rounds::past_the_shim_events_are_missed", Program::new("control").argument(2000_u64).argument(seed)),
    ];
    let no_tree = uinotify_harness::needs::Need::Fuse.probe().err();
    if let (Some(reason), false) = (&no_tree, arguments.list) {
        println!("ignored: tree::rounds, and others: {reason:#}");
    }
    let in_tree = |name, percent, seed: u64| Program::new(name).in_tree().argument(share(percent)).argument(seed);
    for (name, program) in [
        ("tree::rounds", in_tree("rounds_in_tree", 10, seed + 2)),
        ("tree::rounds_by_request", in_tree("rounds_in_tree", 4, seed + 3).by_request()),
        ("tree::rounds_in_fast_mode", in_tree("rounds_in_tree", 4, seed + 4).options(&["--mode", "fast"])),
        ("tree::two_writers", in_tree("writers", 10, seed + 2)),
        ("tree::two_writers_by_request", in_tree("writers", 4, seed + 3).by_request()),
    ] {
        trials.push(trial(name, program).with_ignored_flag(no_tree.is_some()));
    }
    // Only what the shim holds beside the instance can be taken from it.
    trials.push(trial("queue::edges_come_beside_a_reader", Program::new("edges_beside")));
    trials.push(trial("scarcity::full_table_of_descriptors", Program::new("full_table")));
    trials.push(trial("scarcity::numbers_of_the_shims_own_taken", Program::new("taken_numbers")));
    trials.push(Trial::ignorable_test("constructor::of_another_library", constructor::of_another_library));
    trials.push(Trial::test("hostile::junk_is_told_of", || {
        hostile::is_told_of_junk(&Program::new("much_junk").options(&["--verbose"]).run()?).map_err(Failed::from)
    }));
    for (name, by_request, program) in programs(seed)? {
        trials.push(trial(name, program.clone()));
        trials.push(trial(by_request, program.by_request()));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// What is run once with the shim's aids and once by request.
fn programs(seed: u64) -> Result<Vec<(&'static str, &'static str, Program)>> {
    let queue = |limit: u32| Program::new("queue").argument(limit).argument(seed);
    let mut programs = Vec::new();
    let mut add = |name: &'static str, program: Program| {
        let by_request: &'static str = format!("{name}_by_request").leak();
        programs.push((name, by_request, program));
    };
    add("read::buffers_are_the_kernels", Program::new("buffers"));
    add("read::bad_pages_are_the_kernels", Program::new("bad_pages"));
    add("read::threads_share_a_queue", Program::new("reading_threads").argument(seed));
    add("read::processes_share_a_queue", Program::new("reading_processes").argument(seed));
    add("queue::of_the_kernels_length", queue(queue::kernel_limit()?));
    add("queue::of_500_events", queue(500).options(&["--limit", "queue=500"]));
    add("queue::of_100_events", queue(100).options(&["--limit", "queue=100"]));
    add("queue::two_ways_of_reading", Program::new("two_ways"));
    add("queue::edges_come_while_the_window_has_room", Program::new("edges"));
    add("death::is_an_error", Program::new("killed"));
    add("death::is_told_to_a_reader", Program::new("told_to_a_reader"));
    add("death::is_told_past_the_shim", Program::new("told_past_the_shim"));
    add("interruption::by_signal", Program::new("interrupted"));
    add("interruption::by_a_restore_with_the_kernels_inotify", Program::new("replaced"));
    add("interruption::by_many_signals", Program::new("storm").argument(3000_u64));
    add("interruption::by_cancellation", Program::new("cancelled"));
    add("interruption::by_cancellation_but_not_by_number", Program::new("not_cancelled"));
    add("interruption::by_cancellation_in_a_call_about_the_file", Program::new("cancelled_in_a_call"));
    add("read::bad_pages_behind_the_window", Program::new("bad_pages_behind_the_window").argument(0_u64));
    add("read::bad_pages_while_another_thread_asks", Program::new("bad_pages_behind_the_window").argument(1_u64));
    add("interruption::of_select", Program::new("selecting"));
    add("cursor::unlink_gives_the_wd_back", Program::new("unlinked"));
    add("epoll::small_arrays_hold_the_instance", Program::new("small_arrays"));
    add("threads_asking::add_and_remove_beside_a_reader", Program::new("adding_and_removing"));
    add("threads_asking::three_readers_of_fresh_instances", Program::new("fresh_instances"));
    add("threads_asking::fork_in_the_middle_of_a_request", Program::new("forking"));
    add("foreign::packets_of_others", Program::new("packets"));
    add("foreign::never_writable", Program::new("never_writable"));
    add("foreign::raw_duplicates", Program::new("raw_duplicates"));
    add("scarcity::full_emulator", Program::new("full_emulator"));
    add("scarcity::nobody_hears_the_emulator", Program::new("unheard").options(&["--verbose"]).unheard(Unheard::Gone));
    add(
        "scarcity::nobody_listens_to_the_emulator",
        Program::new("unheard").options(&["--verbose"]).unheard(Unheard::Silent),
    );
    add("hostile::junk_on_a_connection", Program::new("junk_on_a_connection"));
    add("hostile::junk_over_an_instance", Program::new("junk_over_an_instance"));
    add("hostile::loops", Program::new("loops"));
    add("greedy::silent_connections", Program::new("silent_connections"));
    add("greedy::many_threads", Program::new("many_threads"));
    add("greedy::many_controls", Program::new("many_controls"));
    add("greedy::unread_replies", Program::new("unread_replies"));
    add("hostile::full_pipe", Program::new("full_pipe"));
    add("hostile::blocking_closes", Program::new("blocking_closes"));
    add("hostile::shut_down", Program::new("shut_down"));
    add("greedy::made_up_events", Program::new("made_up_events"));
    add("greedy::unread_descriptions", Program::new("unread_descriptions"));
    add("greedy::no_number_left", Program::new("no_number_left"));
    add("greedy::floods", Program::new("floods"));
    add("descriptors::none_is_left", Program::new("counts"));
    add("descriptors::duplicates", Program::new("duplicates"));
    add("descriptors::fork", Program::new("fork"));
    add("descriptors::vfork", Program::new("vfork"));
    add("descriptors::exec", Program::new("exec"));
    add("descriptors::passed", Program::new("passed"));
    add("descriptors::errno_is_left_alone", Program::new("errno"));
    Ok(programs)
}

fn trial(name: &'static str, program: Program) -> Trial {
    Trial::test(name, move || -> Result<(), Failed> {
        let said = program.run()?;
        for line in said.lines().filter(|line| line.contains(" rounds, ")) {
            println!("{name}: {line}");
        }
        Ok(())
    })
}

fn number(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(value) => value.parse().with_context(|| format!("{name}={value}")).map(Some),
        Err(_) => Ok(None),
    }
}

fn rounds_in_all() -> Result<u64> {
    Ok(number("UINOTIFY_ROUNDS")?.unwrap_or(20_000))
}

fn seed() -> Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(number("UINOTIFY_SEED")?.unwrap_or(now.as_secs()))
}

fn run_program(name: &str, folder: &Path, arguments: &[String]) -> Result<()> {
    let numbers: Vec<u64> = arguments.iter().map(|argument| argument.parse()).collect::<Result<_, _>>()?;
    match (name, &numbers[..]) {
        ("rounds", &[rounds, seed]) => {
            rounds::rounds(folder, rounds::Settings { rounds, seed, is_control: false, is_in_tree: false })
        }
        ("rounds_in_tree", &[rounds, seed]) => {
            rounds::rounds(folder, rounds::Settings { rounds, seed, is_control: false, is_in_tree: true })
        }
        ("control", &[rounds, seed]) => {
            rounds::rounds(folder, rounds::Settings { rounds, seed, is_control: true, is_in_tree: false })
        }
        ("buffers", []) => memory::buffers(folder),
        ("bad_pages", []) => memory::bad_pages(folder),
        ("reading_threads", &[seed]) => readers::threads(folder, seed),
        ("reading_processes", &[seed]) => readers::processes(folder, seed),
        ("queue", &[limit, seed]) => queue::beyond_the_window(folder, u32::try_from(limit)?, seed),
        ("two_ways", []) => queue::two_ways_of_reading(folder),
        ("edges", []) => queue::edges(folder),
        ("edges_beside", []) => queue::edges_beside_a_reader(folder),
        ("bad_pages_behind_the_window", &[other]) => memory::bad_pages_behind_the_window(folder, other != 0),
        ("selecting", []) => interruption::selecting(folder),
        ("unlinked", []) => cursor::unlinked(folder),
        ("small_arrays", []) => epoll::small_arrays(folder),
        ("adding_and_removing", []) => threads_asking::adding_and_removing(folder),
        ("fresh_instances", []) => threads_asking::fresh_instances(),
        ("forking", []) => threads_asking::forking(folder),
        ("packets", []) => foreign::packets(folder),
        ("never_writable", []) => foreign::never_writable(folder),
        ("raw_duplicates", []) => foreign::raw_duplicates(folder),
        ("full_emulator", []) => scarcity::full_emulator(folder),
        ("unheard", []) => scarcity::unheard(folder),
        ("taken_numbers", []) => scarcity::taken_numbers(folder),
        ("full_table", []) => scarcity::full_table(folder),
        ("junk_on_a_connection", []) => hostile::junk_on_a_connection(folder),
        ("much_junk", []) => hostile::much_junk(folder),
        ("junk_over_an_instance", []) => hostile::junk_over_an_instance(folder),
        ("loops", []) => hostile::loops(folder),
        ("silent_connections", []) => greedy::silent_connections(folder),
        ("many_threads", []) => greedy::many_threads(folder),
        ("many_controls", []) => greedy::many_controls(folder),
        ("unread_replies", []) => greedy::unread_replies(folder),
        ("full_pipe", []) => hostile::full_pipe(folder),
        ("blocking_closes", []) => hostile::blocking_closes(folder),
        ("shut_down", []) => hostile::shut_down(folder),
        ("made_up_events", []) => greedy::made_up_events(folder),
        ("unread_descriptions", []) => greedy::unread_descriptions(folder),
        ("no_number_left", []) => greedy::no_number_left(folder),
        ("floods", []) => greedy::floods(folder),
        ("killed", []) => death::killed(folder),
        ("told_to_a_reader", []) => death::told_to_a_reader(folder),
        ("told_past_the_shim", []) => death::told_past_the_shim(folder),
        ("interrupted", []) => interruption::interrupted(folder),
        ("replaced", []) => interruption::replaced(folder),
        ("storm", &[events]) => interruption::storm(folder, u32::try_from(events)?),
        ("cancelled", []) => interruption::cancelled(folder),
        ("not_cancelled", []) => interruption::not_cancelled(folder),
        ("cancelled_in_a_call", []) => interruption::cancelled_in_a_call(folder),
        ("counts", []) => descriptors::counts(folder),
        ("duplicates", []) => descriptors::duplicates(folder),
        ("fork", []) => descriptors::fork(folder),
        ("vfork", []) => descriptors::vfork(folder),
        ("exec", []) => descriptors::exec(folder),
        ("inherited", &[fd]) => descriptors::inherited(folder, i32::try_from(fd)?),
        ("passed", []) => descriptors::passed(folder),
        ("errno", []) => descriptors::errno(folder),
        ("writers", &[rounds, seed]) => writers::rounds(folder, rounds, seed),
        _ => bail!("no such program: {name} {arguments:?}"),
    }
}
