//! What messages have to be: they end up in logs and on terminals.

use kiln::text::{MAX_LINE_BYTES, is_hidden};

/// Bytes of a message around the line that it quotes.
const AROUND: usize = 1024;

/// Asserts that a message is one bounded line that cannot steer a terminal.
pub fn assert_one(message: &str) {
    assert!(!message.contains(is_hidden), "not one line: {message:?}");
    assert!(message.len() <= MAX_LINE_BYTES + AROUND, "{} bytes", message.len());
}
