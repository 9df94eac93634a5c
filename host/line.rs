//! One bounded line of what may be many: messages quote what producers, plugins and operators wrote.

/// Longest line kept, in bytes: none of those is trusted to be short.
pub const MAX_LINE_BYTES: usize = 4 * 1024;

/// Makes one bounded line of a text. Control characters could make a terminal lie, so none is kept.
#[must_use]
pub(crate) fn one_line(mut text: String) -> String {
    // Before, so that no time is lost with what goes anyway; and after, because what stands for a character may be longer.
    cut(&mut text);
    if text.contains(char::is_control) {
        let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
        text = lines
            .collect::<Vec<_>>()
            .join("; ")
            .replace(char::is_control, "\u{fffd}");
        cut(&mut text);
    }
    text
}

fn cut(text: &mut String) {
    if text.len() > MAX_LINE_BYTES {
        // A copy: the line may be kept for long, and what was cut off would be kept with it.
        *text = format!("{}…", &text[..text.floor_char_boundary(MAX_LINE_BYTES)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_one_bounded_line_that_cannot_steer_a_terminal() {
        let line = |text: &str| one_line(text.to_owned());
        assert_eq!(line("first\r\n\n  second\n"), "first; second");
        assert_eq!(line("\u{1b}[31mred"), "\u{fffd}[31mred");
        for long in ["é", "\0", "a\n"] {
            assert!(line(&long.repeat(10_000)).len() < MAX_LINE_BYTES + 10, "{long:?}");
        }
    }
}
