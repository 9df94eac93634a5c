//! The handlers in `plugins/`, as they are built and with the manifests they come with.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use kiln::config::{Grants, Limits, SandboxSettings};
use kiln::job::Job;
use kiln::outcome::{FailureKind, Outcome, RetryHint};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Sandbox};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use crate::support::{PATIENCE, compiled, plugins};

/// Makes one attempt at a bundled handler; `grant` is one more HTTP origin it may reach.
async fn run(name: &str, payload: &Value, grant: Option<&str>) -> anyhow::Result<Outcome> {
    let (bytes, mut manifest) = read_plugin(&plugins().join(name).with_extension("wasm"), &Limits::default())?;
    if let Some(origin) = grant {
        manifest.grants = Grants::of(&format!("[[grants.http]]\norigin = \"{origin}\"\nprivate = true"));
    }
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        ..SandboxSettings::new(NonZeroU32::MIN)
    };
    let handler = Sandbox::new(&settings)?.load(name, &bytes, &manifest)?;
    let job = Job::new(name, "default", serde_json::value::to_raw_value(payload)?);
    Ok(handler.run(&job, "default", &AttemptContext::default()).await.outcome)
}

fn completed(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Completed { result } => serde_json::from_str(&result.expect("a result")).expect("json"),
        other => panic!("not completed: {other:?}"),
    }
}

fn failed(outcome: Outcome) -> (FailureKind, RetryHint, String) {
    match outcome {
        Outcome::Failed { failure, retry } => (failure.kind, retry, failure.message),
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_becomes_html_without_scripts() -> anyhow::Result<()> {
    let payload = json!({ "markdown": "# Hi\n\n| a | b |\n|---|---|\n| 1 | ~~2~~ |\n\n<script>alert(1)</script><b onclick=x>y</b>" });
    let result = completed(run("markdown", &payload, None).await?);
    let html = result["html"].as_str().expect("html");
    assert!(
        html.contains("<h1>Hi</h1>") && html.contains("<td>1</td>") && html.contains("<del>2</del>"),
        "{html}"
    );
    assert!(!html.contains("script") && !html.contains("onclick"), "{html}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn markdown_rejects_a_payload_without_text() -> anyhow::Result<()> {
    let (kind, retry, why) = failed(run("markdown", &json!({ "text": "x" }), None).await?);
    assert_eq!((kind, retry), (FailureKind::Rejected, RetryHint::Never));
    assert!(why.contains("markdown"), "{why}");
    Ok(())
}

/// The image of the demo, 48 by 32, and the bomb beside it.
fn demo_image(id: &str) -> String {
    let jobs = include_str!("../../examples/demo.ndjson").lines();
    let mut jobs = jobs.map(|line| serde_json::from_str::<Value>(line).expect("json"));
    let job = jobs.find(|job| job["id"] == id).expect("the job");
    job["payload"]["image"].as_str().expect("an image").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thumbnail_is_no_larger_than_asked_and_keeps_its_shape() -> anyhow::Result<()> {
    let payload = json!({ "image": demo_image("thumbnail"), "max_side": 12 });
    let result = completed(run("thumbnail", &payload, None).await?);
    assert_eq!((&result["width"], &result["height"]), (&json!(12), &json!(8)));
    assert!(
        BASE64
            .decode(result["image"].as_str().expect("an image"))?
            .starts_with(b"\x89PNG")
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decompression_bomb_ends_as_a_failed_job() -> anyhow::Result<()> {
    let (kind, ..) = failed(run("thumbnail", &json!({ "image": demo_image("picture-bomb") }), None).await?);
    assert!(matches!(kind, FailureKind::Rejected | FailureKind::Memory), "{kind}");
    Ok(())
}

/// Answers one request and returns it: its head, then its body.
async fn answer_once(listener: TcpListener, answer: &'static str) -> anyhow::Result<(String, String)> {
    let (stream, _) = listener.accept().await?;
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line.to_ascii_lowercase();
    }
    let mut body = vec![0; length];
    if head.contains("transfer-encoding: chunked") {
        let mut chunk = String::new();
        stream.read_line(&mut chunk).await?;
        body = vec![0; usize::from_str_radix(chunk.trim(), 16)?];
    }
    stream.read_exact(&mut body).await?;
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok((head, String::from_utf8(body)?))
}

async fn post(answer: &'static str) -> anyhow::Result<(Outcome, (String, String))> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let origin = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(answer_once(listener, answer));
    let payload = json!({ "url": format!("{origin}/hook?a=1"), "body": { "n": 1 }, "headers": { "x-mark": "yes" } });
    let outcome = run("webhook", &payload, Some(&origin)).await?;
    Ok((outcome, tokio::time::timeout(PATIENCE, server).await???))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_posts_the_body_as_it_was_pushed() -> anyhow::Result<()> {
    let (outcome, (head, body)) = post("HTTP/1.1 204 No Content\r\n\r\n").await?;
    assert_eq!(completed(outcome), json!({ "status": 204 }));
    assert!(head.starts_with("post /hook?a=1 http/1.1"), "{head}");
    for header in ["x-mark: yes", "content-type: application/json", "idempotency-key: "] {
        assert!(head.contains(header), "{header}: {head}");
    }
    assert_eq!(body, r#"{"n":1}"#);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_retries_what_may_pass_and_gives_up_on_what_will_not() -> anyhow::Result<()> {
    let cases = [
        (
            "HTTP/1.1 429 Slow\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n",
            FailureKind::Error,
            Some(7_000),
        ),
        (
            "HTTP/1.1 503 Later\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n",
            FailureKind::Error,
            Some(2_000),
        ),
        (
            "HTTP/1.1 500 Oh\r\ncontent-length: 2\r\n\r\nno",
            FailureKind::Error,
            None,
        ),
        (
            "HTTP/1.1 404 None\r\ncontent-length: 0\r\n\r\n",
            FailureKind::Rejected,
            None,
        ),
        (
            "HTTP/1.1 302 There\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            FailureKind::Rejected,
            None,
        ),
        ("", FailureKind::Error, None),
    ];
    for (answer, expected, wait_ms) in cases {
        let (kind, retry, why) = failed(post(answer).await?.0);
        assert_eq!(kind, expected, "{answer}: {why}");
        let hint = match (expected, wait_ms) {
            (FailureKind::Rejected, _) => RetryHint::Never,
            (_, Some(ms)) => RetryHint::NotBefore(std::time::Duration::from_millis(ms)),
            (_, None) => RetryHint::ByPolicy,
        };
        assert_eq!(retry, hint, "{answer}: {why}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_to_an_origin_that_was_not_granted_is_denied() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let payload = json!({ "url": format!("http://{}/", listener.local_addr()?), "body": 1 });
    let (kind, retry, why) = failed(run("webhook", &payload, Some("https://hooks.example.com")).await?);
    assert_eq!((kind, retry), (FailureKind::Denied, RetryHint::Never));
    assert!(why.contains("grants.http"), "{why}");
    assert!(
        futures::poll!(Box::pin(listener.accept())).is_pending(),
        "nothing was sent"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_greets_whoever_is_named_or_the_world() -> anyhow::Result<()> {
    for (payload, greeting) in [
        (json!({ "to": "Kiln" }), "Hello, Kiln!"),
        (Value::Null, "Hello, World!"),
    ] {
        assert_eq!(
            completed(run("hello", &payload, None).await?),
            json!({ "greeting": greeting })
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_answers_a_query_over_rows_and_writes_nothing() -> anyhow::Result<()> {
    let tables = json!({"orders": [
        {"name": "tea", "cents": 450}, {"name": "cup", "cents": 1200}, {"name": "tea", "cents": 9_007_199_254_740_993_i64},
    ]});
    let ask = |query: &str| json!({"tables": tables, "query": query, "params": ["tea"]});
    let query = "select name, max(cents) as most from orders where name = ? group by name";
    let answer = completed(run("sql", &ask(query), None).await?);
    let wanted = json!({"columns": ["name", "most"], "rows": [["tea", 9_007_199_254_740_993_i64]]});
    assert_eq!(answer, wanted);
    for (query, why) in [
        ("drop table orders", "only reading is allowed"),
        ("select missing from orders", "no such column"),
    ] {
        let (kind, retry, message) = failed(run("sql", &ask(query), None).await?);
        assert_eq!((kind, retry), (FailureKind::Rejected, RetryHint::Never), "{message}");
        assert!(message.contains(why), "{message}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn report_sums_the_columns_of_a_table_up() -> anyhow::Result<()> {
    let payload = json!({"csv": "region,cents\neu,450\nus,1200\neu,0.1\n", "group_by": "region"});
    let report = completed(run("report", &payload, None).await?);
    assert_eq!(report["rows"], json!(3));
    assert!(report.to_string().contains("450.1"), "{report}");
    let (kind, _, message) = failed(run("report", &json!({"csv": "a\n1,2"}), None).await?);
    assert_eq!(kind, FailureKind::Rejected);
    assert_eq!(message, "csv: line 2 has 2 cells, the header 1");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_checked_for_their_names_and_dates() -> anyhow::Result<()> {
    let signed = rcgen::generate_simple_self_signed(["shop.example.com".to_owned()])?;
    let check = async |host: &str| -> anyhow::Result<Value> {
        let certificate = json!({"name": "shop", "pem": signed.cert.pem(), "hosts": [host]});
        Ok(completed(
            run("certificates", &json!({ "certificates": [certificate] }), None).await?,
        ))
    };
    let (right, wrong) = (check("shop.example.com").await?, check("example.org").await?);
    assert_ne!(right, wrong);
    assert!(wrong.to_string().contains("example.org"), "{wrong}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_come_back_in_normal_form_or_with_all_that_is_wrong() -> anyhow::Result<()> {
    let mut order = json!({
        "id": "A-1", "placed_at": "2026-03-01T10:00:00+02:00", "customer": {"name": " Ada ", "email": "Ada@Example.com"},
        "currency": "EUR", "items": [{"sku": "tea-1", "name": "tea", "price_cents": 450, "quantity": 2, "tax_percent": 7}],
    });
    let normal = completed(run("orders", &order, None).await?);
    assert_eq!(normal["placed_at"], "2026-03-01T08:00:00.000Z");
    assert_eq!(normal["totals"]["items_cents"], 900);
    order["placed_at"] = json!("yesterday");
    order["items"][0]["quantity"] = json!(0);
    let (kind, _, message) = failed(run("orders", &order, None).await?);
    assert_eq!(kind, FailureKind::Rejected);
    assert!(
        message.contains("/placed_at") && message.contains("/items/0/quantity"),
        "{message}"
    );
    Ok(())
}
