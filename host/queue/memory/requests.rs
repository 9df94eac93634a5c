//! Requests to push that are remembered, in memory.

use std::time::{Duration, Instant};

use super::MemoryStore;
use super::state::Request;

/// Most requests remembered; the oldest is forgotten first. Redis lets them expire instead.
const MAX_REQUESTS: usize = 10_000;

impl MemoryStore {
    pub(super) fn begin_request(&self, name: &str, note: &str, time: Duration) -> Option<String> {
        let requests = &mut self.state().requests;
        requests.retain(|request| request.until > Instant::now());
        if let Some(found) = requests.iter().find(|request| request.name == name) {
            return Some(found.note.clone());
        }
        if requests.len() >= MAX_REQUESTS {
            requests.pop_front();
        }
        requests.push_back(Request::new(name, note, time));
        None
    }

    pub(super) fn end_request(&self, name: &str, note: &str, time: Duration) {
        let requests = &mut self.state().requests;
        requests.retain(|request| request.name != name);
        requests.push_back(Request::new(name, note, time));
    }
}
