//! The plugin folder holds whatever somebody put there.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use kiln::config::Limits;
use kiln::plugins::{Resolved, read_plugin};

use crate::guests::guest;
use crate::service::{folder_of, open_plugins};
use crate::support::kiln;

#[tokio::test(flavor = "multi_thread")]
async fn a_link_out_of_the_folder_is_refused_and_one_within_it_followed() -> anyhow::Result<()> {
    let elsewhere = folder_of(&[("ok", "")])?;
    let folder = folder_of(&[])?;
    let path = folder.path();
    symlink(elsewhere.path().join("ok.wasm"), path.join("out.wasm"))?;
    // As volumes of configuration are laid out: all names lead through one link, which is replaced.
    fs::create_dir(path.join("..2026"))?;
    fs::write(path.join("..2026/inside.wasm"), guest("ok")?)?;
    symlink("..2026", path.join("..data"))?;
    symlink("..data/inside.wasm", path.join("inside.wasm"))?;
    // The settings of another are no less his.
    fs::write(path.join("half.wasm"), guest("ok")?)?;
    symlink(elsewhere.path().join("ok.toml"), path.join("half.toml"))?;
    let plugins = open_plugins(path).await?;
    assert_eq!(plugins.jobs(), ["inside"]);
    for (job, file) in [("out", "out.wasm"), ("half", "half.toml")] {
        let Resolved::Unloadable(why) = plugins.resolve(job) else {
            panic!("it is refused")
        };
        let said = format!("{file}: a link out of the plugin folder; put the file itself there");
        assert!(why.ends_with(&said), "{why}");
    }
    assert!(
        read_plugin(&path.join("out.wasm"), &Limits::default()).is_ok(),
        "whoever names a file means it"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_read_or_named_keeps_no_other_from_service() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    symlink("loop.wasm", folder.path().join("loop.wasm"))?;
    let forged = "evil\n2026-01-01T00:00:00Z INFO job completed\u{1b}[31m.wasm";
    fs::write(folder.path().join(forged), guest("ok")?)?;
    let plugins = open_plugins(folder.path()).await?;
    assert_eq!(plugins.jobs(), ["ok"]);
    let Resolved::Unloadable(why) = plugins.resolve("loop") else {
        panic!("it leads nowhere")
    };
    assert!(why.contains("loop.wasm: "), "{why}");
    assert_eq!(plugins.list().len(), 2, "what cannot be shown is left alone");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_regular_files_of_a_bounded_size_are_read() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    let path = folder.path();
    assert!(Command::new("mkfifo").arg(path.join("pipe.wasm")).status()?.success());
    symlink("/dev/zero", path.join("device.wasm"))?;
    fs::write(path.join("large.wasm"), guest("ok")?)?;
    // Holes take no room on the disk.
    fs::File::create(path.join("large.toml"))?.set_len(1 << 30)?;
    fs::File::create(path.join("huge.wasm"))?.set_len(1 << 40)?;
    let refusals = [
        ("pipe.wasm", "pipe.wasm: not a regular file"),
        ("device.wasm", "device.wasm: not a regular file"),
        ("large.wasm", "large.toml: larger than a manifest may be: 1 MiB"),
        ("huge.wasm", "huge.wasm: too large; the limit plugin_bytes is 64.0 MiB"),
    ];
    for (file, said) in refusals {
        let err = read_plugin(&path.join(file), &Limits::default()).expect_err("it is refused");
        assert!(err.to_string().ends_with(said), "{err}");
    }
    let plugins = open_plugins(path).await?;
    assert!(matches!(plugins.resolve("pipe"), Resolved::Unloadable(_)));
    Ok(())
}

#[test]
fn native_code_in_the_folder_is_warned_of_once() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    fs::write(folder.path().join("fast.cwasm"), "\x7fELF")?;
    let jobs = folder.path().join("jobs.ndjson");
    fs::write(&jobs, "{\"name\":\"ok\"}\n")?;
    let output = kiln()
        .args(["worker", "--store", "memory:", "--burst", "--plugins"])
        .arg(folder.path())
        .arg("--jobs")
        .arg(jobs)
        .output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), stderr.matches("fast.cwasm").count()),
        (Some(0), 1),
        "{stderr}"
    );
    Ok(())
}
