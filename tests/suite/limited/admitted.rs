//! Ready jobs that start where they are, since their limits let them and nobody waits before them.

use std::sync::Arc;
use std::time::Duration;

use kiln::config::Cap;
use kiln::queue::backend::Claim;
use kiln::queue::{Admitted, Consumer, Delivery, Store};

use super::{caps, group, lane, places, serve, settle};
use crate::queue::{ACK, LONG, fetch, join, push_numbered, texts, until_counts};
use crate::support::default_queue;

on_every_store! {
    as_many_start_as_may_and_the_others_wait
    nobody_overtakes_a_lane_that_has_its_turn_or_a_job_of_its_own
    a_rate_counts_those_that_never_waited
    who_is_asked_about_twice_has_one_place
}

/// Fetches the next job and asks whether it starts. It is returned if it does.
async fn admitted(host: &Consumer, caps: &[Cap], of_lane: &str) -> anyhow::Result<Option<Delivery>> {
    let mut delivery = fetch(host, 1).await?.pop().expect("a ready job");
    let admitted = host.admit(&mut delivery, &lane(of_lane), &Arc::from(caps)).await;
    Ok((admitted.expect("an answer") == Admitted::Starts).then_some(delivery))
}

async fn waiting(store: &Store) -> anyhow::Result<u64> {
    Ok(store.counts(&default_queue()).await?.waiting)
}

async fn as_many_start_as_may_and_the_others_wait(store: Store) -> anyhow::Result<()> {
    let (host, other, caps) = (join(&store, LONG).await?, join(&store, LONG).await?, places(2));
    let pushed = push_numbered(&store, 5).await?;
    let first = admitted(&host, &caps, "/key=a").await?.expect("the first of two");
    let second = admitted(&other, &caps, "/key=a").await?.expect("the second of two");
    assert!(admitted(&host, &caps, "/key=a").await?.is_none(), "a third");
    assert_eq!(waiting(&store).await?, 1);
    assert!(serve(&host, 9, &caps).await?.is_empty());
    // That lane waits for a place, and keeps no other key waiting.
    let of_b = admitted(&host, &caps, "/key=b").await?.expect("a place of b");
    settle(&host, first, ACK).await?;
    let third = serve(&other, 9, &caps).await?;
    assert_eq!(texts(&third), pushed[2..3]);
    settle(&host, of_b, ACK).await?;
    settle(&other, second, ACK).await?;
    let last = admitted(&host, &caps, "/key=a")
        .await?
        .expect("a place that was given back");
    for (host, delivery) in third.into_iter().map(|third| (&other, third)).chain([(&host, last)]) {
        settle(host, delivery, ACK).await?;
    }
    until_counts(&store, (0, 0, 0)).await
}

async fn nobody_overtakes_a_lane_that_has_its_turn_or_a_job_of_its_own(store: Store) -> anyhow::Result<()> {
    let (host, caps) = (join(&store, LONG).await?, places(1));
    let pushed = push_numbered(&store, 5).await?;
    let first = admitted(&host, &caps, "/key=a").await?.expect("the first");
    assert!(admitted(&host, &caps, "/key=a").await?.is_none());
    assert!(serve(&host, 9, &caps).await?.is_empty());
    assert!(admitted(&host, &caps, "/key=a").await?.is_none(), "its lane holds one");
    settle(&host, first, ACK).await?;
    assert!(admitted(&host, &caps, "/key=b").await?.is_none(), "a has its turn");
    assert!(admitted(&host, &caps, "/key=a").await?.is_none(), "a has its turn");
    let mut order = Vec::new();
    for _ in 0..3 {
        for served in serve(&host, 9, &caps).await? {
            order.extend(texts(std::slice::from_ref(&served)));
            settle(&host, served, ACK).await?;
        }
    }
    assert_eq!(order, [1, 3, 2, 4].map(|at| pushed[at].clone()));
    Ok(())
}

async fn a_rate_counts_those_that_never_waited(store: Store) -> anyhow::Result<()> {
    let caps = caps("[[limit]]\nrate = \"1/1h\"\nburst = 2");
    let host = join(&store, LONG).await?;
    push_numbered(&store, 3).await?;
    let held = [admitted(&host, &caps, "*").await?, admitted(&host, &caps, "*").await?];
    assert!(held.iter().all(Option::is_some), "a burst");
    for delivery in held.into_iter().flatten() {
        settle(&host, delivery, ACK).await?;
    }
    assert!(admitted(&host, &caps, "*").await?.is_none(), "no place, but a time");
    assert!(serve(&host, 9, &caps).await?.is_empty());
    Ok(())
}

async fn who_is_asked_about_twice_has_one_place(store: Store) -> anyhow::Result<()> {
    let (host, caps, queue) = (join(&store, LONG).await?, places(2), default_queue());
    push_numbered(&store, 4).await?;
    let held = fetch(&host, 4).await?;
    let tags = |held: &[Delivery]| -> Vec<_> { held.iter().map(|delivery| (delivery.tag(), lane("/key=a"))).collect() };
    let (backend, claim) = (
        store.into_backend(),
        Claim {
            host: host.host(),
            queue: &queue,
            lease: Duration::from_mins(1),
        },
    );
    let admit = async |held: &[Delivery]| backend.admit(&claim, &group(), &caps, &tags(held)).await;
    assert_eq!(admit(&held[..1]).await?, [Admitted::Starts]);
    assert_eq!(admit(&held[..1]).await?, [Admitted::Starts]);
    assert_eq!(
        admit(&held[1..]).await?,
        [Admitted::Starts, Admitted::Waits, Admitted::Waits]
    );
    assert_eq!(admit(&held[2..]).await?, [Admitted::Gone, Admitted::Gone]);
    Ok(())
}
