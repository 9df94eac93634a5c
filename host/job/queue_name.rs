//! What a queue may be called. Here and not with the queues, since a manifest may name one.

use crate::text::is_hidden;

/// The queue of a job that names none.
pub const QUEUE_DEFAULT: &str = "default";

/// Longest name of a queue, in bytes.
pub const MAX_QUEUE_NAME_BYTES: usize = 128;

/// What only the keys beside a queue end with.
const SUFFIXES: [&str; 8] = [
    ":delayed",
    ":leases",
    ":lanes",
    ":orders",
    ":schedules",
    ":unended",
    ":cancel-marks",
    ":cancel-ends",
];

/// What only the keys beside a queue have within.
const INFIXES: [&str; 5] = [":waiting:", ":limits:", ":inflight:", ":lasttag:", ":founddead:"];

/// # Errors
/// When the name is empty, too long, or would make keys that mean something else.
pub fn check_queue_name(name: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("queue name {name:?}: {why}"));
    if name.is_empty() || name.len() > MAX_QUEUE_NAME_BYTES {
        return wrong("must have 1 to 128 bytes");
    }
    if name.contains(|c: char| is_hidden(c) || c.is_whitespace() || "{}=".contains(c)) {
        return wrong("must not contain spaces, braces, = or hidden characters");
    }
    if SUFFIXES.iter().any(|mark| name.ends_with(mark)) || INFIXES.iter().any(|mark| name.contains(mark)) {
        return wrong("contains what marks a key of another queue");
    }
    Ok(())
}
