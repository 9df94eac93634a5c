//! What a machine gets besides the program: a unit for systemd, completions for shells, man pages.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, ensure};

use crate::support::kiln;

fn said(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = command.output().with_context(|| format!("{command:?}"))?;
    let [said, why] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    ensure!(status.success(), "{command:?}: {said}{why}");
    Ok(said + &why)
}

#[test]
fn the_unit_for_systemd_is_valid_and_leaves_the_worker_little_of_the_machine() -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/systemd/kiln.service");
    let folder = tempfile::tempdir()?;
    let unit = folder.path().join("kiln.service");
    let program = kiln().get_program().to_string_lossy().into_owned();
    let text = std::fs::read_to_string(path)?.replace("ExecStart=kiln ", &format!("ExecStart={program} "));
    let version = said(Command::new("systemd-analyze").arg("--version"))?;
    let version: u32 = version.split(' ').nth(1).context("a version")?.parse()?;
    // As its own head says.
    let text = if version < 253 {
        text.replace("Type=notify-reload", "Type=notify")
    } else {
        text
    };
    std::fs::write(&unit, text)?;
    let complaints = said(Command::new("systemd-analyze").args(["--man=no", "verify"]).arg(&unit))?;
    assert_eq!(complaints, "");
    // Of 100, where 100 is a service that may do anything.
    let score = ["--offline=true", "--threshold=15", "security"];
    said(Command::new("systemd-analyze").args(score).arg(&unit))?;
    Ok(())
}

#[test]
fn the_resources_for_kubernetes_are_what_it_takes() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let validate = root.join("target/servers/bin/kubernetes-validate");
    let resources = ["deployment.yaml", "disruption.yaml", "dashboard.yaml"];
    let resources = resources.map(|name| root.join("examples/kubernetes").join(name));
    let told = said(Command::new(validate).arg("--strict").args(&resources))?;
    assert_eq!(told.matches(" passed for resource ").count(), 4, "{told}");
    Ok(())
}

#[test]
fn the_workflow_of_a_release_the_scaling_of_workers_and_the_composed_services_are_what_their_readers_take()
-> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let check = || {
        let mut check = Command::new(root.join("target/servers/bin/check-jsonschema"));
        check.current_dir(root);
        check
    };
    let workflow = ".github/workflows/release.yml";
    said(check().args(["--builtin-schema", "vendor.github-workflows", workflow]))?;
    // What no schema says: expressions that mean nothing, actions whose runtime is gone.
    said(Command::new(root.join("target/servers/bin/actionlint")).arg(root.join(workflow)))?;
    let keda = ["examples/keda/scaledobject.yaml", "examples/keda/authentication.yaml"];
    said(check().args(["--schemafile", "tests/data/keda.json"]).args(keda))?;
    said(check().args([
        "--builtin-schema",
        "vendor.compose-spec",
        "examples/container/compose.yml",
    ]))?;
    Ok(())
}

#[test]
fn the_package_for_debian_names_files_that_are_there() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo: toml::Table = toml::from_str(&std::fs::read_to_string(root.join("Cargo.toml"))?)?;
    let assets = cargo["package"]["metadata"]["deb"]["assets"]
        .as_array()
        .context("assets")?;
    let sources = assets.iter().filter_map(|asset| asset[0].as_str());
    let (made, kept): (Vec<_>, Vec<_>) = sources.partition(|source| source.starts_with("target/"));
    for source in kept {
        assert!(root.join(source).is_file(), "{source}");
    }
    // The other way round: what the package names is what these commands make, as the workflow of a release has it.
    let workflow = std::fs::read_to_string(root.join(".github/workflows/release.yml"))?;
    let ways = [
        ("target/release/kiln", "cargo build --release"),
        ("target/completions/kiln", "completions bash > target/completions/kiln"),
        ("target/man/*.1", "kiln man target/man"),
    ];
    assert_eq!(made, ways.map(|(file, _)| file));
    for (file, way) in ways {
        assert!(workflow.contains(way), "{file}: {way}");
    }
    Ok(())
}

#[test]
fn bash_completes_commands_and_flags() -> anyhow::Result<()> {
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(&script, said(kiln().args(["completions", "bash"]))?)?;
    let completed = |words: &str| {
        let last = words.split(' ').count() - 1;
        let ask = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}
            _kiln kiln \"${{COMP_WORDS[{last}]}}\" x; echo ${{COMPREPLY[*]}}",
            script.path().display()
        );
        said(Command::new("bash").args(["--norc", "-c", &ask]))
    };
    assert_eq!(completed("kiln pau")?, "pause\n");
    assert_eq!(completed("kiln pause --reas")?, "--reason\n");
    assert_eq!(completed("kiln failed ret")?, "retry\n");
    for shell in ["zsh", "fish"] {
        assert!(
            said(kiln().args(["completions", shell]))?.contains("plugins"),
            "{shell}"
        );
    }
    Ok(())
}

#[test]
fn every_command_has_a_man_page_that_says_what_its_help_says() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let pages = folder.path().join("man1");
    said(kiln().arg("man").arg(&pages))?;
    let help = said(kiln().arg("--help"))?;
    let (_, commands) = help.split_once("Commands:\n").context("the commands")?;
    let commands = commands.lines().map_while(|line| line.strip_prefix("  "));
    // What stands further in goes on with a description.
    let commands = commands.filter(|line| !line.starts_with(' '));
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"worker"), "{help}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let page = std::fs::read_to_string(pages.join(format!("kiln-{command}.1"))).context(command.to_owned())?;
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    let worker = std::fs::read_to_string(pages.join("kiln-worker.1"))?.replace("\\-", "-");
    assert!(worker.contains("--grace") && worker.contains("KILN_GRACE"), "{worker}");
    assert!(!pages.join("kiln-compile.1").exists(), "what is hidden has no page");
    Ok(())
}
