//! A test that runs itself once more, under a test bed: for a watcher that is in the test's own process.

use super::{Builder, Result, TestBed, TestBedError};

/// Set in the process that is run.
const INSIDE: &str = "UINOTIFY_TEST";

/// Runs this test, `name` with its modules as `cargo test -- --exact` takes it, once more in a process of its own under a bed like
/// this, and gives that process the bed. The first process gets nothing, and has nothing more to do.
///
/// ```no_run
/// # use uinotify::testbed::{TestBed, this_test};
/// // #[test]
/// fn it_notices_an_overflow() {
///     let builder = TestBed::builder().limit_queue(4);
///     let Some(bed) = this_test("it_notices_an_overflow", builder).unwrap() else { return };
///     // From here on the inotify of this process is the bed's.
/// }
/// ```
///
/// # Errors
///
/// The test has failed there, with what it said; the bed cannot be built.
pub fn this_test(name: &str, builder: Builder) -> Result<Option<TestBed>> {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        let bed = TestBed::current()?;
        return bed.map(Some).ok_or_else(|| TestBedError::new("the test is not under its emulator"));
    }
    let bed = builder.build()?;
    let program = std::env::current_exe()?;
    let output =
        bed.command(&program).args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, name).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // A name that no test has is no failure to the harness.
    let has_run = text.contains("running 1 test");
    if output.status.success() && has_run {
        return Ok(None);
    }
    let what = if has_run { "has failed" } else { "was not found" };
    let message = format!("{name} {what} under the test bed\n{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(bed.failure(message))
}
