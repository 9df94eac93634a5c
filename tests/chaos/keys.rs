//! The Redis keys as `docs/protocol.md` lists them, spelled anew: the audit must not look where Kiln thinks its jobs are.

/// The queues that the workers serve, with their weights.
pub(crate) const QUEUES: [(&str, u32); 2] = [("default", 1), ("urgent", 3)];

/// The keys under one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) prefix: String,
}

impl Keys {
    pub(crate) fn ready(&self, queue: &str) -> String {
        format!("{}:queues:{queue}", self.prefix)
    }

    pub(crate) fn delayed(&self, queue: &str) -> String {
        format!("{}:queues:{queue}:delayed", self.prefix)
    }

    pub(crate) fn in_flight(&self, queue: &str, host: &str) -> String {
        format!("{{{}:queues:{queue}}}:inflight:{host}", self.prefix)
    }

    pub(crate) fn leases(&self, queue: &str) -> String {
        format!("{{{}:queues:{queue}}}:leases", self.prefix)
    }

    pub(crate) fn schedules(&self, queue: &str) -> String {
        format!("{{{}:queues:{queue}}}:schedules", self.prefix)
    }

    pub(crate) fn failed(&self) -> String {
        format!("{}:failed", self.prefix)
    }

    /// Where jobs count themselves on completion.
    pub(crate) fn counts(&self) -> String {
        format!("{{{}:state:plugin:state:counts}}:values", self.prefix)
    }

    pub(crate) fn result(&self, id: &str) -> String {
        format!("{}:results:{id}", self.prefix)
    }
}
