//! The entries of the index, as small as they can be kept.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::{Choices, Coverage, Found, Group, Indexed, MAX_BYTES, MAX_CAUSES, MAX_DENIALS, PARTS, part};
use crate::admin::facts::{Cause, Facts};
use crate::admin::filter::{FilterView, View};
use crate::outcome::FailureKind;
use crate::queue::FailedEntry;

/// What a row takes beside its texts, in bytes: itself, and what the allocator adds.
const ROW_BYTES: usize = size_of::<Row>() + 32;

/// Entries of the list from a place on, without a gap.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Where in the list the first row is.
    pub(super) base: u64,
    all: VecDeque<Row>,
    /// Texts that many rows share. What no row has any more is dropped when there are twice as many as after the last time.
    shared: HashSet<Arc<str>>,
    swept_at: usize,
    causes: HashMap<Cause, Arc<Known>>,
    /// How many rows each queue has.
    queues: HashMap<Arc<str>, u64>,
    bytes: usize,
    /// Entries of the list when it was last looked at, and when that was.
    pub(super) len: u64,
    pub(super) looked: Option<Instant>,
    next: i64,
    /// Goes up with every change of the rows.
    pub(super) changes: u64,
}

#[derive(Debug)]
struct Row {
    number: i64,
    mark: u64,
    failed_at_ms: Option<i64>,
    bytes: u64,
    id_is_whole: bool,
    is_job: bool,
    /// Of the id: with it a row is looked for without a look at its texts.
    id_hash: u32,
    id: Box<str>,
    message: Box<str>,
    name: Arc<str>,
    queue: Arc<str>,
    cause: Arc<Known>,
}

/// A cause, and what names it.
#[derive(Debug)]
struct Known {
    cause: Cause,
    id: String,
    /// How many rows have it.
    rows: AtomicU64,
}

impl Row {
    fn view(&self) -> View<'_> {
        View {
            id: &self.id,
            name: &self.name,
            queue: &self.queue,
            message: &self.message,
            failed_at_ms: self.failed_at_ms,
            cause: &self.cause.cause,
            cause_id: &self.cause.id,
        }
    }

    fn indexed(&self) -> Indexed {
        let cause = &self.cause.cause;
        Indexed {
            number: self.number,
            entry: format!("{:016x}", self.mark),
            id_is_whole: self.id_is_whole,
            is_job: self.is_job,
            id: self.id.to_string(),
            name: self.name.to_string(),
            queue: self.queue.to_string(),
            failed_at_ms: self.failed_at_ms,
            message: self.message.to_string(),
            kind: cause.kind,
            plugin: cause.plugin.clone(),
            digest: cause.digest.clone(),
            cause: self.cause.id.clone(),
            bytes: self.bytes,
        }
    }

    fn size(&self) -> usize {
        ROW_BYTES + self.id.len() + self.message.len()
    }
}

impl Rows {
    pub(super) fn count_of_rows(&self) -> usize {
        self.all.len()
    }

    /// The place in the list after the last row.
    pub(super) fn end(&self) -> u64 {
        self.base + self.all.len() as u64
    }

    pub(super) fn mark(&self, row: usize) -> Option<u64> {
        self.all.get(row).map(|row| row.mark)
    }

    pub(super) fn last_mark(&self) -> Option<u64> {
        self.all.back().map(|row| row.mark)
    }

    /// The row of each mark; of several, the last.
    pub(super) fn by_mark(&self) -> HashMap<u64, usize> {
        let marks = self.all.iter().enumerate();
        marks.map(|(place, row)| (row.mark, place)).collect()
    }

    pub(super) fn clear(&mut self) {
        self.drop_rows(0, self.all.len());
    }

    /// Drops the rows from `from` until before `to`.
    pub(super) fn drop_rows(&mut self, from: usize, to: usize) {
        self.changes += 1;
        let Self { all, queues, bytes, .. } = self;
        for row in all.drain(from..to) {
            *bytes -= row.size();
            uncount(queues, &row);
        }
    }

    pub(super) fn forget(&mut self, marks: &HashSet<u64>) {
        self.changes += 1;
        let Self { all, queues, bytes, .. } = self;
        let before = all.len();
        all.retain(|row| {
            let is_kept = !marks.contains(&row.mark);
            if !is_kept {
                *bytes -= row.size();
                uncount(queues, row);
            }
            is_kept
        });
        let gone = before - all.len();
        self.len = self.len.saturating_sub(gone as u64);
    }

    fn count_row(&mut self, row: &Row) {
        self.changes += 1;
        self.bytes += row.size();
        row.cause.rows.fetch_add(1, Relaxed);
        *self.queues.entry(Arc::clone(&row.queue)).or_default() += 1;
    }

    /// Adds an entry after the last row. If there is no room, the first rows go.
    pub(super) fn push_back(&mut self, entry: &FailedEntry) {
        let row = self.row(entry, self.all.back().map_or(self.next, |last| last.number + 1));
        self.next = row.number + 1;
        self.count_row(&row);
        self.all.push_back(row);
        while self.bytes > MAX_BYTES && self.all.len() > 1 {
            self.drop_rows(0, 1);
            self.base += 1;
        }
    }

    /// Adds an entry before the first row. False: there is no room for it.
    pub(super) fn push_front(&mut self, entry: &FailedEntry) -> bool {
        let row = self.row(entry, self.all.front().map_or(self.next, |first| first.number - 1));
        if self.bytes + row.size() > MAX_BYTES {
            return false;
        }
        self.next = self.next.max(row.number + 1);
        self.count_row(&row);
        self.all.push_front(row);
        self.base = self.base.saturating_sub(1);
        true
    }

    pub(super) fn is_full(&self) -> bool {
        // Nothing is added in front of a row that had to go.
        self.bytes > MAX_BYTES - MAX_BYTES / 64
    }

    fn row(&mut self, entry: &FailedEntry, number: i64) -> Row {
        let facts = Facts::of(entry);
        Row {
            number,
            mark: entry.mark(),
            failed_at_ms: facts.failed_at_ms,
            bytes: entry.length() as u64,
            id_is_whole: facts.id_is_whole,
            is_job: facts.is_job,
            id_hash: hash(&facts.id),
            id: facts.id.into(),
            message: facts.message.into(),
            name: self.share(&facts.name),
            queue: self.share(&facts.queue),
            cause: self.known(facts.cause),
        }
    }

    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.shared.get(text) {
            return Arc::clone(shared);
        }
        if self.shared.len() > 2 * self.swept_at.max(1_000) {
            self.shared.retain(|text| Arc::strong_count(text) > 1);
            self.swept_at = self.shared.len();
        }
        let shared: Arc<str> = text.into();
        self.shared.insert(Arc::clone(&shared));
        shared
    }

    fn known(&mut self, cause: Cause) -> Arc<Known> {
        if let Some(known) = self.causes.get(&cause) {
            return Arc::clone(known);
        }
        if self.causes.len() >= MAX_CAUSES {
            self.causes.retain(|_, known| Arc::strong_count(known) > 1);
        }
        let cause = if self.causes.len() >= MAX_CAUSES {
            Cause::others()
        } else {
            cause
        };
        let id = cause.id();
        let known = Known {
            cause: cause.clone(),
            id,
            rows: AtomicU64::new(0),
        };
        Arc::clone(self.causes.entry(cause).or_insert_with(|| Arc::new(known)))
    }

    pub(super) fn coverage(&self) -> Coverage {
        let indexed = self.all.len() as u64;
        let building = self.looked.is_none() || self.base > 0 && !self.is_full();
        Coverage {
            len: if building { self.len.max(self.end()) } else { self.end() },
            indexed,
            building,
            age_ms: self
                .looked
                .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn place(&self, id: &str) -> Option<u64> {
        let id = crate::text::name(id);
        let wanted = hash(&id);
        let is_it = |row: &Row| row.id_hash == wanted && *row.id == *id;
        let row = self.all.iter().rposition(is_it)?;
        Some(self.base + row as u64)
    }

    /// Where the entry with this mark is.
    pub(super) fn place_of_mark(&self, mark: u64) -> Option<u64> {
        let row = self.all.iter().rposition(|row| row.mark == mark)?;
        Some(self.base + row as u64)
    }

    fn matching<'a>(&'a self, filter: &'a FilterView<'_>) -> impl Iterator<Item = &'a Row> {
        self.all.iter().rev().filter(|row| filter.holds(&row.view()))
    }

    pub(super) fn count(&self, filter: &FilterView<'_>) -> u64 {
        self.matching(filter).count() as u64
    }

    pub(super) fn find(&self, filter: &FilterView<'_>, before: Option<i64>, count: usize) -> Found {
        if filter.is_all() {
            return self.page(before, count);
        }
        let mut listing = Listing::new(before, count);
        self.matching(filter).for_each(|row| listing.add(row));
        listing.found
    }

    /// A page of all rows, without a look at any other.
    fn page(&self, before: Option<i64>, count: usize) -> Found {
        let end = before.map_or(self.all.len(), |before| {
            self.all.partition_point(|row| row.number < before)
        });
        let from = end.saturating_sub(count);
        Found {
            entries: self.all.range(from..end).rev().map(Row::indexed).collect(),
            matching: self.all.len() as u64,
            next: self.all.get(from).filter(|_| from > 0).map(|row| row.number),
        }
    }

    pub(super) fn groups(&self, filter: &FilterView<'_>, now_ms: i64, span: Duration) -> Vec<Group> {
        let mut grouping = Grouping::new(now_ms, span);
        self.matching(filter).for_each(|row| grouping.add(row));
        grouping.by_count()
    }

    /// Both, in one pass.
    pub(super) fn look(
        &self,
        filter: &FilterView<'_>,
        (before, count): (Option<i64>, usize),
        (now_ms, span): (i64, Duration),
    ) -> (Found, Vec<Group>) {
        let (mut listing, mut grouping) = (Listing::new(before, count), Grouping::new(now_ms, span));
        for row in self.matching(filter) {
            listing.add(row);
            grouping.add(row);
        }
        (listing.found, grouping.by_count())
    }

    /// What each plugin was denied: the messages, and how often.
    pub(super) fn denials(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        let mut denials = BTreeMap::<String, BTreeMap<String, u64>>::new();
        let is_denied = |known: &Known| known.cause.kind == Some(FailureKind::Denied) && known.rows.load(Relaxed) > 0;
        if !self.causes.values().any(|known| is_denied(known)) {
            return denials;
        }
        for row in self.all.iter().rev() {
            let cause = &row.cause.cause;
            if cause.kind != Some(FailureKind::Denied) {
                continue;
            }
            let of_plugin = denials.entry(cause.plugin.clone()).or_default();
            if let Some(count) = of_plugin.get_mut(&*row.message) {
                *count += 1;
            } else if of_plugin.len() < MAX_DENIALS {
                of_plugin.insert(row.message.to_string(), 1);
            }
        }
        denials
    }

    pub(super) fn choices(&self) -> Choices {
        let mut choices = Choices::default();
        for known in self.causes.values() {
            let rows = known.rows.load(Relaxed);
            if rows > 0 {
                let kind = known.cause.kind.map_or("", FailureKind::as_str);
                *choices.kinds.entry(kind).or_default() += rows;
                *choices.plugins.entry(known.cause.plugin.clone()).or_default() += rows;
            }
        }
        choices.queues = self
            .queues
            .iter()
            .map(|(name, rows)| (name.to_string(), *rows))
            .collect();
        choices
    }
}

fn hash(id: &str) -> u32 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    #[expect(clippy::cast_possible_truncation, reason = "a hash")]
    let hash = hasher.finish() as u32;
    hash
}

fn uncount(queues: &mut HashMap<Arc<str>, u64>, row: &Row) {
    row.cause.rows.fetch_sub(1, Relaxed);
    if let Some(rows) = queues.get_mut(&row.queue) {
        *rows -= 1;
        if *rows == 0 {
            queues.remove(&row.queue);
        }
    }
}

/// One page of rows, and how many there are in all.
struct Listing {
    before: Option<i64>,
    count: usize,
    found: Found,
}

impl Listing {
    fn new(before: Option<i64>, count: usize) -> Self {
        Self {
            before,
            count,
            found: Found::default(),
        }
    }

    fn add(&mut self, row: &Row) {
        let found = &mut self.found;
        found.matching += 1;
        if self.before.is_some_and(|before| row.number >= before) {
            return;
        }
        if found.entries.len() < self.count {
            found.entries.push(row.indexed());
        } else if found.next.is_none() {
            found.next = found.entries.last().map(|last| last.number);
        }
    }
}

/// Rows by their cause.
struct Grouping {
    now_ms: i64,
    span: Duration,
    groups: HashMap<*const Known, Group>,
}

impl Grouping {
    fn new(now_ms: i64, span: Duration) -> Self {
        Self {
            now_ms,
            span,
            groups: HashMap::new(),
        }
    }

    fn add(&mut self, row: &Row) {
        let group = self.groups.entry(Arc::as_ptr(&row.cause)).or_insert_with(|| Group {
            cause: row.cause.cause.clone(),
            id: row.cause.id.clone(),
            count: 0,
            times_ms: None,
            newest: row.indexed(),
            parts: [0; PARTS],
        });
        group.count += 1;
        if let Some(at) = row.failed_at_ms {
            let (first, last) = group.times_ms.unwrap_or((at, at));
            group.times_ms = Some((first.min(at), last.max(at)));
            if let Some(part) = part(self.now_ms, self.span, at) {
                group.parts[part] += 1;
            }
        }
    }

    /// The most frequent first.
    fn by_count(self) -> Vec<Group> {
        let mut groups: Vec<_> = self.groups.into_values().collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
        groups
    }
}
