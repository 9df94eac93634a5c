//! Everything counted, as OTLP writes it: under the names that it has at `/metrics`, and cumulated since the start.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::families::{Family, Labels, Number, Unit, Values};
use super::histogram::Written;
use crate::observe::otlp::{nanos, resource, scope, text};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u8 = 2;

/// Since when was counted, and until when.
#[derive(Clone, Copy)]
pub(super) struct Period {
    pub(super) since: SystemTime,
    pub(super) until: SystemTime,
}

/// The body of a request that brings these families.
pub(super) fn body(instance: &str, families: &[Family], time: Period) -> Vec<u8> {
    let metrics: Vec<_> = families.iter().map(|family| metric(family, time)).collect();
    let request = json!({"resourceMetrics": [{
        "resource": resource(instance),
        "scopeMetrics": [{"scope": scope(), "metrics": metrics}],
    }]});
    request.to_string().into_bytes()
}

fn metric(family: &Family, time: Period) -> Value {
    let unit = match family.unit {
        Some(Unit::Seconds) => "s",
        Some(Unit::Bytes) => "By",
        None => "",
    };
    let name = family.name();
    let (name, kind, told) = match &family.values {
        Values::Counters(series) => {
            let points = points(series, |number| value(*number), time);
            let sum = json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE, "isMonotonic": true});
            (format!("{name}_total"), "sum", sum)
        }
        Values::Gauges(series) => {
            let points = points(series, |number| value(*number), time);
            (name, "gauge", json!({"dataPoints": points}))
        }
        Values::Histograms(series) => {
            let points = points(series, histogram, time);
            let told = json!({"dataPoints": points, "aggregationTemporality": CUMULATIVE});
            (name, "histogram", told)
        }
    };
    json!({"name": name, "description": family.help, "unit": unit, kind: told})
}

/// One point for each series.
fn points<T>(series: &[(Labels, T)], told: impl Fn(&T) -> Value, time: Period) -> Vec<Value> {
    let point = |(labels, of): &(Labels, T)| {
        let attributes: Vec<_> = labels.iter().map(|(label, value)| text(label, value)).collect();
        let mut point = told(of);
        point["attributes"] = attributes.into();
        point["startTimeUnixNano"] = nanos(time.since).into();
        point["timeUnixNano"] = nanos(time.until).into();
        point
    };
    series.iter().map(point).collect()
}

fn value(number: Number) -> Value {
    match number {
        // 64-bit numbers are strings in this encoding.
        Number::Whole(number) => json!({"asInt": number.to_string()}),
        Number::Real(number) => json!({"asDouble": number}),
    }
}

fn histogram(written: &Written) -> Value {
    let counts: Vec<_> = written.buckets.iter().map(|(_, count)| count.to_string()).collect();
    let bounds = written.buckets.iter().map(|(bound, _)| *bound);
    // That the last bucket has no bound goes without saying.
    let bounds: Vec<_> = bounds.filter(|bound| bound.is_finite()).collect();
    let exemplars = written.exemplars.values().map(|exemplar| {
        json!({
            "timeUnixNano": nanos(exemplar.at),
            "asDouble": exemplar.took.as_secs_f64(),
            "traceId": exemplar.trace_id,
            "spanId": exemplar.span_id,
        })
    });
    json!({
        "count": written.count.to_string(),
        "sum": written.sum,
        "bucketCounts": counts,
        "explicitBounds": bounds,
        "exemplars": exemplars.collect::<Vec<_>>(),
    })
}
