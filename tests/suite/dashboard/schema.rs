//! The API keeps to its description: what that allows is answered as it says, and what it forbids is refused.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use kiln::queue::Store;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::{Dashboard, fail, trap};
use crate::service::push;
use crate::support::redis_settings;

const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

#[tokio::test(flavor = "multi_thread")]
async fn the_api_keeps_to_its_description_whatever_it_is_asked() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    push(&store, &[r#"{"id":"q1","name":"a"}"#, r#"{"name":"b"}"#]).await?;
    fail(&settings, &[trap("1", "resize", "crop"), trap("2", "resize", "crop")]).await?;
    let mut tokens = NamedTempFile::new()?;
    writeln!(tokens, "admin ana {TOKEN}")?;
    let dashboard = Dashboard::start(&settings, &["--tokens", tokens.path().to_str().context("text")?])?;
    let asker = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/servers/bin/schemathesis");
    anyhow::ensure!(
        asker.is_file(),
        "{} is not installed; cargo xtask test installs it",
        asker.display()
    );
    let (api, folder) = (format!("http://{}/api/v1", dashboard.address), tempfile::tempdir()?);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let output = Command::new(asker)
        .current_dir(folder.path())
        .args([
            "run",
            &format!("{api}/openapi.json"),
            "--url",
            &api,
            "--header",
            &bearer,
        ])
        // The same requests each time. A stream of events has no end, and the asker makes no components.
        .args([
            "--seed",
            "1",
            "--max-examples",
            "8",
            "--phases",
            "coverage,fuzzing",
            "--exclude-path",
            "/events",
            "--exclude-path-regex",
            "/try$",
        ])
        // No schema can say which texts are cursors, names of queues or ids that there are.
        .args(["--exclude-checks", "positive_data_acceptance", "--no-color"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("Tested: "), "{said}");
    Ok(())
}

/// The paths that a source gives to the router in this way.
fn paths(source: &'static str, how: &str) -> impl Iterator<Item = &'static str> {
    let places = source.split(&format!(".{how}(\"")).skip(1).collect::<Vec<_>>();
    places.into_iter().filter_map(|rest| rest.split('"').next())
}

#[test]
fn the_description_of_the_api_names_every_path_and_each_is_answered() -> anyhow::Result<()> {
    let described: Value = serde_json::from_str(include_str!("../../../host/web/api/openapi.json"))?;
    let source = include_str!("../../../host/web/api/mod.rs");
    let of_one: Vec<_> = paths(include_str!("../../../host/web/api/failed.rs"), "route").collect();
    let nested = paths(source, "nest").flat_map(|of| of_one.iter().map(move |path| format!("{of}{path}")));
    let routes: BTreeSet<_> = paths(source, "route")
        .filter(|path| !["/", "/openapi.json"].contains(path))
        .chain(["/events"])
        .map(str::to_owned)
        .chain(nested.map(|path| path.trim_end_matches('/').to_owned()))
        .collect();
    let named = described["paths"].as_object().context("paths")?.keys();
    let named: BTreeSet<_> = named.cloned().collect();
    assert_eq!(routes, named);
    let dashboard = Dashboard::start(&redis_settings(), &[])?;
    for (path, methods) in described["paths"].as_object().context("paths")? {
        if methods["get"].is_null() || path == "/events" {
            continue;
        }
        let asked = path
            .replace("{queue}", "none")
            .replace("{id}", "none")
            .replace("{entry}", "none");
        let answer = dashboard.get(&format!("/api/v1{asked}"))?;
        let is_list = !path.contains('{') || ["/jobs", "/lanes", "/load"].iter().any(|end| path.ends_with(end));
        assert_eq!(answer.status, if is_list { 200 } else { 404 }, "{path}: {answer:?}");
        let kind = if is_list {
            "application/json"
        } else {
            "application/problem+json"
        };
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
    }
    assert_eq!(dashboard.get("/api/v1/nothing")?.status, 404);
    Ok(())
}
