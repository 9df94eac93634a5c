//! Popular packages of npm and `PyPI`, each used as its users do in a handler that runs in the sandbox
//! (`tests/handlers/js-packages` and `python-packages`).

use kiln::config::{Limits, Manifest, SandboxSettings};
use kiln::plugins::read_plugin;
use kiln::sandbox::{AttemptContext, Handler, Sandbox};
use serde_json::{Value, json};

use crate::conformance::built;
use crate::egress::grant;
use crate::sandbox::{job_of, result, settings_with};
use crate::servers::HttpServer;
use crate::support::{PATIENCE, compiled};

fn handler(name: &str, manifest: &str) -> anyhow::Result<Handler> {
    let (bytes, _) = read_plugin(&built(name), &Limits::default())?;
    let settings = SandboxSettings {
        cache_dir: Some(compiled()),
        ..settings_with(PATIENCE)
    };
    let manifest = Manifest::parse(manifest).map_err(anyhow::Error::msg)?;
    Ok(Sandbox::new(&settings)?.load("packages", &bytes, &manifest)?)
}

async fn used(handler: &Handler, mut job: Value, package: &str) -> anyhow::Result<Value> {
    job["package"] = json!(package);
    let job = job_of("packages", serde_json::value::to_raw_value(&job)?);
    let attempt = handler.run(&job, "default", &AttemptContext::default()).await;
    let text = result(attempt).map_err(|err| err.context(package.to_owned()))?;
    Ok(serde_json::from_str(&text.unwrap_or_default())?)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_packages_of_npm_do_what_they_are_for() -> anyhow::Result<()> {
    let server = HttpServer::answering(
        "HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{\"total\": 20}",
    )
    .await?;
    let handler = handler(
        "js-packages",
        &grant(&format!("127.0.0.1:{}", server.port), "private = true"),
    )?;
    let table = "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody><tr>\n<td><em>1</em></td>\n\
                 <td><code>2</code></td>\n</tr>\n</tbody></table>";
    let expected = [
        ("axios", json!({"data": {"total": 20}, "status": 201})),
        ("date-fns", json!("2026-02-28")),
        ("dayjs", json!("Sunday, 1 March 2026 00:30")),
        ("handlebars", json!("0: &lt;green&gt;! 1: black ")),
        (
            "jose",
            json!({"tea": "green", "forged": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"}),
        ),
        ("lodash", json!({"g": 9, "b": 5})),
        ("marked", json!(format!("<h1>Tea</h1>\n{table}\n"))),
        (
            "uuid",
            json!({"named": "2d8f1ec3-66d6-581a-96ff-edfddef124cc", "isValid": true, "isOther": true}),
        ),
        (
            "yaml",
            json!("teas: &a1\n  - green\n  - black\nagain: *a1\nmore: null\n"),
        ),
        (
            "zod",
            json!({"fits": {"tea": "green", "grams": 20}, "wrong": [["tea", "too_small"], ["grams", "too_small"]]}),
        ),
    ];
    let job = json!({"url": format!("http://127.0.0.1:{}", server.port)});
    for (package, came) in expected {
        assert_eq!(used(&handler, job.clone(), package).await?, came, "{package}");
    }
    let asked = server.asked();
    assert_eq!(
        (asked[0].path.as_str(), asked[0].body.as_slice()),
        ("/orders?page=2", br#"{"tea":"green"}"#.as_slice())
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_packages_of_pypi_do_what_they_are_for() -> anyhow::Result<()> {
    let handler = handler("python-packages", "")?;
    let table = "<table>\n<thead>\n<tr>\n<th>a</th>\n<th>b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td><em>1</em></td>\n\
                 <td><code>2</code></td>\n</tr>\n</tbody>\n</table>";
    let expected = [
        ("attrs", json!([{"name": "green", "grams": 5}, true])),
        ("beautifulsoup4", json!([["Grün", "Schwarz"], ["hot"], "1 < 2"])),
        ("Jinja2", json!("1: &lt;green&gt; ")),
        ("Markdown", json!(format!("<h1>Tea</h1>\n{table}"))),
        (
            "openpyxl",
            json!([["tea", "grams"], ["grün", 20], ["black", 5], [null, "=SUM(B2:B3)"]]),
        ),
        ("PyJWT", json!({"tea": "green"})),
        ("pypdf", json!([1, 200.0, "Tea"])),
        ("python-dateutil", json!(["2026-02-28T10:00:00+01:00", [31, 28, 31]])),
        (
            "PyYAML",
            json!("again: &id001\n- green\n- black\nmore: null\nteas: *id001\n"),
        ),
        ("tenacity", json!(["tea", [0, 1, 2]])),
    ];
    for (package, came) in expected {
        assert_eq!(used(&handler, json!({}), package).await?, came, "{package}");
    }
    Ok(())
}
