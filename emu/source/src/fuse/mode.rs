//! How much the kernel may do without asking.

/// How much of what is done to the tree is seen. docs/sandbox.md says what each can lose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Every call is a request, and every event is told.
    #[default]
    Exact,
    /// Reads and writes of files that nobody watches for them go past us, and names and attributes hold for a moment.
    Fast,
}
