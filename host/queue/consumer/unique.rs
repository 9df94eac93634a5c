//! A host and jobs that are unique by a key.

use super::Consumer;
use super::delivery::{Delivery, End};
use crate::events::Event;
use crate::outcome::Fate;
use crate::queue::error::QueueError;
use crate::queue::history::Record;
use crate::queue::unique::{Contended, Contender};

impl Consumer {
    /// Has the store decide whether a job runs that is unique by a key. If it waits, or is no longer in this host's table, the
    /// delivery is settled.
    ///
    /// # Errors
    /// When the store fails. The job may wait all the same; then its settlement is refused.
    pub async fn contend(&self, delivery: &mut Delivery, contender: &Contender<'_>) -> Result<Contended, QueueError> {
        let (queue, tag) = (delivery.queue.clone(), delivery.tag);
        let claim = self.shared.claim(&queue);
        let answer = self.shared.backend().contend(&claim, tag, contender).await?;
        match &answer {
            Contended::Waits(instead_of) => {
                delivery.end = End::Settled;
                // It is there: so the lane is known to hold something at once.
                drop(self.shared.lanes.expect(&queue, &contender.lane.group()));
                if instead_of.is_some() {
                    let entry = (tag, contender.note.len());
                    self.shared.outboxes.filled_by(&queue, std::iter::once(entry));
                }
                self.shared.events.tell(Event::Settled {
                    queue: queue.as_str(),
                    settled: &[(tag, Fate::Waiting)],
                    refused: &[],
                    again: false,
                });
            }
            Contended::Gone => delivery.end = End::Refused,
            Contended::Goes | Contended::Duplicate(_) => {}
        }
        Ok(answer)
    }

    /// Keeps what became of a job that is in no host's hands. Best effort.
    pub async fn note_end(&self, delivery: &Delivery, id: &str, json: String) {
        let record = Record {
            id: id.to_owned(),
            json,
        };
        if let Err(err) = self.shared.backend().record(&delivery.queue, &[record]).await {
            tracing::debug!(queue = %delivery.queue, %err, "what became of a job is not kept");
        }
    }
}
