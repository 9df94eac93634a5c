//! Every Redis key, in one place.

use crate::queue::sums::Span;
use crate::state::BucketId;

/// The keys of what handlers remember in one bucket.
pub(super) struct BucketKeys {
    /// HASH: key → value.
    pub(super) values: String,
    /// HASH: key → version.
    pub(super) versions: String,
    /// ZSET: keys by the Unix milliseconds at which their values end.
    pub(super) expiry: String,
    /// ZSET: keys, all with the same score, so that they are sorted by name.
    pub(super) names: String,
    /// HASH: the bytes of all values, and the last version.
    pub(super) totals: String,
    /// ZSET: outbox entries that were written, by the Unix milliseconds of the write.
    pub(super) done: String,
}

/// Builds the keys under one prefix.
///
/// The first three kinds are dg-queue's. Kiln's own in-flight tables and leases must live in the same Redis Cluster slot
/// as the ready list that jobs move from, without a change for producers: they wrap the whole list key as their hash
/// tag. Where the prefix has a hash tag of its own, that one rules all keys already.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    tagged: bool,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let tagged = prefix
            .split_once('{')
            .is_some_and(|(_, rest)| rest.find('}').is_some_and(|end| end > 0));
        Self {
            prefix: prefix.to_owned(),
            tagged,
        }
    }

    /// LIST of ready jobs.
    pub(super) fn ready(&self, queue: &str) -> String {
        format!("{}:queues:{queue}", self.prefix)
    }

    /// ZSET of jobs by the Unix seconds they are due at.
    pub(super) fn delayed(&self, queue: &str) -> String {
        format!("{}:queues:{queue}:delayed", self.prefix)
    }

    /// HASH of what operators have ordered for a queue. Made when a host joins and never deleted, so that a fetch can ask
    /// for it while the slot moves away.
    pub(super) fn orders(&self, queue: &str) -> String {
        self.beside(queue, "orders")
    }

    /// ZSET of the cancelled jobs' ids, by the version of the marks at which each was marked last.
    pub(super) fn cancelled(&self, queue: &str) -> String {
        self.beside(queue, "cancel-marks")
    }

    /// ZSET of the same ids, by the Unix milliseconds at which their marks end.
    pub(super) fn cancelled_until(&self, queue: &str) -> String {
        self.beside(queue, "cancel-ends")
    }

    /// HASH of the last instants of schedules: schedule → Unix milliseconds, and what the wall clock showed.
    pub(super) fn schedules(&self, queue: &str) -> String {
        self.beside(queue, "schedules")
    }

    /// HASH of the jobs of schedules that have not ended: schedule → Unix milliseconds of their instant.
    pub(super) fn unended(&self, queue: &str) -> String {
        self.beside(queue, "unended")
    }

    /// HASH of what is kept of attempts: job → a line of JSON for each, and '' → bytes of all.
    pub(super) fn histories(&self, queue: &str) -> String {
        self.beside(queue, "histories")
    }

    /// ZSET of the jobs in it, by the Unix milliseconds at which each was added to last.
    pub(super) fn history_times(&self, queue: &str) -> String {
        self.beside(queue, "history-times")
    }

    /// HASH of when jobs of schedules last succeeded, of those that are expected to: schedule → Unix milliseconds.
    pub(super) fn successes(&self, queue: &str) -> String {
        self.beside(queue, "successes")
    }

    /// STRING: an alert was told, and is not to be told again for a while.
    pub(super) fn alert(&self, alert: &str) -> String {
        format!("{}:alerts:{alert}", self.prefix)
    }

    /// HASH of the paused job names: name → who paused it, when and why.
    pub(super) fn paused_jobs(&self) -> String {
        format!("{}:paused-jobs", self.prefix)
    }

    /// LIST of failed entries.
    pub(super) fn failed(&self) -> String {
        format!("{}:failed", self.prefix)
    }

    /// HASH of a host's deliveries from a queue: tag → job.
    pub(super) fn in_flight(&self, queue: &str, host: &str) -> String {
        self.beside(queue, &format!("inflight:{host}"))
    }

    /// LIST of the jobs that wait in a lane.
    pub(super) fn waiting(&self, queue: &str, lane: &str) -> String {
        self.beside(queue, &format!("waiting:{lane}"))
    }

    /// SET of the lanes that hold jobs.
    pub(super) fn lanes(&self, queue: &str) -> String {
        self.beside(queue, "lanes")
    }

    /// The beginning of all keys of a group of lanes, whose jobs wait for the limits of one plugin: these are
    ///
    /// - SET `lanes`: those that hold jobs
    /// - ZSET `turns`: lanes that may have their turn, by the Unix seconds from which on; and gates
    /// - LIST `lane:{lane}`: the jobs of one
    /// - SET `held:{cap}`: the deliveries that occupy the places of a cap, each by its table and tag
    /// - ZSET `blocked:{cap}`: lanes for which a cap is full, by the time of their turn
    /// - STRING `rate:{cap}`: when the next job may start by its rate, in Unix seconds; gone once that is over
    /// - ZSET `full`: caps that block lanes, by the Unix milliseconds when their places were last looked at
    /// - ZSET `shut`: lanes of which no job starts, by the Unix seconds until then; gone once that is over
    /// - STRING `waiting`: how many jobs all of its lanes hold
    /// - HASH `key:{cap}`, of a cap that is the key of unique jobs: `id`, `lane`, `note` and `first` of the one that waits,
    ///   `runs`: the id of the one that runs, `newest`: that of the one that came last
    /// - STRING `awaited:{cap}`: the id of the job of such a key that waits for its next attempt, or of one that came later
    /// - STRING `started:{cap}`: the last job of such a key that was not throttled: its delivery and its id
    /// - STRING `swept`: there for a moment after places were looked at
    pub(super) fn group(&self, queue: &str, stem: &str) -> String {
        format!("{}{stem}:", self.groups(queue))
    }

    /// The beginning of the keys of all groups of lanes of a queue.
    pub(super) fn groups(&self, queue: &str) -> String {
        self.beside(queue, "limits:")
    }

    /// ZSET: the lanes of a group that may have their turn.
    pub(super) fn turns(&self, queue: &str, stem: &str) -> String {
        format!("{}turns", self.group(queue, stem))
    }

    /// LIST of the jobs of a lane of a group.
    pub(super) fn limited(&self, queue: &str, stem: &str, caps: &str) -> String {
        format!("{}lane:{caps}", self.group(queue, stem))
    }

    /// STRING: the last tag under which a host has taken a job from the queue.
    pub(super) fn last_tag(&self, queue: &str, host: &str) -> String {
        self.beside(queue, &format!("lasttag:{host}"))
    }

    /// STRING: how many failed entries were dropped by retention. In the failed list's slot.
    pub(super) fn dropped(&self) -> String {
        self.beside_failed("dropped")
    }

    /// LIST of the older failed entries, while somebody works on the failed list. In the same slot.
    pub(super) fn older_failed(&self) -> String {
        self.beside_failed("older")
    }

    /// Whether a Redis Cluster keeps all of the store's keys in one slot.
    pub(super) fn in_one_slot(&self) -> bool {
        self.tagged
    }

    /// ZSET of the hosts that serve a queue, by the Unix milliseconds their leases end at.
    pub(super) fn leases(&self, queue: &str) -> String {
        self.beside(queue, "leases")
    }

    /// ZSET of the queues that Kiln serves or pushes to, by the Unix seconds when it last took note of them.
    pub(super) fn queue_names(&self) -> String {
        format!("{}:queue-names", self.prefix)
    }

    /// HASH of the queue's outbox: host and tag → what an acknowledged job still has to have written elsewhere.
    pub(super) fn outbox(&self, queue: &str) -> String {
        self.beside(queue, "outbox")
    }

    /// The keys of a bucket, all in one slot.
    pub(super) fn bucket(&self, bucket: &BucketId) -> BucketKeys {
        let bucket = format!("{}:state:{bucket}", self.prefix);
        let beside = |what| self.in_the_slot_of(&bucket, what);
        BucketKeys {
            values: beside("values"),
            versions: beside("versions"),
            expiry: beside("expiry"),
            names: beside("names"),
            totals: beside("totals"),
            done: beside("done"),
        }
    }

    /// The keys of a batch, all in one slot: three SETs, of the ids of its jobs that have completed, have failed, and were
    /// added; and a HASH of what else is known.
    pub(super) fn batch(&self, id: &str) -> [String; 4] {
        let batch = format!("{}:batch:{id}", self.prefix);
        ["done", "failed", "added", "meta"].map(|what| self.in_the_slot_of(&batch, what))
    }

    /// HASH of the sums of one span of time: whose, and what → how much.
    pub(super) fn sums(&self, span: Span, number: i64) -> String {
        let span = match span {
            Span::Minute => 'm',
            Span::Hour => 'h',
            Span::Day => 'd',
        };
        format!("{}:stats:{span}:{number}", self.prefix)
    }

    /// HASH of those of them that tell how long jobs waited.
    pub(super) fn waits(&self, span: Span, number: i64) -> String {
        format!("{}:waits", self.sums(span, number))
    }

    /// STRING: what a completed job returned.
    pub(super) fn result(&self, id: &str) -> String {
        format!("{}:results:{id}", self.prefix)
    }

    /// STRING: what the running attempt at a job reported last.
    pub(super) fn progress(&self, id: &str) -> String {
        format!("{}:progress:{id}", self.prefix)
    }

    /// STREAM of what operators did.
    pub(super) fn audit(&self) -> String {
        format!("{}:audit", self.prefix)
    }

    /// STRING: what is known of a request to push that brought a key of its own.
    pub(super) fn request(&self, name: &str) -> String {
        format!("{}:requests:{name}", self.prefix)
    }

    /// LIST: answers to those who wait for a job.
    pub(super) fn replies(&self, id: &str) -> String {
        format!("{}:replies:{id}", self.prefix)
    }

    /// ZSET of the hosts that publish reports, by the Unix seconds of the last one.
    pub(super) fn hosts(&self) -> String {
        format!("{}:hosts", self.prefix)
    }

    /// STRING: a host's last report about itself.
    pub(super) fn host(&self, host: &str) -> String {
        format!("{}:hosts:{host}", self.prefix)
    }

    /// STRING: what hosts with the same plugins say alike of them.
    pub(super) fn catalogue(&self, name: &str) -> String {
        format!("{}:catalogue:{name}", self.prefix)
    }

    /// STRING: when a host found that the lease of another had run out, in ms, without taking over yet.
    pub(super) fn found_dead(&self, queue: &str, host: &str) -> String {
        self.beside(queue, &format!("founddead:{host}"))
    }

    /// STRING: a request to every host to serve again with a plugin that it has set aside.
    pub(super) fn release(&self, plugin: &str) -> String {
        format!("{}:release:{plugin}", self.prefix)
    }

    /// LIST for benchmarks with plain commands. Holds no jobs.
    pub(super) fn bare(&self) -> String {
        format!("{}:bare", self.prefix)
    }

    /// A glob pattern that matches every key of every queue.
    pub(super) fn all_queues(&self) -> String {
        format!("*{}:queues:*", self.escaped_prefix())
    }

    /// A glob pattern that matches every key, and perhaps some that are not [`Self::is_own`].
    pub(super) fn all(&self) -> String {
        format!("*{}:*", self.escaped_prefix())
    }

    /// Whether a key is one of those built here.
    pub(super) fn is_own(&self, key: &str) -> bool {
        let key = if self.tagged {
            key
        } else {
            key.strip_prefix('{').unwrap_or(key)
        };
        key.strip_prefix(&*self.prefix)
            .is_some_and(|rest| rest.starts_with(':'))
    }

    fn escaped_prefix(&self) -> String {
        let escaped = |c| ['\\'].into_iter().filter(move |_| "*?[]\\^-".contains(c)).chain([c]);
        self.prefix.chars().flat_map(escaped).collect()
    }

    /// The queue that a key matched by [`Self::all_queues`] belongs to.
    pub(super) fn queue_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        let own = |key: &'k str| key.strip_prefix(&*self.prefix)?.strip_prefix(":queues:");
        // Queue names have no braces; a lane's name or a prefix may.
        let wrapped = key.strip_prefix('{').and_then(own);
        if let Some((queue, _)) = wrapped.and_then(|rest| rest.split_once('}')) {
            return Some(queue);
        }
        let queue = own(key)?;
        // First, since a lane's name may hold a mark of another kind, and end like another kind of key.
        if let Some(place) = [":waiting:", ":limits:"]
            .iter()
            .filter_map(|mark| queue.find(mark))
            .min()
        {
            return queue.get(..place);
        }
        let suffixes = [
            ":leases",
            ":lanes",
            ":orders",
            ":outbox",
            ":schedules",
            ":unended",
            ":delayed",
            ":cancel-marks",
            ":cancel-ends",
            ":histories",
            ":successes",
            ":history-times",
        ];
        let infixes = [":inflight:", ":lasttag:", ":founddead:"];
        let beside = suffixes.iter().find_map(|mark| queue.strip_suffix(mark));
        let before = || infixes.iter().find_map(|mark| Some(queue.rsplit_once(mark)?.0));
        Some(beside.or_else(before).unwrap_or(queue))
    }

    fn beside(&self, queue: &str, what: &str) -> String {
        self.in_the_slot_of(&self.ready(queue), what)
    }

    fn beside_failed(&self, what: &str) -> String {
        self.in_the_slot_of(&self.failed(), what)
    }

    fn in_the_slot_of(&self, list: &str, what: &str) -> String {
        if self.tagged {
            format!("{list}:{what}")
        } else {
            format!("{{{list}}}:{what}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_plain_prefix_share_the_ready_lists_slot_through_its_whole_name() {
        let keys = Keys::new("queue");
        assert_eq!(keys.ready("default"), "queue:queues:default");
        assert_eq!(keys.delayed("default"), "queue:queues:default:delayed");
        assert_eq!(keys.in_flight("default", "h"), "{queue:queues:default}:inflight:h");
        assert_eq!(keys.leases("default"), "{queue:queues:default}:leases");
    }

    #[test]
    fn keys_of_a_hash_tagged_prefix_stay_in_its_slot() {
        let keys = Keys::new("{jobs}");
        assert_eq!(keys.in_flight("default", "h"), "{jobs}:queues:default:inflight:h");
    }

    #[test]
    fn every_key_of_a_queue_tells_its_queue() {
        for prefix in ["queue", "{jobs}", ""] {
            let keys = Keys::new(prefix);
            for key in [
                keys.ready("a:b"),
                keys.delayed("a:b"),
                keys.in_flight("a:b", "h"),
                keys.waiting("a:b", "plugin:c"),
                keys.waiting("a:b", "plugin:c}:inflight:d:leases"),
                keys.lanes("a:b"),
                keys.turns("a:b", "c"),
                keys.limited("a:b", "c", "/d=:waiting:e:leases}"),
                keys.orders("a:b"),
                keys.schedules("a:b"),
                keys.unended("a:b"),
                keys.outbox("a:b"),
                keys.histories("a:b"),
                keys.successes("a:b"),
                keys.history_times("a:b"),
                keys.cancelled("a:b"),
                keys.cancelled_until("a:b"),
                keys.last_tag("a:b", "h"),
                keys.found_dead("a:b", "h"),
                keys.leases("a:b"),
            ] {
                assert_eq!(keys.queue_of(&key), Some("a:b"), "{key}");
                assert!(keys.is_own(&key), "{key}");
            }
            for key in [
                keys.failed(),
                keys.dropped(),
                keys.older_failed(),
                keys.result("id"),
                keys.replies("id"),
                keys.progress("id"),
                keys.alert("failed"),
                keys.hosts(),
                keys.sums(Span::Hour, 7),
                keys.waits(Span::Hour, 7),
                keys.queue_names(),
                keys.paused_jobs(),
                keys.audit(),
                keys.bare(),
                keys.batch("b1")[3].clone(),
            ] {
                assert!(keys.is_own(&key), "{key}");
            }
            for other in [
                "queues:failed",
                "queue",
                "my-queue:failed",
                "{jobs}s:failed",
                "{{jobs}:failed",
            ] {
                assert!(!keys.is_own(other), "{other}");
            }
            assert_eq!(keys.queue_of("other:queues:x"), None);
        }
    }
}
