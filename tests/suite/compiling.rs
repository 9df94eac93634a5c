//! Unknown bytes are compiled in a process of its own, and within bounds.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{File, Permissions};
use std::io;
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytesize::ByteSize;
use kiln::config::{Compiler, Limit, Limits, Manifest, PluginSettings, SandboxSettings, Source};
use kiln::events::Events;
use kiln::plugins::{Plugins, Resolved};
use kiln::sandbox::{CompileStop, LoadError, Sandbox};

use crate::guests::guest;
use crate::sandbox::TestHost;
use crate::service::folder_of;
use crate::support::{eventually, kiln};

fn with_compiler(cache_dir: &Path, program: &str, args: &[&str], limits: Limits) -> SandboxSettings {
    SandboxSettings {
        cache_dir: Some(cache_dir.to_owned()),
        compiler: Some(Compiler {
            program: program.into(),
            args: args.iter().map(OsString::from).collect(),
            niceness: 0,
        }),
        limits,
        ..SandboxSettings::new(NonZeroU32::MIN)
    }
}

fn kiln_compiler(cache_dir: &Path, limits: Limits) -> SandboxSettings {
    with_compiler(cache_dir, env!("CARGO_BIN_EXE_kiln"), &["compile"], limits)
}

fn limits(limit: Limit, value: u64) -> Limits {
    let mut limits = Limits::default();
    limits.set(limit, value, value, Source::Host);
    limits
}

fn refusal(settings: &SandboxSettings, bytes: &[u8]) -> anyhow::Result<String> {
    match Sandbox::new(settings)?.load("plugin", bytes, &Manifest::default()) {
        Ok(_) => anyhow::bail!("it loads"),
        Err(err) => Ok(err.to_string()),
    }
}

/// A component of a few megabytes that takes many times the seconds of CPU time, and the memory, that tests allow.
fn bomb() -> anyhow::Result<Vec<u8>> {
    let mut wat = String::from("(component (core module (memory 1) ");
    for func in 0..40 {
        write!(wat, "(func (param i32) (result i32) (local i32 i64) ")?;
        for n in 0..4_000 {
            write!(
                wat,
                "(block (br_if 0 (local.get 0)) (local.set 1 (i32.load offset={n} (i32.mul (local.get 1) (i32.const {func})))))"
            )?;
        }
        wat.push_str("(local.get 1))");
    }
    wat.push_str("))");
    Ok(wat::parse_str(wat)?)
}

/// A number of bytes that no other test has its compilers bounded by, and those by which it can be known.
fn marked() -> u64 {
    (3 << 30) + fastrand::u64(..1 << 30)
}

/// The processes that were told this.
fn processes_with(mark: u64) -> anyhow::Result<Vec<u32>> {
    let mark = mark.to_string();
    let processes = std::fs::read_dir("/proc")?.flatten();
    let told = processes.filter(|process| {
        std::fs::read(process.path().join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&mark))
    });
    let pids = told.filter_map(|process| process.file_name().to_str()?.parse().ok());
    Ok(pids.collect())
}

/// The components in a cache, and when each was written.
fn cached(cache_dir: &Path) -> anyhow::Result<Vec<(PathBuf, SystemTime)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(cache_dir.join("compiled"))? {
        let path = entry?.path();
        let written = path.metadata()?.modified()?;
        found.push((path, written));
    }
    Ok(found)
}

#[tokio::test]
async fn what_takes_too_long_to_compile_is_refused_and_leaves_no_process() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let (mut limits, mark) = (limits(Limit::CompileTime, 1_000), marked());
    limits.set(Limit::CompileMemory, mark, mark, Source::Host);
    let settings = kiln_compiler(dir.path(), limits);
    assert_eq!(
        refusal(&settings, &bomb()?)?,
        "compiling took more processor time than it may; the limit compile_time is 1s"
    );
    assert_eq!(processes_with(mark)?, [0; 0]);
    Ok(())
}

#[tokio::test]
async fn what_takes_too_much_memory_to_compile_is_refused() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let limits = limits(Limit::CompileMemory, ByteSize::mib(64).as_u64());
    let settings = kiln_compiler(dir.path(), limits);
    assert_eq!(
        refusal(&settings, &bomb()?)?,
        "compiling took more memory than it may; the limit compile_memory is 64.0 MiB"
    );
    Ok(())
}

#[tokio::test]
async fn what_another_process_compiled_is_taken_from_the_cache_and_compiled_once() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let bytes = guest("ok")?;
    let load = |settings: &SandboxSettings| -> anyhow::Result<()> {
        Sandbox::new(settings)?.load("ok", &bytes, &Manifest::default())?;
        Ok(())
    };
    load(&kiln_compiler(dir.path(), Limits::default()))?;
    let first = cached(dir.path())?;
    assert_eq!(first.len(), 1);
    let no_compiler = with_compiler(dir.path(), "/nowhere", &[], Limits::default());
    load(&no_compiler)?;
    assert_eq!(cached(dir.path())?, first);
    assert_eq!(
        refusal(&no_compiler, &guest("echo")?)?,
        "the compiler does not start: No such file or directory (os error 2)"
    );
    Ok(())
}

/// The other way to get the code would be to compile it here, where nothing bounds that.
#[tokio::test]
async fn without_a_cache_every_load_takes_a_process_and_none_is_made_here() -> anyhow::Result<()> {
    let nowhere = Path::new("/dev/null/cache");
    let bytes = guest("ok")?;
    for _ in 0..2 {
        Sandbox::new(&kiln_compiler(nowhere, Limits::default()))?.load("ok", &bytes, &Manifest::default())?;
    }
    assert_eq!(
        refusal(&with_compiler(nowhere, "/nowhere", &[], Limits::default()), &bytes)?,
        "the compiler does not start: No such file or directory (os error 2)"
    );
    Ok(())
}

/// Does something to an entry of the cache.
type Damage<'a> = &'a dyn Fn(&Path) -> io::Result<()>;

#[tokio::test]
async fn what_is_no_whole_entry_of_ours_is_compiled_anew_and_replaced() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let sandbox = Sandbox::new(&kiln_compiler(dir.path(), Limits::default()))?;
    let bytes = guest("ok")?;
    sandbox.load("ok", &bytes, &Manifest::default())?;
    let entry = cached(dir.path())?.remove(0).0;
    let whole = std::fs::read(&entry)?;
    let mut rotten = whole.clone();
    *rotten.last_mut().context("code")? ^= 1;
    let damage: [(&str, Damage<'_>); 6] = [
        ("cut short", &|entry| std::fs::write(entry, &whole[..whole.len() / 2])),
        ("empty", &|entry| std::fs::write(entry, "")),
        ("rotten", &|entry| std::fs::write(entry, &rotten)),
        ("a pipe", &|entry| Command::new("mkfifo").arg(entry).status().map(drop)),
        ("a link", &|entry| std::os::unix::fs::symlink("/dev/zero", entry)),
        ("for all to write", &|entry| {
            std::fs::write(entry, &whole)?;
            std::fs::set_permissions(entry, Permissions::from_mode(0o666))
        }),
    ];
    for (what, damage) in damage {
        std::fs::remove_file(&entry)?;
        damage(&entry)?;
        sandbox.load("ok", &bytes, &Manifest::default())?;
        let found = std::fs::symlink_metadata(&entry)?;
        assert!(found.is_file() && found.mode() & 0o777 == 0o600, "{what}: {found:?}");
        assert_eq!(std::fs::read(&entry)?, whole, "{what}");
    }
    // Where it cannot be replaced it loads all the same.
    std::fs::remove_file(&entry)?;
    std::fs::create_dir_all(entry.join("in the way"))?;
    sandbox.load("ok", &bytes, &Manifest::default())?;
    Ok(())
}

#[tokio::test]
async fn what_a_process_that_died_left_half_written_is_removed_at_the_next_start() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let compiled = dir.path().join("compiled");
    std::fs::create_dir(&compiled)?;
    let [old, new] = [".new-old", ".new-new"].map(|name| compiled.join(name));
    std::fs::write(&new, "half")?;
    File::create(&old)?.set_modified(SystemTime::now() - Duration::from_hours(1))?;
    Sandbox::new(&kiln_compiler(dir.path(), Limits::default()))?;
    assert!(!old.exists());
    assert!(new.exists(), "another process may be writing it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_compiles_quickly_waits_for_the_first_turns_of_what_does_not_and_no_longer() -> anyhow::Result<()> {
    let (folder, cache) = (folder_of(&[("ok", "")])?, tempfile::tempdir()?);
    for name in ["a-bomb.wasm", "another-bomb.wasm"] {
        std::fs::write(folder.path().join(name), bomb()?)?;
    }
    let sandbox = Arc::new(Sandbox::new(&kiln_compiler(cache.path(), Limits::default()))?);
    serves_beside_bombs(sandbox, folder.path(), Duration::from_secs(1)).await
}

/// Compiles bombs for ever, and what is none after a while.
const SLOW_COMPILER: &str = r#"component=$(mktemp -p "$1") && shift && cat > "$component"
if grep -q bomb "$component"; then exec sleep 600; fi
sleep 0.3 > /dev/null 2>&1
exec "$0" compile "$@" < "$component""#;

#[tokio::test(flavor = "multi_thread")]
async fn what_compiles_in_several_turns_waits_for_as_many_of_each_bomb_and_no_longer() -> anyhow::Result<()> {
    let (folder, scratch) = (folder_of(&[("ok", "")])?, tempfile::tempdir()?);
    for n in 0..6 {
        std::fs::write(folder.path().join(format!("bomb-{n}.wasm")), b"\0asm\x0d\0\x01\0bomb")?;
    }
    let scratch_dir = scratch.path().to_str().context("utf-8")?;
    let args = ["-c", SLOW_COMPILER, env!("CARGO_BIN_EXE_kiln"), scratch_dir];
    let settings = with_compiler(&scratch.path().join("cache"), "/bin/sh", &args, Limits::default());
    let sandbox = Arc::new(Sandbox::new(&settings)?);
    serves_beside_bombs(sandbox, folder.path(), Duration::from_millis(100)).await
}

/// Waits until the plugin `ok` serves, while no bomb has had all its time.
async fn serves_beside_bombs(sandbox: Arc<Sandbox>, folder: &Path, first_turn: Duration) -> anyhow::Result<()> {
    let settings = PluginSettings {
        patience: Duration::ZERO,
        first_turn,
        ..PluginSettings::default()
    };
    let plugins = Plugins::open(sandbox, folder, settings, Events::default()).await?;
    eventually("the plugin serves", async || {
        Ok(matches!(plugins.resolve("ok"), Resolved::Plugin(_)).then_some(()))
    })
    .await?;
    let through = plugins.list().iter().filter(|plugin| plugin.fault.is_some()).count();
    assert_eq!(through, 0, "bombs that have had all their time");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compilation_that_is_stopped_leaves_no_process_and_blames_nobody() -> anyhow::Result<()> {
    let (dir, mark) = (tempfile::tempdir()?, marked());
    let limits = limits(Limit::CompileMemory, mark);
    let sandbox = Sandbox::new(&kiln_compiler(dir.path(), limits))?;
    let (stop, bytes) = (Arc::new(CompileStop::default()), bomb()?);
    let stopping = Arc::clone(&stop);
    let load = tokio::task::spawn_blocking(move || {
        sandbox
            .load_unless(&stopping, "bomb", &bytes, &Manifest::default())
            .err()
    });
    eventually("the compiler runs", async || {
        Ok((!processes_with(mark)?.is_empty()).then_some(()))
    })
    .await?;
    stop.stop();
    assert!(matches!(load.await?, Some(LoadError::Stopped)));
    assert_eq!(processes_with(mark)?, [0; 0]);
    Ok(())
}

/// A worker's guests go first; somebody who has called for a plugin waits for it.
#[tokio::test]
async fn a_worker_has_its_compilers_give_way_and_other_commands_do_not() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let bomb_file = folder.path().join("bomb.wasm");
    std::fs::write(&bomb_file, bomb()?)?;
    let plugins = folder.path().to_str().context("utf-8")?;
    let commands = [
        (vec!["inspect", bomb_file.to_str().context("utf-8")?], 0),
        (vec!["worker", "--store", "memory:", "--plugins", plugins], 10),
    ];
    for (command, niceness) in commands {
        let mark = marked();
        let mut host = kiln()
            .args(command)
            .args(["--cache-dir", plugins, "--limit", &format!("compile_memory={mark}B")])
            .stderr(Stdio::null())
            .spawn()?;
        let found = eventually("a compiler has the niceness that it was told", async || {
            let compilers = processes_with(mark)?.into_iter().filter(|pid| *pid != host.id());
            Ok(compilers.filter_map(niceness_of).find(|found| *found == niceness))
        });
        let found = found.await;
        host.kill()?;
        host.wait()?;
        found?;
    }
    Ok(())
}

/// The niceness of a process that still runs.
fn niceness_of(pid: u32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the program's name, which may hold anything.
    stat.rsplit(')').next()?.split_whitespace().nth(16)?.parse().ok()
}

/// Somebody may name a folder that holds other things: his own cache folder, or his home.
#[tokio::test]
async fn what_else_is_in_the_cache_folder_stays_when_the_cache_is_tidied() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let [theirs, litter] = ["a/b/c", "compiled/a/b/c"].map(|folder| dir.path().join(folder));
    for folder in [&theirs, &litter] {
        std::fs::create_dir_all(folder)?;
    }
    Sandbox::new(&kiln_compiler(dir.path(), Limits::default()))?.load("ok", &guest("ok")?, &Manifest::default())?;
    assert!(!litter.exists());
    assert!(theirs.exists());
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_with_a_component_is_told_as_this_process_would() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let ok = guest("ok")?;
    let half = &ok[..ok.len() / 2];
    let said = refusal(&kiln_compiler(dir.path(), Limits::default()), half)?;
    assert!(said.starts_with("does not compile: "), "{said}");
    assert_eq!(said, TestHost::new()?.refusal(half));
    Ok(())
}

#[tokio::test]
async fn a_compiler_that_dies_is_told_with_its_last_words() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let deaths = [
        (
            "echo boom >&2; kill -ABRT $$",
            "the compiler died: signal 6 (SIGABRT): boom",
        ),
        ("kill -SEGV $$", "the compiler died: signal 11 (SIGSEGV)"),
        ("exit 3", "the compiler died: exit status: 3"),
        (
            "exit 67",
            "compiling took more than 1200 s, though less than that of CPU time: is the machine busy?",
        ),
    ];
    for (script, said) in deaths {
        let settings = with_compiler(dir.path(), "/bin/sh", &["-c", script], Limits::default());
        assert_eq!(refusal(&settings, &guest("ok")?)?, said);
    }
    Ok(())
}

#[test]
fn a_worker_that_meets_a_bomb_goes_on_serving() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    std::fs::write(folder.path().join("bomb.wasm"), bomb()?)?;
    let (jobs, mark) = (folder.path().join("jobs.ndjson"), marked());
    std::fs::write(
        &jobs,
        "{\"name\":\"ok\"}\n{\"name\":\"bomb\",\"max_attempts\":1}\n{\"name\":\"ok\"}\n",
    )?;
    let output = kiln()
        .args([
            "worker",
            "--store",
            "memory:",
            "--burst",
            "--log",
            "kiln=debug",
            "--limit",
            &format!("compile_time=1s,compile_memory={mark}B"),
        ])
        .arg("--cache-dir")
        .arg(folder.path().join("cache"))
        .arg("--plugins")
        .arg(folder.path())
        .arg("--jobs")
        .arg(jobs)
        .output()?;
    let stderr = String::from_utf8(output.stderr)?;
    assert_eq!(
        (output.status.code(), stderr.matches("job completed").count()),
        (Some(0), 2),
        "{stderr}"
    );
    assert!(
        stderr.contains("bomb.wasm: compiling took more processor time than it may; the limit compile_time is 1s"),
        "{stderr}"
    );
    assert_eq!(processes_with(mark)?, [0; 0]);
    Ok(())
}

#[test]
fn run_and_inspect_need_no_lasting_cache_and_leave_nothing_behind() -> anyhow::Result<()> {
    let folder = folder_of(&[("ok", "")])?;
    let scratch = tempfile::tempdir()?;
    for command in ["run", "inspect"] {
        let output = kiln()
            .arg(command)
            .arg(folder.path().join("ok.wasm"))
            .args(["--cache-dir", "/dev/null/cache"])
            .env("TMPDIR", scratch.path())
            .output()?;
        let stderr = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(0), "{stderr}");
        assert!(stderr.contains("compiled components are not cached"), "{stderr}");
        assert_eq!(std::fs::read_dir(scratch.path())?.count(), 0);
    }
    Ok(())
}
