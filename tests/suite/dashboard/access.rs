//! Who is let in, from where, and to do what.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::Context as _;
use kiln::queue::Store;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Dashboard, fail, trap};
use crate::support::{kiln, redis_settings};

const ADMIN: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
const OPERATOR: &str = "oooooooooooooooooooooooo";
const VIEWER: &str = "vvvvvvvvvvvvvvvvvvvvvvvv";

fn tokens() -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    writeln!(
        file,
        "# people\nadmin ana {ADMIN}\noperator olaf {OPERATOR}\nviewer vera {VIEWER}"
    )?;
    Ok(file)
}

fn path_of(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("text")
}

#[test]
fn without_tokens_only_this_machine_can_be_listened_to() -> anyhow::Result<()> {
    for command in [
        &["serve", "--listen", "0.0.0.0:0"][..],
        &["worker", "--ui", "[::]:0", "--plugins", "."],
    ] {
        let settings = redis_settings();
        let output = kiln()
            .args(command)
            .args(["--store", &settings.url, "--prefix", &settings.prefix])
            .output()?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("can be reached from other machines"), "{said}");
    }
    Ok(())
}

#[test]
fn a_file_of_tokens_that_everybody_may_read_is_refused() -> anyhow::Result<()> {
    let (settings, file) = (redis_settings(), tokens()?);
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644))?;
    let output = kiln()
        .args([
            "serve",
            "--listen",
            "0",
            "--store",
            &settings.url,
            "--tokens",
            path_of(&file),
        ])
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("chmod o-r") && !said.contains(ADMIN), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_what_it_may_and_a_stranger_nothing() -> anyhow::Result<()> {
    let (settings, file) = (redis_settings(), tokens()?);
    fail(&settings, &[trap("1", "a", "b"), trap("2", "a", "b")]).await?;
    let dashboard = Dashboard::start(&settings, &["--tokens", path_of(&file)])?;
    let stranger = dashboard.get("/failed")?;
    assert_eq!(
        (stranger.status, stranger.header("location")),
        (303, Some("/login?next=%2Ffailed"))
    );
    for path in ["/api/v1/overview", "/api/v1/events", "/events"] {
        let refused = dashboard.get(path)?;
        assert_eq!(
            (refused.status, refused.header("www-authenticate")),
            (401, Some("Bearer")),
            "{path}"
        );
    }
    let asked = dashboard.get("/failed?kind=trap&text=a%26b")?;
    assert_eq!(
        asked.header("location"),
        Some("/login?next=%2Ffailed%3Fkind%3Dtrap%26text%3Da%2526b"),
        "a login leads to what was asked for"
    );
    assert_eq!(dashboard.get("/assets/kiln.css")?.status, 200);
    let as_whom = |token: &str, method: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        dashboard.ask(method, path, &headers, "{}").map(|answer| answer.status)
    };
    assert_eq!(as_whom("x", "GET", "/api/v1/overview")?, 401);
    assert_eq!(as_whom(VIEWER, "GET", "/api/v1/failed/1")?, 200);
    assert_eq!(as_whom(VIEWER, "POST", "/api/v1/failed/1/retry")?, 403);
    assert_eq!(as_whom(OPERATOR, "DELETE", "/api/v1/failed/1")?, 403);
    assert_eq!(as_whom(OPERATOR, "POST", "/api/v1/failed/1/retry")?, 200);
    assert_eq!(as_whom(ADMIN, "DELETE", "/api/v1/failed/2")?, 200);
    let audit = dashboard
        .ask(
            "GET",
            "/api/v1/audit",
            &[("authorization", &format!("Bearer {VIEWER}"))],
            "",
        )?
        .json();
    let deeds: Vec<_> = audit["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|deed| (deed["by"].clone(), deed["act"].clone()))
        .collect();
    assert_eq!(
        deeds,
        [(json!("ana"), json!("delete")), (json!("olaf"), json!("retry"))]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_cookie_that_scripts_and_other_sites_cannot_use() -> anyhow::Result<()> {
    let file = tokens()?;
    let dashboard = Dashboard::start(&redis_settings(), &["--tokens", path_of(&file)])?;
    let wrong = dashboard.submit("/login", "token=wrong&next=/queues")?;
    assert_eq!((wrong.status, wrong.header("set-cookie")), (401, None));
    let right = dashboard.submit("/login", &format!("token={VIEWER}&next=/queues"))?;
    assert_eq!((right.status, right.header("location")), (303, Some("/queues")));
    let cookie = right.header("set-cookie").context("a cookie")?.to_owned();
    assert!(
        cookie.contains("; HttpOnly; SameSite=Strict") && !cookie.contains(VIEWER),
        "{cookie}"
    );
    let session = cookie.split(';').next().context("its value")?;
    let page = dashboard.ask("GET", "/queues", &[("cookie", session)], "")?;
    assert!(page.status == 200 && page.body.contains("vera"), "{page:?}");
    let forged = session.replace("kiln_session=", "kiln_session=x");
    assert_eq!(dashboard.ask("GET", "/queues", &[("cookie", &forged)], "")?.status, 303);
    // A viewer's page offers nothing that a viewer may not do.
    assert!(
        !dashboard
            .ask("GET", "/queues/default", &[("cookie", session)], "")?
            .body
            .contains("Pause…")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_on_the_server_when_its_owner_logs_out() -> anyhow::Result<()> {
    let file = tokens()?;
    let dashboard = Dashboard::start(&redis_settings(), &["--tokens", path_of(&file)])?;
    let log_in = || -> anyhow::Result<String> {
        let answer = dashboard.submit("/login", &format!("token={VIEWER}"))?;
        let cookie = answer.header("set-cookie").context("a cookie")?;
        Ok(cookie.split(';').next().context("its value")?.to_owned())
    };
    let (one, other) = (log_in()?, log_in()?);
    let sees = |cookie: &str| {
        dashboard
            .ask("GET", "/queues", &[("cookie", cookie)], "")
            .map(|page| page.status)
    };
    assert_eq!((sees(&one)?, sees(&other)?), (200, 200));
    let own = [("cookie", one.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(dashboard.ask("POST", "/logout", &own, "")?.status, 303);
    assert_eq!((sees(&one)?, sees(&other)?), (303, 200));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_says_who_asks_and_nobody_else_does() -> anyhow::Result<()> {
    let settings = redis_settings();
    fail(&settings, &[trap("1", "a", "b"), trap("2", "a", "b")]).await?;
    let mut file = tokens()?;
    writeln!(file, "operator olaf@example.com -")?;
    let start = |proxy: &str| Dashboard::start(&settings, &["--tokens", path_of(&file), "--trusted-proxy", proxy]);
    let dashboard = start("127.0.0.1")?;
    let retry = |id: &str, user: &str| {
        let headers = [("x-forwarded-user", user), ("content-type", "application/json")];
        let path = format!("/api/v1/failed/{id}/retry");
        dashboard.ask("POST", &path, &headers, "{}").map(|answer| answer.status)
    };
    assert_eq!(retry("1", "somebody@example.com")?, 403, "a viewer by default");
    assert_eq!(retry("1", "olaf@example.com")?, 200);
    let audit = dashboard
        .ask("GET", "/api/v1/audit", &[("x-forwarded-user", "x")], "")?
        .json();
    assert_eq!(audit["items"][0]["by"], "olaf@example.com");
    for headers in [
        &[][..],
        &[("x-forwarded-user", "")],
        &[("x-forwarded-user", "a"), ("x-forwarded-user", "b")],
    ] {
        assert_eq!(
            dashboard.ask("GET", "/api/v1/overview", headers, "")?.status,
            401,
            "{headers:?}"
        );
    }
    // What it is asked over TLS sets cookies that are sent over nothing else.
    let log_in = |dashboard: &Dashboard, protocol: &str| -> anyhow::Result<String> {
        let headers = [
            ("x-forwarded-proto", protocol),
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let answer = dashboard.ask("POST", "/login", &headers, &format!("token={VIEWER}"))?;
        Ok(answer.header("set-cookie").context("a cookie")?.to_owned())
    };
    assert!(log_in(&dashboard, "https")?.ends_with("; Secure"));
    assert!(!log_in(&dashboard, "http")?.contains("Secure"));
    let elsewhere = start("192.0.2.0/24")?;
    let posed = elsewhere.ask("GET", "/api/v1/overview", &[("x-forwarded-user", "ana")], "")?;
    assert_eq!(posed.status, 401);
    assert!(!log_in(&elsewhere, "https")?.contains("Secure"));
    let alone = Dashboard::start(&settings, &["--trusted-proxy", "127.0.0.1", "--proxy-role", "admin"])?;
    let unknown = alone.get("/queues")?;
    assert!(
        unknown.status == 401 && unknown.body.contains("X-Forwarded-User"),
        "{unknown:?}"
    );
    let known = alone.ask("DELETE", "/api/v1/failed/2", &[("x-forwarded-user", "ana")], "")?;
    assert_eq!(known.status, 200);
    Ok(())
}

#[test]
fn a_worker_says_that_settings_of_a_dashboard_without_one_do_nothing() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = tempfile::tempdir()?;
    let output = kiln()
        .args([
            "worker",
            "--burst",
            "--read-only",
            "--redact",
            "payload.card",
            "--plugins",
        ])
        .arg(folder.path())
        .args(["--store", &settings.url, "--prefix", &settings.prefix])
        .output()?;
    let said = String::from_utf8(output.stderr)?;
    assert!(
        said.contains("do nothing without --ui") && said.contains("--read-only, --redact"),
        "{said}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_other_sites_and_under_other_names_are_refused() -> anyhow::Result<()> {
    let settings = redis_settings();
    fail(&settings, &[trap("1", "a", "b")]).await?;
    let dashboard = Dashboard::start(&settings, &["--allow-host", "kiln.example.com"])?;
    let form = ("content-type", "application/x-www-form-urlencoded");
    for headers in [
        &[form][..],
        &[form, ("sec-fetch-site", "cross-site")],
        &[form, ("sec-fetch-site", "same-site")],
        &[form, ("origin", "https://evil.example")],
        &[form, ("origin", "null")],
        &[("content-type", "text/plain")],
    ] {
        for path in [
            "/jobs/1/retry",
            "/bulk",
            "/queues/default/pause",
            "/api/v1/failed/1/retry",
            "/api/v1/jobs",
        ] {
            assert_eq!(
                dashboard.ask("POST", path, headers, "act=delete")?.status,
                403,
                "{path} {headers:?}"
            );
        }
    }
    for (host, status) in [
        ("evil.example", 421),
        ("localhost", 200),
        ("kiln.example.com", 200),
        ("192.0.2.1:80", 200),
    ] {
        assert_eq!(
            dashboard.ask("GET", "/queues", &[("host", host)], "")?.status,
            status,
            "{host}"
        );
    }
    assert_eq!(Store::open(&settings).await?.failed_len().await?, 1);
    // A page elsewhere may lead here, but has no work done here.
    let from = |site, mode, dest| {
        [
            ("sec-fetch-site", site),
            ("sec-fetch-mode", mode),
            ("sec-fetch-dest", dest),
        ]
    };
    for (headers, status) in [
        (from("cross-site", "navigate", "document"), 200),
        (from("cross-site", "no-cors", "image"), 403),
        (from("same-site", "cors", "empty"), 403),
        (from("cross-site", "navigate", "iframe"), 403),
        (from("same-origin", "cors", "empty"), 200),
        (from("none", "navigate", "document"), 200),
    ] {
        let found = dashboard.ask("GET", "/api/v1/jobs/1", &headers, "")?;
        assert_eq!(found.status, status, "{headers:?}");
    }
    // No request that only looks changes anything.
    assert_eq!(dashboard.get("/jobs/1/retry")?.status, 405);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_dashboard_changes_nothing_and_offers_nothing() -> anyhow::Result<()> {
    let settings = redis_settings();
    fail(&settings, &[trap("1", "a", "b")]).await?;
    let dashboard = Dashboard::start(&settings, &["--read-only"])?;
    for path in ["/jobs/1/retry", "/jobs/1/delete", "/bulk", "/queues/default/pause"] {
        let refused = dashboard.submit(path, "act=delete")?;
        assert_eq!(
            (refused.status, refused.header("allow")),
            (405, Some("GET, HEAD")),
            "{path}"
        );
    }
    assert_eq!(dashboard.api("POST", "/jobs", &json!({"name": "a"}))?.status, 405);
    let page = dashboard.get("/jobs/1")?;
    assert!(
        page.status == 200 && !page.body.contains("method=\"post\""),
        "{}",
        page.body
    );
    assert_eq!(Store::open(&settings).await?.failed_len().await?, 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn redacted_values_are_on_no_page_and_in_no_answer() -> anyhow::Result<()> {
    let settings = redis_settings();
    let entry = json!({
        "id": "1", "name": "pay", "payload": {"card": {"number": "4111-SECRET"}, "sum": 7, "items": [{"pin": "99-SECRET"}]},
        "metadata": {"who": "SECRET", "why": "order"}, "error": "no",
    });
    // Bytes that are no job are kept whole, as text in which no path leads anywhere.
    let malformed = json!({
        "id": "2", "name": "pay", "payload": {"text": "{\"payload\":{\"card\":\"SECRET\"},\"max_attempts\":\"x\"}"},
        "error": "no", "failure": {"kind": "malformed", "message": "no", "handler": "", "digest": "", "attempt": 0, "duration_ms": 0},
    });
    fail(&settings, &[entry.to_string(), malformed.to_string()]).await?;
    let paths = "payload.card,payload.items.pin,metadata.who";
    let dashboard = Dashboard::start(&settings, &["--redact", paths])?;
    for path in [
        "/jobs/1",
        "/jobs/2",
        "/api/v1/jobs/2",
        "/failed",
        "/api/v1/jobs/1",
        "/api/v1/failed/1",
        "/api/v1/failed",
    ] {
        let answer = dashboard.get(path)?;
        assert!(
            answer.status == 200 && !answer.body.contains("SECRET"),
            "{path}: {}",
            answer.body
        );
    }
    let shown = dashboard.get("/api/v1/failed/1")?.json();
    assert_eq!(
        (&shown["payload"]["sum"], &shown["metadata"]["why"]),
        (&json!(7), &json!("order"))
    );
    Ok(())
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() -> anyhow::Result<()> {
    let dashboard = Dashboard::start(&redis_settings(), &[])?;
    for path in [
        "/",
        "/queues",
        "/nothing",
        "/assets/kiln.js",
        "/api/v1/queues",
        "/api/v1/nothing",
    ] {
        let answer = dashboard.get(path)?;
        let policy = answer.header("content-security-policy").context("a policy")?;
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        let kept = answer.header("cache-control").context("how long it may be kept")?;
        assert_eq!(kept == "no-store", !path.starts_with("/assets/"), "{path}: {kept}");
    }
    Ok(())
}
