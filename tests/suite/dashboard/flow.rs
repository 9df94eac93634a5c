//! What waits for limits across hosts, how far batches have come, and where the page of a job leads.

use std::collections::BTreeSet;

use anyhow::Context as _;
use kiln::config::Manifest;
use kiln::outcome::{Lane, Settlement};
use kiln::queue::{Consumer, Store, StoreSettings};
use serde_json::{Value, json};

use super::{Dashboard, fail, trap};
use crate::process::Worker;
use crate::queue::{LONG, fetch, join, push_numbered};
use crate::service::{folder_of, push};
use crate::support::{default_queue, eventually, kiln, redis_settings};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Has a job wait in each of these lanes of a plugin.
async fn queue_up(store: &Store, host: &Consumer, plugin: &str, lanes: &[String]) -> anyhow::Result<()> {
    let before = store.counts(&default_queue()).await?.waiting;
    push_numbered(store, lanes.len()).await?;
    for (delivery, caps) in fetch(host, lanes.len()).await?.into_iter().zip(lanes) {
        let lane = Lane::of_limits(plugin, caps);
        host.settle(delivery, Settlement::Wait { lane }).await;
    }
    let waiting = before + lanes.len() as u64;
    eventually("the jobs wait", async || {
        Ok((store.counts(&default_queue()).await?.waiting == waiting).then_some(()))
    })
    .await
}

/// All items of a list, part by part.
fn parts(dashboard: &Dashboard, path: &str) -> anyhow::Result<Vec<Value>> {
    let (mut all, mut next) = (Vec::new(), String::new());
    loop {
        let part = dashboard.get(&format!("/api/v1{path}{next}"))?.json();
        let items = part["items"].as_array().with_context(|| part.to_string())?;
        assert!(items.len() <= 3, "{part}");
        all.extend(items.clone());
        match part["next"].as_str() {
            Some(cursor) => next = format!("&cursor={cursor}"),
            None => return Ok(all),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_limits_is_seen_lane_by_lane_and_which_are_at_a_limit() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let host = join(&store, LONG).await?;
    let lanes = [0, 0, 1, 1, 2, 2, 3, 3].map(|n| format!("/customer=c{n}|*")).to_vec();
    queue_up(&store, &host, "mails", &lanes).await?;
    queue_up(&store, &host, "tax", &["*".to_owned(), "*".to_owned()]).await?;
    let caps = Manifest::parse("[[limit]]\nkey = \"/customer\"\nconcurrency = 1\n[[limit]]\nconcurrency = 50");
    let caps = caps.map_err(anyhow::Error::msg)?.caps;
    let group = Lane::of_group("mails");
    // One of each customer runs, and the other waits for it.
    let held = host.serve(&default_queue(), 9, &group, &caps, None).await?;
    assert_eq!(held.len(), 4);
    let dashboard = Dashboard::start(&settings, &[])?;
    let all = parts(&dashboard, "/queues/default/lanes?limit=3")?;
    let names: BTreeSet<_> = all
        .iter()
        .map(|lane| (lane["plugin"].as_str(), lane["lane"].as_str()))
        .collect();
    assert_eq!(names.len(), all.len(), "each once: {all:?}");
    let of_mails = parts(&dashboard, "/queues/default/lanes?limit=3&plugin=mails")?;
    assert_eq!(of_mails.len(), all.len() - 1);
    let full = all
        .iter()
        .find(|lane| lane["lane"] == lanes[0].as_str())
        .context("the lane")?;
    assert_eq!((&full["jobs"], &full["turn_ms"]), (&json!(1), &Value::Null), "{full}");
    assert_eq!(full["running"][0], json!(["/customer=c0", 1]));
    for wrong in ["cursor=MS5u", "cursor=x", "plugni=mails", "limit=0"] {
        let answer = dashboard.get(&format!("/api/v1/queues/default/lanes?{wrong}"))?;
        assert_eq!(answer.status, 400, "{wrong}");
    }
    let rows = |page: &str| page.matches("<th scope=\"row\">").count();
    let page = dashboard.get("/queues/default/lanes")?.body;
    assert!(page.contains("6 jobs wait in 5 lanes") && rows(&page) == 5, "{page}");
    let page = dashboard.get("/queues/default/lanes?show=full")?.body;
    assert!(!page.contains("<td>tax</td>") && rows(&page) == 4, "{page}");
    let page = dashboard.get("/queues/default/lanes?text=C3&plugin=mails")?.body;
    assert!(page.contains("/customer=c3|*") && rows(&page) == 1, "{page}");
    let page = dashboard.get("/queues/default")?.body;
    assert!(page.contains("href=\"/queues/default/lanes?plugin=mails\""), "{page}");
    let output = kiln()
        .args(["queues", "--store", &settings.url, "--prefix", &settings.prefix])
        .output()?;
    let told = String::from_utf8(output.stdout)?;
    assert!(
        told.contains("  waiting for limits of mails (4), limits of tax (2)"),
        "{told}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_a_page_to_which_its_jobs_lead() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let of_batch = |name: &str, n: u32| {
        json!({"id": format!("b{n}"), "name": name, "metadata": {"traceparent": PARENT, "kiln": {"batch": {"id": "import-7", "of": 4}}}})
            .to_string()
    };
    let jobs = [of_batch("ok", 1), of_batch("ok", 2), of_batch("permanent", 3)];
    push(&store, &jobs.each_ref().map(String::as_str)).await?;
    let folder = folder_of(&[("ok", ""), ("permanent", "")])?;
    let link = "https://traces.example.com/trace/{trace_id}?from=kiln";
    let dashboard = Dashboard::start(&settings, &["--trace-link", link])?;
    // None of it has ended: nothing is known, and its jobs lead to it all the same.
    assert_eq!(dashboard.get("/batches/import-7")?.status, 404);
    let page = eventually("the job is found", async || {
        Ok(Some(dashboard.get("/jobs/b1")?.body).filter(|page| page.contains(">ready<")))
    })
    .await?;
    let leads = [
        "href=\"/batches/import-7\"".to_owned(),
        format!("href=\"{}\"", link.replace("{trace_id}", TRACE)),
    ];
    assert!(leads.iter().all(|lead| page.contains(lead)), "{page}");
    let _worker = Worker::start(&settings, folder.path(), &[])?;
    let batch = dashboard
        .until("/batches/import-7", |batch| batch["done"] == 2 && batch["failed"] == 1)
        .await?;
    assert_eq!(
        (&batch["total"], &batch["open"], &batch["ended"]),
        (&json!(4), &json!(1), &json!(false))
    );
    let page = dashboard.get("/batches/import-7")?.body;
    assert!(page.contains("<strong>3</strong> of 4 jobs have ended, 75%"), "{page}");
    let page = eventually("it is in the failed list", async || {
        Ok(Some(dashboard.get("/jobs/b3")?.body).filter(|page| page.contains("Its life")))
    })
    .await?;
    assert!(leads.iter().all(|lead| page.contains(lead)), "{page}");
    let found = dashboard.get("/batches?id=import-7")?;
    assert_eq!(
        (found.status, found.header("location")),
        (303, Some("/batches/import-7"))
    );
    for nothing in ["/batches/none", "/batches/%7Bx%7D", "/api/v1/batches/none"] {
        let answer = dashboard.get(nothing)?;
        assert_eq!(answer.status, 404, "{nothing}");
        assert!(answer.body.contains("nothing is known of a batch"), "{}", answer.body);
    }
    // What is to be hidden is not shown by way of a link.
    for hidden in ["metadata", "metadata.kiln", "metadata.traceparent"] {
        let dashboard = Dashboard::start(&settings, &["--trace-link", link, "--redact", hidden])?;
        dashboard.until("/failed", |failed| failed["matching"] == 1).await?;
        let page = dashboard.get("/jobs/b3")?.body;
        let shown = leads.iter().map(|lead| page.contains(lead)).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [hidden == "metadata.traceparent", hidden == "metadata.kiln"],
            "{hidden}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_address_for_traces_a_trace_is_text() -> anyhow::Result<()> {
    let settings = redis_settings();
    let mut entry: Value = serde_json::from_str(&trap("t1", "resize", "crop"))?;
    entry["metadata"] = json!({"traceparent": PARENT});
    fail(&settings, &[entry.to_string()]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard.until("/failed", |failed| failed["matching"] == 1).await?;
    let page = dashboard.get("/jobs/t1")?.body;
    assert!(page.contains(&format!("<dd class=\"id\">{TRACE}</dd>")), "{page}");
    let wrong = kiln()
        .args(["serve", "--listen", "0", "--trace-link", "javascript:{trace_id}"])
        .output()?;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8(wrong.stderr)?.contains("an address begins with https:// or http://"));
    Ok(())
}

async fn report(settings: &StoreSettings, hosts: usize, plugins: usize) -> anyhow::Result<()> {
    let store = Store::open(settings).await?;
    let version = |n: usize| {
        json!({"digest": format!("{n:012x}"), "version": null, "jobs": ["a"], "bytes": 1, "load_ms": 1, "since": "2026-01-01T00:00:00Z", "in_flight": 0,
               "attempts": 5, "failures": {}, "last_error": null, "aside": (n == plugins - 1).then_some("it traps"), "instead": null})
    };
    for host in 0..hosts {
        let plugins: Vec<_> = (0..plugins)
            .map(|n| json!({"name": format!("plugin-{n:03}"), "fault": null, "serving": version(n)}))
            .collect();
        let now = jiff::Timestamp::now().to_string();
        let report = json!({"since": "2026-01-01T00:00:00Z", "at": now, "plugins": plugins}).to_string();
        store.publish(&format!("host-{host:03}"), &report).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_plugins_and_hosts_come_part_by_part_and_page_by_page() -> anyhow::Result<()> {
    let settings = redis_settings();
    report(&settings, 60, 2).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let hosts = parts(&dashboard, "/hosts?limit=3")?;
    let names: Vec<_> = hosts
        .iter()
        .map(|host| host["name"].as_str().unwrap_or_default())
        .collect();
    let expected: Vec<_> = (0..60).map(|n| format!("host-{n:03}")).collect();
    assert_eq!(names, expected);
    let pairs: Vec<_> = parts(&dashboard, "/plugins?limit=3")?
        .iter()
        .map(|pair| format!("{}/{}", pair["host"].as_str().unwrap(), pair["name"].as_str().unwrap()))
        .collect();
    let expected: Vec<_> = expected
        .iter()
        .flat_map(|host| [format!("{host}/plugin-000"), format!("{host}/plugin-001")])
        .collect();
    assert_eq!(pairs, expected);
    let rows = |page: &str, id: &str| page.matches(&format!("id=\"{id}-")).count();
    let first = dashboard.get("/hosts")?.body;
    assert_eq!(rows(&first, "host"), 50);
    assert!(
        first.contains("href=\"/hosts?from=50\"") && first.contains("60 hosts"),
        "{first}"
    );
    assert_eq!(rows(&dashboard.get("/hosts?from=50")?.body, "host"), 10);
    assert_eq!(rows(&dashboard.get("/hosts?text=HOST-01")?.body, "host"), 10);
    assert!(
        dashboard
            .get("/hosts?text=nobody")?
            .body
            .contains("No host whose name contains")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_plugins_those_that_are_set_aside_come_first() -> anyhow::Result<()> {
    let settings = redis_settings();
    report(&settings, 1, 120).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let names = |page: &str| {
        let names = page.split("id=\"name-").skip(1);
        names.map(|name| name[..10].to_owned()).collect::<Vec<_>>()
    };
    let first = names(&dashboard.get("/plugins")?.body);
    assert_eq!((first.len(), &*first[0], &*first[1]), (50, "plugin-119", "plugin-000"));
    let last = dashboard.get("/plugins?from=100")?.body;
    assert_eq!(names(&last).len(), 20);
    assert!(
        last.contains("href=\"/plugins?from=50\"") && last.contains("120 plugins"),
        "{last}"
    );
    assert_eq!(names(&dashboard.get("/plugins?text=plugin-119")?.body), ["plugin-119"]);
    assert!(
        dashboard
            .get("/plugins?text=nothing")?
            .body
            .contains("No plugin whose name contains")
    );
    Ok(())
}
