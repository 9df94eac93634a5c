//! The API keeps to its description: what that allows is answered as it says, and what it forbids is refused.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use kiln::queue::Store;
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
