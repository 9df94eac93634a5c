//! Why an attempt did not complete, and how errors become that.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use crate::raw::types;

/// Why an attempt did not complete, and what should become of the job.
///
/// Any error turns into [`Failure::Retry`] under `?`, with its causes in the message. [`OrFail`] says otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Try again when the retry policy says so. The message is for whoever reads the failed list.
    Retry(String),
    /// Try again, but not before this much time has passed.
    RetryAfter(String, Duration),
    /// Trying again cannot help: the job goes to the failed list now.
    Permanent(String),
}

impl Failure {
    /// Try again when the retry policy says so.
    pub fn retry(message: impl Into<String>) -> Self {
        Self::Retry(message.into())
    }

    /// Try again, but not before `wait` has passed.
    pub fn retry_after(message: impl Into<String>, wait: Duration) -> Self {
        Self::RetryAfter(message.into(), wait)
    }

    /// Trying again cannot help.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::Permanent(message.into())
    }
}

/// For `?`. It is what keeps [`Failure`] from being an [`Error`] itself.
impl<E: Error> From<E> for Failure {
    fn from(err: E) -> Self {
        Self::Retry(with_causes(&err))
    }
}

/// Says what becomes of the job where there is an error, or nothing: `….or_permanent("the address is not valid")?`.
///
/// `what` comes before the error and its causes in the message.
pub trait OrFail<T> {
    /// Tries again by the retry policy, as `?` alone does.
    ///
    /// # Errors
    /// [`Failure::Retry`].
    fn or_retry(self, what: impl Display) -> Result<T, Failure>;

    /// Tries again, but not before `wait` has passed.
    ///
    /// # Errors
    /// [`Failure::RetryAfter`].
    fn or_retry_after(self, what: impl Display, wait: Duration) -> Result<T, Failure>;

    /// Does not try again.
    ///
    /// # Errors
    /// [`Failure::Permanent`].
    fn or_permanent(self, what: impl Display) -> Result<T, Failure>;
}

/// For errors, and for texts in their place.
impl<T, E: Into<Box<dyn Error>>> OrFail<T> for Result<T, E> {
    fn or_retry(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|err| Failure::Retry(told(&what, err.into().as_ref())))
    }

    fn or_retry_after(self, what: impl Display, wait: Duration) -> Result<T, Failure> {
        self.map_err(|err| Failure::RetryAfter(told(&what, err.into().as_ref()), wait))
    }

    fn or_permanent(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|err| Failure::Permanent(told(&what, err.into().as_ref())))
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_retry(self, what: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::Retry(what.to_string()))
    }

    fn or_retry_after(self, what: impl Display, wait: Duration) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::RetryAfter(what.to_string(), wait))
    }

    fn or_permanent(self, what: impl Display) -> Result<T, Failure> {
        self.ok_or_else(|| Failure::Permanent(what.to_string()))
    }
}

fn told(what: &dyn Display, err: &dyn Error) -> String {
    format!("{what}: {}", with_causes(err))
}

fn with_causes(err: &dyn Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        let cause = err.to_string();
        // Many errors tell their cause themselves.
        if !text.ends_with(&cause) {
            text += ": ";
            text += &cause;
        }
        source = err.source();
    }
    text
}

/// A time in whole milliseconds, and never less than it is.
pub(crate) fn whole_ms(time: Duration) -> u64 {
    time.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Retry(message) => Self::Retry(message),
            Failure::RetryAfter(message, wait) => Self::RetryAfter((message, whole_ms(wait))),
            Failure::Permanent(message) => Self::Permanent(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Unsent(std::io::Error);

    impl Display for Unsent {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("not sent")
        }
    }

    impl Error for Unsent {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn unsent() -> Result<(), Unsent> {
        Err(Unsent(std::io::Error::other("line is busy")))
    }

    #[test]
    fn a_question_mark_retries_and_tells_the_causes() {
        fn handle() -> Result<(), Failure> {
            Ok(unsent()?)
        }
        assert_eq!(handle(), Err(Failure::retry("not sent: line is busy")));
    }

    #[test]
    fn what_was_being_done_comes_before_the_error() {
        let wait = Duration::from_secs(3);
        assert_eq!(
            unsent().or_retry_after("mail to Ada", wait),
            Err(Failure::retry_after("mail to Ada: not sent: line is busy", wait))
        );
        assert_eq!(
            Err::<(), _>("too long".to_owned()).or_permanent("subject"),
            Err(Failure::permanent("subject: too long"))
        );
        assert_eq!(
            None::<()>.or_permanent("no subject"),
            Err(Failure::permanent("no subject"))
        );
    }

    #[test]
    fn a_cause_that_an_error_tells_itself_is_told_once() {
        let err = std::io::Error::other(Unsent(std::io::Error::other("line is busy")));
        assert_eq!(with_causes(&err), "not sent: line is busy");
    }
}
