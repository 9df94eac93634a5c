//! Prometheus, as Debian packages it, with the alert rules that come with Kiln.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::free_port;
use super::http::get;
use crate::support::eventually;

/// A server that scrapes one worker, and itself. It ends with the test run, however that ends.
pub(crate) struct Prometheus {
    port: u16,
    /// Once its input ends, it kills the server and removes its folder.
    _shell: Child,
}

impl Prometheus {
    /// Scrapes a worker, and evaluates the rules, five times a second.
    pub(crate) async fn scraping(worker: SocketAddr) -> anyhow::Result<Self> {
        let (folder, port) = (TempDir::new()?.keep(), free_port()?);
        let settings = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: kiln\n    static_configs: [{{targets: [\"{worker}\"]}}]\n\
             \x20 - job_name: prometheus\n    static_configs: [{{targets: [\"127.0.0.1:{port}\"]}}]\n",
            examples().join("rules.yml").display()
        );
        std::fs::write(folder.join("prometheus.yml"), settings)?;
        let script = "trap '' HUP INT TERM
            cd \"$0\"; \"$@\" >/dev/null 2>&1 & server=$!
            read -r _; kill -s KILL $server; wait $server; rm -r \"$0\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&folder);
        command.args(["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]);
        command.arg("--enable-feature=exemplar-storage");
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let shell = command.stdin(Stdio::piped()).spawn().context("sh")?;
        let started = Self { port, _shell: shell };
        eventually("Prometheus listens; is it installed?", async || {
            Ok(started.query("vector(1)").ok())
        })
        .await?;
        Ok(started)
    }

    /// The exemplars of a metric, as JSON.
    pub(crate) fn exemplars(&self, metric: &str) -> anyhow::Result<String> {
        let path = format!("/api/v1/query_exemplars?query={metric}&start=0&end=9999999999");
        let (status, found) = get(([127, 0, 0, 1], self.port).into(), &path)?;
        ensure!(status == 200, "{status}: {found}");
        Ok(found)
    }

    /// The series that an expression selects now, one a line, with labels and value.
    pub(crate) fn query(&self, expression: &str) -> anyhow::Result<Vec<String>> {
        let server = format!("http://127.0.0.1:{}", self.port);
        let said = promtool(&["query", "instant", &server, expression])?;
        Ok(said
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// The folder of the alert rules.
pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/prometheus")
}

/// What the tool says that comes with Prometheus, if it succeeds.
pub(crate) fn promtool(words: &[&str]) -> anyhow::Result<String> {
    let run = Command::new("promtool").args(words).current_dir(examples()).output();
    let output = run.context("promtool: is Prometheus installed?")?;
    let [said, why] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(output.status.success(), "promtool {words:?}: {said}{why}");
    Ok(said)
}
