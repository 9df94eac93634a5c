//! Every Redis key, in one place.

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

    /// STRING: what a completed job returned.
    pub(super) fn result(&self, id: &str) -> String {
        format!("{}:results:{id}", self.prefix)
    }

    /// ZSET of the hosts that publish reports, by the Unix seconds of the last one.
    pub(super) fn hosts(&self) -> String {
        format!("{}:hosts", self.prefix)
    }

    /// STRING: a host's last report about itself.
    pub(super) fn host(&self, host: &str) -> String {
        format!("{}:hosts:{host}", self.prefix)
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
        // First, since a lane's name may end like another kind of key.
        if let Some((queue, _)) = queue.split_once(":waiting:") {
            return Some(queue);
        }
        let suffixes = [":leases", ":lanes", ":outbox", ":delayed"];
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
                keys.outbox("a:b"),
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
                keys.hosts(),
                keys.queue_names(),
                keys.bare(),
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
