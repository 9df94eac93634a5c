//! A record of what operators did: a stream.

use ::redis::cmd;

use super::RedisStore;
use crate::queue::audit::MAX_NOTES;
use crate::queue::error::QueueError;

/// The field of an entry that has the note.
const NOTE: &str = "note";

impl RedisStore {
    pub(super) async fn note_deed(&self, note: &str) -> Result<(), QueueError> {
        let mut add = cmd("XADD");
        add.arg(self.keys.audit()).arg("MAXLEN").arg("~").arg(MAX_NOTES);
        self.run(add.arg("*").arg(NOTE).arg(note)).await
    }

    pub(super) async fn deeds(&self, count: usize) -> Result<Vec<String>, QueueError> {
        let mut read = cmd("XREVRANGE");
        read.arg(self.keys.audit()).arg("+").arg("-").arg("COUNT").arg(count);
        let entries: Vec<(String, Vec<String>)> = self.run(&read).await?;
        let notes = entries.into_iter().filter_map(|(_, fields)| fields.into_iter().nth(1));
        Ok(notes.collect())
    }
}
