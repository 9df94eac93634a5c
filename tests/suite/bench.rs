//! `kiln bench`: it measures every job, says what it may, and leaves nothing behind.

use std::process::{Command, Output, Stdio};

use kiln::queue::StoreSettings;
use serde_json::Value;

use crate::servers::Server;
use crate::service::folder_of;
use crate::support::{eventually, kiln, redis_settings, shared_redis};
use crate::topology::{cluster_settings, shared_cluster, tagged_cluster_settings};

/// The command on a store, with a guest and its payload.
fn bench(settings: &StoreSettings, args: &[&str]) -> Command {
    let mut command = kiln();
    command.args(["bench", "--store", &settings.url, "--prefix", &settings.prefix]);
    command.args(["--concurrency", "4"]).args(args);
    command
}

fn said(mut command: Command) -> anyhow::Result<(Option<i32>, String, String)> {
    let Output { status, stdout, stderr } = command.output()?;
    Ok((status.code(), String::from_utf8(stdout)?, String::from_utf8(stderr)?))
}

/// What it found, which has to be JSON and nothing beside it.
fn found(command: Command) -> anyhow::Result<Value> {
    let (code, stdout, stderr) = said(command)?;
    assert_eq!((code, &*stderr), (Some(0), ""), "{stdout}");
    Ok(serde_json::from_str(&stdout)?)
}

/// The keys with this in their names.
async fn keys(server: &Server, prefix: &str) -> anyhow::Result<Vec<String>> {
    server.tell(&["KEYS", &format!("*{prefix}*")]).await
}

fn number(report: &Value, path: &str) -> f64 {
    let value = report.pointer(path).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {path}: {report}"))
}

/// Percentiles that can be.
fn assert_spread(report: &Value, path: &str) {
    let spread = ["p50_us", "p90_us", "p99_us", "max_us"].map(|name| number(report, &format!("{path}/{name}")));
    assert!(spread[0] > 0.0 && spread.is_sorted(), "{path}: {spread:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_drains_every_job_beside_its_floors_and_leaves_no_key() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("echo", "")])?;
    let wasm = folder.path().join("echo.wasm").to_string_lossy().into_owned();
    let args = [&*wasm, "{}", "--payload-bytes", "300", "--jobs", "400"];
    let report = found(bench(&settings, &[&args[..], &["--json"]].concat()))?;
    assert_eq!((&report["mode"], &report["plugin"]), (&"burst".into(), &"echo".into()));
    assert_eq!(report["payload_bytes"], 300);
    assert_eq!(report["drain"]["completed_jobs"], 400);
    for path in [
        "/push/batch_jobs_per_s",
        "/push/bare_batch_jobs_per_s",
        "/drain/jobs_per_s",
        "/drain/sandbox_floor/average_jobs_per_s",
        "/drain/floor_ratio",
        "/redis/commands_per_job",
        "/worker/memory_peak_bytes",
        "/worker/context_switches_per_job",
        "/worker/page_faults_per_job",
    ] {
        assert!(number(&report, path) > 0.0, "{path}: {report}");
    }
    assert_spread(&report, "/drain/started_to_settled");
    let (code, table, stderr) = said(bench(&settings, &args))?;
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(
        table.starts_with("burst, plugin echo, 300 bytes of payload, 4 attempts at once, "),
        "{table}"
    );
    assert!(
        table.contains("400 completed") && table.contains("without a queue"),
        "{table}"
    );
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_behind_and_beside_the_measured_jobs_is_not_measured() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("ok", "")])?;
    let wasm = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let beside = ["--backlog", "300", "--delayed", "20", "--copies", "3"];
    let report = found(bench(
        &settings,
        &[&[&*wasm, "--jobs", "200", "--json"], &beside[..]].concat(),
    ))?;
    assert_eq!(
        (&report["drain"]["jobs"], &report["push"]["jobs"]),
        (&200.into(), &500.into())
    );
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_on_all_cores_is_compared_with_one_that_is_kept_to_one() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("ok", "")])?;
    let wasm = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let report = found(bench(&settings, &[&wasm, "--mode", "cores", "--jobs", "300", "--json"]))?;
    let [one, all, ratio] = ["one_core_jobs_per_s", "all_cores_jobs_per_s", "ratio"]
        .map(|name| number(&report, &format!("/scaling/{name}")));
    assert!(one > 0.0 && (all / one - ratio).abs() < 0.01, "{report}");
    assert_eq!(report["scaling"]["jobs"], 300);
    let [one, all] = ["one_core_seconds", "all_cores_seconds"].map(|name| number(&report, &format!("/scaling/{name}")));
    assert!(one > 0.0 && all > 0.0, "{report}");
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_tells_how_long_jobs_wait_and_run() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("ok", "")])?;
    let wasm = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let report = found(bench(
        &settings,
        &[&wasm, "--mode", "rate", "--rate", "200", "--time", "500ms", "--json"],
    ))?;
    assert_eq!(
        (&report["rate"]["jobs"], &report["rate"]["completed_jobs"]),
        (&90.into(), &90.into()),
        "one in ten warms up"
    );
    for spread in [
        "bare_due_to_taken",
        "due_to_started",
        "due_to_answered",
        "started_to_settled",
        "due_to_settled",
    ] {
        assert_spread(&report, &format!("/rate/{spread}"));
    }
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn delayed_jobs_are_timed_from_the_instant_they_are_due() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("ok", "")])?;
    let wasm = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let report = found(bench(&settings, &[&wasm, "--mode", "due", "--jobs", "300", "--json"]))?;
    assert_eq!(
        (&report["due"]["completed_jobs"], &report["due"]["early_jobs"]),
        (&300.into(), &0.into())
    );
    assert_spread(&report, "/due/due_to_started");
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_plugin_it_measures_pushes_and_with_nothing_to_do_a_worker_at_rest() -> anyhow::Result<()> {
    let settings = redis_settings();
    let report = found(bench(&settings, &["--jobs", "2000", "--json"]))?;
    assert_eq!(report["mode"], "push");
    assert!(number(&report, "/push/single_ratio") > 0.0);
    let folder = folder_of(&[("ok", "")])?;
    let wasm = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let report = found(bench(&settings, &[&wasm, "--mode", "idle", "--time", "1s", "--json"]))?;
    assert!(number(&report, "/redis/commands_per_s") > 0.0);
    assert!(number(&report, "/worker/cpu_percent") < 50.0, "{report}");
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_measured_without_what_only_one_server_could_tell() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let wasm = folder.path().join("echo.wasm").to_string_lossy().into_owned();
    for settings in [cluster_settings(), tagged_cluster_settings()] {
        let report = found(bench(&settings, &[&wasm, "1", "--jobs", "300", "--json"]))?;
        assert_eq!(
            (&report["drain"]["completed_jobs"], &report["redis"]),
            (&300.into(), &Value::Null)
        );
        for node in &shared_cluster().nodes {
            assert_eq!(keys(node, &settings.prefix).await?, Vec::<String>::new());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_fail_are_measured_and_told_of() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("permanent", "")])?;
    let wasm = folder.path().join("permanent.wasm").to_string_lossy().into_owned();
    let (code, stdout, stderr) = said(bench(&settings, &[&wasm, "--jobs", "50", "--json"]))?;
    let report: Value = serde_json::from_str(&stdout)?;
    assert_eq!((code, &report["drain"]["completed_jobs"]), (Some(1), &0.into()));
    assert!(
        stderr.contains("jobs failed") && stderr.contains("rejected: "),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_and_its_worker_and_leaves_no_key() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("nap", "")])?;
    let wasm = folder.path().join("nap.wasm").to_string_lossy().into_owned();
    let running = bench(&settings, &[&wasm, "50", "--jobs", "100000"])
        .stderr(Stdio::piped())
        .spawn()?;
    until_its_worker_runs(&settings).await?;
    signal("-INT", running.id())?;
    let Output { status, stderr, .. } = running.wait_with_output()?;
    let stderr = String::from_utf8(stderr)?;
    assert_eq!(
        (status.code(), &*stderr),
        (Some(130), "kiln: interrupted; its keys are deleted\n")
    );
    assert_eq!(keys(shared_redis(), &settings.prefix).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_does_not_outlive_the_benchmark_that_started_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let folder = folder_of(&[("nap", "")])?;
    let wasm = folder.path().join("nap.wasm").to_string_lossy().into_owned();
    let mut running = bench(&settings, &[&wasm, "50", "--jobs", "100000"]).spawn()?;
    until_its_worker_runs(&settings).await?;
    running.kill()?;
    running.wait()?;
    eventually("the lease is given up", async || {
        let leases = keys(shared_redis(), &format!("{}*leases", settings.prefix)).await?;
        Ok(leases.is_empty().then_some(()))
    })
    .await
}

async fn until_its_worker_runs(settings: &StoreSettings) -> anyhow::Result<()> {
    eventually("the worker holds jobs", async || {
        let held = keys(shared_redis(), &format!("{}*inflight", settings.prefix)).await?;
        Ok((!held.is_empty()).then_some(()))
    })
    .await
}

fn signal(signal: &str, process: u32) -> anyhow::Result<()> {
    assert!(
        Command::new("kill")
            .args([signal, &process.to_string()])
            .status()?
            .success()
    );
    Ok(())
}

#[test]
fn every_mistake_gets_a_line_that_helps_and_its_exit_code() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let ok = folder.path().join("ok.wasm").to_string_lossy().into_owned();
    let text = folder.path().join("text.wasm").to_string_lossy().into_owned();
    std::fs::write(&text, "hello")?;
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["--store", "redis://127.0.0.1:1"],
            3,
            "kiln: no redis at 127.0.0.1:1: ",
        ),
        (
            &["--store", "memory:"],
            2,
            "kiln: a store in memory would end with this command",
        ),
        (
            &["--store", "http://x"],
            2,
            "kiln: store \"http://x\": expected redis://",
        ),
        (&["/nowhere.wasm"], 4, "kiln: /nowhere.wasm: No such file"),
        (&[&text], 4, "kiln: "),
        (&[&ok, "{a:1}"], 2, "kiln: payload is not JSON: "),
        (&[&ok, "@/nowhere"], 2, "kiln: payload /nowhere: No such file"),
        (
            &["--mode", "burst"],
            2,
            "kiln: --mode burst needs a plugin: kiln bench FILE.wasm",
        ),
        (
            &["--mode", "fast"],
            2,
            "[possible values: push, burst, cores, rate, due, idle]",
        ),
        (&["--jobs", "0"], 2, "--jobs"),
        (&["--jobs", "many"], 2, "--jobs"),
        (
            &[&ok, "--mode", "idle", "--jobs", "1"],
            2,
            "kiln: --jobs means nothing to mode idle; it is for push, burst, cores, due",
        ),
        (
            &[&ok, "--rate", "1"],
            2,
            "kiln: --rate means nothing to mode burst; it is for rate",
        ),
        (&[&ok, "--mode", "rate", "--rate", "0"], 2, "--rate"),
        (
            &["--time", "1s"],
            2,
            "kiln: --time means nothing to mode push; it is for rate, idle",
        ),
        (&[&ok, "--mode", "rate", "--time", "0s"], 2, "must be more than 0"),
        (
            &[&ok, "--mode", "rate", "--time", "soon"],
            2,
            "\"soon\" is not a duration",
        ),
        (
            &[&ok, "--mode", "due", "--backlog", "1"],
            2,
            "kiln: --backlog means nothing to mode due; it is for burst",
        ),
        (&["--delayed", "1"], 2, "kiln: --delayed means nothing to mode push"),
        (&["--copies", "few"], 2, "--copies"),
        (&["--concurrency", "0"], 2, "--concurrency"),
        (&["--payload-bytes", "much"], 2, "--payload-bytes"),
        (
            &["--payload-bytes", "3"],
            2,
            "kiln: --payload-bytes 3: this payload has at least 14 then",
        ),
        (
            &["--payload-bytes", "17000000"],
            2,
            "kiln: payload is too large: 17000000 bytes",
        ),
        (
            &[&ok, "[1]", "--payload-bytes", "99"],
            2,
            "kiln: --payload-bytes adds a key to the payload, which has to be an object",
        ),
        (&["--limit", "x=1"], 2, "there is no limit \"x\""),
    ];
    for (args, code, expected) in cases {
        let mut command = kiln();
        command.arg("bench").args(*args);
        let (found, _, stderr) = said(command)?;
        assert_eq!(found, Some(*code), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
    Ok(())
}
