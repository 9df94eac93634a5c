//! Secrets: used without being held, unless the manifest says otherwise.

use kiln::config::SandboxSettings;

use crate::egress::{Forbidden, NO_CONTENT, Server, attempt, denied, grant, patient, request};
use crate::sandbox::{TestHost, result, settings_with};
use crate::support::PATIENCE;

/// A host with one secret in a folder, `s3cret` by value.
fn keeping(name: &str) -> anyhow::Result<(TestHost, tempfile::TempDir)> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join(name), "s3cret\n")?;
    let settings = SandboxSettings {
        secrets_dir: Some(dir.path().to_owned()),
        ..settings_with(PATIENCE)
    };
    Ok((TestHost::with(&settings)?, dir))
}

#[tokio::test]
async fn a_secret_reaches_its_origin_and_not_the_handler() -> anyhow::Result<()> {
    let (host, _dir) = keeping("API_KEY")?;
    let server = Server::answering(NO_CONTENT, 1).await?;
    let at = &server.authority;
    let manifest = grant(at, "private = true") + &format!("[grants.secrets.API_KEY]\norigin = \"http://{at}\"");
    let seen = result(attempt(&host, "environment", &manifest, "").await?)?.unwrap_or_default();
    assert!(seen.starts_with("\"kiln-secret-API_KEY-") && seen.len() == 54, "{seen}");
    assert_eq!(
        request(&host, &manifest, &format!("GET {at} / 0 Bearer ")).await?,
        (204, 0, 0)
    );
    let head = server.heads().await?.remove(0);
    assert!(head.contains("\r\nauthorization: bearer s3cret\r\n"), "{head}");
    Ok(())
}

#[tokio::test]
async fn a_secret_on_its_way_to_another_origin_is_denied() -> anyhow::Result<()> {
    let (host, _dir) = keeping("API_KEY")?;
    let server = Forbidden::new()?;
    let other = server.0.local_addr()?.to_string();
    let manifest = grant(&other, "private = true")
        + &grant("api.example", "")
        + "[grants.secrets.API_KEY]\norigin = \"http://api.example\"";
    let message = denied(&host, &manifest, &format!("GET {other} / 0 Bearer ")).await?;
    assert_eq!(
        message,
        format!(
            "http request to http://{other}: its headers hold the secret API_KEY, which is for http://api.example only; \
             see [grants.secrets.API_KEY] in request.toml"
        )
    );
    server.assert_untouched("denied");
    Ok(())
}

#[tokio::test]
async fn a_secret_exposed_by_value_is_the_handlers_to_read() -> anyhow::Result<()> {
    let (host, _dir) = keeping("SIGNING_KEY")?;
    let manifest = "[grants.secrets.SIGNING_KEY]\nexpose = \"value\"";
    let seen = result(attempt(&host, "environment", manifest, "").await?)?;
    assert_eq!(seen.as_deref(), Some("\"s3cret\""));
    Ok(())
}

#[tokio::test]
async fn a_plugin_whose_secret_is_missing_does_not_load() -> anyhow::Result<()> {
    let manifest = "[grants.secrets.API_KEY]\nexpose = \"value\"";
    let refused = |host: &TestHost| host.load_with("ok", manifest).expect_err("no value").to_string();
    assert_eq!(
        refused(&patient()?),
        "secret API_KEY: not in the environment as KILN_SECRET_API_KEY, and no secrets folder is named (--secrets)"
    );
    let (host, dir) = keeping("OTHER")?;
    let path = dir.path().join("API_KEY");
    assert_eq!(
        refused(&host),
        format!(
            "secret API_KEY: not in the environment as KILN_SECRET_API_KEY, and there is no {}",
            path.display()
        )
    );
    Ok(())
}
