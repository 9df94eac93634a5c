//! Ready jobs that limits across hosts concern: whether each starts, or waits in its lane. While one question is on its way, those
//! that come meanwhile gather for the next.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::shared::Shared;
use crate::config::Cap;
use crate::events::Event;
use crate::outcome::{Fate, Lane};
use crate::queue::limits::MAX_BATCH;
use crate::queue::moves::Admitted;
use crate::queue::queue_name::QueueName;

/// The questions about deliveries of one queue.
#[derive(Debug)]
pub(super) struct Admissions(mpsc::Sender<Asked>);

#[derive(Debug)]
struct Asked {
    tag: u64,
    lane: Lane,
    caps: Arc<[Cap]>,
    answer: oneshot::Sender<Admitted>,
}

impl Asked {
    /// Whether one message asks about both.
    fn goes_with(&self, other: &Self) -> bool {
        self.lane.limited() == other.lane.limited() && Arc::ptr_eq(&self.caps, &other.caps)
    }
}

impl Admissions {
    /// Answers questions for as long as anybody may ask.
    pub(super) fn begin(shared: &Arc<Shared>, queue: &QueueName) -> Self {
        let (asks, mut asked) = mpsc::channel(MAX_BATCH);
        let (shared, queue) = (Arc::clone(shared), queue.clone());
        tokio::spawn(async move {
            let mut gathered = Vec::with_capacity(MAX_BATCH);
            while asked.recv_many(&mut gathered, MAX_BATCH).await > 0 {
                // In the order in which they were fetched, whichever thread asked first.
                gathered.sort_by(|a: &Asked, b: &Asked| (a.lane.limited(), a.tag).cmp(&(b.lane.limited(), b.tag)));
                while let Some(first) = gathered.first() {
                    let together = gathered.iter().take_while(|asked| asked.goes_with(first)).count();
                    ask(&shared, &queue, gathered.drain(..together).collect()).await;
                }
            }
        });
        Self(asks)
    }

    /// Asks about one delivery. None: in vain.
    pub(super) async fn ask(&self, tag: u64, lane: &Lane, caps: &Arc<[Cap]>) -> Option<Admitted> {
        let (answer, answered) = oneshot::channel();
        let asked = Asked {
            tag,
            lane: lane.clone(),
            caps: Arc::clone(caps),
            answer,
        };
        self.0.send(asked).await.ok()?;
        answered.await.ok()
    }
}

/// Asks about deliveries of one group together. Who gets no answer has its delivery settled as one that waits: that is offered until
/// the store takes it.
async fn ask(shared: &Shared, queue: &QueueName, together: Vec<Asked>) {
    let Some(Asked { lane, caps, .. }) = together.first() else {
        return;
    };
    let (group, claim) = (lane.group(), shared.claim(queue));
    let ready: Vec<_> = together.iter().map(|asked| (asked.tag, asked.lane.clone())).collect();
    let fates = match shared.backend().admit(&claim, &group, caps, &ready).await {
        Ok(fates) => fates,
        Err(err) => {
            shared.outage.note(&err);
            return;
        }
    };
    let tags_of = |fate| {
        let fates = ready.iter().zip(&fates).filter(move |(_, its)| **its == fate);
        fates.map(|((tag, _), _)| *tag)
    };
    let waiting: Vec<_> = tags_of(Admitted::Waits).map(|tag| (tag, Fate::Waiting)).collect();
    let refused: Vec<_> = tags_of(Admitted::Gone).collect();
    if !waiting.is_empty() {
        // They are there: so the group is known to hold something at once.
        drop(shared.lanes.expect(queue, &group));
    }
    if !(waiting.is_empty() && refused.is_empty()) {
        shared.events.tell(Event::Settled {
            queue: queue.as_str(),
            settled: &waiting,
            refused: &refused,
            again: false,
        });
    }
    for (asked, fate) in together.into_iter().zip(fates) {
        // Whoever asked may be gone: then the delivery was dropped, and its place is taken back.
        _ = asked.answer.send(fate);
    }
}
