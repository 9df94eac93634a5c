//! What operators see of schedules: `kiln schedules`, and what the doctor says.

use kiln::queue::{Store, StoreSettings};
use serde_json::Value;

use crate::process::Worker;
use crate::service::folder_of;
use crate::support::{eventually, kiln, redis_settings};

/// What a command prints.
fn asked(settings: &StoreSettings, args: &[&str]) -> anyhow::Result<(Option<i32>, String, String)> {
    let output = kiln()
        .args(args)
        .args(["--store", &settings.url, "--prefix", &settings.prefix])
        .output()?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code(), text(output.stdout), text(output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_what_fires_when_and_fire_it_now() -> anyhow::Result<()> {
    let manifest = "[[schedule]]\nid = \"nightly\"\ncron = \"0 3 * * *\"\nzone = \"Asia/Tokyo\"\npayload = [1]\n\
                    [[schedule]]\nid = \"often\"\nevery = \"1s\"\nqueue = \"elsewhere\"\n";
    let folder = folder_of(&[("echo", manifest)])?;
    let settings = redis_settings();
    assert_eq!(
        asked(&settings, &["schedules"])?.1,
        "no running worker has a schedule\n"
    );
    let worker = Worker::start(&settings, folder.path(), &[])?;
    worker
        .until_said("schedules push to a queue that this worker does not serve")
        .await?;
    let listed = eventually("the schedules", async || {
        let listed: Value = serde_json::from_str(&asked(&settings, &["schedules", "--json"])?.1)?;
        Ok((!listed[1]["last"].is_null()).then_some(listed))
    })
    .await?;
    let nightly = &listed[0];
    let told = ["name", "job", "queue", "when", "zone"].map(|key| nightly[key].as_str().expect(key));
    assert_eq!(told, ["echo/nightly", "echo", "default", "0 3 * * *", "Asia/Tokyo"]);
    assert_eq!(
        (nightly["last"].clone(), nightly["hosts"].as_array().map(Vec::len)),
        (Value::Null, Some(1))
    );
    let next: Vec<_> = nightly["next"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(next.len(), 5);
    assert!(next.iter().all(|time| time.ends_with("T03:00:00+09:00")), "{next:?}");

    let (code, text, _) = asked(&settings, &["schedules"])?;
    assert_eq!(code, Some(0));
    let head = "echo/nightly: 0 3 * * * (Asia/Tokyo), job echo on queue default, by 1 worker\n  last  -\n  next  ";
    assert!(text.starts_with(head), "{text}");
    assert!(
        text.contains("\necho/often: every 1s (UTC), job echo on queue elsewhere, by 1 worker\n  last  20"),
        "{text}"
    );

    let (code, text, told) = asked(&settings, &["schedules", "run", "nightly", "--json"])?;
    assert_eq!(code, Some(0), "{told}");
    let pushed: Value = serde_json::from_str(&text)?;
    assert_eq!(
        (&pushed["schedule"], &pushed["queue"]),
        (&"echo/nightly".into(), &"default".into())
    );
    let store = Store::open(&settings).await?;
    let id = pushed["id"].as_str().expect("an id");
    let result = eventually("its result", async || Ok(store.result(id).await?)).await?;
    assert_eq!(result, "[1]");
    let (code, _, told) = asked(&settings, &["schedules", "run", "weekly"])?;
    assert_eq!(
        (code, &*told),
        (Some(5), "kiln: no running worker has a schedule \"weekly\"\n")
    );
    let (_, text, _) = asked(&settings, &["plugins"])?;
    assert!(text.contains("schedules nightly, often"), "{text}");

    let wasm = folder.path().join("echo.wasm");
    let inspected = kiln().arg("inspect").arg(&wasm).output()?;
    let inspected = String::from_utf8_lossy(&inspected.stdout).into_owned();
    assert!(
        inspected.contains("\nschedule  nightly: 0 3 * * * (Asia/Tokyo), to queue default\n"),
        "{inspected}"
    );
    Ok(())
}

#[test]
fn the_doctor_says_how_many_schedules_there_are_and_which_push_elsewhere() -> anyhow::Result<()> {
    let schedule = |n: usize| format!("[[schedule]]\nid = \"{n}\"\nevery = \"1h\"\nqueue = \"q{}\"\n", n % 2);
    let most = |count: usize| (0..count).map(schedule).collect::<String>();
    let folder = folder_of(&[("ok", &most(1_000)), ("echo", "")])?;
    let doctor = || {
        let mut doctor = kiln();
        doctor.args(["doctor", "--store", "memory:", "--json", "--queue", "q0", "--plugins"]);
        doctor.arg(folder.path());
        doctor
    };
    let findings = || {
        let report: Value = serde_json::from_slice(&doctor().output()?.stdout)?;
        let findings = report["findings"].as_array().expect("findings").clone();
        anyhow::Ok(
            findings
                .into_iter()
                .filter(|finding| finding["about"] == "schedules")
                .collect::<Vec<_>>(),
        )
    };
    let found = findings()?;
    assert_eq!(
        (&found[0]["level"], &found[0]["text"]),
        (&"ok".into(), &"1000 of at most 1000".into())
    );
    assert_eq!(
        found[1]["text"],
        "500 push to queue q1, which this worker does not serve: ok/1 …"
    );
    assert_eq!(found.len(), 2);
    std::fs::write(folder.path().join("echo.toml"), most(1))?;
    let text = "1001 schedules, and no more than 1000 fire on one host";
    assert_eq!(
        (&findings()?[0]["level"], &findings()?[0]["text"]),
        (&"bites".into(), &text.into())
    );
    Ok(())
}
