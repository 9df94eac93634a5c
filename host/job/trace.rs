//! The trace that a job belongs to, if its producer says so: `metadata.traceparent`, as in W3C Trace Context.

use std::borrow::Cow;
use std::str::FromStr;

use serde::Deserialize;

/// Longest metadata, in bytes, in which a trace is looked for.
const MAX_SEARCHED_BYTES: usize = 64 * 1024;

/// Longest `tracestate` that is passed on, in bytes: what W3C Trace Context asks of everybody.
const MAX_STATE_BYTES: usize = 512;

/// The span of a producer, as W3C Trace Context writes it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace, 32 hexadecimal digits.
    pub trace_id: String,
    /// The span within it, 16 hexadecimal digits.
    pub span_id: String,
    /// Its flags; the lowest bit says that the producer keeps the trace.
    pub flags: u8,
    /// What vendors add: `metadata.tracestate`, as it stands there. None where there is none, or one too long.
    pub state: Option<String>,
}

impl TraceContext {
    /// The first span of a trace of its own, with these flags.
    #[must_use]
    pub fn first(flags: u8) -> Self {
        Self {
            trace_id: format!("{:032x}", fastrand::u128(1..)),
            span_id: format!("{:016x}", fastrand::u64(1..)),
            flags,
            state: None,
        }
    }

    /// The span of an attempt at a job of this producer's: a child of the producer's span, or the first of a trace of its own.
    /// It is kept where the producer's is.
    #[must_use]
    pub fn of_attempt(&self, as_child: bool) -> Self {
        let first = Self::first(self.flags);
        if as_child {
            return Self {
                span_id: first.span_id,
                ..self.clone()
            };
        }
        first
    }

    /// Whether whoever made it keeps the trace.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.flags & 1 == 1
    }

    /// As `traceparent` holds it.
    #[must_use]
    pub fn parent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = &'static str;

    fn from_str(traceparent: &str) -> Result<Self, Self::Err> {
        parsed(traceparent).ok_or("expected 00-TRACE-SPAN-FLAGS, hexadecimal digits, as W3C Trace Context writes them")
    }
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    traceparent: Cow<'a, str>,
    #[serde(borrow, default)]
    tracestate: Option<Cow<'a, str>>,
}

/// The trace's id, 32 hexadecimal digits. None where the metadata, JSON text, names no trace or a malformed one.
#[must_use]
pub fn trace_id(metadata: &str) -> Option<String> {
    trace_context(metadata).map(|context| context.trace_id)
}

/// The producer's span. None where the metadata, JSON text, names none or a malformed one.
#[must_use]
pub fn trace_context(metadata: &str) -> Option<TraceContext> {
    // Most metadata names none, and finding that out should cost nothing.
    if metadata.len() > MAX_SEARCHED_BYTES || !metadata.contains("traceparent") {
        return None;
    }
    let Metadata {
        traceparent,
        tracestate,
    } = serde_json::from_str(metadata).ok()?;
    let state = tracestate
        .filter(|state| state.len() <= MAX_STATE_BYTES)
        .map(Cow::into_owned);
    parsed(&traceparent).map(|context| TraceContext { state, ..context })
}

fn parsed(traceparent: &str) -> Option<TraceContext> {
    let mut parts = traceparent.split('-');
    let [version, id, parent, flags] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
    let is_hex = |text: &str, digits| {
        let hex = |c| matches!(c, b'0'..=b'9' | b'a'..=b'f');
        text.len() == digits && text.bytes().all(hex)
    };
    let well_formed = is_hex(version, 2) && is_hex(id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let is_zero = |text: &str| text.bytes().all(|c| c == b'0');
    if !well_formed || version == "ff" || is_zero(id) || is_zero(parent) {
        return None;
    }
    Some(TraceContext {
        trace_id: id.to_owned(),
        span_id: parent.to_owned(),
        flags: u8::from_str_radix(flags, 16).ok()?,
        state: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_known_by_a_well_formed_parent_alone() {
        const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        let of = |parent: &str| trace_id(&format!(r#"{{"a":1,"traceparent":"{parent}"}}"#));
        assert_eq!(of(&format!("00-{ID}-00f067aa0ba902b7-01")).as_deref(), Some(ID));
        assert_eq!(of(&format!("01-{ID}-00f067aa0ba902b7-01-more")).as_deref(), Some(ID));
        let zeroes = "0".repeat(32);
        for wrong in [
            "",
            ID,
            &format!("ff-{ID}-00f067aa0ba902b7-01"),
            &format!("00-{zeroes}-00f067aa0ba902b7-01"),
            &format!("00-{ID}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        for wrong in ["{}", r#"{"traceparent":7}"#, "traceparent"] {
            assert_eq!(trace_id(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_attempts_span_is_a_child_of_its_producers_or_begins_a_trace() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let mut producer: TraceContext = text.parse().expect("a context");
        assert_eq!(producer.parent(), text);
        producer.state = Some("a=1".to_owned());
        let (child, own) = (producer.of_attempt(true), producer.of_attempt(false));
        assert_eq!((&child.trace_id, &child.state), (&producer.trace_id, &producer.state));
        assert_ne!(child.span_id, producer.span_id);
        assert_ne!(own.trace_id, producer.trace_id);
        assert_eq!((own.is_kept(), &own.state), (true, &None));
        assert!(own.parent().parse::<TraceContext>().is_ok());
        assert!("00-tea".parse::<TraceContext>().is_err());
    }

    #[test]
    fn the_producers_span_is_read_with_what_vendors_add() {
        let metadata =
            r#"{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","tracestate":"a=1"}"#;
        let context = trace_context(metadata).expect("a context");
        assert_eq!((&*context.span_id, context.flags), ("00f067aa0ba902b7", 1));
        assert_eq!(context.state.as_deref(), Some("a=1"));
        let long = metadata.replace("a=1", &"x".repeat(MAX_STATE_BYTES + 1));
        assert_eq!(trace_context(&long).expect("a context").state, None);
    }
}
