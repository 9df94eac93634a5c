//! The `kiln` command as its users meet it: what it says, how it exits, how it stops and what it survives.

use std::io::{Read as _, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use kiln::queue::{Store, StoreSettings};

use crate::service::{folder_of, push};
use crate::support::{default_queue, kiln, plugins, redis_settings};

fn run(command: &mut Command) -> anyhow::Result<(i32, String, String)> {
    let Output { status, stdout, stderr } = command.output()?;
    Ok((
        status.code().unwrap_or(-1),
        String::from_utf8(stdout)?,
        String::from_utf8(stderr)?,
    ))
}

fn on_store<'a>(command: &'a mut Command, settings: &StoreSettings) -> &'a mut Command {
    command.args(["--store", &settings.url, "--prefix", &settings.prefix])
}

#[test]
fn the_help_of_every_command_reads_like_this() -> anyhow::Result<()> {
    for command in [
        "",
        "new",
        "build",
        "worker",
        "push",
        "run",
        "inspect",
        "doctor",
        "queues",
        "lanes",
        "pause",
        "resume",
        "cancel",
        "schedules",
        "schedules run",
        "stats",
        "job",
        "logs",
        "result",
        "failed",
        "failed list",
        "failed retry",
        "state",
        "state set",
        "bench",
    ] {
        let (code, help, _) = run(kiln()
            .args(command.split_whitespace())
            .arg("--help")
            .env("COLUMNS", "100"))?;
        assert_eq!(code, 0, "{command}");
        insta::assert_snapshot!(format!("help {command}").trim().replace(' ', "-"), help);
    }
    Ok(())
}

#[test]
fn every_mistake_gets_a_line_that_helps_and_its_exit_code() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let text = folder.path().join("text.wasm");
    std::fs::write(&text, "hello")?;
    let text = text.to_str().expect("utf-8");
    let long = "x".repeat(1_025);
    let dead = ["--store", "redis://127.0.0.1:1"];
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["worker", "--plugins", "/nowhere"],
            4,
            "kiln: no plugin folder at /nowhere; create it, or name another",
        ),
        (
            &["push", "hello", dead[0], dead[1]],
            3,
            "kiln: no redis at 127.0.0.1:1: ",
        ),
        (
            &["queues", "--store", "http://x"],
            2,
            "kiln: store \"http://x\": expected redis://",
        ),
        (&["push", "hello", "{a:1}"], 2, "kiln: payload is not JSON: "),
        (
            &["push", "hello", "@/nowhere"],
            2,
            "kiln: payload /nowhere: No such file",
        ),
        (&["push", ""], 2, "kiln: the job needs a name"),
        (&["push"], 2, "required"),
        (&["push", "hello", "--delay", "soon"], 2, "\"soon\" is not a duration"),
        (&["push", "hello", "--at", "soon"], 2, "--at"),
        (&["push", "hello", "--meta", "x"], 2, "\"x\" is not KEY=VALUE"),
        (&["push", "hello", "--timeout", "0s"], 2, "must be more than 0"),
        (
            &["push", "hello", "--id", &long],
            2,
            "kiln: no worker would take this job: not a job: key \"id\": 1025 bytes, at most 1024 are taken",
        ),
        (&["push", &long], 2, "key \"name\": 1025 bytes, at most 1024 are taken"),
        (&["push", "--batch", "/nowhere"], 2, "kiln: /nowhere: No such file"),
        (&["worker", "--queue", "a b"], 2, "must not contain spaces"),
        (&["worker", "--queue", "a=0"], 2, "a whole number of turns from 1"),
        (&["worker", "--queue", "a,b=2,a"], 2, "kiln: queue a is named twice"),
        (&["worker", "--concurrency", "0"], 2, "--concurrency"),
        (&["worker", "--lease", "1ms"], 2, "from 1s to 1h"),
        (&["worker", "--grace=-1s"], 2, "is negative; a duration is 0s or more"),
        (&["push", "hello", "--delay", "-5s"], 2, "\"-5s\" is negative"),
        (
            &["push", "hello", "--traceparent", "00-tea"],
            2,
            "expected 00-TRACE-SPAN-FLAGS",
        ),
        (&["serve", "--allow-host", "http://x/"], 2, "expected a name alone"),
        (&["worker", "--log", "kiln=loud"], 2, "kiln: --log \"kiln=loud\""),
        (&["worker", "--max-memory", "much"], 2, "--max-memory"),
        (
            &["worker", "--limit", "x=1"],
            2,
            "there is no limit \"x\"; there are timeout, ",
        ),
        (
            &["worker", "--limit", "log_lines"],
            2,
            "write it like http_requests=100",
        ),
        (
            &["worker", "--limit", "log_lines=1MiB"],
            2,
            "\"1MiB\" is no whole number",
        ),
        (
            &["worker", "--limit", "log_lines=9..8"],
            2,
            "the ceiling 8 is below the value 9",
        ),
        (&["worker", "--limit", "cpu_time=0s"], 2, "cpu_time goes from 1ms"),
        (&["worker", "--nonsense"], 2, "unexpected argument"),
        (&["run", "/nowhere.wasm"], 4, "kiln: /nowhere.wasm: No such file"),
        (&["run", text], 4, "kiln: "),
        (&["inspect", text], 4, "kiln: "),
        (
            &["failed", "list", "--kind", "bad"],
            2,
            "no such kind; there are rejected, error, trap",
        ),
        (&["failed", "retry"], 2, "required"),
        (
            &["failed", "show", "x", "--store", "memory:"],
            2,
            "kiln: a store in memory would end with this command",
        ),
    ];
    for (args, code, said) in cases {
        let (found, _, stderr) = run(kiln().args(*args))?;
        assert_eq!(found, *code, "{args:?}: {stderr}");
        assert!(stderr.contains(said), "{args:?}: {stderr}");
        assert!(stderr.lines().count() == 1 || *code == 2, "{args:?}: {stderr}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pushed_job_is_as_dg_queue_would_write_it() -> anyhow::Result<()> {
    let settings = redis_settings();
    let mut command = kiln();
    on_store(
        command.args([
            "push",
            "hello",
            "{\"n\": 1.0}",
            "--meta",
            "a=b",
            "--timeout",
            "2s",
            "--id",
            "me",
        ]),
        &settings,
    );
    let (code, id, stderr) = run(&mut command)?;
    assert_eq!((code, &*id), (0, "me\n"), "{stderr}");
    let store = Store::open(&settings).await?;
    let consumer = kiln::queue::Consumer::join(
        store,
        vec![default_queue()],
        std::time::Duration::from_mins(1),
        kiln::events::Events::default(),
    )
    .await?;
    let json = String::from_utf8(consumer.fetch(&default_queue(), 1).await?[0].bytes().to_vec())?;
    let start = r#"{"id":"me","name":"hello","queue":"default","payload":{"n": 1.0},"attempts":0,"timeout":2000000000,"delay":0,"available_at":""#;
    assert!(
        json.starts_with(start) && json.ends_with(r#","metadata":{"a":"b"}}"#),
        "{json}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_pushed_up_to_its_first_bad_line() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let mut file = tempfile::NamedTempFile::new()?;
    for n in 0..2_500 {
        writeln!(file, r#"{{"name":"hello","payload":{n}}}"#)?;
    }
    let path = file.path().to_str().expect("utf-8").to_owned();
    let mut command = kiln();
    assert_eq!(
        run(on_store(command.args(["push", "--batch", &path]), &settings))?.1,
        "2500 jobs pushed\n"
    );
    writeln!(file, r#"{{"name":"hello","delay":3600000000000}}"#)?;
    writeln!(file, r#"{{"name":"hello","available_at":"2100-01-01T00:00:00Z"}}"#)?;
    writeln!(file, "\n{{}}")?;
    let (code, _, stderr) = run(on_store(kiln().args(["push", "--batch", &path]), &settings))?;
    assert_eq!(code, 2);
    assert!(
        stderr.contains(":2504: not a job: it has no name") && stderr.contains("the 2502 jobs before it"),
        "{stderr}"
    );
    let counts = store.counts(&default_queue()).await?;
    assert_eq!((counts.ready, counts.delayed), (5_000, 2));
    Ok(())
}

#[test]
fn run_tells_the_outcome_by_result_and_exit_code() -> anyhow::Result<()> {
    let folder = folder_of(&[
        ("echo", ""),
        ("permanent", ""),
        ("retry", ""),
        ("trap", ""),
        ("grow", "max_memory = \"1MiB\""),
        ("retry_after", "retry = { max = \"1.2s\" }"),
    ])?;
    let run = |name: &str, extra: &[&str]| {
        run(kiln()
            .arg("run")
            .arg(folder.path().join(format!("{name}.wasm")))
            .args(extra))
    };
    let (code, stdout, stderr) = run("echo", &["{\"a\": 1.0}"])?;
    assert_eq!((code, &*stdout), (0, "{\"a\": 1.0}\n"), "{stderr}");
    for (name, expected) in [("permanent", 10), ("retry", 11), ("trap", 12), ("grow", 14)] {
        let (code, stdout, stderr) = run(name, &[])?;
        assert_eq!((code, &*stdout), (expected, ""), "{stderr}");
    }
    let (_, _, stderr) = run("retry_after", &[])?;
    assert!(
        stderr.ends_with("; a worker would retry the job after 1s 200ms\n"),
        "{stderr}"
    );
    let (code, stdout, _) = run("trap", &["--json"])?;
    let report: serde_json::Value = serde_json::from_str(&stdout)?;
    assert_eq!((code, &report["failure"]["kind"]), (12, &"trap".into()));
    Ok(())
}

#[test]
fn a_plugin_runs_under_every_limit_that_makes_sense() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    for limit in [
        "memories=16",
        "tables=100",
        "compile_time=500ms",
        "http_requests=0",
        "stack=2MiB",
    ] {
        let (code, _, stderr) = run(kiln()
            .arg("run")
            .arg(folder.path().join("ok.wasm"))
            .args(["--limit", limit, "--cache-dir"])
            .arg(folder.path().join("cache").join(limit)))?;
        assert_eq!(code, 0, "{limit}: {stderr}");
    }
    Ok(())
}

#[test]
fn inspect_tells_what_a_plugin_imports_and_what_it_would_need() -> anyhow::Result<()> {
    let (code, stdout, stderr) = run(kiln().arg("inspect").arg(plugins().join("webhook.wasm")))?;
    assert_eq!(code, 0, "{stderr}");
    for said in [
        "exports   kiln:job/handler@0.1.0",
        "granted: https://hooks.example.com",
        "it loads",
    ] {
        assert!(stdout.contains(said), "{stdout}");
    }
    Ok(())
}

#[test]
fn inspect_tells_which_requests_and_secrets_are_granted() -> anyhow::Result<()> {
    let manifest = "[[grants.http]]\norigin = \"http://a.example\"\npath = \"/v1\"\nmethods = [\"GET\"]\n\
                    private = true\n[grants.secrets.KEY]\norigin = \"http://a.example\"";
    let folder = folder_of(&[("request", manifest)])?;
    let inspect = || {
        let mut command = kiln();
        command.arg("inspect").arg(folder.path().join("request.wasm"));
        command
    };
    let (code, stdout, _) = run(inspect().env("KILN_SECRET_KEY", "s3cret"))?;
    assert_eq!(code, 0, "{stdout}");
    for said in [
        "granted: GET http://a.example/v1 (private addresses too)",
        "granted: KEY (secret, for http://a.example)",
    ] {
        assert!(stdout.contains(said), "{stdout}");
    }
    assert!(!stdout.contains("s3cret"), "{stdout}");
    let (code, stdout, _) = run(&mut inspect())?;
    assert_eq!(code, 4, "{stdout}");
    assert!(
        stdout.contains("it does not load: secret KEY: not in the environment as KILN_SECRET_KEY"),
        "{stdout}"
    );
    Ok(())
}

#[test]
fn a_secret_is_in_the_environment_or_in_the_folder() -> anyhow::Result<()> {
    let folder = folder_of(&[("environment", "[grants.secrets.KEY]\nexpose = \"value\"")])?;
    let secrets = tempfile::tempdir()?;
    std::fs::write(secrets.path().join("KEY"), "from a file\n")?;
    let go = || {
        let mut command = kiln();
        command.arg("run").arg(folder.path().join("environment.wasm"));
        command.arg("--secrets").arg(secrets.path());
        command
    };
    assert_eq!(run(&mut go())?.1, "\"from a file\"\n");
    assert_eq!(run(go().env("KILN_SECRET_KEY", "from there"))?.1, "\"from there\"\n");
    Ok(())
}

#[test]
fn a_run_can_be_granted_what_the_manifest_does_not() -> anyhow::Result<()> {
    let folder = folder_of(&[("state", "[grants.state.kept]"), ("exchange", "")])?;
    let go = |guest: &str, payload: &str, allowed: &[&str]| {
        let mut command = kiln();
        command
            .arg("run")
            .arg(folder.path().join(guest).with_extension("wasm"))
            .arg(payload);
        command.args(allowed.iter().flat_map(|grant| ["--allow", grant]));
        run(&mut command)
    };
    let count = r#""now counts n""#;
    let (code, _, denied) = go("state", count, &[])?;
    assert_eq!(code, 15, "{denied}");
    assert!(
        denied.starts_with("denied: state bucket"),
        "the reason comes first: {denied}"
    );
    assert_eq!(go("state", count, &["state=counts"])?.1, "[0,1]\n");
    assert_eq!(
        go("state", r#""now kept n""#, &["state=kept"])?.1,
        "[0,1]\n",
        "what it has is no mistake"
    );
    let server = TcpListener::bind("127.0.0.1:0")?;
    let origin = format!("http://{}", server.local_addr()?);
    let answering = std::thread::spawn(move || {
        let (mut connection, _) = server.accept()?;
        let read = connection.read(&mut [0; 1024])?;
        assert!(read > 0, "a request");
        connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
    });
    let (_, answer, _) = go(
        "exchange",
        &format!("{:?}", format!("GET {origin}/ 0 1")),
        &[&format!("http={origin}")],
    )?;
    assert!(answer.starts_with("[204,"), "{answer}");
    answering.join().expect("no panic")?;
    for wrong in ["http", "ftp=x", "http=example.com", "state=a/b"] {
        let (code, _, told) = go("state", count, &[wrong])?;
        assert!(code == 2 && told.contains("--allow"), "{wrong}: {told}");
    }
    Ok(())
}

#[test]
fn a_store_in_memory_works_from_the_command_line() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let jobs = folder.path().join("jobs.ndjson");
    std::fs::write(&jobs, "{\"name\":\"ok\"}\n{\"name\":\"ok\"}\n")?;
    let mut command = kiln();
    command
        .args([
            "worker",
            "--store",
            "memory:",
            "--burst",
            "--log",
            "kiln=debug",
            "--plugins",
        ])
        .arg(folder.path());
    let (code, _, stderr) = run(command.arg("--jobs").arg(jobs))?;
    assert_eq!((code, stderr.matches("job completed").count()), (0, 2), "{stderr}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_failed_list_is_read_and_worked_through_by_filter_and_by_id() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let folder = folder_of(&[("permanent", ""), ("trap", "")])?;
    push(
        &store,
        &[
            r#"{"id":"a","name":"permanent","payload":9007199254741455}"#,
            r#"{"id":"b","name":"trap","max_attempts":1}"#,
            r#"{"id":"c","name":"trap","max_attempts":1}"#,
            "garbage",
        ],
    )
    .await?;
    let worker = |command: &mut Command| {
        run(on_store(
            command.args(["worker", "--burst", "--plugins"]).arg(folder.path()),
            &settings,
        ))
    };
    assert_eq!(worker(&mut kiln())?.0, 0);
    let failed = |args: &[&str]| run(on_store(kiln().arg("failed").args(args), &settings));
    let (code, list, _) = failed(&["list"])?;
    assert_eq!((code, list.lines().count()), (0, 4), "{list}");
    assert_eq!(failed(&["list", "--kind", "trap"])?.1.lines().count(), 2);
    assert_eq!(failed(&["list", "--older-than", "1h"])?.1.lines().count(), 0);
    assert!(
        failed(&["show", "a"])?.1.contains("9007199254741455"),
        "no number is rounded"
    );
    let (code, stdout, stderr) = failed(&["retry", "a", "nobody"])?;
    assert_eq!((code, &*stdout), (5, "1 job put back\n"), "{stderr}");
    assert!(stderr.contains("with id nobody"), "{stderr}");
    assert_eq!(failed(&["delete", "--kind", "trap"])?.1, "2 entries deleted\n");
    let (code, _, stderr) = failed(&["delete", "b"])?;
    assert_eq!(code, 5, "{stderr}");
    let (code, _, stderr) = failed(&["purge"])?;
    assert_eq!(code, 2, "{stderr}");
    assert_eq!(failed(&["purge", "--yes"])?.1, "1 entry deleted\n");
    let (_, queues, _) = run(on_store(kiln().args(["queues", "--json"]), &settings))?;
    let queues: serde_json::Value = serde_json::from_str(&queues)?;
    assert_eq!(
        (&queues["queues"]["default"]["ready"], &queues["failed"]),
        (&1.into(), &0.into())
    );
    Ok(())
}
