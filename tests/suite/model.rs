//! The protocol of `host/queue`, explored to its end: every order in which hosts, mishaps and Redis can act on a few
//! jobs, one script a step. It must keep its promises in every state that can be reached, and each of the mistakes it
//! could be made with must break one: that is how we know that the model would notice.
//!
//! Absent is what no promise depends on: the order of lists, lengths of time, batches. A request that never arrives
//! changes nothing and is no step. Assumed, and to be kept elsewhere: a lease ends later than the clock of its host
//! says, no tag is used twice, and what a host does first after a pause is to look at that clock.

#![allow(
    clippy::large_types_passed_by_value,
    reason = "each step makes a state of its own out of another"
)]

mod explore;
mod mistakes;
mod moves;
mod promises;
mod unique;

use Place::{Delayed, InFlight, Ready};
use Process::{Gone, Leaving, Up};
use Stage::{Fetched, Running, Settling, Underway};
use explore::explore;
use unique::{Key, Mode};

const JOBS: usize = 3;
const HOSTS: usize = 3;
/// Deliveries of one host, and copies of all jobs. The model fails if it needs more.
const TAGS: u8 = 5;
const COPIES: usize = 6;

/// What is explored: the protocol, perhaps with a mistake in it, and how far.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Protocol {
    /// Delayed and failed are in other slots than the rest, as in a Cluster: moves to them take several scripts.
    split: bool,
    /// A fetch that nobody waits for may still be carried out. Only comparing tables now and then finds what it took.
    late_fetches: bool,
    mistake: Option<Mistake>,
    hosts: usize,
    jobs: u8,
    /// A job fails when it wants more retries than these, and with the last of these losses.
    retries: u8,
    losses: u8,
    /// Crashes, pauses, lost answers, missed deadlines and cancelled attempts, all together.
    mishaps: u8,
    /// An operator may pause the queue, and resumes it.
    pauses: bool,
    /// An operator may cancel the first job.
    cancels: bool,
    /// A limit across hosts lets one job run at once: each waits in a lane until it has the place.
    limited: bool,
    /// All jobs are unique by one key.
    unique: Option<Mode>,
    /// With more copies than these a job is far from lost, and not followed further.
    copies: usize,
}

/// The protocol with one thing done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// A place counts, whatever became of the delivery that took it.
    BelievesEveryPlace,
    ComparesDuringAFetch,
    ComparesOnlyWhenSuspect,
    CountsTheLeaseFromTheReply,
    /// That another of its key waits for its next attempt is noted without saying which.
    DropsItsOwnFurtherAttempt,
    /// That a newer job has come is forgotten once that has ended, though an older one waits for its next attempt.
    ForgetsWhatIsAwaited,
    /// Each job of a key that comes before the last one ran has it wait anew, however long the first has.
    ForgetsWhenTheFirstCame,
    /// A host that did not hear whether a job may go on asks again as if it were another.
    ForgetsThatItAsked,
    /// Whether the queue is paused is known by the host that fetches, and not asked in the same step.
    FetchesByWhatItHasHeard,
    /// A fetch that is sent twice takes other jobs the second time, once those that it took are settled.
    FetchesUnderAUsedTag,
    FetchesWithoutLease,
    KeepsWhatItFetchedPastTheDeadline,
    /// A job is waited for that turned out to be one too many.
    KeepsWaitingForWhatItDrops,
    LeavesDuringAPromotion,
    LeavesWithoutGivingBack,
    LetsGuestsOutliveTheLease,
    NeverGivesBack,
    /// What died with its place keeps it.
    NeverTakesPlacesBack,
    /// Whichever job of a key is asked about last counts as the newest.
    OrdersByWhenItIsAsked,
    /// A host that did not hear whether a job may go on takes it for granted.
    PassesOffWhatItAskedFor,
    PromotesUnclaimed,
    RemovesTheSourceFirst,
    RunsOnAfterAPause,
    RunsWhatItLeavesWaiting,
    SettlesUnchecked,
    /// What a fetch tells of cancelled jobs is looked into by and by, and not before what it brought.
    StartsBeforeItKnowsWhatIsCancelled,
    /// A job that was ready starts, though it has no place.
    StartsWithoutAPlace,
    TakesOnlyWhatItLeftWaiting,
    /// That a place is free is asked in one step, and the place taken in the next.
    TakesThePlaceAfterwards,
}

/// What a job's bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Job {
    id: u8,
    retries: u8,
    lost: u8,
    /// It was admitted as unique by its key.
    admitted: bool,
    /// A host has asked for that, and does not know the answer.
    asked: bool,
    /// Orders the jobs of a key by when they were fetched. In the store from then on that a host has asked.
    stamp: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    Ready,
    /// In a lane. Of several the model needs but one: where a job waits, no promise depends on.
    Waiting,
    /// Perhaps claimed by a host. A claim puts the job off; that it falls due again is modelled as one that lapses.
    Delayed(Option<u8>),
    InFlight {
        host: u8,
        tag: u8,
    },
    Failed,
    Done,
    /// Another of its key runs in its place.
    Dropped,
}

type Entry = (Job, Place);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Process {
    Up,
    Paused,
    Leaving,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Lease {
    None,
    Good,
    Out,
}

/// How far a move across slots has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Begun,
    Checked,
    Moved,
}

/// Where a delivery stands, as its host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    /// `cancelled`: it was before this fetch, which therefore tells of it.
    Underway {
        cancelled: bool,
    },
    Fetched {
        cancelled: bool,
    },
    Running,
    Settling(Place, Step),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Host {
    process: Process,
    lease: Lease,
    /// Its own clock says that its lease is good.
    in_time: bool,
    /// The store may have more under its name than it knows of.
    suspect: bool,
    /// It knows that the first job is cancelled.
    knows_of_cancel: bool,
    /// The tag of a fetch that may still be carried out.
    late_fetch: Option<u8>,
    /// Tags that the store has down for the place of the limit, a bit for each. They stay when the host is gone.
    places: u8,
    /// By tag. One is used again only when nothing knows it any more.
    held: [Option<(Job, Stage)>; TAGS as usize],
    promoting: Option<(Job, Step)>,
    /// It has left a job waiting: only one that makes a mistake remembers.
    left_waiting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct State {
    /// Every copy of every job, sorted.
    entries: [Option<Entry>; COPIES],
    hosts: [Host; HOSTS],
    mishaps: u8,
    paused: bool,
    /// Something was taken while the queue was paused.
    taken_while_paused: bool,
    cancelled: bool,
    /// A job was started that had been cancelled before it was fetched.
    started_when_cancelled: bool,
    /// What is known of the key of unique jobs.
    key: Key,
    /// How often each job was started, up to the first mishap.
    runs: [u8; JOBS],
}

impl Place {
    fn in_flight(host: u8, tag: u8) -> Self {
        InFlight { host, tag }
    }
}

impl Host {
    fn new(up: bool) -> Self {
        Self {
            process: if up { Up } else { Gone },
            lease: if up { Lease::Good } else { Lease::None },
            in_time: up,
            suspect: false,
            knows_of_cancel: false,
            late_fetch: None,
            places: 0,
            held: [None; TAGS as usize],
            promoting: None,
            left_waiting: false,
        }
    }

    /// What is in Redis, or on its way there, stays.
    fn end(&mut self) {
        let (lease, late_fetch, places) = (self.lease, self.late_fetch, self.places);
        *self = Self::new(false);
        (self.lease, self.late_fetch, self.places) = (lease, late_fetch, places);
    }

    fn acts(&self) -> bool {
        matches!(self.process, Up | Leaving)
    }

    fn fetching(&self) -> bool {
        let mut held = self.held.iter().flatten();
        held.any(|(_, stage)| matches!(stage, Underway { .. }))
    }

    /// Interrupts the first job, if it runs.
    fn hears_of_cancel(&mut self) {
        self.knows_of_cancel = true;
        for held in self.held.iter_mut().flatten() {
            if let (Job { id: 0, .. }, Running) = held {
                held.1 = Settling(Place::Failed, Step::Begun);
            }
        }
    }

    /// Forgets a delivery that is still in its table.
    fn drop_delivery(&mut self, tag: u8) {
        (self.held[usize::from(tag)], self.suspect) = (None, true);
    }

    /// The deadline has passed: cancels all that runs, was fetched or comes under this lease. Settlements are checked anyway.
    fn stop(&mut self, mistake: Option<Mistake>) {
        self.in_time = false;
        for tag in 0..TAGS {
            let kept_by = match self.held[usize::from(tag)] {
                Some((_, Running)) => Mistake::LetsGuestsOutliveTheLease,
                Some((_, Fetched { .. })) => Mistake::KeepsWhatItFetchedPastTheDeadline,
                Some((_, Underway { .. })) => Mistake::CountsTheLeaseFromTheReply,
                Some((_, Settling(..))) | None => continue,
            };
            if mistake != Some(kept_by) {
                self.drop_delivery(tag);
            }
        }
    }
}

/// Reads and single writes. A script is some of them at one moment.
impl State {
    fn start(protocol: &Protocol) -> Self {
        let start = Self {
            entries: [None; COPIES],
            hosts: std::array::from_fn(|h| Host::new(h < protocol.hosts)),
            mishaps: 0,
            paused: false,
            taken_while_paused: false,
            cancelled: false,
            started_when_cancelled: false,
            key: Key::default(),
            runs: [0; JOBS],
        };
        let new = |id| Job {
            id,
            retries: 0,
            lost: 0,
            admitted: false,
            asked: false,
            stamp: 0,
        };
        (0..protocol.jobs).fold(start, |state, id| state.put(new(id), Ready))
    }

    fn with(mut self, h: u8, change: impl FnOnce(&mut Host)) -> Self {
        change(&mut self.hosts[usize::from(h)]);
        self
    }

    fn hold(self, h: u8, tag: u8, held: Option<(Job, Stage)>) -> Self {
        self.with(h, |it| it.held[usize::from(tag)] = held)
    }

    fn lease(self, h: u8, lease: Lease) -> Self {
        self.with(h, |it| it.lease = lease)
    }

    fn put(self, job: Job, place: Place) -> Self {
        self.replace(None, Some((job, place)))
    }

    fn take(self, entry: Option<Entry>) -> Self {
        self.replace(entry, None)
    }

    fn shift(self, entry: Entry, place: Place) -> Self {
        self.replace(Some(entry), Some((entry.0, place)))
    }

    fn replace(mut self, from: Option<Entry>, to: Option<Entry>) -> Self {
        let at = self.entries.iter().position(|entry| *entry == from);
        self.entries[at.expect("an entry, or room for one")] = to;
        self.entries.sort_unstable();
        self
    }

    fn copies(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().flatten().copied()
    }

    fn table(&self, h: u8) -> impl Iterator<Item = (u8, Entry)> {
        self.copies().filter_map(move |entry| match entry.1 {
            InFlight { host, tag } if host == h => Some((tag, entry)),
            _ => None,
        })
    }

    fn in_table(&self, h: u8, tag: u8) -> Option<Entry> {
        self.table(h).find(|(of, _)| *of == tag).map(|(_, entry)| entry)
    }

    fn held(&self, h: u8, tag: u8) -> Option<(Job, Stage)> {
        self.hosts[usize::from(h)].held[usize::from(tag)]
    }

    fn free_tag(&self, h: u8) -> u8 {
        let late = self.hosts[usize::from(h)].late_fetch;
        let unknown = |tag: u8| self.held(h, tag).is_none() && self.in_table(h, tag).is_none();
        let free = |tag: &u8| late != Some(*tag) && unknown(*tag) && !self.has_place(h, *tag);
        (0..TAGS).find(free).expect("a free tag")
    }

    fn has_place(&self, h: u8, tag: u8) -> bool {
        self.hosts[usize::from(h)].places & (1 << tag) != 0
    }

    fn place(self, h: u8, tag: u8, taken: bool) -> Self {
        let bit = 1 << tag;
        self.with(h, |it| {
            it.places = if taken { it.places | bit } else { it.places & !bit }
        })
    }

    /// The same for states in which only the names of hosts differ, as far as that is easily told.
    fn canonical(&self) -> Self {
        let mut state = *self;
        state.rank_stamps();
        let (mut order, hosts): ([u8; HOSTS], _) = ([0, 1, 2], state.hosts);
        order.sort_by_key(|h| hosts[usize::from(*h)]);
        state.hosts = order.map(|h| hosts[usize::from(h)]);
        for (_, place) in state.entries.iter_mut().flatten() {
            if let InFlight { host, .. } | Delayed(Some(host)) = place {
                let new = (0..).zip(order).find(|(_, old)| old == host);
                *host = new.expect("every host").0;
            }
        }
        state.entries.sort_unstable();
        state
    }
}

const ONE: Protocol = Protocol {
    split: false,
    late_fetches: false,
    mistake: None,
    hosts: 2,
    mishaps: 2,
    jobs: 1,
    retries: 1,
    losses: 2,
    pauses: false,
    cancels: false,
    limited: false,
    unique: None,
    copies: COPIES,
};
const LIMITED: Protocol = Protocol {
    limited: true,
    jobs: 2,
    mishaps: 1,
    retries: 0,
    losses: 1,
    ..ONE
};
const CANCELLED: Protocol = Protocol {
    cancels: true,
    mishaps: 1,
    ..ONE
};
const PAUSED: Protocol = Protocol {
    pauses: true,
    mishaps: 1,
    ..ONE
};
const LATE: Protocol = Protocol {
    late_fetches: true,
    ..ONE
};
const LATE_AND_TWO_JOBS: Protocol = Protocol {
    jobs: 2,
    retries: 0,
    losses: 1,
    ..LATE
};
const TWO: Protocol = Protocol { split: true, ..ONE };

fn holds(protocol: Protocol) {
    if let Err(violation) = explore(&protocol) {
        panic!("{violation}of {protocol:?}");
    }
}

#[test]
fn no_order_of_steps_in_one_slot_breaks_a_promise() {
    holds(ONE);
    holds(LATE_AND_TWO_JOBS);
    holds(Protocol { hosts: 3, ..LATE });
    holds(Protocol { mishaps: 3, ..LATE });
    holds(PAUSED);
    holds(CANCELLED);
    holds(LIMITED);
    holds(Protocol {
        late_fetches: true,
        retries: 1,
        ..LIMITED
    });
}

#[test]
fn no_order_of_steps_across_slots_breaks_a_promise() {
    holds(Protocol {
        jobs: 2,
        mishaps: 0,
        ..TWO
    });
    holds(Protocol {
        mishaps: 1,
        losses: 1,
        copies: 4,
        ..TWO
    });
    holds(Protocol {
        losses: 1,
        copies: 2,
        ..TWO
    });
    holds(Protocol {
        hosts: 3,
        mishaps: 1,
        copies: 2,
        ..TWO
    });
}
