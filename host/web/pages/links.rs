//! Where the page of a job leads: to its batches and its trace.

use maud::{Markup, html};

use crate::job::Options;
use crate::text;
use crate::web::room::Room;
use crate::web::words;

/// The batches that a job names in its metadata, JSON text, unless that is to be hidden.
pub(super) fn batches(room: &Room, metadata: Option<&serde_json::value::RawValue>) -> Markup {
    let (options, _) = Options::read(metadata.filter(|_| room.redaction.shows("metadata.kiln.batch")));
    let batches = &options.plans().batches;
    html! {
        @if !batches.is_empty() {
            div {
                dt { @if batches.len() == 1 { "Batch" } @else { "Batches" } }
                dd { @for (place, batch) in batches.iter().enumerate() { @if place > 0 { ", " } a href={ "/batches/" (words::part(&batch.id)) } { (text::name(&batch.id)) } } }
            }
        }
    }
}

/// The trace that a job belongs to, with a link if it is known where traces are looked at.
pub(super) fn trace(room: &Room, metadata: Option<&serde_json::value::RawValue>) -> Markup {
    let metadata = metadata.filter(|_| room.redaction.shows("metadata.traceparent"));
    let trace = metadata.and_then(|metadata| crate::job::trace_id(metadata.get()));
    html! {
        @if let Some(trace) = trace {
            div {
                dt { "Trace" }
                dd.id {
                    @match &room.trace_link {
                        Some(link) => a href=(link.replace(TRACE_ID, &trace)) rel="noopener noreferrer" { (trace) },
                        None => { (trace) }
                    }
                }
            }
        }
    }
}

/// What stands for a trace's id in an address.
const TRACE_ID: &str = "{trace_id}";

/// Longest address of traces, in bytes.
const MAX_LINK_BYTES: usize = 2_048;

/// Whether traces can be looked at under such an address.
///
/// # Errors
/// What it has to be like.
pub fn check_trace_link(link: &str) -> Result<(), &'static str> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"));
    let rest = rest.ok_or("an address begins with https:// or http://")?;
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if host.is_empty() || host.contains(['@', '{', '}']) {
        return Err("an address has a host, and no user and no {trace_id} in it");
    }
    if !link.contains(TRACE_ID) {
        return Err("{trace_id} has to stand where the trace's id belongs");
    }
    let odd = |c: char| c.is_whitespace() || text::is_hidden(c);
    if link.len() > MAX_LINK_BYTES || link.contains(odd) {
        return Err("an address has up to 2,048 bytes, and no spaces or hidden characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_trace_link;

    #[test]
    fn an_address_of_traces_has_a_scheme_a_host_and_a_place_for_the_id() {
        for right in [
            "https://jaeger.example.com/trace/{trace_id}",
            "http://localhost:3000/explore?left={\"queries\":[{\"query\":\"{trace_id}\"}]}",
            "https://traces.example.com/#/trace/{trace_id}",
        ] {
            assert_eq!(check_trace_link(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "javascript:alert('{trace_id}')",
            "//jaeger/{trace_id}",
            "https://",
            "https:///{trace_id}",
            "https://{trace_id}.example.com/",
            "https://ana:secret@jaeger/{trace_id}",
            "https://jaeger/trace",
            "https://jaeger/ {trace_id}",
            "https://jaeger/\u{202e}{trace_id}",
        ] {
            assert!(check_trace_link(wrong).is_err(), "{wrong}");
        }
        assert!(check_trace_link(&format!("https://jaeger/{{trace_id}}{}", "a".repeat(2_048))).is_err());
    }
}
