//! Where only the newest job of a key is to run: which one that is.

use kiln::outcome::Settlement;
use kiln::queue::{Comes, Contended, Contender, Delivery, OfKey, Store};

use super::{
    LATEST, ask, come, comes, duplicate, job, key, lane, retry, serve, settle, stamp_of, starts, waiting, waits,
};
use crate::queue::{ACK, LONG, fetch, join, ready};
use crate::support::default_queue;

on_every_store! {
    the_newest_waits_in_place_of_those_before_it
    a_newer_job_takes_the_place_of_a_further_attempt
    whoever_asks_late_about_an_older_job_finds_that_a_newer_one_came
    equal_ids_do_not_make_an_older_job_the_newest
}

async fn the_newest_waits_in_place_of_those_before_it(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    assert_eq!(comes(&store, &host, "1", LATEST).await?, waits(None));
    let first = starts(&host, "1", LATEST).await?;
    assert_eq!(comes(&store, &host, "2", LATEST).await?, waits(None));
    assert_eq!(comes(&store, &host, "3", LATEST).await?, waits(Some("2")));
    assert_eq!(comes(&store, &host, "4", LATEST).await?, waits(Some("3")));
    assert_eq!((waiting(&store).await?, serve(&host).await?.len()), (1, 0));
    settle(&host, first, ACK).await?;
    let newest = starts(&host, "4", LATEST).await?;
    assert_eq!(waiting(&store).await?, 0);
    settle(&host, newest, ACK).await?;
    assert_eq!(comes(&store, &host, "5", LATEST).await?, waits(None));
    Ok(())
}

async fn a_newer_job_takes_the_place_of_a_further_attempt(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    comes(&store, &host, "1", LATEST).await?;
    let first = starts(&host, "1", LATEST).await?;
    settle(&host, first, retry("1")).await?;
    assert_eq!(come(&store, &host, "1", LATEST, Comes::Again).await?, waits(None));
    let first = starts(&host, "1", LATEST).await?;
    settle(&host, first, retry("1")).await?;
    // Nothing keeps a newer one waiting, and once that is done the older one has nothing left to do.
    assert_eq!(comes(&store, &host, "2", LATEST).await?, waits(None));
    let second = starts(&host, "2", LATEST).await?;
    settle(&host, second, ACK).await?;
    assert_eq!(come(&store, &host, "1", LATEST, Comes::Again).await?, duplicate("2"));
    // The same if it fails only when the newer one waits.
    comes(&store, &host, "3", LATEST).await?;
    let third = starts(&host, "3", LATEST).await?;
    assert_eq!(comes(&store, &host, "4", LATEST).await?, waits(None));
    settle(&host, third, retry("3")).await?;
    assert_eq!(come(&store, &host, "3", LATEST, Comes::Again).await?, duplicate("4"));
    let fourth = starts(&host, "4", LATEST).await?;
    settle(&host, fourth, ACK).await?;
    assert_eq!(come(&store, &host, "3", LATEST, Comes::Again).await?, duplicate("4"));
    Ok(())
}

async fn whoever_asks_late_about_an_older_job_finds_that_a_newer_one_came(store: Store) -> anyhow::Result<()> {
    let (slow, host) = (join(&store, LONG).await?, join(&store, LONG).await?);
    store.push(&["1", "2", "5", "7"].map(|id| ready(&job(id)))).await?;
    let mut late = fetch(&slow, 3).await?;
    // The order is that of the fetches, whichever hosts made them.
    let stamps: Vec<_> = late.iter().map(Delivery::stamp).collect();
    let last = fetch(&host, 1).await?.remove(0);
    assert!(
        stamps.is_sorted() && stamps[2] < last.stamp(),
        "{stamps:?}, {}",
        last.stamp()
    );
    settle(&host, last, ACK).await?;
    let mut ask_late = async |id: &str| {
        let mut delivery = late.remove(0);
        let answer = ask(&slow, &mut delivery, id, LATEST, Comes::New).await?;
        if matches!(answer, Contended::Duplicate(_)) {
            settle(&slow, delivery, ACK).await?;
        }
        anyhow::Ok(answer)
    };
    // While it waits, and once it has run.
    assert_eq!(comes(&store, &host, "3", LATEST).await?, waits(None));
    assert_eq!(ask_late("1").await?, duplicate("3"));
    let third = starts(&host, "3", LATEST).await?;
    settle(&host, third, ACK).await?;
    assert_eq!(ask_late("2").await?, duplicate("3"));
    assert_eq!(ask_late("5").await?, waits(None));
    let fifth = starts(&host, "5", LATEST).await?;
    settle(&host, fifth, ACK).await?;
    assert!(store.counts(&default_queue()).await?.is_empty());
    Ok(())
}

async fn equal_ids_do_not_make_an_older_job_the_newest(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let stamps = ["1", "2"].map(stamp_of);
    let ask_as = async |stamp: &str, comes: Comes| {
        store.push(&[ready(&job("same"))]).await?;
        let mut delivery = fetch(&host, 1).await?.remove(0);
        let (lane, job) = (lane(), job("same"));
        let contender = Contender {
            lane: &lane,
            cap: "unique=a",
            rule: LATEST,
            comes,
            id: "same",
            stamp,
            job: &job,
            note: "",
        };
        let answer = host.contend(&mut delivery, &contender).await?;
        if answer != waits(None) {
            settle(&host, delivery, ACK).await?;
        }
        anyhow::Ok(answer)
    };
    let runs = async |stamp: &str, settlement: Settlement| {
        let mut delivery = starts(&host, "same", LATEST).await?;
        delivery.is_of(OfKey {
            stamp: stamp.to_owned(),
            ..key("same", LATEST)
        });
        settle(&host, delivery, settlement).await
    };
    assert_eq!(ask_as(&stamps[0], Comes::New).await?, waits(None));
    runs(&stamps[0], retry("same")).await?;
    assert_eq!(ask_as(&stamps[1], Comes::New).await?, waits(None));
    runs(&stamps[1], ACK).await?;
    // The newer one has run: the older one's further attempt has nothing left to do.
    assert_eq!(ask_as(&stamps[0], Comes::Again).await?, duplicate("same"));
    Ok(())
}
