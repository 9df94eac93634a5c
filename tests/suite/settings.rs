//! Settings out of a file, as the commands meet them: what goes over what, what is refused, and who takes what from it.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::service::folder_of;
use crate::support::{kiln, redis_settings};

fn file(text: &str) -> anyhow::Result<NamedTempFile> {
    let mut file = NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}

/// Exit code, standard output and standard error.
fn run(command: &mut Command) -> anyhow::Result<(Option<i32>, String, String)> {
    let output = command.output()?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// A doctor without a store, with this file.
fn doctor(config: &Path) -> Command {
    let mut command = kiln();
    command
        .env("KILN_STORE", "memory:")
        .args(["doctor", "--json", "--config"]);
    command.arg(config);
    command
}

fn report(command: &mut Command) -> anyhow::Result<Value> {
    let (_, stdout, stderr) = run(command)?;
    serde_json::from_str(&stdout).map_err(|err| anyhow::anyhow!("{err}: {stderr}"))
}

/// The value of a setting, and where the doctor says it comes from.
fn setting<'a>(report: &'a Value, name: &str) -> (Option<&'a str>, &'a str) {
    let settings = report["settings"].as_array().expect("settings");
    let found = settings.iter().find(|setting| setting["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no setting {name}"));
    (found["value"].as_str(), found["from"].as_str().expect("text"))
}

/// Every setting with its default, in the doctor's order.
pub(crate) fn defaults() -> anyhow::Result<Vec<(String, Option<String>)>> {
    let empty = file("")?;
    let report = report(doctor(empty.path()).env_remove("KILN_STORE"))?;
    let settings = report["settings"].as_array().expect("settings");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    Ok(settings
        .iter()
        .map(|setting| (text(&setting["name"]).expect("a name"), text(&setting["value"])))
        .collect())
}

/// That this text is a file of settings.
pub(crate) fn is_read(text: &str) -> anyhow::Result<()> {
    let config = file(text)?;
    report(&mut doctor(config.path())).map(drop)
}

#[test]
fn a_flag_goes_over_its_variable_that_over_the_file_and_the_file_over_the_default() -> anyhow::Result<()> {
    let config = file(
        "queue = [\"critical=5\", \"default\"]\nstrict = true\nconcurrency = 7\n\nlease = \"30s\"\ngrace = \"1m\"\n\
         limit = [\"log_lines=5\", \"http_requests=3..9\"]\nlog = \"warn\"\n",
    )?;
    let path = config.path().display();
    let report = report(
        doctor(config.path())
            .env("KILN_LEASE", "40s")
            .env("KILN_GRACE", "2m")
            .env("KILN_STRICT", "false")
            .args(["--grace", "3m"]),
    )?;
    let at = |line: u32| format!("{path}:{line}");
    for (name, value, from) in [
        ("grace", "3m", "flag"),
        ("lease", "40s", "KILN_LEASE"),
        ("strict", "false", "KILN_STRICT"),
        ("queue", "critical=5,default", &*at(1)),
        ("concurrency", "7", &*at(3)),
        ("limit", "log_lines=5,http_requests=3..9", &*at(7)),
        ("log", "warn", &*at(8)),
        ("result-ttl", "1h", "default"),
    ] {
        assert_eq!(setting(&report, name), (Some(value), from), "{name}");
    }
    assert_eq!(setting(&report, "failed-max"), (None, "default"));
    let limits = report["limits"].as_array().expect("limits");
    let requests = limits.iter().find(|limit| limit["name"] == "http_requests");
    let requests = requests.expect("the limit");
    assert_eq!((&requests["value"], &requests["ceiling"]), (&3.into(), &9.into()));
    Ok(())
}

#[test]
fn a_wrong_file_is_told_with_its_line_by_every_command() -> anyhow::Result<()> {
    let wrong = [
        (
            "\nlaese = \"1s\"",
            ":2: there is no setting \"laese\"; did you mean \"lease\"?",
        ),
        ("max_memory = 5", "did you mean \"max-memory\"?"),
        ("config = \"a\"", "there is no setting \"config\""),
        ("zzz = 1", "there is no setting \"zzz\"; the flags of kiln worker"),
        (
            "store = \"memory:\"\n[redis]\nurl = 1",
            ":2: there is no setting \"redis\"",
        ),
        ("[store]\nurl = 1", ":1: store is text or a whole number\n"),
        (
            "[alert]\nwebhok = \"https://a\"",
            ":2: there is no setting \"alert-webhok\"; did you mean \"alert-webhook\"?",
        ),
        (
            "[alert]\nfailed = \"10\"",
            ":2: invalid value '10' for '--alert-failed <N/DURATION>': \"10\": write it like 100/10m",
        ),
        ("grace = 1.5", ":1: grace is text or a whole number\n"),
        ("grace = [\"1s\"]", ":1: grace is text or a whole number\n"),
        ("queue = []", ":1: queue is text or a whole number, or a list of those"),
        ("strict = \"yes\"", ":1: strict is either true or false"),
        (
            "lease = \"1ms\"",
            ":1: invalid value '1ms' for '--lease <DURATION>': must be from 1s to 1h",
        ),
        ("unknown = \"drop\"", ":1: invalid value 'drop' for '--unknown <FATE>'"),
        ("limit = [\"a=1\"]", ":1: invalid value 'a=1' for '--limit"),
        ("concurrency = 0", ":1: invalid value '0' for '--concurrency <N>'"),
        ("plugins = \"\"", ":1: a value is required for '--plugins <DIR>'"),
        ("grace = \"1s\"\ngrace = \"2s\"", ":2: duplicate key"),
        ("grace", ":1: "),
    ];
    for (text, why) in wrong {
        let config = file(text)?;
        // No store is asked: what is wrong with the settings comes first.
        let (code, _, stderr) = run(kiln().args(["queues", "--config"]).arg(config.path()))?;
        assert_eq!(code, Some(2), "{text}: {stderr}");
        let begin = format!("kiln: {}:", config.path().display());
        assert!(stderr.starts_with(&begin) && stderr.contains(why), "{text}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
    Ok(())
}

/// Settings that go only so far: their flags, their variables, a value beyond that, and what is said of it.
const BEYOND: [(&str, &str, &str, &str); 19] = [
    ("limit", "KILN_LIMITS", "memories=0", "memories goes from 1 to 100: "),
    (
        "limit",
        "KILN_LIMITS",
        "stack=100GiB",
        "stack goes from 64.0 KiB to 64.0 MiB: ",
    ),
    (
        "limit",
        "KILN_LIMITS",
        "log_lines=1..2000000000",
        "log_lines goes from 0 to 1000000000: ",
    ),
    (
        "max-memory",
        "KILN_MAX_MEMORY",
        "0",
        "max_memory goes from 64.0 KiB to 64.0 GiB: ",
    ),
    (
        "max-timeout",
        "KILN_MAX_TIMEOUT",
        "0s",
        "timeout goes from 1ms to 168h: ",
    ),
    (
        "concurrency",
        "KILN_CONCURRENCY",
        "4294967295",
        "must be a whole number of attempts at once from 1 to 16384: ",
    ),
    ("concurrency", "KILN_CONCURRENCY", "1.5", "from 1 to 16384: "),
    (
        "queue",
        "KILN_QUEUES",
        "a=4294967295",
        "a whole number of turns from 1 to 1000000: ",
    ),
    ("lease", "KILN_LEASE", "2h", "must be from 1s to 1h: "),
    ("quarantine", "KILN_QUARANTINE", "50%/1ms", "must be from 1s to 24h: "),
    (
        "pool-size",
        "KILN_POOL_SIZE",
        "65",
        "a whole number of connections from 1 to 64: ",
    ),
    (
        "idle-connections",
        "KILN_IDLE_CONNECTIONS",
        "65",
        "connections from 0 to 64: ",
    ),
    (
        "store-retries",
        "KILN_STORE_RETRIES",
        "4294967295",
        "repetitions from 0 to 1000: ",
    ),
    ("dial-timeout", "KILN_DIAL_TIMEOUT", "0s", "must be from 1ms to 1h: "),
    ("read-timeout", "KILN_READ_TIMEOUT", "2h", "must be from 1ms to 1h: "),
    ("write-timeout", "KILN_WRITE_TIMEOUT", "2h", "must be from 1s to 1h: "),
    ("grace", "KILN_GRACE", "87601h", "is more than 87600h"),
    ("result-ttl", "KILN_RESULT_TTL", "87601h", "is more than 87600h"),
    ("failed-max-age", "KILN_FAILED_MAX_AGE", "87601h", "is more than 87600h"),
];

#[test]
fn what_goes_too_far_is_told_with_its_setting_and_its_range_wherever_it_is_set() -> anyhow::Result<()> {
    for (flag, variable, value, why) in BEYOND {
        let config = file(&format!("{flag} = {value:?}"))?;
        let told = [
            run(kiln().arg("worker").arg(format!("--{flag}={value}")))?,
            run(kiln().arg("worker").env(variable, value))?,
            run(kiln().arg("worker").env("KILN_CONFIG", config.path()))?,
        ];
        for (code, _, stderr) in told {
            assert_eq!(code, Some(2), "{flag} = {value}: {stderr}");
            assert!(
                stderr.contains(&format!("'--{flag} <")) && stderr.contains(why),
                "{flag} = {value}: {stderr}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_file_that_cannot_be_read_as_settings_is_refused() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let [large, binary] = ["large", "binary"].map(|name| folder.path().join(name));
    std::fs::write(&large, "# long\n".repeat(40_000))?;
    std::fs::write(&binary, [0xff, 0xfe])?;
    let missing = folder.path().join("missing");
    for (path, why) in [
        (&*missing, "No such file"),
        (folder.path(), "not a regular file"),
        (&*large, "is larger than 262144 bytes"),
        (&*binary, "invalid utf-8"),
    ] {
        let (code, _, stderr) = run(kiln().arg("worker").env("KILN_CONFIG", path))?;
        assert_eq!(code, Some(2), "{stderr}");
        let begin = format!("kiln: {}: {why}", path.display());
        assert!(stderr.starts_with(&begin), "{stderr}");
    }
    Ok(())
}

#[test]
fn every_command_takes_from_the_file_what_it_has_a_flag_for() -> anyhow::Result<()> {
    let (settings, plugins) = (redis_settings(), folder_of(&[("ok", "")])?);
    let config = file(&format!(
        "store = {:?}\nprefix = {:?}\nplugins = {:?}\nqueue = [\"critical=2\", \"default\"]\ncache-dir = {:?}\nburst = true",
        settings.url,
        settings.prefix,
        plugins.path(),
        plugins.path().join("cache"),
    ))?;
    let go = |args: &[&str]| run(kiln().args(args).env("KILN_CONFIG", config.path()));
    let done = |args: &[&str]| {
        let (code, stdout, stderr) = go(args)?;
        anyhow::ensure!(code == Some(0), "{args:?}: {stderr}");
        anyhow::Ok(stdout)
    };
    // The queues that a worker serves are not the queue that a job is pushed to.
    done(&["push", "ok"])?;
    done(&["push", "nobody", "--queue", "critical"])?;
    let queues: Value = serde_json::from_str(&done(&["queues", "--json"])?)?;
    let shown = queues.to_string();
    assert!(
        shown.contains("\"critical\"") && shown.contains("\"default\""),
        "{shown}"
    );
    done(&["worker"])?;
    let failed = done(&["failed", "list"])?;
    assert!(failed.contains("nobody") && !failed.contains("ok "), "{failed}");
    done(&["plugins"])?;
    assert_eq!(go(&["queues", "--store", "redis://127.0.0.1:1"])?.0, Some(3));
    Ok(())
}

#[test]
fn a_password_in_the_file_is_not_shown_and_must_not_be_readable_by_others() -> anyhow::Result<()> {
    let config = file("store-password = \"s3cret\"\nprefix = \"a\"\n")?;
    let ask = |mode| {
        std::fs::set_permissions(config.path(), PermissionsExt::from_mode(mode))?;
        report(doctor(config.path()).args(["--sentinel-password", "s3cret"]))
    };
    let (open, private) = (ask(0o640)?, ask(0o600)?);
    let exposed = "holds a password, and others may read it; chmod 600";
    assert!(open["findings"].to_string().contains(exposed), "{open}");
    assert!(!private["findings"].to_string().contains(exposed), "{private}");
    assert_eq!(setting(&private, "store-password").0, Some("…"));
    assert!(!private.to_string().contains("s3cret"), "{private}");
    let with_user = report(kiln().args(["doctor", "--json", "--store", "redis://me:s3cret@127.0.0.1:1"]))?;
    assert_eq!(setting(&with_user, "store"), (Some("redis://…@127.0.0.1:1"), "flag"));
    Ok(())
}
