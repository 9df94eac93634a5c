//! Connections, as those who answer their requests know them.
//!
//! A connection is a stranger's until a request comes over it whose sender is known. Strangers have little time, and where
//! all places are taken the oldest of them makes room: whoever has no token cannot keep out those who have one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The connections of strangers.
#[derive(Debug, Default)]
pub(super) struct Strangers(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// What ends each, the oldest first.
    ends: BTreeMap<u64, CancellationToken>,
}

/// A connection, as its requests bring it along.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    /// The address of whoever connected: a proxy's, where there is one.
    pub(super) peer: IpAddr,
    number: u64,
    strangers: Arc<Strangers>,
}

/// A connection that is open. It is no stranger's any more when this is dropped.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) visit: Visit,
    /// Ends it, to make room for another.
    pub(super) end: CancellationToken,
}

impl Strangers {
    /// Lets somebody in whom nobody knows yet.
    pub(super) fn let_in(self: &Arc<Self>, peer: IpAddr) -> Open {
        let (mut waiting, end) = (self.0.lock(), CancellationToken::new());
        let number = waiting.next;
        waiting.next += 1;
        waiting.ends.insert(number, end.clone());
        let strangers = Arc::clone(self);
        Open {
            visit: Visit {
                peer,
                number,
                strangers,
            },
            end,
        }
    }

    /// Ends the connection that has been a stranger's for longest.
    pub(super) fn show_one_out(&self) {
        if let Some((_, end)) = self.0.lock().ends.pop_first() {
            end.cancel();
        }
    }
}

impl Visit {
    /// Says that its client is known.
    pub(super) fn becomes_known(&self) {
        self.strangers.0.lock().ends.remove(&self.number);
    }

    /// Whether nobody knows its client.
    pub(super) fn is_strangers(&self) -> bool {
        self.strangers.0.lock().ends.contains_key(&self.number)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.visit.becomes_known();
    }
}
