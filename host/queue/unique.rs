//! The arguments and answers of moves of jobs that are unique by a key.

use std::time::Duration;

use crate::job::UniqueRule;
use crate::outcome::Lane;

/// For how long after it fell due a job keeps others of its key away that waits for its next attempt. It may lie in its queue
/// behind others; and if it never comes, since somebody deleted it, others run again after that.
pub const AWAITED_FOR: Duration = Duration::from_mins(10);

/// For how long after the last one of a key has ended it is remembered when that was fetched, where only the newest is to run:
/// one that was fetched before it may still be on its way through a host. `settle.lua` and `sweep.lua` have it as well.
pub(super) const ORDER_REMEMBERED: Duration = Duration::from_mins(1);

/// A job that is unique by a key, before it is known whether it is to run.
#[derive(Debug, Clone, Copy)]
pub struct Contender<'a> {
    /// Where it waits for its turn: a lane of a group.
    pub lane: &'a Lane,
    /// What its key is called among the limits of that group.
    pub cap: &'a str,
    /// Which jobs of its key run.
    pub rule: UniqueRule,
    /// How it comes.
    pub comes: Comes,
    /// The job's id.
    pub id: &'a str,
    /// What orders it among the jobs of its key: by when it was fetched for the first time. No other job has the same one.
    pub stamp: &'a str,
    /// Its bytes from then on, once it is admitted.
    pub job: &'a str,
    /// What is written into the outbox if another takes its place while it waits: as a
    /// [`Commit`](crate::outcome::Commit); empty: nothing.
    pub note: &'a str,
}

/// How a job that is unique by a key comes to be admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// For the first time.
    New,
    /// Once more: its attempt failed, its host died or gave it back.
    Again,
    /// From the failed list: it waits for others, and is never dropped for one.
    Revived,
}

/// What was decided about a [`Contender`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contended {
    /// It waits for its turn, in its lane. Perhaps in place of another, which has this id and never runs.
    Waits(Option<String>),
    /// It may go on.
    Goes,
    /// It is one too many. The one that runs, or is to, has this id, if it is known. Nothing was moved.
    Duplicate(Option<String>),
    /// It was no longer in the host's table, perhaps since this was asked before.
    Gone,
}

/// What the store is told of an admitted job that is unique by a key when it is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfKey {
    /// The group of the lanes in which its key stands.
    pub group: Lane,
    /// What its key is called there.
    pub cap: String,
    /// Its id.
    pub id: String,
    /// What orders it among the jobs of its key.
    pub stamp: String,
    /// Whether a newer one takes its place while it waits for its next attempt. Else none of its key runs meanwhile.
    pub yields: bool,
}
