//! Which failed entries an operator means.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::facts::{Cause, Facts};
use crate::outcome::FailureKind;
use crate::queue::FailedEntry;
use crate::text;

/// Selects entries that meet every condition given. By default all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The job's name.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub name: Option<String>,
    /// How it failed.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub kind: Option<FailureKind>,
    /// How long ago it failed at least, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub older_than_ms: Option<u64>,
    /// The plugin whose handler ran; the job's name where none did.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub plugin: Option<String>,
    /// The beginning of the plugin's content digest.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub digest: Option<String>,
    /// The queue it came from.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub queue: Option<String>,
    /// What [`Cause::id`](super::facts::Cause::id) names.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub cause: Option<String>,
    /// Stands in its id, its name or the beginning of its message, in capitals or not.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "said")]
    pub text: Option<String>,
}

/// A condition that is there. `null` is none: whoever left a variable empty does not mean every entry.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// A condition that is there and says something.
fn said<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let said = String::deserialize(from)?;
    if said.trim().is_empty() {
        return Err(D::Error::custom(
            "a condition of the filter is empty; leave it out to mean every entry",
        ));
    }
    Ok(Some(said))
}

/// What a filter looks at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) id: &'a str,
    pub(super) name: &'a str,
    pub(super) queue: &'a str,
    pub(super) message: &'a str,
    pub(super) failed_at_ms: Option<i64>,
    pub(super) cause: &'a Cause,
    pub(super) cause_id: &'a str,
}

impl Filter {
    /// Whether it names the causes that an index keeps together, which the list itself knows nothing of.
    #[must_use]
    pub fn names_others(&self) -> bool {
        self.cause.as_ref().is_some_and(|cause| *cause == Cause::others().id())
    }

    pub(super) fn holds(&self, entry: &FailedEntry, now: Timestamp) -> bool {
        if *self == Self::default() {
            return true;
        }
        let facts = Facts::of(entry);
        let view = View {
            id: &facts.id,
            name: &facts.name,
            queue: &facts.queue,
            message: &facts.message,
            failed_at_ms: facts.failed_at_ms,
            cause: &facts.cause,
            cause_id: &facts.cause.id(),
        };
        self.view(now.as_millisecond()).holds(&view)
    }

    /// The filter, made ready for many entries.
    pub(super) fn view(&self, now_ms: i64) -> FilterView<'_> {
        FilterView {
            filter: self,
            name: self.name.as_deref().map(text::name),
            text: self.text.as_ref().map(|text| text.to_lowercase()),
            failed_before_ms: self.older_than_ms.map(|age| now_ms.saturating_sub_unsigned(age)),
        }
    }
}

/// A filter at one moment.
pub(super) struct FilterView<'a> {
    filter: &'a Filter,
    name: Option<Cow<'a, str>>,
    text: Option<String>,
    failed_before_ms: Option<i64>,
}

impl FilterView<'_> {
    /// Whether it holds for every entry.
    pub(super) fn is_all(&self) -> bool {
        *self.filter == Filter::default()
    }

    /// Whether every condition is met.
    pub(super) fn holds(&self, entry: &View<'_>) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let digest = &self.filter.digest;
        self.filter.kind.is_none_or(|kind| entry.cause.kind == Some(kind))
            && self.name.as_ref().is_none_or(|name| name == entry.name)
            && is(&self.filter.plugin, &entry.cause.plugin)
            && is(&self.filter.queue, entry.queue)
            && is(&self.filter.cause, entry.cause_id)
            && digest
                .as_ref()
                .is_none_or(|digest| !digest.is_empty() && entry.cause.digest.starts_with(digest.as_str()))
            && self
                .failed_before_ms
                .is_none_or(|before| entry.failed_at_ms.is_some_and(|at| at <= before))
            && self.text.as_ref().is_none_or(|text| {
                [entry.message, entry.id, entry.name]
                    .iter()
                    .any(|found| has_text(found, text))
            })
    }
}

/// Whether a text stands in another, which may have capitals.
fn has_text(found: &str, lower: &str) -> bool {
    if !lower.is_ascii() || !found.is_ascii() {
        return found.to_lowercase().contains(lower);
    }
    let (found, lower) = (found.as_bytes(), lower.as_bytes());
    let Some(first) = lower.first() else { return true };
    let Some(last) = found.len().checked_sub(lower.len()) else {
        return false;
    };
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), &found[..=last])
        .any(|place| found[place..place + lower.len()].eq_ignore_ascii_case(lower))
}
