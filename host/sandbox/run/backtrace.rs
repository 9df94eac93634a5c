//! The frames of a trap, as a handler's author reads them.
//!
//! Names of functions and modules are a guest's text, and mangled ones are small programs: a few hundred bytes can
//! stand for more than a machine holds. So names are cut before they are demangled, and text is cut while it is made.
//! Names of C++ stay as they are: no demangler of them has a bound, and linkers demangle them anyway.

use std::fmt::{self, Write};

use wasmtime::{FrameInfo, WasmBacktrace};

use crate::config::{MAX_BACKTRACE_BYTES, MAX_BACKTRACE_FRAMES};
use crate::text;

/// Bytes of a mangled name that is demangled. Generic code comes to one or two thousand.
const MAX_MANGLED_BYTES: usize = 4096;

/// Bytes that are shown of a function's name.
const MAX_FUNCTION_BYTES: usize = MAX_BACKTRACE_BYTES / MAX_BACKTRACE_FRAMES - MAX_MODULE_BYTES - MAX_PLACE_BYTES;

/// Bytes that are shown of a module's name.
const MAX_MODULE_BYTES: usize = 64;

/// Bytes of a frame's number and place, and of what stands between those and the names.
const MAX_PLACE_BYTES: usize = 32;

/// Prefixes of the functions with which a language's runtime ends a guest: Rust's, then Go's.
const ENDINGS: &[&str] = &[
    "core::panicking::",
    "std::panicking::",
    "std::sys::",
    "panic_abort::",
    "__rustc::",
    "runtime.",
];

/// Other functions that end a guest: Rust's, then those of C.
const ENDS: &[&str] = &[
    "core::option::expect_failed",
    "core::option::unwrap_failed",
    "core::result::unwrap_failed",
    "core::str::slice_error_fail",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "std::process::abort",
    "rust_begin_unwind",
    "rust_panic",
    "__rust_start_panic",
    "__assert_fail",
    "__stack_chk_fail",
    "abort",
];

/// The frames, one a line, innermost first, from the author's own on. The frames of a language's runtime above these
/// only show how it panics, not why.
pub(in crate::sandbox) fn show(backtrace: &WasmBacktrace) -> String {
    let frames = backtrace.frames();
    let names: Vec<_> = frames.iter().map(function).collect();
    // If no frame is the author's, all are shown.
    let own = names.iter().position(|name| !ends(name)).unwrap_or(0);
    let told = frames.iter().zip(&names).enumerate().skip(own);
    let mut lines: Vec<_> = told.map(|(number, (frame, name))| line(number, frame, name)).collect();
    if own > 0 {
        lines.push(format!("  above these: {own} of its language's runtime"));
    }
    lines.join("\n")
}

fn line(number: usize, frame: &FrameInfo, function: &str) -> String {
    let offset = frame.module_offset().unwrap_or_default();
    let module = cut(frame.module().name().unwrap_or("<unknown>"), MAX_MODULE_BYTES);
    format!("  {number:>3}: {offset:#8x} - {module}!{function}")
}

fn function(frame: &FrameInfo) -> String {
    frame
        .func_name()
        .map_or_else(|| format!("<wasm function {}>", frame.func_index()), demangled)
}

fn demangled(name: &str) -> String {
    let rust = (name.len() <= MAX_MANGLED_BYTES).then(|| rustc_demangle::try_demangle(name));
    match rust {
        // Without the hashes that tell crates and versions of a function apart.
        Some(Ok(name)) => cut(format_args!("{name:#}"), MAX_FUNCTION_BYTES),
        _ => cut(name, MAX_FUNCTION_BYTES),
    }
}

fn ends(function: &str) -> bool {
    ENDS.contains(&function) || ENDINGS.iter().any(|path| function.starts_with(path))
}

/// The first `max` bytes of a text, on one line. No more than that is formatted.
fn cut(text: impl fmt::Display, max: usize) -> String {
    let mut room = Room {
        text: String::new(),
        max: max - '…'.len_utf8(),
    };
    if write!(room, "{text}").is_err() {
        room.text.push('…');
    }
    room.text
}

/// Takes so many bytes of text, and then fails the write.
struct Room {
    text: String,
    max: usize,
}

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text::line(text, self.max).chars() {
            if self.text.len() + c.len_utf8() > self.max {
                return Err(fmt::Error);
            }
            self.text.push(c);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn names_of_rust_are_read_without_their_hashes_and_others_left() {
        for (name, shown) in [
            ("_ZN5hello6handle17h0123456789abcdefE", "hello::handle"),
            ("_RNvCs1234_5hello6handle", "hello::handle"),
            (
                "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
                "core::panicking::panic_fmt",
            ),
            ("_Z6handleRKSs", "_Z6handleRKSs"),
            ("$s", "$s"),
            ("main.handle", "main.handle"),
            ("a\nb\u{1b}[2J", "a\\nb\\u001b[2J"),
        ] {
            assert_eq!(demangled(name), shown);
        }
    }

    #[test]
    fn a_name_that_stands_for_more_than_there_is_room_for_is_cut_while_it_is_read() {
        // Each type is a tuple of two of the one before: the last stands for 2^60 of the first.
        let (mut name, mut before) = ("_RINvC1a1f".to_owned(), 0);
        for _ in 0..60 {
            let at = name.len() - "_R".len();
            let one = if before == 0 { "u".to_owned() } else { backref(before) };
            name.extend(["T", &one, &one, "E"]);
            before = at;
        }
        name.push('E');
        assert!(name.len() <= MAX_MANGLED_BYTES);
        let started = Instant::now();
        let shown = demangled(&name);
        assert!(shown.len() <= MAX_FUNCTION_BYTES, "{shown}");
        assert!(started.elapsed() < Duration::from_millis(100));
        assert!(demangled(&"n".repeat(100_000)).len() <= MAX_FUNCTION_BYTES);
    }

    /// A type that stands elsewhere in the name: `B`, then the place in base 62, less one.
    fn backref(place: usize) -> String {
        let digit = |n: usize| char::from(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"[n % 62]);
        let place = place - 1;
        let high = (place >= 62).then(|| digit(place / 62));
        format!("B{}{}_", high.map(String::from).unwrap_or_default(), digit(place))
    }
}
