//! A handler's way from `kiln new` to a running worker, in every language.

use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::Context as _;
use kiln::project::{Language, Project};
use serde_json::{Value, json};

use crate::process::Worker;
use crate::project::{build, project, run, said};
use crate::service::push;
use crate::support::{eventually, kiln, redis_settings};

const LANGUAGES: [&str; 6] = ["rust", "js", "ts", "python", "go", "c"];

fn a_new_handler_builds_and_does_what_its_readme_says(language: &str) -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), language)?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("it loads") && told.contains("order-total.wasm"), "{told}");
    assert!(
        folder.join("build/order-total.toml").is_file(),
        "the manifest goes along"
    );

    let tea = json!({"name": "tea", "price_cents": 450, "quantity": 2});
    let (code, result, said) = run(&folder, &json!({"customer": "Ada", "items": [tea]}))?;
    assert_eq!(code, Some(0), "{said}");
    let result: Value = serde_json::from_str(&result)?;
    assert_eq!(result, json!({"customer": "Ada", "total_cents": 900, "lines": 1}));
    assert!(said.contains("totalling 1 items for Ada"), "{said}");

    let unsure = json!({"name": "tea", "price_cents": 450, "quantity": 2, "stock": "unknown"});
    let (code, _, said) = run(&folder, &json!({"customer": "Ada", "items": [unsure]}))?;
    assert_eq!(code, Some(11), "{said}");
    assert!(
        said.contains("the stock of tea is not known yet") && said.contains("after 30s"),
        "{said}"
    );

    let nothing = json!({"customer": "Ada", "items": []});
    let nonsense = json!({"customer": "Ada", "items": "tea"});
    for (payload, why) in [(nothing, "an order has at least one item"), (nonsense, "payload: ")] {
        let (code, _, said) = run(&folder, &payload)?;
        assert_eq!(code, Some(10), "{said}");
        assert!(said.contains(why), "{said}");
    }
    Ok(())
}

macro_rules! for_every_language {
    ($($language:ident)*) => {
        mod new {
            $(
                #[test]
                fn $language() -> anyhow::Result<()> {
                    super::a_new_handler_builds_and_does_what_its_readme_says(stringify!($language))
                }
            )*
        }
    };
}

for_every_language! { rust js ts python go c }

/// Nothing that lies about where templates are written finds its way into the binary.
#[test]
fn a_new_project_holds_these_files() -> anyhow::Result<()> {
    let mut listing = String::new();
    for language in LANGUAGES {
        let parent = tempfile::tempdir()?;
        let (code, told) = said(
            kiln()
                .args(["new", "order-total", "--lang", language, "--parent"])
                .arg(parent.path()),
        )?;
        assert_eq!(code, 0, "{told}");
        let mut files = Vec::new();
        list(parent.path(), parent.path(), &mut files)?;
        files.sort();
        writeln!(listing, "{language}")?;
        for file in files {
            writeln!(listing, "  {file}")?;
            let text = std::fs::read_to_string(parent.path().join(&file))?;
            assert!(!text.contains("{{name"), "{language}: {file} is not filled in");
        }
    }
    insta::assert_snapshot!(listing);
    Ok(())
}

#[test]
fn a_new_project_in_javascript_may_name_another_engine() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let new = |language: &str| {
        let words = [
            "new",
            "order-total",
            "--engine",
            "starlingmonkey",
            "--lang",
            language,
            "--parent",
        ];
        said(kiln().args(words).arg(parent.path()))
    };
    let (code, told) = new("ts")?;
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("TypeScript has no choice of engines"), "{told}");
    let (code, told) = new("js")?;
    assert_eq!(code, 0, "{told}");
    let folder = parent.path().join("order-total");
    let package: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("package.json"))?)?;
    assert_eq!(
        (&package["name"], &package["kiln"]["engine"]),
        (&json!("order-total"), &json!("starlingmonkey"))
    );
    assert!(package["devDependencies"]["@bytecodealliance/componentize-js"].is_string());
    // It is built as any other: with what npm installs.
    let (code, told) = said(&mut build(&folder))?;
    assert_ne!(code, 0, "{told}");
    assert!(told.contains("run `npm install`"), "{told}");
    Ok(())
}

fn list(root: &Path, folder: &Path, files: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
        } else {
            files.push(path.strip_prefix(root)?.display().to_string());
        }
    }
    Ok(())
}

#[test]
fn what_is_missing_is_named_with_what_installs_it() -> anyhow::Result<()> {
    let nothing = tempfile::tempdir()?;
    for (language, missing) in [
        ("rust", "cargo is missing; install Rust"),
        ("js", "npm is missing; install Node.js"),
        ("python", "componentize-py is missing; run `python3 -m venv .venv"),
        ("go", "go is missing; install Go"),
        (
            "c",
            "a C compiler for WASI is missing; run `python3 -m venv .venv && .venv/bin/pip install ziglang`",
        ),
    ] {
        let parent = tempfile::tempdir()?;
        said(
            kiln()
                .args(["new", "order-total", "--lang", language, "--parent"])
                .arg(parent.path()),
        )?;
        let folder = parent.path().join("order-total");
        let (code, told) = said(
            build(&folder)
                .env("PATH", nothing.path())
                .env_remove("WASI_SDK_PATH")
                .env_remove("CC"),
        )?;
        assert_eq!(code, 1, "{language}: {told}");
        assert!(told.contains(missing), "{language}: {told}");
    }
    Ok(())
}

#[test]
fn every_mistake_in_new_and_build_gets_a_line_that_helps() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    std::fs::create_dir(parent.path().join("taken"))?;
    let dir = parent.path().to_str().context("utf-8")?;
    let cases: &[(&[&str], i32, &str)] = &[
        (
            &["new", "Send_Email", "--lang", "c", "--parent", dir],
            2,
            "lower-case letters, digits and hyphens",
        ),
        (
            &["new", "../up", "--lang", "c", "--parent", dir],
            2,
            "lower-case letters, digits and hyphens",
        ),
        (&["new", "taken", "--lang", "c", "--parent", dir], 2, "exists already"),
        (
            &["new", "vendor", "--lang", "go", "--parent", dir],
            2,
            "means something else to the language's tools",
        ),
        (
            &["new", "tea", "--lang", "c", "--parent", "/nowhere"],
            1,
            "kiln: /nowhere: No such file or directory (os error 2)\n",
        ),
        (
            &["new", "tea", "--lang", "cobol"],
            2,
            "[possible values: rust, js, ts, python, go, c]",
        ),
        (&["new", "tea"], 2, "--lang <LANGUAGE>"),
        (
            &["build", dir],
            1,
            "holds no Cargo.toml, package.json, pyproject.toml, go.mod or .c file",
        ),
        (&["build", "/nowhere"], 1, "/nowhere: No such file or directory"),
    ];
    for (args, exit, line) in cases {
        let (code, told) = said(kiln().args(*args))?;
        assert_eq!(code, *exit, "{args:?}: {told}");
        assert!(told.contains(line), "{args:?}: {told}");
    }
    Ok(())
}

#[test]
fn a_projects_name_is_a_files_or_refused() -> anyhow::Result<()> {
    for (name, fate) in [
        ("@shop/order-total", Ok("order-total")),
        ("mail.send", Ok("mail.send")),
        ("../../elsewhere", Err("cannot be a file's")),
        (".hidden", Err("cannot be a file's")),
    ] {
        let parent = tempfile::tempdir()?;
        std::fs::write(
            parent.path().join("package.json"),
            json!({"name": name, "main": "handler.js"}).to_string(),
        )?;
        match (Project::open(parent.path(), None, None), fate) {
            (Ok(project), Ok(wanted)) => {
                let path = project.put(b"component", parent.path())?.path;
                assert_eq!(path.file_name(), Some(format!("{wanted}.wasm").as_ref()));
            }
            (Err(err), Err(why)) => assert!(err.to_string().contains(why), "{err}"),
            (found, _) => anyhow::bail!("{name}: {found:?}"),
        }
    }
    Ok(())
}

#[test]
fn a_manifest_that_an_operator_has_changed_stays() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "c")?;
    let plugins = parent.path().join("plugins");
    let put = |text: &str| {
        std::fs::write(folder.join("order-total.toml"), text)?;
        let put = Project::open(&folder, None, None)?.put(b"component", &plugins)?;
        let found = std::fs::read_to_string(plugins.join("order-total.toml"))?;
        anyhow::Ok((found, put.kept.is_some()))
    };
    for text in ["timeout = \"1s\"", "timeout = \"2s\""] {
        assert_eq!(put(text)?, (text.to_owned(), false), "it goes along, again and again");
    }
    let operators = "timeout = \"9s\"";
    std::fs::write(plugins.join("order-total.toml"), operators)?;
    assert_eq!(put("timeout = \"3s\"")?, (operators.to_owned(), true));
    // To take the project's is to copy it; from then on it goes along again.
    std::fs::copy(folder.join("order-total.toml"), plugins.join("order-total.toml"))?;
    assert_eq!(put("timeout = \"3s\"")?, ("timeout = \"3s\"".to_owned(), false));
    assert_eq!(put("timeout = \"4s\"")?, ("timeout = \"4s\"".to_owned(), false));
    Ok(())
}

#[test]
fn a_build_needs_no_values_of_secrets_and_tells_of_a_manifest_that_stays() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "c")?;
    let manifest = folder.join("order-total.toml");
    let origin = "origin = \"https://a.example\"\n";
    std::fs::write(
        &manifest,
        format!("[[grants.http]]\n{origin}[grants.secrets.API_KEY]\n{origin}"),
    )?;
    let plugins = parent.path().join("plugins");
    std::fs::create_dir(&plugins)?;
    std::fs::write(plugins.join("order-total.toml"), "concurrency = 1\n")?;
    let (code, told) = said(build(&folder).arg("--into").arg(&plugins))?;
    assert_eq!(code, 0, "{told}");
    assert!(
        told.contains("it loads where a worker has KILN_SECRET_API_KEY"),
        "{told}"
    );
    assert!(
        told.contains("order-total.toml, which is not the project's; to take that: cp "),
        "{told}"
    );
    assert!(plugins.join("order-total.wasm").is_file(), "{told}");
    assert_eq!(
        std::fs::read_to_string(plugins.join("order-total.toml"))?,
        "concurrency = 1\n"
    );
    Ok(())
}

#[test]
fn a_folder_of_two_languages_is_built_as_it_is_told() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "go")?;
    let package = json!({"name": "order-total", "main": "handler.ts"});
    std::fs::write(folder.join("package.json"), package.to_string())?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 1, "{told}");
    let files = "package.json (--lang js) and go.mod (--lang go): say with --lang which of them to build";
    assert!(told.contains(files), "{told}");
    for (asked, language) in [
        (Language::JavaScript, Language::TypeScript),
        (Language::Go, Language::Go),
    ] {
        assert_eq!(Project::open(&folder, Some(asked), None)?.language(), Some(language));
    }
    let (code, told) = said(build(&folder).args(["--lang", "go"]))?;
    assert_eq!(code, 0, "{told}");
    Ok(())
}

#[test]
fn a_rust_handler_has_room_on_its_stack_and_is_told_where_there_is_more() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "rust")?;
    let handler = "\
use std::hint::black_box;

use kiln_handler::{Failure, Job, handler};

handler!(fill);

fn fill(job: Job<usize>) -> Result<u8, Failure> {
    Ok(match job.payload {
        100 => on_the_stack::<{ 100 << 10 }>(),
        _ => on_the_stack::<{ 200 << 10 }>(),
    })
}

#[inline(never)]
fn on_the_stack<const BYTES: usize>() -> u8 {
    black_box([1_u8; BYTES])[BYTES / 2]
}
";
    std::fs::write(folder.join("src/lib.rs"), handler)?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 0, "{told}");
    let (code, result, said) = run(&folder, &json!(100))?;
    assert_eq!((code, result.trim()), (Some(0), "1"), "{said}");
    let (code, _, said) = run(&folder, &json!(200))?;
    assert_eq!(code, Some(12), "{said}");
    assert!(
        said.contains("more stack than it is linked with (docs/languages.md: Stack)"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_core_module_of_another_toolchain_becomes_a_component() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    // Nothing but the contract, as an author of no language that Kiln knows has it.
    let folder = parent.path().join("order-total");
    std::fs::rename(project(parent.path(), "c")?.join("wit"), parent.path().join("wit"))?;
    std::fs::remove_dir_all(&folder)?;
    std::fs::create_dir(&folder)?;
    std::fs::rename(parent.path().join("wit"), folder.join("wit"))?;
    let module = folder.join("core.wasm");
    std::fs::write(&module, crate::guests::core_module("ok")?)?;
    let (code, told) = self::said(build(&folder).arg("--core").arg(&module))?;
    assert_eq!(code, 0, "{told}");
    let (code, _, said) = run(&folder, &json!({}))?;
    assert_eq!(code, Some(0), "{said}");

    std::fs::write(&module, wat::parse_str("(module)")?)?;
    let (code, told) = self::said(build(&folder).arg("--core").arg(&module))?;
    assert_eq!(code, 1, "{told}");
    assert!(
        told.contains("cannot make a component: ") && told.contains("kiln:job/handler@0.1.0"),
        "{told}"
    );
    for (bytes, why) in [
        (crate::guests::guest("ok")?, "is a component already"),
        (b"int main(".to_vec(), "is no WebAssembly module"),
    ] {
        std::fs::write(&module, bytes)?;
        let (code, told) = self::said(build(&folder).arg("--core").arg(&module))?;
        assert_eq!(code, 1, "{told}");
        assert!(told.contains(why), "{told}");
    }
    Ok(())
}

#[test]
fn a_handler_needs_no_kit() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "rust")?;
    std::fs::remove_dir_all(folder.join("kiln"))?;
    std::fs::write(folder.join("src/lib.rs"), crate::docs::handler_without_a_kit())?;
    let manifest = folder.join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest)?;
    let (before, after) = text.split_once("[dependencies]").context("its dependencies")?;
    let after = after.split_once("\n[").map_or("", |(_, after)| after);
    let bindgen =
        r#"wit-bindgen = { version = "0.61", default-features = false, features = ["macros", "realloc", "std"] }"#;
    std::fs::write(&manifest, format!("{before}[dependencies]\n{bindgen}\n\n[{after}"))?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 0, "{told}");
    let (code, result, said) = run(&folder, &json!([1, 2]))?;
    assert_eq!((code, result.trim()), (Some(0), "[1,2]"), "{said}");
    Ok(())
}

/// Killed when the test ends.
struct Watcher(Child);

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn with_watch_the_next_job_runs_the_new_code() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "c")?;
    let plugins = parent.path().join("plugins");
    std::fs::create_dir(&plugins)?;
    let watching = build(&folder)
        .args(["--watch", "--into"])
        .arg(&plugins)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let _watcher = Watcher(watching);
    let plugin = plugins.join("order-total.wasm");
    eventually("the first build", async || Ok(plugin.is_file().then_some(()))).await?;

    let settings = redis_settings();
    let _worker = Worker::start(&settings, &plugins, &[])?;
    let store = kiln::queue::Store::open(&settings).await?;
    let job = r#"{"name": "order-total", "payload": {"customer": "Ada", "items": []}}"#;
    let why = async |wanted: &str| {
        eventually(wanted, async || {
            push(&store, &[job]).await?;
            let failed = store.failed(0, 10_000).await?;
            let last = failed.last().and_then(kiln::queue::FailedEntry::failure);
            Ok(last.filter(|failure| failure.message == wanted).map(drop))
        })
        .await
    };
    why("an order has at least one item").await?;

    let source = folder.join("handler.c");
    let text = std::fs::read_to_string(&source)?;
    // What does not compile changes nothing, and ends nothing.
    std::fs::write(&source, "int main(")?;
    std::fs::write(
        &source,
        text.replace("an order has at least one item", "an order needs tea"),
    )?;
    why("an order needs tea").await?;
    Ok(())
}
