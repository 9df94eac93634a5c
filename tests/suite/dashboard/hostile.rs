//! What producers and handlers write is text on every page, whatever stands in it.

use serde_json::json;

use super::{Dashboard, fail};
use crate::service::push;
use crate::support::redis_settings;
use kiln::queue::Store;

/// What would run, steer or hide something, were it taken for more than text.
const TEXTS: &[&str] = &[
    "<script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' autofocus onfocus=alert(1) x='",
    "</pre><svg onload=alert(1)>",
    "</textarea><iframe srcdoc=\"<script>alert(1)</script>\">",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<!--",
    "-->",
    "]]><script>alert(1)</script>",
    "{{constructor.constructor('alert(1)')()}}",
    "\u{202e}txt.exe\u{2066}",
    "a\u{0}b\u{1b}[31mred",
    "\u{2028}\u{2029}\u{feff}",
    "<a href=//evil.example>click</a>",
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0;url=//evil.example>",
    "<style>*{display:none}</style>",
];

/// What may stand in a page only if it is ours. The corpus has each of these unescaped.
const SIGNS: &[&str] = &[
    "<script>",
    "<img",
    "<svg onload",
    "<iframe",
    "<base",
    "<meta http-equiv",
    "<style",
    "<a href=//",
    "<!--",
    "alert(1)>",
    "\" onfocus",
    "\u{202e}",
    "\u{2066}",
    "\u{0}",
    "\u{1b}",
    "\u{2028}",
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_producer_or_a_handler_writes_is_taken_for_markup() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let entries = TEXTS.iter().enumerate().map(|(n, text)| {
        json!({
            "id": format!("{n} {text}"), "name": text, "queue": text, "payload": {*text: [text]}, "metadata": {"traceparent": text, *text: text},
            "error": text, "failed_at": text, "created_at": text,
            "failure": {"kind": "trap", "message": text, "handler": text, "digest": text, "attempt": 1, "backtrace": format!("  1: 0x1 - {text}\n{text}"),
                        "stdout": text, "stderr": text, "queue": text},
        })
        .to_string()
    });
    fail(&settings, &entries.collect::<Vec<_>>()).await?;
    let jobs: Vec<_> = TEXTS
        .iter()
        .map(|text| json!({"id": text, "name": text, "error": text}).to_string())
        .collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    dashboard
        .until("/failed", |answer| answer["matching"] == TEXTS.len())
        .await?;
    let encode =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut paths: Vec<String> = [
        "/",
        "/queues",
        "/queues/default",
        "/failed",
        "/failed/bulk?act=retry",
        "/failed/bulk?act=move",
        "/plugins",
        "/hosts",
        "/audit",
        "/bulk",
    ]
    .map(str::to_owned)
    .to_vec();
    for (n, text) in TEXTS.iter().enumerate() {
        let text = encode(text);
        paths.push(format!("/jobs/{}{text}", encode(&format!("{n} "))));
        paths.push(format!(
            "/failed?text={text}&plugin={text}&queue={text}&name={text}&digest={text}&cause={text}"
        ));
        paths.push(format!("/failed/bulk?act=delete&text={text}"));
        paths.push(format!("/queues?text={text}&sort={text}"));
        paths.push(format!("/queues/default/lanes?text={text}&plugin={text}&show={text}"));
        paths.push(format!("/plugins?text={text}"));
        paths.push(format!("/hosts?text={text}"));
        paths.push(format!("/batches/{text}"));
        paths.push(format!("/login?next={text}"));
        paths.push(format!("/jobs/{text}"));
        paths.push(format!("/{text}"));
    }
    for path in &paths {
        let page = dashboard.get(path)?;
        assert!([200, 404, 400].contains(&page.status), "{path}: {}", page.status);
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{path}");
        let body = page.body.replace("<meta charset", "").replace("<!DOCTYPE", "");
        for sign in SIGNS {
            assert!(!body.contains(sign), "{path} has {sign:?}: {body}");
        }
        for (place, _) in body.match_indices("<script") {
            assert!(body[place..].starts_with("<script src=\"/assets/"), "{path}: {body}");
        }
        for handler in [" onerror=", " onload=", " onfocus="] {
            let mut tags = body.split('<').skip(1).filter_map(|tag| tag.split_once('>'));
            assert!(
                !tags.any(|(tag, _)| outside_quotes(tag).contains(handler)),
                "{path}: {handler}"
            );
        }
    }
    Ok(())
}

/// A tag without the values of its attributes.
fn outside_quotes(tag: &str) -> String {
    tag.split('"').step_by(2).collect()
}
