//! What has gone wrong in a test bed, and how it came to that.

use std::fmt;
use std::io;

use super::Report;

/// Something was not as the test has expected it, or could not be done.
pub struct TestBedError {
    what: String,
    story: Option<Box<Report>>,
}

impl TestBedError {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), story: None }
    }

    pub(super) fn with_story(what: String, story: Option<Report>) -> Self {
        Self { what, story: story.map(Box::new) }
    }

    /// The last calls and events before it, where they are of use.
    #[must_use]
    pub fn story(&self) -> Option<&Report> {
        self.story.as_deref()
    }
}

impl fmt::Display for TestBedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.what)?;
        self.story.iter().try_for_each(|story| write!(formatter, "\n{story}"))
    }
}

/// As [`Display`](fmt::Display): a test that unwraps shows this.
impl fmt::Debug for TestBedError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for TestBedError {}

impl From<io::Error> for TestBedError {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<anyhow::Error> for TestBedError {
    fn from(error: anyhow::Error) -> Self {
        Self::new(format!("{error:#}"))
    }
}
