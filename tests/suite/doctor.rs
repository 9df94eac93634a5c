//! `kiln doctor` as its users meet it: what it shows, and what it says would bite.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use kiln::config::Limit;
use serde_json::Value;

use crate::servers::Server;
use crate::service::folder_of;
use crate::support::{kiln, shared_redis};

/// A doctor for a worker with these plugins and a cache of its own.
fn doctor(folder: &Path, cache: &Path) -> Command {
    let mut command = kiln();
    command
        .env("KILN_STORE", shared_redis().url())
        .args(["doctor", "--json", "--plugins"]);
    command.arg(folder).arg("--cache-dir").arg(cache);
    command
}

/// Its exit code and what it found.
fn ask(command: &mut Command) -> anyhow::Result<(Option<i32>, Value)> {
    let output = command.output()?;
    let report = serde_json::from_slice(&output.stdout)
        .map_err(|err| anyhow::anyhow!("{err}: {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok((output.status.code(), report))
}

/// What it says would bite.
fn bites(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    let biting = findings.iter().filter(|finding| finding["level"] == "bites");
    biting
        .map(|finding| {
            let part = |key| finding[key].as_str().unwrap_or_default();
            format!("{}: {}; {}", part("about"), part("text"), part("advice"))
        })
        .collect()
}

#[test]
fn doctor_shows_every_limit_and_where_it_comes_from() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "timeout = \"5s\"\n[limits]\nhttp_requests = 3")])?;
    let cache = tempfile::tempdir()?;
    let mut command = doctor(folder.path(), cache.path());
    let (code, report) = ask(command.args(["--limit", "log_lines=10..20", "--max-timeout", "1m"]))?;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(bites(&report), [""; 0]);
    let limit = |name: &str| {
        let limits = report["limits"].as_array().expect("limits");
        limits
            .iter()
            .find(|limit| limit["name"] == name)
            .cloned()
            .expect("a limit")
    };
    let row = |name: &str, unit, value, ceiling, from: &str| {
        let spec = name.parse::<Limit>().expect("a limit").spec();
        serde_json::json!({
            "name": name, "unit": unit, "value": value, "ceiling": ceiling, "from": from,
            "least": spec.least, "greatest": spec.greatest,
        })
    };
    assert_eq!(limit("log_lines"), row("log_lines", "count", 10, Some(20), "host"));
    assert_eq!(limit("timeout"), row("timeout", "ms", 60_000, Some(60_000), "host"));
    assert_eq!(limit("stack"), row("stack", "bytes", 512 * 1024, None, "default"));
    assert_eq!(limit("guest_memory")["from"], "machine");
    let own = serde_json::json!([
        { "plugin": "ok", "name": "timeout", "unit": "ms", "value": 5_000 },
        { "plugin": "ok", "name": "http_requests", "unit": "count", "value": 3 },
    ]);
    assert_eq!(report["plugin_limits"], own);
    let bounds = report["bounds"].as_array().expect("bounds");
    let bound = |name| {
        bounds
            .iter()
            .find(|bound| bound["name"] == name)
            .map(|bound| &bound["value"])
    };
    let named = ["refusals", "piece_tries", "behind"].map(bound);
    assert_eq!(
        named,
        [12, 10, 512].map(Value::from).each_ref().map(Some),
        "as docs/limits.md has them"
    );
    Ok(())
}

#[test]
fn doctor_names_what_would_bite_and_exits_with_7() -> anyhow::Result<()> {
    let evicting = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"])?;
    let good = folder_of(&[("ok", "")])?;
    let bad = folder_of(&[("ok", "[limits]\nlog_lines = 2000000"), ("not_offered", "")])?;
    let cache = tempfile::tempdir()?;
    let open = tempfile::tempdir()?;
    std::fs::set_permissions(open.path(), PermissionsExt::from_mode(0o777))?;
    let on = |folder: &Path, args: &[&str]| ask(doctor(folder, cache.path()).args(args));
    let cases = [
        (
            on(good.path(), &["--store", "redis://127.0.0.1:1"])?,
            "store: no redis at 127.0.0.1:1",
        ),
        (
            on(good.path(), &["--store", &evicting.url()])?,
            "store: maxmemory-policy is allkeys-lru: jobs may be evicted",
        ),
        (on(Path::new("/nowhere"), &[])?, "plugins: no plugin folder at /nowhere"),
        (
            on(open.path(), &[])?,
            "others may write to it, and what lies there is run; chmod go-w",
        ),
        (
            on(bad.path(), &[])?,
            "log_lines = 2000000: this host allows up to 1000000",
        ),
        (on(bad.path(), &[])?, "plugins: not_offered: "),
        (
            ask(&mut doctor(good.path(), open.path()))?,
            "others may write to it; make it private: chmod 700",
        ),
        (
            on(good.path(), &["--limit", "guest_memory=4096GiB"])?,
            "memory: guests may hold 4.0 TiB together, and there are",
        ),
        (
            on(good.path(), &["--limit", "guest_memory=64MiB"])?,
            "memory: one attempt may hold 128.0 MiB, but half of what all may hold",
        ),
    ];
    for ((code, report), expected) in cases {
        assert_eq!(code, Some(7), "{expected}: {report}");
        let found = bites(&report);
        assert!(
            found.iter().any(|found| found.contains(expected)),
            "{expected}: {found:?}"
        );
    }
    Ok(())
}

#[test]
fn doctor_measures_what_the_machine_gives() -> anyhow::Result<()> {
    let http = "[[grants.http]]\norigin = \"http://a.example\"";
    let both = format!("{http}\n[[grants.tcp]]\naddress = \"a.example:25\"");
    let folder = folder_of(&[("fetch", http), ("ok", &both)])?;
    let cache = tempfile::tempdir()?;
    let within = |ulimit: &str| {
        let inner = doctor(folder.path(), cache.path());
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit {ulimit}; exec \"$0\" \"$@\" --concurrency 64"));
        shell.env("KILN_STORE", shared_redis().url());
        ask(shell.arg(inner.get_program()).args(inner.get_args()))
    };
    for (ulimit, expected) in [
        (
            "-v 8000000",
            "sandbox: no pool, each attempt costs several times as much: address space is short",
        ),
        (
            "-n 100",
            "files: 100 may be open (ulimit -n); 64 attempts with 16 connections each could need 1088",
        ),
    ] {
        let (code, report) = within(ulimit)?;
        assert_eq!(code, Some(7), "{expected}: {report}");
        assert!(
            bites(&report).iter().any(|found| found.starts_with(expected)),
            "{expected}: {report}"
        );
    }
    Ok(())
}
