//! What a guest said before it ended itself: each language has its own way to end, and says so on standard error first.

/// The message in the last of a guest's standard error, in one line: by the language's own form if it has one, else the
/// last line. None where it said nothing.
pub(in crate::sandbox) fn last_words(stderr: &str) -> Option<String> {
    script(stderr)
        .or_else(|| rust(stderr))
        .or_else(|| go(stderr))
        .or_else(|| python(stderr))
        .or_else(|| assertion(stderr))
        .or_else(|| {
            stderr
                .lines()
                .map(str::trim)
                .rfind(|line| !line.is_empty())
                .map(str::to_owned)
        })
}

/// `Uncaught Error: message`, its stack, then how the engine ended: `QuickJS` panics, `StarlingMonkey` aborts.
fn script(stderr: &str) -> Option<String> {
    let panicked = stderr.rsplit_once("panicked at ");
    let panicked = panicked.filter(|(_, engine)| engine.contains("Failed to call 'handle'"));
    let (thrown, _) = panicked.or_else(|| stderr.rsplit_once("Redirecting call to abort() to mozalloc_abort"))?;
    let start = thrown.rfind("Uncaught ")? + "Uncaught ".len();
    let is_message = |line: &&str| !line.is_empty() && !line.starts_with("    at ");
    let message = joined(thrown[start..].lines().take_while(is_message));
    let place = thrown[start..].lines().find(|line| line.starts_with("    at "));
    Some(joined([message.as_str()].into_iter().chain(place)))
}

/// `thread 'x' panicked at src/lib.rs:3:5:`, the message in lines of its own, then perhaps a note.
fn rust(stderr: &str) -> Option<String> {
    let start = stderr.rfind("panicked at ")?;
    let is_message = |line: &&str| !line.starts_with("note: ") && !line.starts_with("stack ");
    Some(joined(stderr[start..].lines().take_while(is_message)))
}

/// `panic: message`, further lines of it indented, then a trace of every goroutine.
fn go(stderr: &str) -> Option<String> {
    let lines: Vec<_> = stderr.lines().collect();
    let gives_up = |line: &&str| line.starts_with("panic: ") || line.starts_with("fatal error: ");
    let said = &lines[lines.iter().rposition(gives_up)?..];
    let traces = said.iter().position(|line| line.starts_with("goroutine "))?;
    let message = said[..traces].iter().copied();
    Some(joined(
        message.take_while(|line| !line.is_empty() && !line.starts_with("[signal ")),
    ))
}

/// `Traceback (most recent call last):`, indented lines, then the exception, whose message may have more lines.
fn python(stderr: &str) -> Option<String> {
    let start = stderr.rfind("Traceback (most recent call last):")?;
    let mut lines = stderr[start..].lines().skip(1);
    let exception = lines.by_ref().find(|line| !line.starts_with(' ') && !line.is_empty())?;
    Some(joined(std::iter::once(exception).chain(lines)))
}

/// `Assertion failed: expression (handler.c: handle: 10)`, or what Zig says, whose trace follows.
fn assertion(stderr: &str) -> Option<String> {
    let gives_up = |line: &&str| line.starts_with("Assertion failed: ") || line.starts_with("panic: ");
    stderr.lines().rfind(gives_up).map(|line| line.trim().to_owned())
}

fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_language_is_understood() {
        let rust = "thread '<unnamed>' (1) panicked at src/lib.rs:3:5:\nfirst\nthread '<unnamed>' (1) panicked at \
                    src/lib.rs:7:9:\nno such user\nnote: run with `RUST_BACKTRACE=1`\n";
        let go = "panic: first [recovered]\n\tpanic: again: first\n[signal 0xb code=0x0]\n\ngoroutine 1 [running]:\n\
                  main.echo({0x1ee9d0})\n\tt1/main.go:19 +0xd\n";
        let python = "Traceback (most recent call last):\n  File \"app.py\", line 3, in handle\n    raise \
                      ValueError(\"tea\\nis cold\")\nValueError: tea\nis cold\n";
        let script = "Uncaught TypeError: no\ntea\n    at deep (handler.ts:3:27)\n    at <anonymous> \
                      (handler.ts:5:23)\n\nthread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\n\
                      Failed to call 'handle': Value(Exception(\n)\n";
        let web = "Uncaught Error: no tea\n    at perform (handler.js:3:27)\n\ninvalid variant tag value `undefined`\nStack:\n  \
                   handle@/sources/initializer.js:3040:17\n\nRedirecting call to abort() to mozalloc_abort\n\n";
        for (stderr, message) in [
            (script, "TypeError: no tea at deep (handler.ts:3:27)"),
            (web, "Error: no tea at perform (handler.js:3:27)"),
            (rust, "panicked at src/lib.rs:7:9: no such user"),
            (go, "panic: first [recovered] panic: again: first"),
            (python, "ValueError: tea is cold"),
            (
                "loading\nassertion failed: tea (pot.c: 7)\n\n",
                "assertion failed: tea (pot.c: 7)",
            ),
        ] {
            assert_eq!(last_words(stderr).as_deref(), Some(message), "{stderr}");
        }
        assert_eq!(last_words(" \n"), None);
    }
}
