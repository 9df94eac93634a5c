//! Jobs that are unique by a key: which of them run, whatever becomes of those that did before.

mod order;
mod topologies;
mod workers;

use std::time::{Duration, Instant};

use kiln::job::UniqueRule;
use kiln::outcome::{BatchMark, Commit, Failure, FailureKind, Lane, Settlement};
use kiln::queue::{Comes, Consumer, Contended, Contender, Delivery, OfKey, Store};

use crate::leases::adopt;
use crate::queue::{ACK, LONG, fetch, join, ready, until_counts};
use crate::support::{default_queue, eventually};

on_every_store! {
    others_of_a_key_are_dropped_until_one_has_ended
    a_job_that_waits_for_its_next_attempt_keeps_its_key
    a_job_that_fails_for_good_frees_its_key
    the_key_of_a_dead_host_is_free_once_its_jobs_are_taken_over
    what_was_taken_over_keeps_its_key_while_it_waits
    a_job_that_went_back_is_not_its_own_duplicate
    a_job_waits_until_no_other_comes_but_no_longer_than_it_may
    of_jobs_that_come_too_often_one_goes_at_a_time
    what_was_put_back_waits_and_is_never_dropped
    keys_of_several_limits_wait_for_all_of_them
    whoever_waits_for_a_replaced_job_and_its_batch_are_told
}

const DROP: UniqueRule = UniqueRule::Drop;
const LATEST: UniqueRule = UniqueRule::Latest;

fn lane() -> Lane {
    Lane::of_limits("plugin", "unique=a")
}

fn key(id: &str, rule: UniqueRule) -> OfKey {
    OfKey {
        group: Lane::of_group("plugin"),
        cap: "unique=a".to_owned(),
        id: id.to_owned(),
        stamp: stamp_of(id),
        yields: rule != DROP,
    }
}

/// As if jobs had been fetched in the order of the numbers in their ids, those with a word after those without.
fn stamp_of(id: &str) -> String {
    let (word, number) = id.rsplit_once('-').unwrap_or(("", id));
    let number: u32 = number.parse().unwrap_or(0);
    let us = 1_780_000_000_000_000 + u64::from(!word.is_empty());
    format!("{us:016}-{number:010}")
}

fn job(id: &str) -> String {
    format!(r#"{{"id":"{id}","name":"hello"}}"#)
}

fn waits(instead_of: Option<&str>) -> Contended {
    Contended::Waits(instead_of.map(str::to_owned))
}

fn duplicate(of: &str) -> Contended {
    Contended::Duplicate(Some(of.to_owned()))
}

async fn ask(
    host: &Consumer,
    delivery: &mut Delivery,
    id: &str,
    rule: UniqueRule,
    comes: Comes,
) -> anyhow::Result<Contended> {
    ask_with_note(host, delivery, id, rule, comes, "").await
}

async fn ask_with_note(
    host: &Consumer,
    delivery: &mut Delivery,
    id: &str,
    rule: UniqueRule,
    comes: Comes,
    note: &str,
) -> anyhow::Result<Contended> {
    let lane = if comes == Comes::Revived {
        Lane::of_limits("plugin", "unique=a|revived")
    } else {
        lane()
    };
    let is_throttled = matches!(rule, UniqueRule::Throttle(_));
    let (job, stamp) = (job(id), if is_throttled { delivery.stamp() } else { stamp_of(id) });
    let contender = Contender {
        lane: &lane,
        cap: "unique=a",
        rule,
        comes,
        id,
        stamp: &stamp,
        job: &job,
        note,
    };
    Ok(host.contend(delivery, &contender).await?)
}

/// Has a job come to a host. One that is too many, or may go on, is acknowledged.
async fn come(store: &Store, host: &Consumer, id: &str, rule: UniqueRule, comes: Comes) -> anyhow::Result<Contended> {
    store.push(&[ready(&job(id))]).await?;
    // A host whose lease has run out first gets a new one.
    let mut delivery = eventually("the job", async || Ok(fetch(host, 1).await?.pop())).await?;
    let contended = ask(host, &mut delivery, id, rule, comes).await?;
    if matches!(contended, Contended::Duplicate(_) | Contended::Goes) {
        settle(host, delivery, ACK).await?;
    }
    Ok(contended)
}

async fn comes(store: &Store, host: &Consumer, id: &str, rule: UniqueRule) -> anyhow::Result<Contended> {
    come(store, host, id, rule, Comes::New).await
}

async fn settle(host: &Consumer, delivery: Delivery, settlement: Settlement) -> anyhow::Result<()> {
    let held = host.held();
    host.settle(delivery, settlement).await;
    eventually("it is settled", async || Ok((host.held() < held).then_some(()))).await
}

async fn serve(host: &Consumer) -> anyhow::Result<Vec<Delivery>> {
    let group = Lane::of_group("plugin");
    Ok(host.serve(&default_queue(), 9, &group, &[], None).await?)
}

/// Takes the only job that may start, which has this id.
async fn starts(host: &Consumer, id: &str, rule: UniqueRule) -> anyhow::Result<Delivery> {
    let mut served = eventually("a job that may start", async || {
        Ok(Some(serve(host).await?).filter(|served| !served.is_empty()))
    })
    .await?;
    assert_eq!(served.len(), 1);
    let mut delivery = served.remove(0);
    assert_eq!(delivery.decode()?.id, id);
    delivery.is_of(key(id, rule));
    Ok(delivery)
}

fn retry(id: &str) -> Settlement {
    Settlement::Retry {
        job: job(id),
        wait: Duration::from_mins(10),
    }
}

async fn waiting(store: &Store) -> anyhow::Result<u64> {
    Ok(store.counts(&default_queue()).await?.waiting)
}

async fn others_of_a_key_are_dropped_until_one_has_ended(store: Store) -> anyhow::Result<()> {
    let (one, other) = (join(&store, LONG).await?, join(&store, LONG).await?);
    assert_eq!(comes(&store, &one, "1", DROP).await?, waits(None));
    assert_eq!(waiting(&store).await?, 1);
    assert_eq!(comes(&store, &other, "2", DROP).await?, duplicate("1"));
    let first = starts(&other, "1", DROP).await?;
    assert_eq!(first.lane(), Some(&lane()));
    assert_eq!(comes(&store, &one, "3", DROP).await?, duplicate("1"));
    settle(&other, first, ACK).await?;
    assert_eq!(comes(&store, &one, "4", DROP).await?, waits(None));
    let last = starts(&one, "4", DROP).await?;
    settle(&one, last, ACK).await?;
    assert!(store.counts(&default_queue()).await?.is_empty());
    Ok(())
}

async fn a_job_that_waits_for_its_next_attempt_keeps_its_key(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    comes(&store, &host, "1", DROP).await?;
    let first = starts(&host, "1", DROP).await?;
    settle(&host, first, retry("1")).await?;
    until_counts(&store, (0, 1, 0)).await?;
    assert_eq!(comes(&store, &host, "2", DROP).await?, duplicate("1"));
    assert_eq!(come(&store, &host, "1", DROP, Comes::Again).await?, waits(None));
    let again = starts(&host, "1", DROP).await?;
    settle(&host, again, ACK).await?;
    assert_eq!(comes(&store, &host, "3", DROP).await?, waits(None));
    Ok(())
}

async fn a_job_that_fails_for_good_frees_its_key(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let fail = || Settlement::Fail { entry: job("1") };
    comes(&store, &host, "1", DROP).await?;
    let first = starts(&host, "1", DROP).await?;
    settle(&host, first, fail()).await?;
    assert_eq!(comes(&store, &host, "2", DROP).await?, waits(None));
    let second = starts(&host, "2", DROP).await?;
    settle(&host, second, retry("2")).await?;
    // Cancelled while it waited for its next attempt: it fails before it is admitted again.
    store.push(&[ready(&job("2"))]).await?;
    let mut cancelled = fetch(&host, 1).await?.remove(0);
    cancelled.is_of(key("2", DROP));
    settle(&host, cancelled, fail()).await?;
    assert_eq!(comes(&store, &host, "3", DROP).await?, waits(None));
    Ok(())
}

/// A host that has died while it ran a job of the key, and what another host took over from it.
async fn taken_over(store: &Store, heir: &Consumer, rule: UniqueRule) -> anyhow::Result<Delivery> {
    let dead = join(store, Duration::from_secs(1)).await?;
    comes(store, heir, "1", rule).await?;
    let first = starts(&dead, "1", rule).await?;
    // However dead its host is, until somebody has taken over what it held.
    if rule == DROP {
        assert_eq!(comes(store, heir, "2", rule).await?, duplicate("1"));
    }
    let adopted = eventually("its job is taken over", async || Ok(adopt(heir).await?.pop())).await?;
    drop((first, dead));
    Ok(adopted)
}

async fn the_key_of_a_dead_host_is_free_once_its_jobs_are_taken_over(store: Store) -> anyhow::Result<()> {
    let heir = join(&store, LONG).await?;
    let adopted = taken_over(&store, &heir, DROP).await?;
    assert_eq!(comes(&store, &heir, "3", DROP).await?, waits(None));
    let third = starts(&heir, "3", DROP).await?;
    // What comes back then is one too many.
    settle(&heir, adopted, retry("1")).await?;
    assert_eq!(come(&store, &heir, "1", DROP, Comes::Again).await?, duplicate("3"));
    settle(&heir, third, ACK).await?;
    Ok(())
}

async fn what_was_taken_over_keeps_its_key_while_it_waits(store: Store) -> anyhow::Result<()> {
    let heir = join(&store, LONG).await?;
    for rule in [DROP, LATEST] {
        let mut adopted = taken_over(&store, &heir, rule).await?;
        adopted.is_of(key("1", rule));
        settle(&heir, adopted, retry("1")).await?;
        if rule == DROP {
            assert_eq!(comes(&store, &heir, "3", DROP).await?, duplicate("1"));
        }
        assert_eq!(come(&store, &heir, "1", rule, Comes::Again).await?, waits(None));
        let again = starts(&heir, "1", rule).await?;
        settle(&heir, again, ACK).await?;
    }
    Ok(())
}

async fn a_job_that_went_back_is_not_its_own_duplicate(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    comes(&store, &host, "1", DROP).await?;
    // Its place is still remembered when it comes back.
    drop(starts(&host, "1", DROP).await?);
    host.tidy().await?;
    let mut back = fetch(&host, 1).await?.remove(0);
    assert_eq!(ask(&host, &mut back, "1", DROP, Comes::Again).await?, waits(None));
    // A host that did not hear the answer asks again.
    assert_eq!(ask(&host, &mut back, "1", DROP, Comes::Again).await?, Contended::Gone);
    drop(back);
    // One that did not hear from which lane a job came asks about the delivery that has the place.
    let mut unknown = starts(&host, "1", DROP).await?;
    assert_eq!(ask(&host, &mut unknown, "1", DROP, Comes::Again).await?, waits(None));
    drop(unknown);
    let last = starts(&host, "1", DROP).await?;
    settle(&host, last, ACK).await?;
    assert!(store.counts(&default_queue()).await?.is_empty());
    Ok(())
}

async fn a_job_waits_until_no_other_comes_but_no_longer_than_it_may(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let rule = |wait_ms, max_ms| UniqueRule::Debounce {
        wait: Duration::from_millis(wait_ms),
        max: Duration::from_millis(max_ms),
    };
    let opened = async || {
        while !host.wait_turns(&[(default_queue(), Lane::of_group("plugin"))]).await? {}
        anyhow::Ok(())
    };
    let quiet = rule(700, 600_000);
    assert_eq!(comes(&store, &host, "1", quiet).await?, waits(None));
    assert_eq!(serve(&host).await?.len(), 0);
    assert_eq!(comes(&store, &host, "2", quiet).await?, waits(Some("1")));
    let began = Instant::now();
    opened().await?;
    let second = starts(&host, "2", quiet).await?;
    assert!(began.elapsed() >= Duration::from_millis(600), "{:?}", began.elapsed());
    // One that comes while another runs waits for both.
    assert_eq!(comes(&store, &host, "3", rule(1, 1)).await?, waits(None));
    assert_eq!(serve(&host).await?.len(), 0);
    settle(&host, second, ACK).await?;
    let third = starts(&host, "3", quiet).await?;
    settle(&host, third, ACK).await?;
    // Others keep coming: it starts all the same.
    let busy = rule(600_000, 700);
    let began = Instant::now();
    let (mut came, mut served) = (0, Vec::new());
    while served.is_empty() {
        came += 1;
        comes(&store, &host, &format!("busy-{came}"), busy).await?;
        assert_eq!(waiting(&store).await?, 1);
        served = serve(&host).await?;
        assert!(began.elapsed() < crate::support::PATIENCE, "never");
    }
    assert!(began.elapsed() >= Duration::from_millis(690), "{:?}", began.elapsed());
    assert_eq!(served[0].decode()?.id, format!("busy-{came}"));
    Ok(())
}

async fn of_jobs_that_come_too_often_one_goes_at_a_time(store: Store) -> anyhow::Result<()> {
    let (one, other) = (join(&store, LONG).await?, join(&store, LONG).await?);
    let rule = UniqueRule::Throttle(Duration::from_secs(2));
    store.push(&[ready(&job("1"))]).await?;
    let mut first = fetch(&one, 1).await?.remove(0);
    let began = Instant::now();
    assert_eq!(ask(&one, &mut first, "1", rule, Comes::New).await?, Contended::Goes);
    // A host that did not hear the answer asks again, if need be about another delivery of the same job.
    assert_eq!(ask(&one, &mut first, "1", rule, Comes::New).await?, Contended::Goes);
    let again = Contender {
        lane: &lane(),
        cap: "unique=a",
        rule,
        comes: Comes::New,
        id: "1",
        stamp: &first.stamp(),
        job: &job("1"),
        note: "",
    };
    store.push(&[ready(&job("1"))]).await?;
    let mut other_delivery = fetch(&other, 1).await?.remove(0);
    assert_eq!(other.contend(&mut other_delivery, &again).await?, Contended::Goes);
    settle(&other, other_delivery, ACK).await?;
    let second = comes(&store, &other, "2", rule).await?;
    settle(&one, first, ACK).await?;
    let third = comes(&store, &other, "1", rule).await?;
    if began.elapsed() < Duration::from_secs(2) {
        assert_eq!((second, third), (duplicate("1"), duplicate("1")));
    }
    eventually("the next one goes", async || {
        Ok((comes(&store, &other, "3", rule).await? == Contended::Goes).then_some(()))
    })
    .await?;
    assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
    Ok(())
}

async fn what_was_put_back_waits_and_is_never_dropped(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    for rule in [DROP, LATEST] {
        comes(&store, &host, "1", rule).await?;
        let first = starts(&host, "1", rule).await?;
        for id in ["back-1", "back-2"] {
            assert_eq!(come(&store, &host, id, rule, Comes::Revived).await?, waits(None));
        }
        assert_eq!((waiting(&store).await?, serve(&host).await?.len()), (2, 0));
        if rule == DROP {
            assert_eq!(comes(&store, &host, "2", rule).await?, duplicate("1"));
        } else {
            assert_eq!(comes(&store, &host, "2", rule).await?, waits(None));
            assert_eq!(comes(&store, &host, "3", rule).await?, waits(Some("2")));
        }
        settle(&host, first, ACK).await?;
        let mut ran = Vec::new();
        while waiting(&store).await? > 0 {
            let delivery = eventually("the next one", async || Ok(serve(&host).await?.pop())).await?;
            ran.push(delivery.decode()?.id);
            settle(&host, delivery, ACK).await?;
        }
        ran.sort();
        let all: &[&str] = if rule == DROP {
            &["back-1", "back-2"]
        } else {
            &["3", "back-1", "back-2"]
        };
        assert_eq!(ran, all);
    }
    Ok(())
}

async fn keys_of_several_limits_wait_for_all_of_them(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let caps = kiln::config::Manifest::parse("[[limit]]\nconcurrency = 1")
        .expect("a manifest")
        .caps;
    let group = Lane::of_group("plugin");
    store
        .push(&[ready(&job("1")), ready(&job("2")), ready(&job("3"))])
        .await?;
    for (mut delivery, key) in fetch(&host, 3).await?.into_iter().zip(["a", "b", "b"]) {
        let (cap, id) = (format!("unique={key}"), delivery.decode()?.id);
        let contender = Contender {
            lane: &Lane::of_limits("plugin", &format!("*|{cap}")),
            cap: &cap,
            rule: LATEST,
            comes: Comes::New,
            id: &id,
            stamp: &stamp_of(&id),
            job: &job(&id),
            note: "",
        };
        let instead_of = (id == "3").then_some("2");
        assert_eq!(host.contend(&mut delivery, &contender).await?, waits(instead_of));
    }
    for id in ["1", "3"] {
        let mut served = host.serve(&default_queue(), 9, &group, &caps, None).await?;
        assert_eq!(served.len(), 1);
        assert_eq!(host.serve(&default_queue(), 9, &group, &caps, None).await?.len(), 0);
        let delivery = served.remove(0);
        assert_eq!(delivery.decode()?.id, id);
        settle(&host, delivery, ACK).await?;
    }
    Ok(())
}

async fn whoever_waits_for_a_replaced_job_and_its_batch_are_told(store: Store) -> anyhow::Result<()> {
    let host = join(&store, LONG).await?;
    let (batch, waited) = (
        format!("{:016x}", fastrand::u64(..)),
        format!("{:016x}", fastrand::u64(..)),
    );
    let commit = Commit {
        batches: vec![BatchMark {
            id: batch.clone(),
            of: 1,
            member: waited.clone(),
            failed: false,
            adds: Vec::new(),
            then: None,
            complete: None,
            late: None,
        }],
        reply_to: Some(waited.clone()),
        dropped: Some(Box::new(Failure::new(FailureKind::Duplicate, "a newer one"))),
        ..Commit::default()
    };
    store.push(&[ready(&job(&waited))]).await?;
    let mut delivery = fetch(&host, 1).await?.remove(0);
    let came = ask_with_note(&host, &mut delivery, &waited, LATEST, Comes::New, &commit.to_text()).await?;
    assert_eq!(came, waits(None));
    assert_eq!(comes(&store, &host, "2", LATEST).await?, waits(Some(&waited)));
    eventually("they are told", async || {
        host.empty_outboxes().await?;
        Ok(store.ended(&waited).await?.reply)
    })
    .await
    .map(|reply| assert!(reply.contains(r#""outcome":"failed","kind":"duplicate""#), "{reply}"))?;
    let told = store.batch(&batch).await?.expect("the batch");
    assert!(told.complete, "{told:?}");
    Ok(())
}

#[test]
fn a_schedule_may_have_only_its_newest_job_wait() -> anyhow::Result<()> {
    let of = |overlap: &str| {
        let manifest = format!("[[schedule]]\nid = \"poll\"\nevery = \"30s\"\noverlap = \"{overlap}\"");
        kiln::config::Manifest::parse(&manifest).map(|manifest| manifest.schedules)
    };
    let now = "2026-01-01T00:00:00Z".parse()?;
    for (overlap, expected) in [("allow", None), ("skip", None), ("latest", Some(LATEST))] {
        let schedules = of(overlap).expect("a manifest");
        let job = kiln::schedule::job("mail/poll", "mail", &schedules[0], now, now);
        let (options, wrong) = job.options();
        assert_eq!(wrong, None);
        let unique = options.plans().unique.as_ref();
        assert_eq!(unique.map(|unique| unique.rule), expected, "{overlap}");
        assert_eq!(
            unique.map(|unique| unique.key.as_str()),
            expected.map(|_| "cron:mail/poll")
        );
    }
    assert!(of("newest").is_err());
    Ok(())
}
