//! Everything counted, as text in the format `OpenMetrics`: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
//!
//! Own code, since the libraries that write this format write exemplars only of histograms that they keep themselves.

use std::fmt::{self, Display, Formatter, Write};
use std::time::UNIX_EPOCH;

use super::Metrics;
use super::exemplars::Exemplar;
use super::families::{Family, Labels, Number, Values};
use super::histogram::Written;

impl Metrics {
    /// The content type of [`Self::write`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// Everything counted, as text in the format `OpenMetrics`.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::new();
        let mut written = self
            .families()
            .iter()
            .try_for_each(|family| write_family(family, &mut text));
        written = written.and_then(|()| text.write_str("# EOF\n"));
        written.unwrap_or_else(|err| unreachable!("a string takes any text: {err}"));
        text
    }
}

fn write_family(family: &Family, text: &mut String) -> fmt::Result {
    let name = family.name();
    let kind = match family.values {
        Values::Counters(_) => "counter",
        Values::Gauges(_) => "gauge",
        Values::Histograms(_) => "histogram",
    };
    writeln!(text, "# HELP {name} {}.", family.help)?;
    writeln!(text, "# TYPE {name} {kind}")?;
    if let Some(unit) = family.unit {
        writeln!(text, "# UNIT {name} {}", unit.name())?;
    }
    match &family.values {
        Values::Counters(series) => series.iter().try_for_each(|(labels, count)| {
            let labels = Set(labels, None);
            writeln!(text, "{name}_total{labels} {count}")
        }),
        Values::Gauges(series) => series.iter().try_for_each(|(labels, value)| {
            let labels = Set(labels, None);
            writeln!(text, "{name}{labels} {value}")
        }),
        Values::Histograms(series) => series
            .iter()
            .try_for_each(|(labels, written)| write_histogram(&name, labels, written, text)),
    }
}

fn write_histogram(name: &str, labels: &Labels, written: &Written, text: &mut String) -> fmt::Result {
    let set = Set(labels, None);
    writeln!(text, "{name}_sum{set} {:?}", written.sum)?;
    writeln!(text, "{name}_count{set} {}", written.count)?;
    let mut below = 0;
    for (place, (bound, count)) in written.buckets.iter().enumerate() {
        below += count;
        write!(text, "{name}_bucket{} {below}", Set(labels, Some(*bound)))?;
        if let Some(exemplar) = written.exemplars.get(&place) {
            write!(text, " # {exemplar}")?;
        }
        text.write_char('\n')?;
    }
    Ok(())
}

impl Display for Number {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => write!(f, "{number}"),
            // With a point, as every number is written that need not be whole.
            Self::Real(number) => write!(f, "{number:?}"),
        }
    }
}

impl Display for Exemplar {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (took, at) = (self.took.as_secs_f64(), self.at.duration_since(UNIX_EPOCH));
        let at = at.unwrap_or_default().as_secs_f64();
        let Self { trace_id, span_id, .. } = self;
        write!(f, "{{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {took:?} {at:.3}")
    }
}

/// The labels of a series, and the bound of a bucket.
struct Set<'a>(&'a Labels, Option<f64>);

impl Display for Set<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut between = '{';
        for (label, value) in self.0 {
            write!(f, "{between}{label}=\"{}\"", Escaped(value))?;
            between = ',';
        }
        match self.1 {
            Some(f64::INFINITY) => write!(f, "{between}le=\"+Inf\"}}"),
            Some(bound) => write!(f, "{between}le=\"{bound:?}\"}}"),
            None if between == ',' => f.write_char('}'),
            None => Ok(()),
        }
    }
}

struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::histogram::Times;
    use super::*;

    #[test]
    fn values_of_labels_are_escaped_and_a_series_without_labels_has_no_braces() {
        let labels = vec![("plugin", "a\\b\"c\nd".to_owned()), ("digest", String::new())];
        assert_eq!(Set(&labels, None).to_string(), r#"{plugin="a\\b\"c\nd",digest=""}"#);
        assert_eq!(Set(&Labels::new(), None).to_string(), "");
        assert_eq!(Set(&Labels::new(), Some(1.0)).to_string(), "{le=\"1.0\"}");
    }

    #[test]
    fn buckets_count_all_that_is_below_their_bound() {
        let times = Times::default();
        for us in [50, 200, 200] {
            times.time(std::time::Duration::from_micros(us));
        }
        let mut text = String::new();
        write_histogram("a", &Labels::new(), &times.written(), &mut text).unwrap();
        for line in [
            "a_sum 0.00045",
            "a_count 3",
            "a_bucket{le=\"0.0001\"} 1",
            "a_bucket{le=\"0.00025\"} 3",
            "a_bucket{le=\"+Inf\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }
}
