//! Every state a job's bytes can be in, and every move between them.
//!
//! ```text
//!                                     waiting
//!                               fetch  │   ▲  wait
//!            push                      ▼   │                   ack
//! producer ────────► ready ────fetch───► in flight ────────────────► done
//!    │                 ▲ ▲                  │  │  │  ▲
//!    │ push --delay    │ └─ requeue (front) ┘  │  │  │ adopt: the lease of the host
//!    │                 │ promote               │  │  └─ that held it ran out
//!    └────────────► delayed ◄──── retry ───────┘  │
//!                                                 ▼
//!                      ▲────── revive ────────── failed
//! ```
//!
//! # States
//!
//! | state | where a job's bytes are |
//! |---|---|
//! | ready | the list `queues:{queue}` |
//! | waiting | the list `waiting:{lane}` of a queue, or `limits:{plugin}:lane:{lane}` of a group of lanes; a lane or a group that holds jobs is named in the set `lanes` |
//! | delayed | the sorted set `queues:{queue}:delayed`, by the time they are due |
//! | in flight | the table `inflight:{host}` of a queue, under a *tag* of the host's own making |
//! | failed | the list `failed`; while operators work on a long one, its older entries in the list `failed:older` |
//! | done | nowhere; a result is kept for a while under the job's id |
//!
//! A host holds its deliveries under its *lease*, an entry of `leases` that its heartbeat renews by Redis' own clock. A
//! delivery is known by its tag alone: producers may push equal bytes and equal ids, and no move ever searches for a
//! delivery by value.
//!
//! # Transitions
//!
//! On one Redis, and in a Cluster under a prefix with a hash tag, each move is one script (`redis/scripts/`). In memory
//! it is one critical section. So a crash, of a host or of Redis, finds the job before the move or after it. The last
//! column is for a Cluster under a plain prefix, where ready, waiting, in flight and leases share a slot, and delayed
//! and failed have others.
//!
//! | transition | made by | asked twice, or its answer lost | where slots differ |
//! |---|---|---|---|
//! | push | `RPUSH`, `push_delayed` | a second job | the same |
//! | fire: nothing → ready, of a schedule | `fire`, for each instant that has come by the store's clock and is later than the last one, which stands beside the queue. Where a schedule skips, it passes without a job while that of an earlier one has not ended: each settlement that ends a job says so in its own step | adds nothing more: the last instant is not before this one | the same |
//! | fetch: waiting, ready → in flight | `fetch`, only under a good lease, which it puts off, and only while the queue is not paused. Of lanes it takes what the host has room for, before anything that is ready; what is ready and larger than that goes to a lane | takes nothing more: no tag is used twice. What the host never heard of goes back by *give back* | the same |
//! | serve: waiting → in flight, from a group of lanes | `serve`, as a fetch, from each lane one job at its turn, only if every limit of the lane lets it start; the same step takes a place of each of these | as for fetch; of places that nobody knows of it makes nothing, and a *sweep* takes them back | the same |
//! | start: in flight, of a job that was ready and that limits across hosts concern; no job moves, and it takes a place of each of its limits | `admit`, if the lane of the job is empty, each of its limits lets it start, and no lane has its turn; else in the same step: wait, in its lane | takes the same places, each of which has the name of the delivery; by a rate, it counts twice. What waits is refused | the same |
//! | wait: in flight → the end of a lane | `settle`; of a ready job that limits concern, `admit` | refused | the same |
//! | ack: in flight → done | `settle` | refused, and which were is told: the tag is gone. Only whoever holds the delivery has its result kept | with a result: `ours` (under a good lease), `SET`, `settle` |
//! | admit: in flight → a lane of a group, of a job that is unique by its key. Perhaps in place of one that waited: that one waiting → done, unrun, its end into the `outbox` | `contend`, which asks the in-flight tables whether the key is held | refused: the tag is gone | the same |
//! | throttle: a key is noted as used for a while; the job stays where it is | `contend` | lets the same job go on again, whichever delivery it is by then | the same |
//! | drop: in flight → done, unrun, as too old or as a duplicate | `settle` | refused | the same |
//! | commit: in flight → done, and what it wrote on completion, and the jobs that it enqueued, into the `outbox` of the queue | `settle` | refused | the same |
//! | write: outbox → bucket, result | `state_write`, `SET`, `HDEL` | nothing more happens: the bucket knows what was written until an hour after the outbox holds it no more | the same |
//! | hand on: outbox → ready, delayed, of the jobs that acknowledged ones enqueued, those of one entry for one place at a time | `hand_on` | nothing more happens: the entry holds them no more | what is not delayed and goes to the same queue: the same. Else `RPUSH` or `push_delayed`, `hand_on`. A crash in between leaves the job there twice |
//! | note: of a job of a batch that fails or is dropped, its end goes into the `outbox` | `settle`, beside the move of the job | refused | beside the last step of that move |
//! | mark: outbox → the batch, of all jobs of it in a page, then ready, delayed, of what is pushed when all its jobs have ended | `mark_batch`, `hand_on` | nothing more happens: the batch is made of sets of ids, and knows which entry of an outbox pushes what | as for hand on |
//! | requeue: in flight → the front of ready | `settle` | refused | the same |
//! | retry: in flight → delayed | `settle` | refused | `ours` (under a good lease), `push_delayed`, `settle`. A crash in between leaves the job in both: it runs twice |
//! | fail: in flight → failed | `settle` | refused | `ours`, `RPUSH`, `settle`. As for retry |
//! | fail there: in flight → failed, of bytes that never came | `settle` | refused | as for fail, of what came |
//! | promote: delayed → ready | `promote` | moves what else is due | `claim_due` puts the job off by ten seconds, `RPUSH`, `drop_claimed`. A crash before the push delays it by those, one after it runs it twice. One too large for any host: `claim_due`, `RPUSH` to failed, `ZREMRANGEBYSCORE` |
//! | give back places | `settle`, beside whatever becomes of the delivery | nothing more happens: a place has the name of its delivery, which none has again | the same, with the step that removes the delivery |
//! | shut: no job of a lane of limits starts for a while; no job moves | `settle`, beside whatever becomes of a delivery from it | nothing more happens | the same, with the step that removes the delivery |
//! | sweep: takes back places of deliveries that are in no table | `sweep`, right after an adoption (of all that its jobs count against), and now and then (of what is full) | nothing more happens | the same |
//! | adopt: in flight → in flight of another host | `adopt`, once the lease has run out and the others had time to come back | as for fetch | the same |
//! | give back: in flight → the front of ready | `settle` | refused | the same |
//! | pause, resume | `HSET`, `HDEL` of `orders`; no job moves | nothing more happens | the same |
//! | cancel, undo | `cancel`, `uncancel`: a mark by the job's id, and a new version of the marks in `orders`; no job moves | nothing more happens | the same |
//! | record: what an attempt came to, beside its settlement and whatever becomes of that; no job moves | `record` | a second record | the same |
//! | report, and take back: what a running attempt says; no job moves | `SET`, `DEL` | nothing more happens | the same |
//! | claim, and hold: who tells of an alert, and for how long nobody else does; no job moves | `SET NX`, `PEXPIRE` | refused until it is over | the same |
//! | succeed: when a job of a schedule last completed; no job moves | `succeeded` | the later time | the same |
//! | heartbeat, leave | `renew`, `leave` | nothing more happens | the same |
//! | revive: failed → ready, of its queue or, to move it, of another | `take_failed` | refused: the entry is gone | `take_failed` (looks), `RPUSH`, `take_failed`. A crash in between leaves it in both |
//! | delete, purge, retain: failed → gone | `take_failed`, `purge`, `retain` | refused; a purge drops more | the same |
//! | move the border: failed → failed, from one part to the other | `move_border` | nothing more happens: the border is elsewhere | the same |
//!
//! *Record*, *report*, *claim*, *hold* and *succeed* have no step in the model: no other move reads what they write, so no order
//! of them and the others can break a promise about jobs. What they promise themselves is bounds, and tested where they are.
//!
//! A *retry* also puts a job back that became ready before its own time, because its producer rounded the score down.
//!
//! A job *waits* if it may not start now: its plugin is at its `concurrency`, is being loaded or is set aside, its name
//! is paused, or the job is larger than the room that its host has left. No host holds a waiting job, and no attempt is counted. A host
//! looks which lanes hold jobs, and is told when that changes. It takes from a lane only what it can start, or what it
//! has no plugin for: so no lane is forgotten, whatever becomes of hosts and plugins.
//!
//! Limits *across hosts* have lanes of their own, a *group* for each plugin that has such limits. A lane holds the jobs that count
//! against the same limits by the same keys: `/customer=acme|*`. Each of these, a *cap*, has the places of the deliveries that
//! run under it, and the time when the next job may start by its rate. A limited job that was ready takes its places where it is, by
//! `admit`, if it overtakes nobody: its lane is empty, and no other lane has its turn. Else it goes to its lane, and `serve` takes it from
//! there with its places. Each is one step in which it is asked whether places are free, and these are taken. A place is worth what the in-flight table says: one whose
//! delivery is in no host's table is free, whatever became of the host, as soon as somebody sweeps; and none is free while a
//! host may still run the job. There is no count that could be wrong, and no time after which a place would be given away.
//! A lane whose cap is full leaves the lanes that have turns, and comes back when a place is given back: so nothing asks for it
//! in between, however many lanes there are (`redis/scripts/caps.lua`).
//!
//! A job that is *unique by a key* has one more cap than those of limits, with one place: its key. What holds a key is a delivery, so the
//! same holds for it: no key outlives its job, and whoever is to be told that a key is free has a turn. `contend` admits such a job to
//! its lane, or finds that another of its key makes it one too many: one that has the place, waits in a lane, or waits for its next
//! attempt, which a note with an end in time says. So a key has one waiting job at most, beside those from the failed list, which have
//! lanes of their own and are never dropped. An admitted job says so in its bytes: whatever brings it back, it is no new trigger, and
//! has its id from then on. Beside that stands its *stamp*, when it was fetched, by which the newest of a key is told: hosts may ask in
//! another order than they fetched, and producers may push equal ids. It also tells a job whose host heard no answer from another.
//!
//! What operators order stands in the hash `orders` of a queue. A fetch asks in its own step whether the queue is paused, so a
//! pause holds from the moment it is written; and hosts watch the hash, so that none asks again and again while a paused
//! queue is full. The hash is made when a host joins and never deleted: in a slot that is moving away, a fetch could not ask
//! for a key that is not there. That a job *name* is paused, in all queues, is known to hosts and not asked in the step: its
//! jobs are fetched, and wait in a lane of that name, which opens for nobody.
//!
//! A job is *cancelled* by a mark with its id, wherever its bytes are. The version of a queue's marks stands in its `orders`, so
//! hosts hear of a new one as of a pause, and a fetch tells it with what it takes. A host that knows another version reads the
//! marks before it starts anything of that fetch. What it then comes to, or runs, it settles as failed; so the in-flight table
//! decides between an acknowledgement and a cancel. No job is searched for. Marks end after a while, and no host keeps more than
//! [`MAX_CANCELLED`] of a queue.
//!
//! *Give back* compares the host's table with the deliveries that its process holds: after each fault, after a delivery
//! was dropped, and now and then. *Adopt* makes the deliveries of a dead host this host's own; each is then settled as
//! lost, by an ordinary retry or fail. Only if the answer to an adoption is lost are its jobs given back uncounted.
//!
//! What stands in an outbox is written by the host that acknowledged it, and by any other only once that host's lease has run out.
//! A host that has [`MAX_OUTBOX_ENTRIES`] entries there, or [`MAX_OUTBOX_BYTES`], takes nothing more from the queue until some are
//! written. Writing them takes no job and no settlement, so nothing waits for itself. A host counts what it has put there itself,
//! and asks nobody.
//!
//! # What is large
//!
//! No reply carries more than [`MAX_BATCH_BYTES`]. Of a larger job the reply has the beginning and the length; `piece`
//! reads the rest, each piece with a time-out of its own. A job beyond [`MAX_TAKEN_BYTES`] is never read whole: it
//! moves like any other, and its failed entry holds the beginning.
//!
//! A job of which a piece keeps failing to arrive fails unread: its entry is made where its bytes are.
//!
//! A settlement that the store refuses is held and offered again alone, without delaying others. Another
//! takes its place (`consumer/refusals.rs`) if the store refuses it for its length, or for long enough for any reason
//! except that this host may not write there. If nothing else is taken either, the delivery stays in flight: nothing
//! more is offered for it, and the next host that takes it over decides anew.
//!
//! # Who may run a job
//!
//! Only the host in whose table it is, and only while that host's lease lasts. A host that cannot renew its lease stops
//! its guests a tenth of the lease before the end, by a clock that was read before Redis was asked. So two hosts run
//! one job at once only if one of them was suspended (`SIGSTOP`, a sleeping machine), or if Redis' clock was set
//! forward or that of a new master is ahead. When a suspended host comes back, its first heartbeat or fetch tells it
//! that the lease is gone, and its settlements are refused. Before a job starts, and at every tick of its guest, the
//! host reads the clock itself: after such a pause no timer has fired yet.
//!
//! An expired lease does not tell a dead host from one that is about to come back because the store was away for both.
//! So a host takes over at once only if its own lease has been good for five seconds, or half a lease. A host with a
//! younger lease, or one that had run out, writes a note into the store that it found the other dead, and takes over
//! once anybody's note is that old: so hosts that keep crashing recover their jobs all the same. A note counts only
//! while the lease that it is about has not been renewed since.
//!
//! A delayed job falls due by the store's clock: a settlement says how long the job waits, and the store adds that to
//! its time. The times in the job's JSON (`available_at`, `failed_at`) are the host's own, corrected by what its
//! heartbeats measure.
//!
//! `tests/suite/model.rs` tries every order of these steps, crashes and lost answers included, and `simulation.rs` beside it holds
//! the real [`Consumer`] to the same promises.
//!
//! # Where what is
//!
//! [`Store`] is what producers and operators use, [`Consumer`] (`consumer/`) is a host's claim on some queues. Both
//! make their moves through the trait [`backend::Backend`], which `redis/`, `memory/` and, in tests, a simulation
//! implement. `moves` holds the arguments and answers of moves. This module runs no jobs, and does not know why one is
//! settled the way it is.

mod alerts;
mod audit;
pub mod backend;
mod bare;
mod batches;
mod bounds;
mod cancelling;
mod cancels;
mod consumer;
mod counts;
mod error;
mod failed;
mod firing;
mod history;
mod limits;
mod looking_back;
mod memory;
mod metered;
mod moves;
mod orders;
mod peek;
mod push;
mod queue_name;
mod redis;
mod report;
mod requests;
mod settings;
mod state;
mod store;
mod sums;
mod unique;
mod waits;

pub use crate::config::QUEUE_DEFAULT;
pub use audit::MAX_NOTES;
pub(crate) use bare::Bare;
pub use batches::{BATCH_KEPT, BatchState, Mark, Marked};
pub use bounds::{BOUNDS, Bound};
pub(crate) use cancelling::MARKED_AT_ONCE;
pub use cancels::{CANCELLED_FOR, Cancels, MAX_CANCELLED, cancellable};
pub use consumer::{Arrival, Consumer, Delivery, Heartbeat, LEASE_DEFAULT, MAX_PIECE_TRIES};
pub use counts::{Counts, HostState};
pub use error::QueueError;
pub use failed::{FailedEntry, Fate, Retention};
pub use firing::{Fired, Firing, Instant, MAX_AHEAD, MAX_REMEMBERED_SCHEDULES, MAX_UNENDED, Occurrence};
pub use history::{
    MAX_HISTORIES, MAX_HISTORY_BYTES, MAX_JOB_HISTORY_BYTES, PROGRESS_TTL, Past, ProgressReport, Record,
};
pub use limits::{
    MAX_BATCH, MAX_BATCH_BYTES, MAX_LIMITED_JOBS, MAX_LIMITED_LANES, MAX_OUTBOX_BYTES, MAX_OUTBOX_ENTRIES,
    MAX_TAKEN_BYTES,
};
pub use metered::OPERATIONS;
pub use moves::{
    Admitted, Ended, Found, JobsPage, LaneSeen, LaneWish, LanesPage, MAX_PEEKED, PEEK_BYTES, Part, Peeked, Place,
    Reported, Search, Seen, Sweep,
};
pub use orders::{MAX_PAUSED_JOBS, MAX_PAUSED_NAME_BYTES, MAX_REASON_BYTES, Orders, Pausable, Pause};
pub use push::Push;
pub use queue_name::QueueName;
pub(crate) use redis::Work;
pub use requests::{REQUEST_KEPT, REQUEST_TIME};
pub(crate) use settings::without_password;
pub use settings::{
    ConnectionSettings, HISTORY_TTL_DEFAULT, PREFIX_DEFAULT, RESULT_TTL_DEFAULT, StoreSettings, URL_FORMS,
};
pub use state::StateStore;
pub use store::Store;
pub use sums::{MAX_SUMS, OTHER, Of, Span, Sum, Sums};
pub use unique::{AWAITED_FOR, Comes, Contended, Contender, OfKey};
pub use waits::Waits;
pub(crate) use waits::{WAIT_SUMS, sum_names, sums_of};
