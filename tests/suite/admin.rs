//! What operators ask and do, over every kind of store: the room `admin` as the command line and the API call it.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kiln::admin::failed::{self, Choice, Filter, PAGE_ENTRIES, Progress, Summary};
use kiln::admin::plugins::{Hosts, Reports};
use kiln::admin::queues::{Figure, figures};
use kiln::admin::{AdminError, hosts, plugins};
use kiln::outcome::{FailureKind, Settlement};
use kiln::queue::{FailedEntry, Fate, QueueName, Retention, Search, Store};

use crate::queue::{LONG, fetch, join, push_numbered, until_counts};
use crate::servers::Server;
use crate::support::{redis_settings, settings_at, shared_redis};

on_every_store! {
    a_page_holds_what_the_filter_asks_for_and_tells_where_the_next_begins
    only_the_chosen_leave_a_list_of_several_pages
    what_is_left_of_a_long_list_is_in_order_and_whole
    work_on_the_list_tells_how_far_it_is_and_can_be_broken_off
    ids_without_an_entry_are_told
    an_age_means_the_same_to_operators_and_to_what_is_kept
    a_purge_spares_what_failed_after_it_began
    entries_leave_the_failed_list_whatever_has_become_of_those_before_them
    figures_tell_what_is_where
    what_no_host_has_set_aside_cannot_be_released
}

/// More than two pages, by less than one.
const REST: u64 = 52;
const MANY: u64 = 2 * PAGE_ENTRIES + REST;

fn go_on(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn named(name: &str) -> Filter {
    Filter {
        name: Some(name.to_owned()),
        ..Filter::default()
    }
}

/// Has these entries put into the failed list, in their order.
async fn fail(store: &Store, entries: impl IntoIterator<Item = String>) -> anyhow::Result<()> {
    let consumer = join(store, LONG).await?;
    let entries: Vec<_> = entries.into_iter().collect();
    push_numbered(store, entries.len()).await?;
    let mut entries = entries.into_iter();
    while entries.len() > 0 {
        for (delivery, entry) in fetch(&consumer, 256).await?.into_iter().zip(&mut entries) {
            consumer.settle(delivery, Settlement::Fail { entry }).await;
        }
    }
    consumer.finish().await?;
    until_counts(store, (0, 0, 0)).await
}

/// Entries of the names `a`, `b` and `c` by turns, whose ids are their places.
fn by_turns(count: u64) -> impl Iterator<Item = String> {
    let names = ["a", "b", "c"].into_iter().cycle();
    (0..count)
        .zip(names)
        .map(|(n, name)| format!(r#"{{"id":"{n}","name":"{name}"}}"#))
}

async fn ids(store: &Store) -> anyhow::Result<Vec<u64>> {
    let (mut ids, mut next) = (Vec::new(), Some(0));
    while let Some(start) = next {
        let page = failed::page(store, &Filter::default(), start, PAGE_ENTRIES).await?;
        for entry in &page.entries {
            ids.push(summary(entry).id.parse()?);
        }
        next = page.next;
    }
    Ok(ids)
}

fn summary(entry: &FailedEntry) -> Summary {
    Summary::of(entry).expect("a job")
}

async fn a_page_holds_what_the_filter_asks_for_and_tells_where_the_next_begins(store: Store) -> anyhow::Result<()> {
    let trap = r#"{"id":"6","name":"a","queue":"q","error":"e","failed_at":"2026-06-01T12:00:00Z","failure":{"kind":"trap","message":"m"}}"#;
    fail(&store, by_turns(6).chain([trap.to_owned(), "[]".to_owned()])).await?;
    let all = failed::page(&store, &Filter::default(), 0, PAGE_ENTRIES).await?;
    assert_eq!((all.entries.len(), all.next), (8, Some(8)));
    assert_eq!(Summary::of(&all.entries[7]), None, "no job");
    let end = failed::page(&store, &Filter::default(), 8, PAGE_ENTRIES).await?;
    assert_eq!((end.entries.len(), end.next), (0, None));
    let some = failed::page(&store, &named("a"), 1, 3).await?;
    let found: Vec<_> = some.entries.iter().map(|entry| summary(entry).id).collect();
    assert_eq!((found, some.next), (vec!["3".to_owned()], Some(4)));
    let trapped = Filter {
        kind: Some(FailureKind::Trap),
        ..Filter::default()
    };
    let some = failed::page(&store, &trapped, 0, PAGE_ENTRIES).await?;
    let told = serde_json::to_value(summary(&some.entries[0]))?;
    let expected = serde_json::json!({
        "id": "6", "name": "a", "queue": "q", "failed_at": "2026-06-01T12:00:00Z", "kind": "trap", "message": "m",
    });
    assert_eq!((some.entries.len(), told), (1, expected));
    Ok(())
}

async fn only_the_chosen_leave_a_list_of_several_pages(store: Store) -> anyhow::Result<()> {
    fail(&store, by_turns(MANY)).await?;
    let worked = failed::delete(&store, &Choice::Matching(named("b")), go_on).await?;
    assert_eq!(worked.done, MANY / 3);
    let left: Vec<_> = (0..MANY).filter(|n| n % 3 != 1).collect();
    assert_eq!(ids(&store).await?, left);
    let retried = failed::retry(&store, &Choice::Matching(named("c")), go_on).await?;
    assert_eq!(retried.done, MANY / 3);
    let left: Vec<_> = (0..MANY).filter(|n| n % 3 == 0).collect();
    assert_eq!(ids(&store).await?, left);
    until_counts(&store, (MANY / 3, 0, 0)).await
}

/// So long that a page in its middle is not taken out where it lies.
const LONG_LIST: u64 = 140 * PAGE_ENTRIES;

/// So long that not even a few entries in its middle are.
const LONGER_LIST: u64 = 320 * PAGE_ENTRIES;

/// Entries whose ids are their places. Those of the pages in the middle are of the name `a`, the others of `b`.
fn a_in_the_middle() -> impl Iterator<Item = String> {
    let name = |n| if is_in_the_middle(n) { "a" } else { "b" };
    (0..LONG_LIST).map(move |n| format!(r#"{{"id":"{n}","name":"{}"}}"#, name(n)))
}

fn is_in_the_middle(id: u64) -> bool {
    (68 * PAGE_ENTRIES..72 * PAGE_ENTRIES).contains(&id)
}

async fn what_is_left_of_a_long_list_is_in_order_and_whole(store: Store) -> anyhow::Result<()> {
    fail(&store, a_in_the_middle()).await?;
    let chosen = Choice::Matching(named("a"));
    let retried = failed::retry(&store, &chosen, |progress| {
        if progress.done == 2 * PAGE_ENTRIES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .await?;
    assert_eq!((retried.done, retried.broken_off), (2 * PAGE_ENTRIES, true));
    let taken = 70 * PAGE_ENTRIES..72 * PAGE_ENTRIES;
    let left: Vec<_> = (0..LONG_LIST).filter(|id| !taken.contains(id)).collect();
    assert_eq!(ids(&store).await?, left);
    let deleted = failed::delete(&store, &chosen, go_on).await?;
    assert_eq!(deleted.done, 2 * PAGE_ENTRIES);
    let left: Vec<_> = (0..LONG_LIST).filter(|id| !is_in_the_middle(*id)).collect();
    assert_eq!(ids(&store).await?, left);
    until_counts(&store, (2 * PAGE_ENTRIES, 0, 0)).await
}

async fn work_on_the_list_tells_how_far_it_is_and_can_be_broken_off(store: Store) -> anyhow::Result<()> {
    fail(&store, by_turns(MANY)).await?;
    let all = Choice::Matching(Filter::default());
    let mut told = Vec::new();
    let worked = failed::delete(&store, &all, |progress| {
        told.push(progress);
        if told.len() == 2 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })
    .await?;
    let two_pages = 2 * PAGE_ENTRIES;
    assert_eq!((worked.done, worked.broken_off), (two_pages, true));
    let after = |seen| Progress {
        seen,
        of: MANY,
        done: seen,
    };
    assert_eq!(told, [after(PAGE_ENTRIES), after(two_pages)]);
    assert_eq!(
        ids(&store).await?,
        (0..MANY - two_pages).collect::<Vec<_>>(),
        "the newest go first"
    );
    let rest = failed::delete(&store, &all, |_| ControlFlow::Break(())).await?;
    assert_eq!((rest.done, rest.broken_off), (REST, false), "there was no more to do");
    Ok(())
}

async fn ids_without_an_entry_are_told(store: Store) -> anyhow::Result<()> {
    fail(&store, by_turns(4)).await?;
    let chosen: BTreeSet<_> = ["0", "3", "7"].map(str::to_owned).into();
    let worked = failed::retry(&store, &Choice::Ids(chosen), go_on).await?;
    assert_eq!((worked.done, worked.missing), (2, ["7".to_owned()].into()));
    assert_eq!(ids(&store).await?, [1, 2]);
    assert_eq!(summary(&failed::find(&store, "2").await?).name, "c");
    let missing = failed::find(&store, "0").await;
    assert!(
        matches!(&missing, Err(AdminError::NoEntry(id)) if id == "0"),
        "{missing:?}"
    );
    Ok(())
}

async fn an_age_means_the_same_to_operators_and_to_what_is_kept(store: Store) -> anyhow::Result<()> {
    let entry = r#"{"id":"0","name":"a","failed_at":"2026-06-01T12:00:00Z"}"#;
    fail(&store, [entry.to_owned()]).await?;
    let day = Duration::from_hours(24);
    let retention = Retention {
        max: None,
        max_age: Some(day),
    };
    let found = store.failed(0, 1).await?.remove(0);
    for (now, is_older) in [("2026-06-02T11:59:59.999Z", false), ("2026-06-02T12:00:00Z", true)] {
        let now = now.parse()?;
        assert_eq!(found.failed_ago(day, now), is_older, "{now}");
        assert_eq!(
            store.retain_failed(&retention, now).await?,
            u64::from(is_older),
            "{now}"
        );
    }
    Ok(())
}

async fn a_purge_spares_what_failed_after_it_began(store: Store) -> anyhow::Result<()> {
    fail(&store, by_turns(5)).await?;
    let purged = failed::purge(&store, |progress| {
        assert_eq!((progress.seen, progress.of, progress.done), (5, 5, 5));
        ControlFlow::Break(())
    })
    .await?;
    assert_eq!((purged.done, purged.broken_off), (5, false));
    assert_eq!(failed::purge(&store, go_on).await?.done, 0);
    fail(&store, by_turns(2)).await?;
    assert_eq!(ids(&store).await?, [0, 1]);
    Ok(())
}

async fn figures_tell_what_is_where(store: Store) -> anyhow::Result<()> {
    fail(&store, by_turns(2)).await?;
    push_numbered(&store, 3).await?;
    let found = figures(&store, Search::Brief).await?;
    assert!(found.is_well());
    let told = serde_json::to_value(&found)?;
    assert_eq!((&told["failed"], &told["failed_dropped"]), (&2.into(), &0.into()));
    assert_eq!(told["queues"]["default"]["ready"], 3);
    Ok(())
}

async fn what_no_host_has_set_aside_cannot_be_released(store: Store) -> anyhow::Result<()> {
    let released = plugins::release(&store, "hello").await;
    assert!(
        matches!(&released, Err(AdminError::NotAside(name)) if name == "hello"),
        "{released:?}"
    );
    assert!(plugins::hosts(&store, None).await?.is_empty());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_read_again_once_it_has_changed_and_a_catalogue_is_kept_once() -> anyhow::Result<()> {
    let store = Store::open(&redis_settings()).await?;
    let (catalogue, facts) = (
        "abcd",
        r#"[["hello", {"digest": "12", "jobs": ["hello"], "bytes": 1}]]"#,
    );
    let report = |attempts: u64| {
        let at = "2026-01-01T00:00:00Z";
        format!(
            r#"{{"since": "{at}", "at": "{at}", "catalogue": "{catalogue}", "counts": [[0, 1, 0, {attempts}, 0, 0]]}}"#
        )
    };
    for host in ["a", "b"] {
        store.publish(host, &report(1)).await?;
    }
    let mut reports = Reports::default();
    assert!(
        reports.read(&store).await?.is_empty(),
        "their catalogue is not there yet"
    );
    store.keep_catalogue(catalogue, facts).await?;
    let first = reports.read(&store).await?;
    let serving = |host: &str, hosts: &Hosts| hosts[host].plugins[0].serving.clone().context("serving");
    let (a, b) = (serving("a", &first)?, serving("b", &first)?);
    assert!(Arc::ptr_eq(&a.facts, &b.facts) && a.facts.digest == "12");
    store.publish("b", &report(2)).await?;
    let second = reports.read(&store).await?;
    assert!(Arc::ptr_eq(&first["a"], &second["a"]));
    assert_eq!(serving("b", &second)?.attempts, 2);
    hosts::drain(&store, "a", "ana").await?;
    let third = reports.read(&store).await?;
    assert_eq!(
        (third["a"].drain.as_deref(), serving("a", &third)?.attempts),
        (Some("ana"), 1)
    );
    store.withdraw("b").await?;
    assert_eq!(reports.read(&store).await?.keys().collect::<Vec<_>>(), ["a"]);
    Ok(())
}

/// A failed list on the shared Redis.
struct OnRedis {
    store: Store,
    prefix: String,
}

impl OnRedis {
    async fn with(entries: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let settings = redis_settings();
        let store = Store::open(&settings).await?;
        let failed = Self {
            store,
            prefix: settings.prefix,
        };
        failed.push(entries).await?;
        Ok(failed)
    }

    /// As hosts and dg-queue do it.
    async fn push(&self, entries: impl Iterator<Item = String>) -> anyhow::Result<()> {
        let key = format!("{}:failed", self.prefix);
        let entries: Vec<_> = entries.collect();
        for some in entries.chunks(1_000) {
            let mut words = vec!["RPUSH", &key];
            words.extend(some.iter().map(String::as_str));
            let _: u64 = shared_redis().tell(&words).await?;
        }
        Ok(())
    }

    async fn is_in_two_parts(&self) -> anyhow::Result<bool> {
        let older = format!("{{{}:failed}}:older", self.prefix);
        shared_redis().tell(&["EXISTS", &older]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_at_work_on_a_long_list_get_what_each_chose_and_lose_nothing() -> anyhow::Result<()> {
    let failed = OnRedis::with(by_turns(LONGER_LIST)).await?;
    let (store, choose) = (&failed.store, |name| Choice::Matching(named(name)));
    let (retrying, deleting) = (choose("a"), choose("b"));
    let later = async {
        for n in 0..100 {
            let entry = format!(r#"{{"id":"{}","name":"later"}}"#, LONGER_LIST + n);
            failed.push(std::iter::once(entry)).await?;
        }
        anyhow::Ok(())
    };
    let oldest = async {
        for _ in 0..10 {
            store.purge_failed(3).await?;
        }
        anyhow::Ok(())
    };
    let (retried, deleted, later, oldest) = tokio::join!(
        failed::retry(store, &retrying, go_on),
        failed::delete(store, &deleting, go_on),
        later,
        oldest
    );
    later.and(oldest)?;
    let (retried, deleted) = (retried?.done, deleted?.done);
    let left = ids(store).await?;
    assert!(
        left.is_sorted()
            && left[left.len() - 100..]
                .iter()
                .eq(&(LONGER_LIST..).take(100).collect::<Vec<_>>())
    );
    let of_c = left[..left.len() - 100].iter().filter(|id| **id % 3 != 2).count();
    assert_eq!(of_c, 0, "nothing that was chosen is left");
    assert_eq!(
        retried + deleted + left.len() as u64,
        LONGER_LIST + 100 - 30,
        "thirty were purged"
    );
    until_counts(store, (retried, 0, 0)).await?;
    assert!(!failed.is_in_two_parts().await?);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_dies_at_work_leaves_a_whole_list_in_order() -> anyhow::Result<()> {
    let failed = OnRedis::with(a_in_the_middle()).await?;
    let (store, choice) = (failed.store.clone(), Choice::Matching(named("a")));
    let work = tokio::spawn(async move {
        failed::delete(&store, &choice, |progress| {
            if progress.done == 2 * PAGE_ENTRIES {
                // Dies here.
                std::panic::resume_unwind(Box::new(()))
            }
            ControlFlow::Continue(())
        })
        .await
    });
    assert!(work.await.is_err_and(|err| err.is_panic()));
    assert!(failed.is_in_two_parts().await?, "the test is about that");
    let taken = 70 * PAGE_ENTRIES..72 * PAGE_ENTRIES;
    let mut left: Vec<_> = (0..LONG_LIST).filter(|id| !taken.contains(id)).collect();
    assert_eq!(failed.store.failed_len().await?, left.len() as u64);
    assert_eq!(ids(&failed.store).await?, left);
    let newest = Choice::Ids([(LONG_LIST - 1).to_string()].into());
    assert_eq!(failed::retry(&failed.store, &newest, go_on).await?.done, 1);
    assert!(
        !failed.is_in_two_parts().await?,
        "whoever works on it next makes one of it"
    );
    left.pop();
    assert_eq!(ids(&failed.store).await?, left);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_cannot_be_counted_hides_no_other() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    push_numbered(&store, 3).await?;
    let wrong = format!("{}:queues:wrong", settings.prefix);
    let _: () = shared_redis().tell(&["SET", &wrong, "no list"]).await?;
    let found = figures(&store, Search::Whole).await?;
    assert!(!found.is_well());
    assert!(matches!(&found.queues["default"], Figure::Counted(counts) if counts.ready == 3));
    assert!(matches!(&found.queues["wrong"], Figure::Fault { error } if error.contains("WRONGTYPE")));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_among_many_keys_are_known_or_looked_for() -> anyhow::Result<()> {
    let redis = Server::start(&[])?;
    let settings = settings_at(&redis.url());
    let store = Store::open(&settings).await?;
    let many = "for i = 1, 200000 do redis.call('SET', 'other:' .. i, i) end";
    let _: () = redis.tell(&["EVAL", many, "0"]).await?;
    let names = async |search| -> anyhow::Result<(Vec<String>, bool)> {
        let found = figures(&store, search).await?;
        Ok((found.queues.into_keys().collect(), found.all_queues))
    };
    push_numbered(&store, 1).await?;
    let _: () = redis
        .tell(&["RPUSH", &format!("{}:queues:foreign", settings.prefix), "{}"])
        .await?;
    assert!(matches!(&names(Search::Brief).await?, (known, false) if known.contains(&"default".to_owned())));
    let both = ["default".to_owned(), "foreign".to_owned()];
    assert_eq!(names(Search::Whole).await?, (both.to_vec(), true));
    // What was found once is known.
    assert_eq!(names(Search::Brief).await?, (both.to_vec(), false));
    store.note_queues(&[QueueName::new("empty").expect("a name")]).await?;
    assert_eq!(
        names(Search::Brief).await?.0,
        both,
        "one that holds nothing and is not served is not told of"
    );
    Ok(())
}

async fn entries_leave_the_failed_list_whatever_has_become_of_those_before_them(store: Store) -> anyhow::Result<()> {
    let consumer = join(&store, LONG).await?;
    let ids: Vec<_> = (0..90).map(|n| (n / 3).to_string()).collect();
    push_numbered(&store, ids.len()).await?;
    for (delivery, id) in fetch(&consumer, ids.len()).await?.into_iter().zip(&ids) {
        // Each three times, and equal.
        let entry = format!(r#"{{"id":"{id}","name":"hello"}}"#);
        consumer.settle(delivery, Settlement::Fail { entry }).await;
    }
    until_counts(&store, (0, 0, 0)).await?;
    // Of the first half every second, of the second half all.
    let chosen = |id: &String| id.parse::<u32>().is_ok_and(|id| id >= 15 || id % 2 == 1);
    let id = |entry: &FailedEntry| entry.job().expect("a job").id.clone();
    let seen = async || -> anyhow::Result<Vec<FailedEntry>> {
        let seen = store.failed(0, 100).await?;
        Ok(seen.into_iter().filter(|entry| chosen(&id(entry))).collect())
    };
    let (first, second, others) = (seen().await?, seen().await?, seen().await?);
    let middle = store.failed(30, 3).await?;
    assert_eq!(store.purge_failed(3).await?, 3, "somebody drops the oldest");
    assert_eq!(store.delete_failed(middle).await?, [Fate::Taken; 3]);
    assert_eq!(store.retry_failed(first).await?, [Fate::Taken; 66]);
    assert_eq!(store.delete_failed(second).await?, [Fate::Gone; 66]);
    assert_eq!(store.retry_failed(others).await?, [Fate::Gone; 66]);
    let left: Vec<_> = store.failed(0, 100).await?.iter().map(id).collect();
    let kept = |id: &&String| !chosen(id) && !["0", "10"].contains(&id.as_str());
    assert!(
        left.iter().eq(ids.iter().filter(kept)),
        "the others stay, in their order: {left:?}"
    );
    until_counts(&store, (66, 0, 0)).await?;
    let back = fetch(&consumer, 66).await?;
    let back = back.iter().map(|job| job.decode().expect("a job").id);
    assert!(back.eq(ids.iter().filter(|id| chosen(id)).cloned()), "in their order");
    Ok(())
}
