//! Durations as people write them.

use std::time::Duration;

/// Reads a duration as people write it: `100ms`, `30s`, `1h 30m`.
///
/// # Errors
/// When the text is no duration, or a negative one.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write it like 100ms, 30s, 1h30m or 48h"))?;
    Duration::try_from(span).map_err(|_| format!("{text:?} is negative"))
}
