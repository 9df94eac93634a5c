//! A host that takes jobs: what is ready, what waits in lanes, and what groups of lanes let start.

use std::sync::atomic::Ordering;

use super::Consumer;
use super::delivery::Delivery;
use super::in_flight::{InFlight, Taking};
use super::lanes::name_lanes;
use crate::config::Cap;
use crate::events::Event;
use crate::outcome::Lane;
use crate::queue::error::QueueError;
use crate::queue::limits::MAX_BATCH;
use crate::queue::moves::{Arrived, LaneWish, Turn};
use crate::queue::queue_name::QueueName;
use crate::stop::Moment;

/// A message to the store that takes jobs, with what was known when it was sent.
struct Asking<'a> {
    place: usize,
    table: &'a InFlight,
    taking: Taking<'a>,
    jobs: usize,
    tag: u64,
    asked: Moment,
    lessons: u64,
    looks: u64,
}

/// What the store answers to any such message.
struct Came {
    jobs: Vec<Arrived>,
    paused: bool,
    cancels: Option<u64>,
}

impl Consumer {
    /// Takes up to `count` ready jobs, at most [`MAX_BATCH`], without waiting for any. If the lease has run out, takes
    /// no job but a new lease. Takes none of a paused queue, and none while [`Self::is_outbox_full`].
    ///
    /// # Errors
    /// When the store fails. Jobs that may have been taken all the same go back before the next fetch.
    pub async fn fetch(&self, queue: &QueueName, count: usize) -> Result<Vec<Delivery>, QueueError> {
        self.fetch_from(queue, count, &[], None).await
    }

    /// Like [`Self::fetch`], but takes jobs of these lanes first, as many as each asks for. With `longest`, a ready job
    /// of more bytes moves to the lane of large jobs and waits there.
    ///
    /// # Errors
    /// As for [`Self::fetch`].
    pub async fn fetch_from(
        &self,
        queue: &QueueName,
        count: usize,
        lanes: &[LaneWish],
        longest: Option<usize>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let Some(asking) = self.ask(queue, count).await? else {
            return Ok(Vec::new());
        };
        let (tag, lessons) = (asking.tag, asking.lessons);
        let wish = asking.taking.wish(asking.jobs, lanes, longest);
        let answer = self.shared.backend().fetch(&self.shared.claim(queue), tag, wish).await;
        let Some((taken, asking)) = self.answered(asking, answer).await? else {
            return Ok(Vec::new());
        };
        let came = Came {
            jobs: taken.jobs,
            paused: taken.paused,
            cancels: taken.cancels,
        };
        let Some(mut deliveries) = self.took(asking, came).await? else {
            return Ok(Vec::new());
        };
        for delivery in &mut deliveries {
            delivery.fetched_us = taken.at_us;
        }
        name_lanes(&mut deliveries, lanes, &taken.lanes);
        for (LaneWish { lane, .. }, _) in lanes.iter().zip(&taken.lanes).filter(|(_, taken)| taken.left == 0) {
            self.shared.lanes.forget(queue, lane, lessons);
        }
        Ok(deliveries)
    }

    /// Takes up to `count` jobs, at most [`MAX_BATCH`], from a group of lanes, as many as its limits let start now. With
    /// `longest`, lanes whose next job has more bytes are passed over. Otherwise as [`Self::fetch`].
    ///
    /// # Errors
    /// As for [`Self::fetch`].
    pub async fn serve(
        &self,
        queue: &QueueName,
        count: usize,
        group: &Lane,
        caps: &[Cap],
        longest: Option<usize>,
    ) -> Result<Vec<Delivery>, QueueError> {
        let Some(asking) = self.ask(queue, count).await? else {
            return Ok(Vec::new());
        };
        let (tag, lessons) = (asking.tag, asking.lessons);
        let turn = Turn {
            group,
            caps,
            jobs: asking.jobs,
            longest,
            bytes: asking.taking.bytes(),
        };
        let answer = self.shared.backend().serve(&self.shared.claim(queue), tag, turn).await;
        let Some((served, asking)) = self.answered(asking, answer).await? else {
            return Ok(Vec::new());
        };
        let (jobs, lanes): (Vec<_>, Vec<_>) = served.jobs.into_iter().unzip();
        let came = Came {
            jobs,
            paused: served.paused,
            cancels: served.cancels,
        };
        let Some(mut deliveries) = self.took(asking, came).await? else {
            return Ok(Vec::new());
        };
        for (delivery, lane) in deliveries.iter_mut().zip(lanes) {
            delivery.lane = lane;
        }
        if served.left == 0 {
            self.shared.lanes.forget(queue, group, lessons);
        }
        Ok(deliveries)
    }

    /// Prepares to take up to `count` jobs. None: this host does not serve the queue, or its outbox there is full.
    async fn ask(&self, queue: &QueueName, count: usize) -> Result<Option<Asking<'_>>, QueueError> {
        let Some((place, table)) = self.table(queue).filter(|_| !self.is_outbox_full(queue)) else {
            return Ok(None);
        };
        if table.is_behind() {
            let queue = queue.clone();
            return Err(QueueError::Behind { queue });
        }
        let taking = self.shared.take(table).await?;
        let jobs = count.min(MAX_BATCH);
        Ok(Some(Asking {
            place,
            table,
            taking,
            jobs,
            tag: self.next_tag.fetch_add(jobs as u64, Ordering::Relaxed),
            asked: Moment::now(),
            lessons: self.shared.lanes.lessons(),
            looks: self.shared.orders.looks(),
        }))
    }

    /// The store's answer. None: the lease had run out, and is a new one now.
    async fn answered<'a, T>(
        &self,
        asking: Asking<'a>,
        answer: Result<Option<T>, QueueError>,
    ) -> Result<Option<(T, Asking<'a>)>, QueueError> {
        let lease = &asking.table.lease;
        match answer {
            Ok(Some(taken)) => Ok(Some((taken, asking))),
            Ok(None) => {
                asking.taking.nothing();
                self.shared.renew(lease).await?;
                Ok(None)
            }
            Err(err) => {
                // Small messages get through, so it is the size of the fetch that failed.
                if err.is_on_the_way() && self.shared.renew(lease).await.is_ok() {
                    asking.taking.did_not_come();
                }
                Err(err)
            }
        }
    }

    /// The deliveries of what came. None: the queue is paused.
    async fn took(&self, asking: Asking<'_>, came: Came) -> Result<Option<Vec<Delivery>>, QueueError> {
        let queue = asking.table.queue();
        if came.paused {
            asking.taking.nothing();
            self.shared.orders.is_told(queue, asking.looks);
            return Ok(None);
        }
        if !came.jobs.is_empty() {
            self.shared.renewed(&asking.table.lease, asking.asked);
            // If they cannot be read, what was taken is dropped here, and goes back.
            self.hear_of_cancels(asking.place, came.cancels.unwrap_or(0)).await?;
        }
        // The answer may have waited while this process was suspended. If the lease ended meanwhile, the jobs must not
        // start.
        self.stop_in_time();
        let deliveries = asking.taking.heard(asking.tag, came.jobs, asking.asked);
        if !deliveries.is_empty() {
            self.shared.events.tell(Event::Fetched {
                queue: queue.as_str(),
                first_tag: asking.tag,
                jobs: deliveries.len(),
            });
        }
        Ok(Some(deliveries))
    }
}
