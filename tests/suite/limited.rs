//! Limits across hosts: how many jobs of a key run at once, and how often one starts, whichever hosts run them.

mod admitted;
mod clock;
mod edges;
mod fair;
mod shut;
mod workers;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kiln::config::{Cap, Manifest};
use kiln::outcome::{Lane, Settlement};
use kiln::queue::{Consumer, Delivery, Store, Sweep};

use crate::leases::adopt;
use crate::queue::{ACK, LONG, fetch, join, push_numbered, texts, until_counts};
use crate::support::{default_queue, eventually};

on_every_store! {
    a_limit_lets_so_many_of_a_key_run_and_the_next_one_once_a_place_is_free
    keys_take_turns
    a_job_starts_only_if_all_of_its_limits_let_it
    whatever_becomes_of_a_job_it_gives_its_place_back
    the_places_of_a_dead_host_come_back_with_its_jobs
    whoever_takes_jobs_over_frees_their_places_however_lately_others_looked
    a_rate_spaces_starts_and_lets_a_burst_come_first
    whoever_waits_for_a_turn_is_woken_by_it
    what_no_limit_concerns_any_more_is_not_held_up
    a_raised_limit_lets_in_who_waited_for_the_lower_one
}

/// Less than a look lasts where nothing is told.
const AT_ONCE: Duration = Duration::from_secs(3);

fn caps(limits: &str) -> Vec<Cap> {
    Manifest::parse(limits).expect("a manifest").caps
}

/// As many places for each key.
fn places(places: u32) -> Vec<Cap> {
    caps(&format!("[[limit]]\nkey = \"/key\"\nconcurrency = {places}"))
}

fn group() -> Lane {
    Lane::of_group("plugin")
}

fn lane(caps: &str) -> Lane {
    Lane::of_limits("plugin", caps)
}

/// Pushes numbered jobs and has them wait in these lanes, one after the other. Returns them as they were pushed.
async fn queue_up(store: &Store, host: &Consumer, lanes: &[&str]) -> anyhow::Result<Vec<String>> {
    let before = store.counts(&default_queue()).await?.waiting;
    let pushed = push_numbered(store, lanes.len()).await?;
    for (delivery, caps) in fetch(host, lanes.len()).await?.into_iter().zip(lanes) {
        host.settle(delivery, Settlement::Wait { lane: lane(caps) }).await;
    }
    let waiting = before + lanes.len() as u64;
    eventually("the jobs wait", async || {
        Ok((store.counts(&default_queue()).await?.waiting == waiting).then_some(()))
    })
    .await?;
    Ok(pushed)
}

async fn serve(host: &Consumer, jobs: usize, caps: &[Cap]) -> anyhow::Result<Vec<Delivery>> {
    Ok(host.serve(&default_queue(), jobs, &group(), caps, None).await?)
}

/// Serves until there is something to serve.
async fn served(host: &Consumer, caps: &[Cap]) -> anyhow::Result<Delivery> {
    eventually("a job that may start", async || Ok(serve(host, 1, caps).await?.pop())).await
}

async fn settle(host: &Consumer, delivery: Delivery, settlement: Settlement) -> anyhow::Result<()> {
    let held = host.held();
    host.settle(delivery, settlement).await;
    eventually("it is settled", async || Ok((host.held() < held).then_some(()))).await
}

async fn a_limit_lets_so_many_of_a_key_run_and_the_next_one_once_a_place_is_free(store: Store) -> anyhow::Result<()> {
    let (one, other, caps) = (join(&store, LONG).await?, join(&store, LONG).await?, places(2));
    let pushed = queue_up(&store, &one, &["/key=a"; 5]).await?;
    let mut held = serve(&one, 1, &caps).await?;
    held.extend(serve(&other, 9, &caps).await?);
    assert_eq!(texts(&held), pushed[..2]);
    assert_eq!(held[0].lane(), Some(&lane("/key=a")));
    assert_eq!(serve(&one, 9, &caps).await?.len(), 0);
    assert_eq!(
        store.counts(&default_queue()).await?.lanes,
        BTreeMap::from([(group().to_string(), 3)])
    );
    settle(&other, held.remove(1), ACK).await?;
    let third = serve(&one, 9, &caps).await?;
    assert_eq!(texts(&third), pushed[2..3]);
    settle(&one, held.remove(0), ACK).await?;
    for delivery in third {
        settle(&one, delivery, ACK).await?;
    }
    let last = serve(&other, 9, &caps).await?;
    assert_eq!(texts(&last), pushed[3..]);
    for delivery in last {
        settle(&other, delivery, ACK).await?;
    }
    assert!(store.counts(&default_queue()).await?.is_empty());
    assert_eq!(serve(&other, 9, &caps).await?.len(), 0);
    Ok(())
}

async fn keys_take_turns(store: Store) -> anyhow::Result<()> {
    let (host, caps) = (join(&store, LONG).await?, places(9));
    let lanes = ["/key=a", "/key=a", "/key=a", "/key=a", "/key=b", "/key=c", "/key=b"];
    let pushed = queue_up(&store, &host, &lanes).await?;
    let order = [0, 4, 5, 1, 6, 2, 3].map(|at| pushed[at].clone());
    let first = serve(&host, 3, &caps).await?;
    assert_eq!(texts(&first), order[..3]);
    let then = serve(&host, 9, &caps).await?;
    assert_eq!(texts(&then), order[3..]);
    Ok(())
}

async fn a_job_starts_only_if_all_of_its_limits_let_it(store: Store) -> anyhow::Result<()> {
    let caps = caps("[[limit]]\nkey = \"/key\"\nconcurrency = 2\n[[limit]]\nconcurrency = 3");
    let host = join(&store, LONG).await?;
    let lanes = [["/key=a|*"; 4], ["/key=b|*"; 4]].concat();
    let pushed = queue_up(&store, &host, &lanes).await?;
    let mut held = serve(&host, 9, &caps).await?;
    assert_eq!(texts(&held), [0, 4, 1].map(|at| pushed[at].clone()));
    assert_eq!(serve(&host, 9, &caps).await?.len(), 0);
    // One of b ends, and both may have the place: b has waited for its turn longer.
    settle(&host, held.remove(1), ACK).await?;
    held.extend(serve(&host, 9, &caps).await?);
    assert_eq!(texts(&held), [0, 1, 5].map(|at| pushed[at].clone()));
    settle(&host, held.remove(2), ACK).await?;
    held.extend(serve(&host, 9, &caps).await?);
    assert_eq!(
        texts(&held),
        [0, 1, 6].map(|at| pushed[at].clone()),
        "a holds all of its own places"
    );
    for last in 0..5 {
        settle(&host, held.remove(0), ACK).await?;
        held.extend(serve(&host, 9, &caps).await?);
        assert_eq!(held.len(), 3.min(5 - last), "{last}");
    }
    Ok(())
}

async fn whatever_becomes_of_a_job_it_gives_its_place_back(store: Store) -> anyhow::Result<()> {
    let (host, caps) = (join(&store, LONG).await?, places(1));
    let wait = Duration::from_mins(10);
    let fates = [
        ACK,
        Settlement::Retry {
            job: "{\"name\":\"later\"}".to_owned(),
            wait,
        },
        Settlement::Fail { entry: "{}".to_owned() },
        Settlement::Wait {
            lane: Lane::of_plugin("plugin"),
        },
        Settlement::Wait { lane: lane("/key=b") },
        Settlement::Ack {
            result: Some(("id".to_owned(), "1".to_owned())),
        },
    ];
    queue_up(&store, &host, &["/key=a"; 8]).await?;
    for fate in fates {
        let what = format!("{fate:?}");
        let mut held = serve(&host, 9, &caps).await?;
        let of_a: Vec<_> = held
            .extract_if(.., |held| held.lane() == Some(&lane("/key=a")))
            .collect();
        assert_eq!(of_a.len(), 1, "before {what}");
        for delivery in of_a {
            settle(&host, delivery, fate.clone()).await?;
        }
        for other in held {
            settle(&host, other, ACK).await?;
        }
    }
    // One that is dropped goes back to its queue, and its place when places are looked at.
    drop(serve(&host, 9, &caps).await?);
    host.tidy().await?;
    let last = eventually("the place is taken back", async || {
        host.sweep(&default_queue(), &group(), &caps, Sweep::InTurn).await?;
        Ok(serve(&host, 9, &caps).await?.pop())
    });
    assert_eq!(last.await?.lane(), Some(&lane("/key=a")));
    Ok(())
}

async fn the_places_of_a_dead_host_come_back_with_its_jobs(store: Store) -> anyhow::Result<()> {
    let (dead, heir, caps) = (
        join(&store, Duration::from_secs(1)).await?,
        join(&store, LONG).await?,
        places(2),
    );
    queue_up(&store, &heir, &["/key=a"; 4]).await?;
    // Its lease may have run out already; then it gets a new one.
    let mut held = serve(&dead, 9, &caps).await?;
    held.extend(serve(&dead, 9, &caps).await?);
    assert_eq!(held.len(), 2);
    assert_eq!(serve(&heir, 9, &caps).await?.len(), 0);
    heir.sweep(&default_queue(), &group(), &caps, Sweep::InTurn).await?;
    assert_eq!(
        serve(&heir, 9, &caps).await?.len(),
        0,
        "a lease that is good keeps its places"
    );
    let mut adopted = Vec::new();
    eventually("its jobs are taken over", async || {
        adopted.extend(adopt(&heir).await?);
        Ok((adopted.len() == 2).then_some(()))
    })
    .await?;
    let mut again = Vec::new();
    eventually("both places", async || {
        heir.sweep(&default_queue(), &group(), &caps, Sweep::InTurn).await?;
        again.extend(serve(&heir, 9, &caps).await?);
        Ok((again.len() == 2).then_some(()))
    })
    .await?;
    assert_eq!(serve(&heir, 9, &caps).await?.len(), 0);
    drop(held);
    Ok(())
}

async fn whoever_takes_jobs_over_frees_their_places_however_lately_others_looked(store: Store) -> anyhow::Result<()> {
    let (dead, heir, caps) = (
        join(&store, Duration::from_secs(1)).await?,
        join(&store, LONG).await?,
        places(2),
    );
    queue_up(&store, &heir, &["/key=a"; 4]).await?;
    let held = eventually("its lease lasts so long", async || {
        let held = serve(&dead, 9, &caps).await?;
        Ok((held.len() == 2).then_some(held))
    })
    .await?;
    assert!(serve(&heir, 9, &caps).await?.is_empty());
    let mut adopted = Vec::new();
    eventually("the end of the other's lease is told", async || {
        dead.heartbeat().await?;
        adopted.extend(adopt(&heir).await?);
        let next = heir.next_lease_end(&default_queue());
        Ok(next.filter(|next| *next <= Duration::from_secs(1)))
    })
    .await?;
    assert_eq!(heir.next_lease_end(&default_queue()), None, "it is told once");
    eventually("its jobs are taken over", async || {
        heir.sweep(&default_queue(), &group(), &caps, Sweep::InTurn).await?;
        adopted.extend(adopt(&heir).await?);
        Ok((adopted.len() == 2).then_some(()))
    })
    .await?;
    heir.sweep(&default_queue(), &group(), &caps, Sweep::Of(&[])).await?;
    assert_eq!(serve(&heir, 9, &caps).await?.len(), 2);
    drop(held);
    Ok(())
}

async fn a_rate_spaces_starts_and_lets_a_burst_come_first(store: Store) -> anyhow::Result<()> {
    let caps = caps("[[limit]]\nrate = \"10/1s\"\nburst = 3");
    let host = join(&store, LONG).await?;
    queue_up(&store, &host, &["*"; 6]).await?;
    let began = Instant::now();
    assert_eq!(serve(&host, 9, &caps).await?.len(), 3, "a burst");
    let mut left = 3;
    while left > 0 {
        let groups = [(default_queue(), group())];
        host.wait_turns(&groups).await?;
        let served = serve(&host, 9, &caps).await?.len();
        left -= served;
        // The first was before the clock was read.
        let most = 3.0 + began.elapsed().as_secs_f64() * 10.0 + 0.5;
        assert!(
            f64::from(6 - u32::try_from(left)?) <= most,
            "{left} left after {:?}",
            began.elapsed()
        );
    }
    assert!(began.elapsed() >= Duration::from_millis(280), "{:?}", began.elapsed());
    Ok(())
}

async fn whoever_waits_for_a_turn_is_woken_by_it(store: Store) -> anyhow::Result<()> {
    let (host, other, caps) = (join(&store, LONG).await?, join(&store, LONG).await?, places(1));
    queue_up(&store, &host, &["/key=a", "/key=a"]).await?;
    let mut held = serve(&host, 1, &caps).await?;
    assert_eq!(serve(&host, 1, &caps).await?.len(), 0);
    let groups = [(default_queue(), group())];
    let turn = async {
        while !other.wait_turns(&groups).await? {}
        anyhow::Ok(())
    };
    let mut turn = Box::pin(turn);
    let none = tokio::time::timeout(Duration::from_millis(300), &mut turn).await;
    assert!(none.is_err(), "no lane has a turn");
    let first = held.pop().expect("the first");
    settle(&host, first, ACK).await?;
    tokio::time::timeout(AT_ONCE, turn).await??;
    let second = served(&other, &caps).await?;
    settle(&other, second, ACK).await?;
    until_counts(&store, (0, 0, 0)).await
}

async fn what_no_limit_concerns_any_more_is_not_held_up(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    queue_up(&store, &host, &["/key=a", "/key=a", "/key=a"]).await?;
    let held = serve(&host, 9, &places(1)).await?;
    assert_eq!((held.len(), serve(&host, 9, &places(1)).await?.len()), (1, 0));
    let rest = eventually("the others", async || {
        host.sweep(&default_queue(), &group(), &[], Sweep::InTurn).await?;
        let rest = serve(&host, 9, &[]).await?;
        Ok((rest.len() == 2).then_some(rest))
    });
    rest.await?;
    Ok(())
}

async fn a_raised_limit_lets_in_who_waited_for_the_lower_one(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let total = |places| {
        caps(&format!(
            "[[limit]]\nconcurrency = {places}\n[[limit]]\nkey = \"/key\"\nconcurrency = 9"
        ))
    };
    queue_up(
        &store,
        &host,
        &["*|/key=a", "*|/key=b", "*|/key=c", "*|/key=d", "*|/key=e"],
    )
    .await?;
    let mut held = serve(&host, 9, &total(1)).await?;
    assert_eq!((held.len(), serve(&host, 9, &total(1)).await?.len()), (1, 0));
    eventually("four at once", async || {
        host.sweep(&default_queue(), &group(), &total(4), Sweep::InTurn).await?;
        held.extend(serve(&host, 9, &total(4)).await?);
        Ok((held.len() == 4).then_some(()))
    })
    .await?;
    assert_eq!(serve(&host, 9, &total(4)).await?.len(), 0);
    Ok(())
}
