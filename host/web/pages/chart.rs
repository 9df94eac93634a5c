//! Charts as SVG, drawn here. Each says in words what it shows, and has its numbers in a table beside it.

use std::fmt::Write as _;

use maud::{Markup, html};

use crate::admin::index::PARTS;
use crate::web::words;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// One line of a chart.
pub(super) struct Line<'a> {
    /// What it shows.
    pub(super) name: &'a str,
    /// Its class: `a`, `b`, `c` …
    pub(super) class: &'a str,
    /// Its values, the oldest first. None: a gap.
    pub(super) values: Vec<Option<f64>>,
}

/// Lines over the same time, with the same scale.
pub(super) fn lines(title: &str, said: &str, lines: &[Line<'_>], span: &str, show: fn(f64) -> String) -> Markup {
    let top = lines
        .iter()
        .flat_map(|line| line.values.iter().flatten())
        .copied()
        .fold(0.0, f64::max);
    let scale = nice(top);
    html! {
        figure.chart {
            figcaption { span.title { (title) } (legend(lines)) }
            div.plot {
                span.top aria-hidden="true" { (show(scale)) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(said) {
                    (grid())
                    @for line in lines {
                        path class={ "area " (line.class) } d=(path(&line.values, scale, true)) {}
                        path class={ "line " (line.class) } d=(path(&line.values, scale, false)) {}
                    }
                }
            }
            div.axis aria-hidden="true" { span { (span) " ago" } span { "now" } }
        }
    }
}

fn grid() -> Markup {
    html! {
        @for part in [0.25, 0.5, 0.75] {
            line.grid x1="0" x2=(WIDTH) y1=(HEIGHT * part) y2=(HEIGHT * part) {}
        }
    }
}

fn legend(lines: &[Line<'_>]) -> Markup {
    html! {
        span.legend { @for line in lines { span class={ "key " (line.class) } { (line.name) } } }
    }
}

/// A line through the values, or the area under it.
fn path(values: &[Option<f64>], scale: f64, area: bool) -> String {
    #[expect(clippy::cast_precision_loss, reason = "there are some hundred values")]
    let x = |place: usize| place as f64 / (values.len().max(2) - 1) as f64 * WIDTH;
    let y = |value: f64| HEIGHT - value / scale * (HEIGHT - 4.0) - 1.0;
    let (mut path, mut begun) = (String::new(), None);
    let close = |path: &mut String, from: Option<usize>, to: usize| {
        if let (true, Some(from)) = (area, from) {
            let _ = write!(path, "L{:.1} {HEIGHT}L{:.1} {HEIGHT}Z", x(to), x(from));
        }
    };
    for (place, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let how = if begun.is_some() { 'L' } else { 'M' };
            let _ = write!(path, "{how}{:.1} {:.1}", x(place), y(*value));
            begun = begun.or(Some(place));
        } else {
            close(&mut path, begun, place.saturating_sub(1));
            begun = None;
        }
    }
    close(&mut path, begun, values.len().saturating_sub(1));
    path
}

/// The next number that is easy to read: 1, 2 or 5 times a power of ten.
fn nice(top: f64) -> f64 {
    if top <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(top.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|step| *step >= top)
        .unwrap_or(top)
}

/// Bars on top of each other, for each part of a time; and marks at some places, from 0 to 1, each with a word.
pub(super) fn bars(
    title: &str,
    said: &str,
    series: &[(&str, [u32; PARTS])],
    span: &str,
    marks: &[(f64, String)],
) -> Markup {
    let sum = |part: usize| series.iter().map(|(_, parts)| u64::from(parts[part])).sum::<u64>();
    let most = (0..PARTS).map(sum).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a chart is no more exact")]
    let scale = nice(most as f64);
    html! {
        figure.chart {
            figcaption {
                span.title { (title) }
                span.legend { @for (place, (name, _)) in series.iter().enumerate() { span class={ "key k" (place % 8) } { (name) } } }
            }
            div.plot {
                span.top aria-hidden="true" { (words::count(words::whole(scale))) }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(said) {
                    (grid())
                    @for part in 0..PARTS {
                        @for (class, x, y, height) in stack(series, part, scale) {
                            rect class={ "bar k" (class % 8) } x=(x) y=(format!("{y:.1}")) width=(WIDTH / 24.0 - 3.0) height=(format!("{height:.1}")) {}
                        }
                    }
                    @for (place, _) in marks {
                        line.deploy x1=(place * WIDTH) x2=(place * WIDTH) y1="0" y2=(HEIGHT) {}
                    }
                }
            }
            div.axis aria-hidden="true" { span { (span) " ago" } span { "now" } }
            @if !marks.is_empty() {
                p.marks { span.key.deploy { "deployed:" } @for (_, word) in marks { " " (word) } }
            }
        }
    }
}

/// The bars of one part of the time, from the bottom up: series, left, top, height.
fn stack(series: &[(&str, [u32; PARTS])], part: usize, scale: f64) -> Vec<(usize, f64, f64, f64)> {
    #[expect(clippy::cast_precision_loss, reason = "there are 24")]
    let x = part as f64 * (WIDTH / PARTS as f64) + 1.5;
    let mut bottom = HEIGHT;
    let mut bars = Vec::new();
    for (place, (_, parts)) in series.iter().enumerate().filter(|(_, (_, parts))| parts[part] > 0) {
        let height = f64::from(parts[part]) / scale * (HEIGHT - 4.0);
        bottom -= height;
        bars.push((place, x, bottom, height));
    }
    bars
}

/// A histogram so small that it stands in a line of a table.
pub(super) fn spark(parts: &[u32; PARTS]) -> Markup {
    let most = f64::from(parts.iter().copied().max().unwrap_or(0).max(1));
    html! {
        svg.spark viewBox="0 0 96 20" preserveAspectRatio="none" aria-hidden="true" {
            @for (place, part) in parts.iter().enumerate().filter(|(_, part)| **part > 0) {
                @let height = (f64::from(*part) / most * 18.0).max(1.5);
                rect x=(place * 4) y=(format!("{:.1}", 20.0 - height)) width="3" height=(format!("{height:.1}")) {}
            }
        }
    }
}

/// A histogram of as many steps as there are, in a line of a table.
pub(super) fn steps(steps: &[u64]) -> Markup {
    let width = steps.len().div_ceil(MOST_STEPS).max(1);
    let sums: Vec<u64> = steps.rchunks(width).rev().map(|steps| steps.iter().sum()).collect();
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    html! {
        svg.spark.steps viewBox={ "0 0 " (sums.len().max(1) * 4) " 20" } preserveAspectRatio="none" role="img" aria-label={ "up to " (words::count(most)) " in one of " (sums.len()) " steps" } {
            @for (place, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
                @let height = u32::try_from((u128::from(*sum) * 180).div_ceil(u128::from(most))).unwrap_or(180).max(15);
                @let (whole, tenth) = (height / 10, height % 10);
                rect x=(place * 4) y={ ((200 - height) / 10) "." ((200 - height) % 10) } width="3" height={ (whole) "." (tenth) } {}
            }
        }
    }
}

/// Bars of such a histogram. More would not be seen.
const MOST_STEPS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_number_that_is_easy_to_read() {
        let shown = [0.0, 0.3, 1.0, 3.0, 17.0, 51.0, 99.0].map(|top| format!("{:.1}", nice(top)));
        assert_eq!(shown, ["1.0", "0.5", "1.0", "5.0", "20.0", "100.0", "100.0"]);
    }

    #[test]
    fn a_gap_in_the_values_is_a_gap_in_the_line() {
        let values = [Some(1.0), Some(1.0), None, Some(1.0)];
        assert_eq!(path(&values, 1.0, false).matches('M').count(), 2);
        assert_eq!(path(&values, 1.0, true).matches('Z').count(), 2);
        assert_eq!(path(&[], 1.0, true), "");
    }
}
