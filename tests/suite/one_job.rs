//! What is known of one job, wherever it is.

use kiln::admin::cancel::cancel;
use kiln::admin::job::{Life, Look, MAX_FOUND, MAX_SEARCHED, Part, State, life};
use kiln::admin::results::Outcome;
use kiln::outcome::{FailureKind, Lane, Settlement};
use kiln::queue::{Store, StoreSettings};

use crate::pausing::said;
use crate::queue::{LONG, due, fail_one, fetch, join, push_numbered, ready};
use crate::support::{default_queue, eventually, kiln, redis_settings};

on_every_store! {
    a_job_is_found_wherever_it_lies
    what_a_job_came_to_is_told_while_it_is_kept
}

async fn life_of(store: &Store, id: &str) -> anyhow::Result<Life> {
    Ok(life(store, id, &Look::default()).await?)
}

/// Its state, and where it was found.
async fn found(store: &Store, id: &str) -> anyhow::Result<(State, Vec<Part>)> {
    let life = life_of(store, id).await?;
    Ok((life.state, life.found.into_iter().map(|found| found.part).collect()))
}

async fn a_job_is_found_wherever_it_lies(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 6).await?;
    let soon_ms = store.now().await?.as_millisecond() + 600_000;
    let delayed = r#"{"id":"late","name":"hello","attempts":1,"max_attempts":3,"error":"no\u001b tea"}"#;
    store.push(&[due(delayed, soon_ms)]).await?;
    let consumer = join(&store, LONG).await?;
    let mut held = fetch(&consumer, 3).await?;
    for delivery in held.split_off(1) {
        let lane = Lane::of_plugin("hello");
        consumer.settle(delivery, Settlement::Wait { lane }).await;
    }
    eventually("the lane", async || {
        Ok((store.counts(&default_queue()).await?.waiting == 2).then_some(()))
    })
    .await?;
    let lane = || "plugin:hello".to_owned();
    let host = consumer.host().to_owned();
    assert_eq!(
        found(&store, "0").await?,
        (State::InFlight, vec![Part::InFlight { host }])
    );
    assert_eq!(
        found(&store, "2").await?,
        (
            State::Waiting,
            vec![Part::Waiting {
                lane: lane(),
                before: 1
            }]
        )
    );
    for (id, before) in [("3", 0), ("5", 2)] {
        assert_eq!(
            found(&store, id).await?,
            (State::Ready, vec![Part::Ready { before }]),
            "{id}"
        );
    }
    let delayed = life_of(&store, "late").await?;
    assert_eq!((delayed.state, delayed.found.len()), (State::Delayed, 1));
    let found = &delayed.found[0];
    assert_eq!(
        (found.queue.as_str(), found.name.as_deref()),
        ("default", Some("hello"))
    );
    assert_eq!(
        (found.attempts, found.max_attempts, found.due_ms),
        (Some(1), Some(3), Some(soon_ms))
    );
    assert_eq!(found.error.as_deref(), Some("no\u{1b} tea"));
    // Whoever has no index of its own is not told of what others would find.
    let unknown = life_of(&store, "nobody").await?;
    assert!(unknown.is_unknown() && unknown.searched.all_jobs && unknown.searched.all_failed);
    assert_eq!(unknown.searched.jobs, 7);
    // An id that was pushed too often is told of no more often than may be.
    store
        .push(&vec![ready(r#"{"id":"5","name":"hello"}"#); 2 * MAX_FOUND])
        .await?;
    assert_eq!(life_of(&store, "5").await?.found.len(), MAX_FOUND);
    Ok(())
}

async fn what_a_job_came_to_is_told_while_it_is_kept(store: Store) -> anyhow::Result<()> {
    push_numbered(&store, 2).await?;
    let consumer = join(&store, LONG).await?;
    let mut fetched = fetch(&consumer, 1).await?;
    let result = Some(("0".to_owned(), "[1.0]".to_owned()));
    consumer.settle(fetched.remove(0), Settlement::Ack { result }).await;
    fail_one(&store, &consumer).await?;
    let completed = eventually("its end", async || {
        Ok(Some(life_of(&store, "0").await?).filter(|life| life.state == State::Completed))
    })
    .await?;
    assert!(
        matches!(completed.outcome, Some(Outcome::Completed { result: Some(result), .. }) if result.get() == "[1.0]")
    );
    let id = store.failed(0, 1).await?[0].job().expect("a job").id.clone();
    let life = life_of(&store, &id).await?;
    assert_eq!(life.state, State::Failed);
    let failed = life.failed.expect("the entry");
    assert_eq!((failed.summary.id, failed.attempts), (id.clone(), 1));
    assert!(
        failed
            .failure
            .is_some_and(|failure| failure.kind == FailureKind::Rejected)
    );
    let without_failed = true;
    let look = Look {
        without_failed,
        ..Look::default()
    };
    assert!(kiln::admin::job::life(&store, &id, &look).await?.is_unknown());
    cancel(&store, &[default_queue()], &["nobody".to_owned()]).await?;
    let life = life_of(&store, "nobody").await?;
    assert_eq!(
        (life.state, life.cancelled),
        (State::Unknown, vec!["default".to_owned()])
    );
    Ok(())
}

#[tokio::test]
async fn a_search_ends_where_it_may_and_says_so() -> anyhow::Result<()> {
    let store = Store::open(&StoreSettings::new("memory:")).await?;
    let count = usize::try_from(MAX_SEARCHED)? + 1_000;
    push_numbered(&store, count).await?;
    let (newest, oldest) = ((count - 1).to_string(), "0");
    let brief = life_of(&store, &newest).await?;
    assert_eq!(brief.found.len(), 1);
    let brief = life_of(&store, oldest).await?;
    assert!(
        brief.found.is_empty() && !brief.searched.all_jobs,
        "{:?}",
        brief.searched
    );
    let look = Look {
        all: true,
        ..Look::default()
    };
    let whole = life(&store, oldest, &look).await?;
    assert_eq!(whole.found.len(), 1);
    assert_eq!((whole.searched.jobs, whole.searched.all_jobs), (count as u64, true));
    Ok(())
}

#[tokio::test]
async fn the_command_shows_what_is_known_in_harmless_lines_and_says_what_is_not() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    store
        .push(&[ready(r#"{"id":"7","name":"he\u001b[31mllo","error":"not\nnow"}"#)])
        .await?;
    let shown = |args: &[&str], settings: &StoreSettings| said(kiln().arg("job").args(args), settings);
    let (code, out, _) = shown(&["7"], &settings)?;
    assert_eq!((code, out.contains("in queue default, the next")), (0, true), "{out}");
    assert!(out.contains(r"he\u001b[31mllo") && out.contains("not; now"), "{out}");
    let (code, out, err) = shown(&["8"], &settings)?;
    assert_eq!((code, out.as_str()), (5, ""));
    assert_eq!(err, "kiln: nothing is known of a job 8\n");
    let (_, out, _) = shown(&["7", "--json"], &settings)?;
    let life: serde_json::Value = serde_json::from_str(&out)?;
    assert_eq!(
        (&life["state"], &life["found"][0]["state"], &life["found"][0]["before"]),
        (&"ready".into(), &"ready".into(), &0.into())
    );
    Ok(())
}
