//! What a watch costs, both of its indexes together. Alone in its program: the whole process is measured.

use uinotify_core::{AddMask, Config, Engine, Limits, ObjectId, OwnerId};

const WATCHES: u64 = 200_000;
const BYTES_MAX: u64 = 100;

/// The memory of this process that is in no file, in bytes (proc_pid_status(5)).
fn anonymous_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("Linux 4.5");
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
fn watch_costs_at_most_100_bytes() {
    // An odd factor mixes the numbers, and keeps them apart.
    let kinds = [("numbers in order", 1, 1), ("numbers at random", 1, 0x9e37_79b9_7f4a_7c15), ("100 groups", 100, 1)];
    // Kept: what one gives back, the next would use.
    let mut kept = Vec::new();
    for (kind, groups, factor) in kinds {
        let start = anonymous_bytes();
        let mut engine = Engine::new(Config::default());
        for _ in 0..groups {
            let group = engine.create_group(OwnerId(0), Limits::default()).unwrap();
            for n in 0..WATCHES / groups {
                engine.add_watch(group, ObjectId(n.wrapping_mul(factor)), AddMask::new(0xfff).unwrap()).unwrap();
            }
        }
        let each = (anonymous_bytes() - start) / WATCHES;
        println!("{kind}: {each} bytes a watch");
        assert!(each <= BYTES_MAX, "{kind}: {each} bytes a watch");
        kept.push(engine);
    }
}
