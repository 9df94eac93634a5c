//! Work on many failed entries: moving them to another queue, only counting them; and the levels that queues have.

use std::ops::ControlFlow;

use kiln::admin::failed::{Choice, Filter, count, move_to};
use kiln::config::RetryPolicy;
use kiln::events::Events;
use kiln::job::Job;
use kiln::outcome::{Failure, FailureKind, Outcome, RetryHint};
use kiln::queue::{Consumer, QueueName, Store};
use kiln::retry::{self, Moment};

use crate::pausing::said;
use crate::process::Worker;
use crate::queue::{LONG, fetch, join, push_numbered};
use crate::service::folder_of;
use crate::support::{eventually, kiln, redis_settings};

on_every_store! {
    moved_jobs_are_the_other_queues_with_all_their_attempts_and_the_rest_stays
    what_is_counted_stays_where_it_is
}

/// Fails so many jobs, of two names by turns.
async fn fail(store: &Store, jobs: usize) -> anyhow::Result<Consumer> {
    push_numbered(store, jobs).await?;
    let consumer = join(store, LONG).await?;
    for delivery in fetch(&consumer, jobs).await? {
        let mut job = delivery.decode()?;
        job.attempts = 2;
        if job.id.parse::<usize>()?.is_multiple_of(2) {
            "even".clone_into(&mut job.name);
        }
        let outcome = Outcome::Failed {
            failure: Failure::new(FailureKind::Error, "no"),
            retry: RetryHint::Never,
        };
        let now = jiff::Timestamp::now();
        let settlement = retry::settle(&RetryPolicy::default(), job, outcome, Moment { now, luck: 0.5 });
        consumer.settle(delivery, settlement).await;
    }
    eventually("the failed entries", async || {
        Ok((store.failed_len().await? == jobs as u64).then_some(()))
    })
    .await?;
    Ok(consumer)
}

fn even() -> Choice {
    Choice::Matching(Filter {
        name: Some("even".to_owned()),
        ..Filter::default()
    })
}

async fn moved_jobs_are_the_other_queues_with_all_their_attempts_and_the_rest_stays(
    store: Store,
) -> anyhow::Result<()> {
    const JOBS: usize = 250;
    let _consumer = fail(&store, JOBS).await?;
    let to = QueueName::new("repair").expect("a name");
    let worked = move_to(&store, &even(), &to, |_| ControlFlow::Continue(())).await?;
    assert_eq!((worked.done, worked.broken_off), (JOBS as u64 / 2, false));
    assert_eq!(store.failed_len().await?, JOBS as u64 / 2);
    let of_repair = Consumer::join(store.clone(), vec![to.clone()], LONG, Events::default()).await?;
    let moved = of_repair.fetch(&to, JOBS).await?;
    assert_eq!(moved.len(), JOBS / 2);
    for delivery in &moved {
        let job: Job = delivery.decode()?;
        assert_eq!(
            (job.name.as_str(), job.queue.as_deref(), job.attempts),
            ("even", Some("repair"), 0)
        );
    }
    // The same again finds nothing left to do.
    let again = move_to(&store, &even(), &to, |_| ControlFlow::Continue(())).await?;
    assert_eq!(again.done, 0);
    let ids = Choice::Ids(["1".to_owned(), "nobody".to_owned()].into());
    let worked = move_to(&store, &ids, &to, |_| ControlFlow::Continue(())).await?;
    assert_eq!((worked.done, worked.missing.len()), (1, 1));
    Ok(())
}

async fn what_is_counted_stays_where_it_is(store: Store) -> anyhow::Result<()> {
    let _consumer = fail(&store, 40).await?;
    let counted = count(&store, &even(), |_| ControlFlow::Continue(())).await?;
    assert_eq!((counted.done, store.failed_len().await?), (20, 40));
    let broken_off = count(&store, &Choice::Matching(Filter::default()), |_| ControlFlow::Break(())).await?;
    assert_eq!(
        (broken_off.done, store.failed_len().await?),
        (40, 40),
        "it was one step"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_moves_and_tells_before_it_does_what_it_would() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let _consumer = fail(&store, 10).await?;
    let asked = |args: &[&str]| said(kiln().arg("failed").args(args), &settings);
    assert_eq!(
        asked(&["move", "--to", "repair", "--name", "even", "--dry-run"])?.1,
        "5 jobs would be put back\n"
    );
    assert_eq!(
        asked(&["retry", "--all", "--dry-run"])?.1,
        "10 jobs would be put back\n"
    );
    assert_eq!(asked(&["delete", "1", "--dry-run"])?.1, "1 entry would be deleted\n");
    assert_eq!(store.failed_len().await?, 10);
    assert_eq!(
        asked(&["move", "--to", "repair", "--name", "even"])?,
        (0, "5 jobs moved\n".to_owned(), String::new())
    );
    assert_eq!(store.failed_len().await?, 5);
    let repair = QueueName::new("repair").expect("a name");
    assert_eq!(store.counts(&repair).await?.ready, 5);
    let (code, _, err) = asked(&["move", "--name", "even"])?;
    assert!(code == 2 && err.contains("--to <QUEUE>"), "{err}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_the_levels_of_its_queues_the_high_one_first() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("ok", "")])?;
    let levels = ["default:low", "default", "default:high"];
    for level in levels {
        let args = ["push", "ok", "--id", level, "--queue", level];
        assert_eq!(said(kiln().args(args), &settings)?.0, 0);
    }
    // One at a time and strictly, so that the log has them in the order of their levels.
    let args = [
        "--levels",
        "--strict",
        "--burst",
        "--concurrency",
        "1",
        "--log",
        "debug",
    ];
    let mut worker = Worker::start(&settings, folder.path(), &args)?;
    assert_eq!(worker.exit_code()?, Some(0));
    let lines = worker.lines_with("job completed");
    let of_line = |line: &String| {
        let mut levels = levels.iter();
        levels.find(|level| line.contains(&format!("id=\"{level}\""))).copied()
    };
    let order: Vec<_> = lines.iter().filter_map(of_line).collect();
    assert_eq!(order, ["default:high", "default", "default:low"], "{lines:?}");
    let refused = Worker::start(&settings, folder.path(), &["--levels", "--queue", "a,a:low"])?;
    eventually("why not", async || {
        Ok((!refused.lines_with("queue a:low is named twice").is_empty()).then_some(()))
    })
    .await?;
    Ok(())
}
