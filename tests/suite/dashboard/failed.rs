//! The failed list: groups, filters, one job, and work on everything that matches.

use anyhow::Context as _;
use kiln::queue::{QueueName, Store};
use serde_json::{Value, json};

use super::{Dashboard, fail, is_ready, trap};
use crate::support::{eventually, redis_settings};

fn total(groups: &Value, plugin: &str) -> Vec<u64> {
    let groups = groups["items"].as_array().expect("a list").iter();
    let of = groups.filter(|group| group["plugin"] == plugin);
    of.map(|group| group["count"].as_u64().expect("a number")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_grouped_by_cause_and_all_of_one_cause_are_put_back() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let entries = (0..400).map(|n| match n % 4 {
        0 => trap(&format!("j{n}"), "resize", "crop"),
        1 => trap(&format!("j{n}"), "resize", "rotate"),
        _ => trap(&format!("j{n}"), "mail", "send"),
    });
    fail(&settings, &entries.collect::<Vec<_>>()).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let groups = dashboard
        .until("/failed/groups", |answer| answer["index"]["building"] == false)
        .await?;
    assert_eq!(
        (total(&groups, "mail"), total(&groups, "resize")),
        (vec![200], vec![100, 100])
    );
    let crop = groups["items"]
        .as_array()
        .context("a list")?
        .iter()
        .find(|group| group["place"] == "resize.wasm!crop");
    let cause = crop.context("the cause")?["cause"]
        .as_str()
        .context("an id")?
        .to_owned();
    let page = dashboard.get(&format!("/failed?cause={cause}"))?;
    assert!(page.body.contains("Retry all 100…"), "{}", page.body);
    let confirm = dashboard.get(&format!("/failed/bulk?act=retry&cause={cause}"))?;
    assert!(confirm.body.contains("<h1>Retry 100 jobs?</h1>"), "{}", confirm.body);
    let dry = dashboard.api(
        "POST",
        "/bulk",
        &json!({"act": "retry", "filter": {"cause": cause}, "dry_run": true}),
    )?;
    assert_eq!((dry.status, &dry.json()["matching"]), (200, &json!(100)));
    assert_eq!(store.failed_len().await?, 400, "a dry run does nothing");
    let begun = dashboard.submit("/bulk", &format!("act=retry&cause={cause}"))?;
    let path = begun.header("location").context("a page to watch it")?.to_owned();
    let id = path.strip_prefix("/bulk/").context("an id")?;
    let done = dashboard
        .until(&format!("/bulk/{id}"), |bulk| bulk["state"] != "running")
        .await?;
    assert_eq!(
        (&done["state"], &done["progress"]["done"]),
        (&json!("done"), &json!(100)),
        "{done}"
    );
    assert!(
        dashboard
            .get(&path)?
            .body
            .contains("100</strong> put back into their queues")
    );
    assert_eq!(store.failed_len().await?, 300);
    assert!(is_ready(&store, "j0").await? && !is_ready(&store, "j1").await?);
    let left = dashboard
        .until("/failed/groups", |answer| total(answer, "resize") == [100])
        .await?;
    assert_eq!(total(&left, "mail"), [200]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_matches_is_moved_to_the_queue_that_is_named_and_so_is_one_job() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let mut entries: Vec<_> = (0..150).map(|n| trap(&format!("t{n}"), "resize", "crop")).collect();
    entries.push(r#"{"id":"go1","name":"mail","queue":"bulk","error":"refused"}"#.to_owned());
    entries.push("no job".to_owned());
    fail(&settings, &entries).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard.until("/failed", |answer| answer["matching"] == 152).await?;
    let page = dashboard.get("/failed?kind=trap")?.body;
    assert!(page.contains("/failed/bulk?kind=trap&amp;act=move"), "{page}");
    let confirm = dashboard.get("/failed/bulk?kind=trap&act=move")?.body;
    assert!(
        confirm.contains("<h1>Move 150 jobs?</h1>") && confirm.contains("name=\"to\""),
        "{confirm}"
    );
    let of_traps = |to: Value, dry_run: bool| {
        let asked = json!({"act": "move", "to": to, "filter": {"kind": "trap"}, "dry_run": dry_run});
        dashboard.api("POST", "/bulk", &asked)
    };
    assert_eq!(of_traps(json!("repair"), true)?.json()["matching"], 150);
    for wrong in [json!(null), json!(""), json!("a:b c")] {
        assert_eq!(of_traps(wrong.clone(), true)?.status, 400, "{wrong}");
    }
    let stray = json!({"act": "retry", "to": "repair", "filter": {}});
    assert_eq!(dashboard.api("POST", "/bulk", &stray)?.status, 400);
    assert_eq!(dashboard.submit("/bulk", "act=move&kind=trap")?.status, 400);
    assert_eq!(store.failed_len().await?, 152, "nothing of that does anything");

    let begun = dashboard.submit("/bulk", "act=move&to=repair&kind=trap")?;
    let path = begun.header("location").context("a page to watch it")?.to_owned();
    let done = dashboard.until(&path, |bulk| bulk["state"] != "running").await?;
    let told = (&done["act"], &done["to"], &done["progress"]["done"]);
    assert_eq!(told, (&json!("move"), &json!("repair"), &json!(150)), "{done}");
    let page = dashboard.get(&path)?.body;
    assert!(page.contains("150</strong> moved to queue repair"), "{page}");
    assert_eq!(
        store.counts(&QueueName::new("repair").expect("a name")).await?.ready,
        150
    );

    let to = json!({"to": "other"});
    let moved = dashboard.api("POST", "/failed/go1/move", &to)?;
    assert_eq!((moved.status, &moved.json()["done"]), (200, &json!(true)));
    assert_eq!(dashboard.api("POST", "/failed/go1/move", &to)?.status, 404);
    let left = dashboard.get("/api/v1/failed")?.json();
    let entry = left["items"][0]["entry"].as_str().context("a name")?.to_owned();
    let refused = dashboard.api("POST", &format!("/entries/{entry}/move"), &to)?;
    assert_eq!((refused.status, store.failed_len().await?), (409, 1));
    let other = QueueName::new("other").expect("a name");
    assert_eq!(store.counts(&other).await?.ready, 1);
    let audit = dashboard.get("/api/v1/audit")?.json();
    let deeds: Vec<_> = audit["items"].as_array().context("a list")?.iter().collect();
    assert_eq!(
        [&deeds[0]["what"], &deeds[1]["what"], &deeds[1]["act"]],
        [
            "failed job go1, to queue other",
            "every failed job with kind trap, to queue repair",
            "move"
        ]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_follows_a_list_that_others_change_anywhere() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let entries: Vec<_> = (0..900).map(|n| trap(&format!("j{n}"), "a", "b")).collect();
    fail(&settings, &entries).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard
        .until("/failed", |answer| answer["index"]["building"] == false)
        .await?;
    // From the front, from the middle in two places, and the last.
    store.purge_failed(100).await?;
    for (place, count) in [(200, 50), (400, 3), (746, 1)] {
        let picked = store.failed(place, count).await?;
        store.delete_failed(picked).await?;
    }
    store.join_failed().await?;
    fail(&settings, &[trap("new", "a", "b")]).await?;
    let left = store.failed(0, 1_000).await?;
    let expected: Vec<_> = left.iter().rev().map(|entry| entry.job().unwrap().id.clone()).collect();
    let ids = |answer: &Value| -> Vec<String> {
        let items = answer["items"].as_array().expect("a list").iter();
        items
            .map(|item| item["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let found = dashboard
        .until("/failed?limit=1000", |answer| ids(answer) == expected)
        .await?;
    assert_eq!(found["matching"], expected.len());
    // An entry is found by its id wherever it stands now.
    for id in ["j100", "j500", "new"] {
        assert_eq!(dashboard.get(&format!("/api/v1/failed/{id}"))?.json()["id"], id);
    }
    assert_eq!(dashboard.get("/api/v1/failed/j5")?.status, 404);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_hold_for_the_same_entries_in_the_list_and_in_the_index() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let mut entries: Vec<_> = (0..30).map(|n| trap(&format!("t{n}"), "resize", "crop")).collect();
    entries.push(r#"{"id":"go1","name":"mail","queue":"bulk","error":"dial tcp: REFUSED"}"#.to_owned());
    entries.push("no job".to_owned());
    fail(&settings, &entries).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard.until("/failed", |answer| answer["matching"] == 32).await?;
    for (filter, query, matching) in [
        (json!({"kind": "trap"}), "kind=trap", 30),
        (json!({"plugin": "mail"}), "plugin=mail", 1),
        (json!({"queue": "bulk"}), "queue=bulk", 1),
        (json!({"text": "refused"}), "text=refused", 1),
        (json!({"text": "job t2"}), "text=job+t2", 11),
        (json!({"digest": "ce60"}), "digest=ce60", 30),
        (json!({"name": "resize", "text": "T7"}), "name=resize&text=T7", 1),
        (json!({"older_than_ms": 3_600_000}), "older_than=1h", 0),
    ] {
        let found = dashboard.get(&format!("/api/v1/failed?{query}"))?.json();
        assert_eq!(found["matching"], matching, "{query}");
        // Deleting nothing of a copy would prove nothing: the list itself is asked through the same room as the command line.
        let filter = serde_json::from_value(filter)?;
        let page = kiln::admin::failed::page(&store, &filter, 0, 1_000).await?;
        assert_eq!(page.entries.len(), matching, "{query}");
    }
    assert_eq!(dashboard.get("/api/v1/failed?kind=nonsense")?.status, 400);
    let part = dashboard.get("/api/v1/failed?limit=20")?.json();
    let next = part["next"].as_str().context("there is more")?;
    let rest = dashboard.get(&format!("/api/v1/failed?limit=20&cursor={next}"))?.json();
    assert_eq!(
        (rest["items"].as_array().map(Vec::len), &rest["next"]),
        (Some(12), &Value::Null)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_comes_as_it_is_however_long_its_numbers_and_deep_its_lists() -> anyhow::Result<()> {
    let settings = redis_settings();
    let (exact, deep) = (
        "123456789012345678901234567890.000001",
        "[".repeat(100) + &"]".repeat(100),
    );
    let entry = format!(r#"{{"id":"1","name":"a","payload":{{"n":{exact},"deep":{deep}}},"error":"no"}}"#);
    fail(&settings, &[entry]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    for path in ["/api/v1/jobs/1", "/api/v1/failed/1"] {
        let body = dashboard.get(path)?.body;
        assert!(body.contains(exact) && body.contains(&deep), "{body}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_empty_or_misspelt_does_not_mean_every_entry() -> anyhow::Result<()> {
    let settings = redis_settings();
    fail(&settings, &[trap("1", "resize", "crop")]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    for filter in [
        json!({"plugin": null}),
        json!({"text": " "}),
        json!({"kind": null}),
        json!({"plguin": "a"}),
    ] {
        let asked = json!({"act": "delete", "filter": filter, "dry_run": true});
        assert_eq!(dashboard.api("POST", "/bulk", &asked)?.status, 400, "{filter}");
    }
    let all = dashboard.api(
        "POST",
        "/bulk",
        &json!({"act": "delete", "filter": {}, "dry_run": true}),
    )?;
    assert_eq!(all.json()["matching"], 1);
    assert_eq!(dashboard.get("/api/v1/failed?plguin=a")?.status, 400);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failed_job_is_shown_put_back_and_deleted() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    fail(&settings, &[trap("a/1", "resize", "crop"), trap("b", "resize", "crop")]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let page = dashboard.get("/jobs/a%2F1")?;
    assert_eq!(page.status, 200);
    for shown in [
        "resize.wasm!crop",
        "about to fail",
        "unreachable at job a/1",
        "<dt>Attempt</dt>",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    let retried = dashboard.submit("/jobs/a%2F1/retry", "")?;
    assert_eq!(
        (retried.status, retried.header("location")),
        (303, Some("/failed?done=retried"))
    );
    assert!(is_ready(&store, "a/1").await?);
    assert_eq!(dashboard.api("DELETE", "/failed/b", &json!({}))?.status, 200);
    assert_eq!(store.failed_len().await?, 0);
    assert_eq!(dashboard.api("DELETE", "/failed/b", &json!({}))?.status, 404);
    let gone = dashboard.get("/jobs/b")?;
    assert!(
        gone.body.contains("This job is not in the failed list"),
        "{}",
        gone.body
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn work_on_everything_can_be_broken_off_and_only_one_piece_runs_at_a_time() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let entries: Vec<_> = (0..60_000).map(|n| trap(&format!("j{n}"), "a", "b")).collect();
    fail(&settings, &entries).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let begun = dashboard.api("POST", "/bulk", &json!({"act": "delete", "filter": {}}))?;
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.json()["id"].as_str().context("an id")?.to_owned();
    let again = dashboard.api("POST", "/bulk", &json!({"act": "retry", "filter": {}}))?;
    assert_eq!(again.status, 409);
    assert!(
        again.body.contains("other work on the failed list is under way"),
        "{}",
        again.body
    );
    let audit = dashboard.get("/api/v1/audit")?.json();
    let deeds: Vec<_> = audit["items"].as_array().context("a list")?.iter().collect();
    assert!(
        deeds.len() == 1 && deeds[0]["act"] == "delete",
        "what was refused is recorded: {audit}"
    );
    assert_eq!(
        dashboard.api("POST", &format!("/bulk/{id}/abort"), &json!({}))?.status,
        202
    );
    let ended = dashboard
        .until(&format!("/bulk/{id}"), |bulk| bulk["state"] != "running")
        .await?;
    assert_eq!(ended["state"], "aborted", "{ended}");
    let done = ended["progress"]["done"].as_u64().context("a number")?;
    assert!(done < 60_000);
    eventually("what is done is done", async || {
        Ok((store.failed_len().await? == 60_000 - done).then_some(()))
    })
    .await?;
    assert_eq!(
        dashboard.api("POST", "/bulk", &json!({"act": "delete"}))?.status,
        400,
        "a filter has to be given"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn causes_that_are_not_kept_apart_are_not_worked_on_as_if_they_were_one() -> anyhow::Result<()> {
    let settings = redis_settings();
    let entries: Vec<_> = (0..10_030)
        .map(|n| trap(&format!("j{n}"), "a", &format!("place_{n}")))
        .collect();
    fail(&settings, &entries).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let groups = dashboard
        .until("/failed/groups?limit=5", |answer| answer["index"]["building"] == false)
        .await?;
    let others = &groups["items"][0];
    assert_eq!(
        (&others["count"], &others["together"]),
        (&json!(30), &json!(true)),
        "{others}"
    );
    assert_eq!(groups["items"][1]["together"], false);
    let cause = others["cause"].as_str().context("an id")?;
    let page = dashboard.get(&format!("/failed?cause={cause}"))?;
    assert!(
        page.status == 200 && !page.body.contains("/failed/bulk"),
        "it offers what cannot be done: {}",
        page.body
    );
    for (method, path, asked) in [
        ("POST", "/bulk", json!({"act": "retry", "filter": {"cause": cause}})),
        (
            "POST",
            "/bulk",
            json!({"act": "retry", "filter": {"cause": cause}, "dry_run": true}),
        ),
    ] {
        let refused = dashboard.api(method, path, &asked)?;
        assert!(
            refused.status == 400 && refused.body.contains("not kept apart"),
            "{refused:?}"
        );
    }
    assert_eq!(
        dashboard.submit("/bulk", &format!("act=retry&cause={cause}"))?.status,
        400
    );
    let list = dashboard.get("/failed")?.body;
    assert!(!list.contains(&format!("act=retry&amp;cause={cause}")), "{list}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_entry_of_the_list_can_be_opened_whatever_its_id() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let long = "x".repeat(300);
    let ids = [long.as_str(), "a\u{202e}b", ".", "..", "a\nb", "", "plain"];
    fail(&settings, &ids.map(|id| trap(id, "resize", "crop"))).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let listed = dashboard
        .until("/failed", |answer| answer["matching"] == ids.len())
        .await?;
    let page = dashboard.get("/failed")?.body;
    let of_page = |of: &str| {
        let begin = format!("href=\"{of}");
        let rests = page.split(&begin).skip(1);
        let links = rests.map(|rest| format!("{of}{}", rest.split('"').next().unwrap_or_default()));
        links.collect::<Vec<_>>()
    };
    let links = [of_page("/jobs/"), of_page("/entries/")].concat();
    assert_eq!(links.len(), ids.len(), "{page}");
    for link in &links {
        // A browser would walk up from there.
        assert!(!link.ends_with("/.") && !link.ends_with("/.."), "{link}");
        let shown = dashboard.get(link)?;
        assert!(
            shown.status == 200 && shown.body.contains("resize.wasm!crop"),
            "{link}: {}",
            shown.body
        );
        let forms: Vec<_> = shown
            .body
            .split("action=\"")
            .skip(1)
            .map(|form| form.split('"').next().unwrap())
            .collect();
        assert!(forms.contains(&format!("{link}/retry").as_str()), "{link}: {forms:?}");
    }
    // The newest comes first.
    let entry = |place: usize| listed["items"][place]["entry"].as_str().unwrap().to_owned();
    let found = dashboard.get(&format!("/api/v1/entries/{}", entry(6)))?;
    assert_eq!((found.status, &found.json()["id"]), (200, &json!(long)));
    assert_eq!(
        dashboard
            .api("POST", &format!("/entries/{}/retry", entry(6)), &json!({}))?
            .status,
        200
    );
    assert!(is_ready(&store, &long).await?);
    assert_eq!(
        dashboard.submit(&format!("/entries/{}/delete", entry(5)), "")?.status,
        303
    );
    assert_eq!(store.failed_len().await?, 5);
    assert_eq!(dashboard.get("/entries/0123456789abcdef")?.status, 404);
    Ok(())
}
