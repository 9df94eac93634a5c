//! What an attempt left behind: where in its code it failed, and what it printed.

use maud::{Markup, html};

use crate::outcome::Failure;
use crate::text;

/// Where in the handler's code it failed, and what it had said.
pub(super) fn traces(failure: &Failure) -> Markup {
    html! {
        @if let Some(backtrace) = &failure.backtrace {
            h2 { "Where it failed" }
            pre tabindex="0" { @for (place, line) in backtrace.lines().enumerate() { @if place == 0 { span.own { (text::block(line)) } "\n" } @else { (text::block(line)) "\n" } } }
        }
        (outputs(failure.stderr.as_deref().unwrap_or_default(), failure.stdout.as_deref().unwrap_or_default()))
    }
}

/// What a handler had printed.
pub(super) fn outputs(stderr: &str, stdout: &str) -> Markup {
    html! {
        @for (name, said) in [("Standard error", stderr), ("Standard output", stdout)] {
            @if !said.is_empty() { h2 { (name) } pre tabindex="0" { (text::block(said)) } }
        }
    }
}
