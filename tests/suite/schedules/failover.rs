//! A schedule behind Sentinels, whose master dies.

use jiff::{SignedDuration, Timestamp};
use kiln::queue::{QueueName, Store};
use kiln::service::{Drained, ServiceSettings};

use super::{TICK, remember, service};
use crate::servers::{Passwords, Sentinels};
use crate::service::{folder_of, serve};
use crate::support::{default_queue, eventually, settings_at};

/// What the store remembers of the schedule, once it answers.
async fn last_fired(store: &Store, queue: &QueueName) -> anyhow::Result<Option<Timestamp>> {
    let known = store.last_fired(queue, &["echo/tick".to_owned()]).await;
    Ok(known.ok().and_then(|last| last[0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_sentinels_every_instant_comes_to_its_end_though_the_master_dies() -> anyhow::Result<()> {
    let passwords = Passwords {
        node: None,
        sentinel: None,
    };
    let mut sentinels = Sentinels::start(passwords).await?;
    let (store, queue) = (Store::open(&settings_at(&sentinels.url())).await?, default_queue());
    let folder = folder_of(&[("echo", TICK)])?;
    let begin = remember(&store, "echo/tick", SignedDuration::from_secs(3)).await?;
    let settings = ServiceSettings {
        lease: std::time::Duration::from_secs(2),
        ..service()
    };
    let mut services = Vec::new();
    for _ in 0..2 {
        services.push(serve(settings.clone(), &store, folder.path()).await?);
    }
    let fired_until = async |until: Timestamp| {
        eventually("further instants", async || {
            Ok(last_fired(&store, &queue).await?.filter(|last| *last >= until))
        })
        .await
    };
    let before = fired_until(begin + SignedDuration::from_secs(5)).await?;
    let old = sentinels.kill_master().await?;
    sentinels.until_failed_over(old).await?;
    let last = fired_until(before + SignedDuration::from_secs(5)).await?;
    for second in begin.as_second() + 1..=last.as_second() {
        let id = format!("cron:echo/tick:{}", Timestamp::from_second(second)?);
        eventually(&format!("the end of {id}"), async || {
            Ok(store.result(&id).await.ok().flatten())
        })
        .await?;
    }
    for (serving, stop) in services {
        stop.cancel();
        assert_eq!(serving.await??, Drained::Clean);
    }
    assert_eq!(store.failed_len().await?, 0);
    Ok(())
}
