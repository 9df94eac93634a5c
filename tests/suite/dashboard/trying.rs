//! Failed jobs tried on another component: what comes of them is told, and nothing else happens.

use std::path::Path;

use anyhow::Context as _;
use kiln::queue::{StateStore, Store, StoreSettings};
use kiln::state::{Action, BucketId, Change, Condition, Keeper as _, Quota};
use serde_json::{Value, json};

use super::{Answer, Dashboard, ask, fail, trap};
use crate::servers::HttpServer;
use crate::service::folder_of;
use crate::support::{compiled, kiln, plugins, redis_settings};

/// Kept compiled between runs.
fn cache() -> String {
    compiled().display().to_string()
}

fn entry(id: &str, name: &str, payload: &Value) -> String {
    json!({
        "id": id, "name": name, "queue": "default", "payload": payload, "attempts": 3, "error": "no",
        "failure": {"kind": "error", "message": "no such order", "handler": name, "digest": "ce60aa11bb22", "attempt": 3, "duration_ms": 1},
    })
    .to_string()
}

fn try_in_terminal(
    settings: &StoreSettings,
    id: &str,
    component: &Path,
    more: &[&str],
) -> anyhow::Result<(i32, String, String)> {
    let output = kiln()
        .args([
            "failed",
            "try",
            id,
            "--cache-dir",
            &cache(),
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ])
        .args(more)
        .arg("--with")
        .arg(component)
        .output()?;
    let text = |bytes| String::from_utf8(bytes);
    Ok((
        output.status.code().context("a code")?,
        text(output.stdout)?,
        text(output.stderr)?,
    ))
}

/// Sends a component as the API takes it.
fn bring(dashboard: &Dashboard, path: &str, component: &[u8]) -> anyhow::Result<Answer> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(dashboard.address)?;
    stream.set_read_timeout(Some(crate::support::PATIENCE))?;
    let head = format!(
        "POST /api/v1{path} HTTP/1.1\r\nconnection: close\r\nhost: {}\r\ncontent-type: application/wasm\r\ncontent-length: {}\r\n\r\n",
        dashboard.address,
        component.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(component)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer")?;
    Ok(Answer {
        status: head.split(' ').nth(1).context("a status")?.parse()?,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_is_tried_on_a_candidate_and_stays_where_it_is() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("echo", ""), ("trap", "")])?;
    fail(
        &settings,
        &[
            entry("1", "trap", &json!({"n": 9_007_199_254_740_993_u64})),
            trap("2", "a", "b"),
        ],
    )
    .await?;
    let (code, out, told) = try_in_terminal(&settings, "1", &folder.path().join("echo.wasm"), &[])?;
    assert_eq!((code, out.as_str()), (0, "{\"n\":9007199254740993}\n"), "{told}");
    assert!(
        told.contains("no such order") && told.contains("completed on echo@"),
        "{told}"
    );
    let (code, _, told) = try_in_terminal(&settings, "1", &folder.path().join("trap.wasm"), &[])?;
    assert!(code == 12 && told.contains("tried   trap: "), "{told}");
    let (code, ..) = try_in_terminal(&settings, "none", &folder.path().join("echo.wasm"), &[])?;
    assert_eq!(code, 5);
    let dashboard = Dashboard::start(&settings, &["--cache-dir", &cache()])?;
    let candidate = std::fs::read(folder.path().join("echo.wasm"))?;
    let tried = bring(&dashboard, "/failed/1/try", &candidate)?;
    let told = tried.json();
    assert_eq!((tried.status, &told["state"]), (200, &json!("done")), "{told}");
    assert_eq!(
        (&told["tried"]["outcome"], &told["original"]["message"]),
        (&json!("completed"), &json!("no such order"))
    );
    assert!(tried.body.contains("9007199254740993"), "{}", tried.body);
    let page = dashboard.get(&format!("/tries/{}", told["id"].as_str().context("an id")?))?;
    for shown in [
        "As it failed",
        "no such order",
        "As it was tried",
        "completed",
        "9007199254740993",
    ] {
        assert!(page.body.contains(shown), "{shown}: {}", page.body);
    }
    for (path, component, status) in [
        ("/failed/1/try", &b"no component"[..], 200),
        ("/failed/1/try", b"", 400),
        ("/failed/none/try", &candidate, 404),
        ("/failed/1/try?egress=perhaps", &candidate, 400),
    ] {
        let answer = bring(&dashboard, path, component)?;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert!(status != 200 || answer.json()["state"] == "failed", "{answer:?}");
    }
    assert_eq!(Store::open(&settings).await?.failed_len().await?, 2);
    let audit = dashboard.get("/api/v1/audit")?.json();
    assert_eq!(audit["items"][0]["act"], "try", "{audit}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_brings_a_candidate_along_and_leads_to_what_came_of_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("echo", "")])?;
    fail(&settings, &[entry("1", "echo", &json!("<b>hi</b>"))]).await?;
    let served = folder.path().to_str().context("text")?;
    let dashboard = Dashboard::start(&settings, &["--cache-dir", &cache(), "--try-plugins", served])?;
    let page = dashboard.get("/jobs/1")?;
    assert!(
        page.body.contains("action=\"/jobs/1/try\"") && page.body.contains("as it serves now"),
        "{}",
        page.body
    );
    let form = "--xyz\r\nContent-Disposition: form-data; name=\"component\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--xyz\r\nContent-Disposition: form-data; name=\"manifest\"\r\n\r\n\r\n--xyz--\r\n";
    let own = [
        ("sec-fetch-site", "same-origin"),
        ("content-type", "multipart/form-data; boundary=xyz"),
    ];
    let begun = dashboard.ask("POST", "/jobs/1/try", &own, form)?;
    assert_eq!(begun.status, 303, "{begun:?}");
    let path = begun.header("location").context("a page")?.to_owned();
    dashboard.until(&path, |told| told["state"] == "done").await?;
    let shown = dashboard.get(&path)?.body;
    assert!(
        shown.contains("&lt;b&gt;hi&lt;/b&gt;") && !shown.contains("<b>hi"),
        "{shown}"
    );
    let forged = dashboard.ask("POST", "/jobs/1/try", &[own[1]], form)?;
    assert_eq!(forged.status, 403);
    let read_only = Dashboard::start(&settings, &["--read-only", "--try-plugins", served])?;
    assert!(!read_only.get("/jobs/1")?.body.contains("/jobs/1/try"));
    assert_eq!(read_only.ask("POST", "/jobs/1/try", &own, form)?.status, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_a_tried_job_are_shown_and_sent_only_if_that_is_wanted() -> anyhow::Result<()> {
    let settings = redis_settings();
    let server = HttpServer::start(|_, mut connection| async move {
        tokio::io::AsyncWriteExt::write_all(&mut connection, b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        Ok(())
    })
    .await?;
    let url = format!("http://127.0.0.1:{}/hook", server.port);
    let payload = json!({"url": url, "body": {"order": 17}, "headers": {"x-of": "test"}});
    fail(&settings, &[entry("1", "webhook", &payload)]).await?;
    let folder = tempfile::tempdir()?;
    let component = folder.path().join("webhook.wasm");
    std::fs::copy(plugins().join("webhook.wasm"), &component)?;
    let manifest = format!(
        "[[grants.http]]\norigin = \"http://127.0.0.1:{}\"\nprivate = true\n",
        server.port
    );
    std::fs::write(folder.path().join("webhook.toml"), manifest)?;
    let (code, out, told) = try_in_terminal(&settings, "1", &component, &["--json"])?;
    let tried: Value = serde_json::from_str(&out).with_context(|| told)?;
    assert_eq!((code, &tried["outcome"]), (11, &json!("failed")), "{tried}");
    let would = &tried["would_send"]["requests"][0];
    assert_eq!(
        (&would["method"], &would["url"]),
        (&json!("POST"), &json!(url)),
        "{tried}"
    );
    assert_eq!(would["body"], "{\"order\":17}");
    assert!(
        would["headers"]
            .as_array()
            .context("headers")?
            .contains(&json!(["x-of", "test"])),
        "{would}"
    );
    assert_eq!(server.asked().len(), 0, "nothing was sent");
    let (code, _, told) = try_in_terminal(&settings, "1", &component, &[])?;
    assert!(
        code == 11 && told.contains(&format!("would send | POST {url} | 12 B")),
        "{told}"
    );
    let (code, out, told) = try_in_terminal(&settings, "1", &component, &["--egress"])?;
    assert_eq!((code, out.as_str()), (0, "{\"status\":204}\n"), "{told}");
    assert_eq!(server.asked().len(), 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tried_job_reads_the_buckets_that_are_there_and_writes_nothing() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let counts = BucketId::of_plugin("state", "counts");
    let keeper = StateStore::of(store.clone());
    let there = Change {
        key: "n".to_owned(),
        action: Action::Set(b"41".to_vec()),
        condition: Condition::Always,
        ttl_ms: None,
        keeps_time: false,
    };
    let quota = Quota { bytes: 1_000, keys: 10 };
    keeper.write(&counts, quota, std::slice::from_ref(&there)).await?;
    let ids = ["now", "later"];
    let entries = ids.map(|id| entry(id, "state", &json!(format!("{id} counts n"))));
    fail(&settings, &entries).await?;
    let folder = folder_of(&[("state", "[grants.state.counts]")])?;
    let component = folder.path().join("state.wasm");
    for (id, result) in [("now", "[0,42]\n"), ("later", "[0,0]\n")] {
        let (code, out, told) = try_in_terminal(&settings, id, &component, &[])?;
        assert_eq!((code, out.as_str()), (0, result), "{told}");
        let would = "would write | plugin:state:counts | n | 1 added";
        assert!(told.contains(would), "{told}");
    }
    let served = folder.path().to_str().context("text")?;
    let dashboard = Dashboard::start(&settings, &["--cache-dir", &cache(), "--try-plugins", served])?;
    let tried = bring(&dashboard, "/failed/now/try", b"")?.json();
    assert_eq!(tried["tried"]["result"], json!([0, 42]), "{tried}");
    assert_eq!(tried["tried"]["writes"][0]["changes"][0]["key"], "n", "{tried}");
    let kept = keeper.get(&counts, &["n".to_owned()], 100).await?;
    assert_eq!(kept[0].as_ref().map(|kept| &kept.value[..]), Some(&b"41"[..]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_job_is_tried_at_a_time_and_only_by_an_admin() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("spin", "timeout = \"5s\""), ("echo", "")])?;
    fail(
        &settings,
        &[entry("1", "spin", &json!(null)), entry("2", "echo", &json!(null))],
    )
    .await?;
    let mut tokens = tempfile::NamedTempFile::new()?;
    let (admin, operator) = ("a".repeat(24), "o".repeat(24));
    std::io::Write::write_all(
        &mut tokens,
        format!("admin ana {admin}\noperator olaf {operator}\n").as_bytes(),
    )?;
    let (served, tokens) = (
        folder.path().to_str().context("text")?,
        tokens.path().to_str().context("text")?,
    );
    let arguments = ["--cache-dir", &cache(), "--try-plugins", served, "--tokens", tokens];
    let dashboard = Dashboard::start(&settings, &arguments)?;
    let address = dashboard.address;
    let as_whom = move |token: &str, id: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        ask(address, "POST", &format!("/api/v1/failed/{id}/try"), &headers, "")
    };
    assert_eq!(as_whom(&operator, "2")?.status, 403);
    let first = std::thread::spawn({
        let admin = admin.clone();
        move || as_whom(&admin, "1")
    });
    let bearer = format!("Bearer {operator}");
    crate::support::eventually("the first has begun", async || {
        let audit = dashboard.ask("GET", "/api/v1/audit", &[("authorization", &bearer)], "")?;
        Ok((audit.json()["items"][0]["act"] == "try").then_some(()))
    })
    .await?;
    assert_eq!(as_whom(&admin, "2")?.status, 409);
    let told = first.join().expect("no panic")?.json();
    assert_eq!(told["tried"]["failure"]["kind"], "timeout", "{told}");
    Ok(())
}
