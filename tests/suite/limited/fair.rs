//! Fairness: one tenant's flood does not keep the others waiting.
//!
//! `KILN_FAIR_FLOOD` is how large the flood is, and `KILN_FAIR_TENANTS` how many others there are: `KILN_FAIR_FLOOD=100000
//! KILN_FAIR_TENANTS=1 cargo test --test suite limited::fair -- --nocapture`.

use std::time::Instant;

use kiln::queue::Store;

use crate::process::Worker;
use crate::queue::ready;
use crate::service::folder_of;
use crate::support::{default_queue, eventually, number_from, redis_settings};

/// Which tenant each attempt was for, in the order in which they began.
fn begun(worker: &Worker) -> Vec<String> {
    let lines = worker.lines_with("attempt starts").into_iter();
    let tenant = |line: String| {
        let (_, rest) = line.split_once("id=\"")?;
        let (id, _) = rest.split_once('"')?;
        Some(id.split('-').next()?.to_owned())
    };
    lines.filter_map(tenant).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_of_each_of_many_tenants_overtakes_the_flood_of_another() -> anyhow::Result<()> {
    let flood = number_from("KILN_FAIR_FLOOD", 10_000)?;
    let tenants = number_from("KILN_FAIR_TENANTS", 1_000)?;
    let manifest = "jobs = [\"nap\"]\n[[limit]]\nkey = \"\"\nfair = true";
    let folder = folder_of(&[("nap", manifest)])?;
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let job = |tenant: usize, n: usize| {
        let key = format!(r#"{{"kiln":{{"key":"tenant {tenant}"}}}}"#);
        ready(&format!(
            r#"{{"id":"{tenant}-{n}","name":"nap","payload":10,"metadata":{key}}}"#
        ))
    };
    let jobs = (0..flood)
        .map(|n| job(0, n))
        .chain((1..=tenants).map(|tenant| job(tenant, 0)));
    for page in jobs.collect::<Vec<_>>().chunks(1_000) {
        store.push(page).await?;
    }
    let began = Instant::now();
    let args = ["--concurrency", "4", "--log", "kiln::observe::log=trace"];
    let worker = Worker::start(&settings, folder.path(), &args)?;
    let order = eventually("all the others have begun", async || {
        let order = begun(&worker);
        let others = order.iter().filter(|tenant| *tenant != "0").count();
        Ok((others == tenants).then_some(order))
    })
    .await?;
    let last = order.iter().rposition(|tenant| tenant != "0").expect("some began");
    let before = order[..last].iter().filter(|tenant| *tenant == "0").count();
    println!(
        "{tenants} jobs behind {flood} of another: all had begun after {:?}, and before the last of them {before} of the flood",
        began.elapsed()
    );
    assert!(
        before < flood / 4,
        "{before} of the flood began before the last of the others"
    );
    let counts = store.counts(&default_queue()).await?;
    assert!(counts.waiting > flood as u64 / 4, "{counts:?}");
    Ok(())
}
