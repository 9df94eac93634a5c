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
//! | waiting | the list `waiting:{lane}` of a queue; a lane that holds jobs is named in the set `lanes` |
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
//! | fetch: waiting, ready → in flight | `fetch`, only under a good lease, which it puts off. Of lanes it takes what the host has room for, before anything that is ready; what is ready and larger than that goes to a lane | takes nothing more: no tag is used twice. What the host never heard of goes back by *give back* | the same |
//! | wait: in flight → the end of a lane | `settle` | refused | the same |
//! | ack: in flight → done | `settle` | refused, and which were is told: the tag is gone. Only whoever holds the delivery has its result kept | with a result: `ours` (under a good lease), `SET`, `settle` |
//! | commit: in flight → done, and what it wrote on completion into the `outbox` of the queue | `settle` | refused | the same |
//! | write: outbox → bucket, result | `state_write`, `SET`, `HDEL` | the bucket knows for an hour what was written | the same |
//! | requeue: in flight → the front of ready | `settle` | refused | the same |
//! | retry: in flight → delayed | `settle` | refused | `ours` (under a good lease), `push_delayed`, `settle`. A crash in between leaves the job in both: it runs twice |
//! | fail: in flight → failed | `settle` | refused | `ours`, `RPUSH`, `settle`. As for retry |
//! | fail there: in flight → failed, of bytes that never came | `settle` | refused | as for fail, of what came |
//! | promote: delayed → ready | `promote` | moves what else is due | `claim_due` puts the job off by ten seconds, `RPUSH`, `drop_claimed`. A crash before the push delays it by those, one after it runs it twice. One too large for any host: `claim_due`, `RPUSH` to failed, `ZREMRANGEBYSCORE` |
//! | adopt: in flight → in flight of another host | `adopt`, once the lease has run out and the others had time to come back | as for fetch | the same |
//! | give back: in flight → the front of ready | `settle` | refused | the same |
//! | heartbeat, leave | `renew`, `leave` | nothing more happens | the same |
//! | revive: failed → ready | `take_failed` | refused: the entry is gone | `take_failed` (looks), `RPUSH`, `take_failed`. A crash in between leaves it in both |
//! | delete, purge, retain: failed → gone | `take_failed`, `purge`, `retain` | refused; a purge drops more | the same |
//! | move the border: failed → failed, from one part to the other | `move_border` | nothing more happens: the border is elsewhere | the same |
//!
//! A *retry* also puts a job back that became ready before its own time, because its producer rounded the score down.
//!
//! A job *waits* if it may not start now: its plugin is at its `concurrency`, is being loaded or is set aside, or the
//! job is larger than the room that its host has left. No host holds a waiting job, and no attempt is counted. A host
//! looks which lanes hold jobs, and is told when that changes. It takes from a lane only what it can start, or what it
//! has no plugin for: so no lane is forgotten, whatever becomes of hosts and plugins.
//!
//! *Give back* compares the host's table with the deliveries that its process holds: after each fault, after a delivery
//! was dropped, and now and then. *Adopt* makes the deliveries of a dead host this host's own; each is then settled as
//! lost, by an ordinary retry or fail. Only if the answer to an adoption is lost are its jobs given back uncounted.
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

pub mod backend;
mod bare;
mod consumer;
mod counts;
mod error;
mod failed;
mod limits;
mod memory;
mod moves;
mod push;
mod queue_name;
mod redis;
mod report;
mod settings;
mod state;
mod store;

pub(crate) use bare::Bare;
pub use consumer::{Arrival, Consumer, Delivery, Heartbeat, LEASE_DEFAULT, MAX_PIECE_TRIES};
pub use counts::{Counts, HostState};
pub use error::QueueError;
pub use failed::{FailedEntry, Fate, Retention};
pub use limits::{MAX_BATCH, MAX_BATCH_BYTES, MAX_TAKEN_BYTES};
pub use moves::{Found, LaneWish, Search};
pub use push::Push;
pub use queue_name::QueueName;
pub(crate) use redis::Work;
pub(crate) use settings::without_password;
pub use settings::{ConnectionSettings, PREFIX_DEFAULT, QUEUE_DEFAULT, RESULT_TTL_DEFAULT, StoreSettings, URL_FORMS};
pub use state::StateStore;
pub use store::Store;
