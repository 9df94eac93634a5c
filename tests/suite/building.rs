//! What `kiln build` does not build, and in whose words it says so.

use std::path::Path;

use crate::project::{build, project, said};

/// What fits on a screen.
const SCREEN_LINES: usize = 30;

/// A build that fails: what it said, which fits on a screen.
fn complaint(folder: &Path) -> anyhow::Result<String> {
    let (code, told) = said(&mut build(folder))?;
    assert_eq!(code, 1, "{told}");
    assert!(told.lines().count() <= SCREEN_LINES, "{told}");
    Ok(told)
}

#[test]
fn what_does_not_compile_is_told_on_one_screen() -> anyhow::Result<()> {
    for (language, file) in [
        ("rust", "src/lib.rs"),
        ("js", "handler.js"),
        ("ts", "handler.ts"),
        ("python", "handler.py"),
        ("go", "main.go"),
        ("c", "handler.c"),
    ] {
        let parent = tempfile::tempdir()?;
        let folder = project(parent.path(), language)?;
        if language == "rust" {
            // What cargo says while it compiles dependencies is no complaint.
            said(&mut build(&folder))?;
        }
        let source = folder.join(file);
        let text = std::fs::read_to_string(&source)?;
        let line = text.lines().count() + 1;
        std::fs::write(&source, text + ")(\n")?;
        let told = complaint(&folder)?;
        let name = file.rsplit('/').next().unwrap_or_default();
        let place = told.contains(name) && told.contains(&line.to_string());
        assert!(place, "{language}, line {line}: {told}");
    }
    Ok(())
}

#[test]
fn what_a_package_lacks_is_told_with_the_packages_name() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "js")?;
    let source = folder.join("handler.js");
    let text = std::fs::read_to_string(&source)?;
    std::fs::write(&source, format!("import \"./lib/use.js\";\n{text}"))?;
    let package = folder.join("lib/node_modules/sign");
    std::fs::create_dir_all(&package)?;
    std::fs::write(folder.join("lib/use.js"), "import \"sign\";\n")?;
    let index = package.join("index.js");

    std::fs::write(&index, "export const { createHash } = require(\"crypto\");\n")?;
    let told = complaint(&folder)?;
    let place = "the package sign (lib/node_modules/sign/index.js:1:";
    assert!(
        told.contains(place) && told.contains("needs the module \"crypto\" of Node.js"),
        "{told}"
    );
    assert!(!told.contains("--platform") && !told.contains("node:"), "{told}");

    std::fs::write(&index, "export const pot = new Teapot();\n")?;
    let told = complaint(&folder)?;
    let who = "the package sign (lib/node_modules/sign/index.js) needs Teapot, which QuickJS does not have";
    assert!(told.contains(who), "{told}");

    std::fs::write(&index, "export const early = fetch(\"https://a.example\");\n")?;
    let told = complaint(&folder)?;
    assert!(told.contains("a module calls fetch while it is loaded"), "{told}");
    Ok(())
}

#[test]
fn types_that_the_engine_lacks_do_not_build() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "ts")?;
    let source = folder.join("handler.ts");
    let text = std::fs::read_to_string(&source)?;
    for (line, why) in [
        ("new WebSocket(\"x\");", "Cannot find name 'WebSocket'"),
        ("Buffer.from(\"x\");", "Cannot find name 'Buffer'"),
        (
            "fetch(\"x\", { cache: \"no-store\" });",
            "'cache' does not exist in type 'RequestInit'",
        ),
        ("crypto.subtle.encrypt({});", "Property 'encrypt' does not exist"),
        (
            "new Intl.NumberFormat().format(1);",
            "does not exist on type 'QuickJSHasNoIntl'",
        ),
        (
            "const n: number = \"x\";",
            "Type 'string' is not assignable to type 'number'",
        ),
    ] {
        std::fs::write(&source, format!("{text}\n{line}\n"))?;
        let told = complaint(&folder)?;
        assert!(told.contains("handler.ts(") && told.contains(why), "{line}: {told}");
    }
    // Of these the compiler knows no better.
    for line in ["new Intl.PluralRules().select(1)", "Intl.getCanonicalLocales(\"en\")"] {
        std::fs::write(&source, format!("{text}\nconsole.log({line});\n"))?;
        let told = complaint(&folder)?;
        assert!(
            told.contains("handler.ts") && told.contains("uses `Intl`"),
            "{line}: {told}"
        );
    }
    let there = "setTimeout((n: number) => console.log(n, performance.now(), process.env.X), 5, 1);\n\
                 export const wait = () => new Promise((wake) => setTimeout(wake, 5));\n\
                 export const locale = typeof Intl === \"undefined\" ? \"C\" : Intl.getCanonicalLocales(\"en\")[0];\n\
                 export const id = () => crypto.randomUUID() + crypto.getRandomValues(new Uint8Array(4));\n\
                 export const post = async (order: Order, form = new FormData()) => {\n\
                     form.set(\"order\", new File([JSON.stringify(order)], \"order.json\"));\n\
                     const url = new URL(\"/orders\", \"https://a.example\");\n\
                     const signal = AbortSignal.any([AbortSignal.timeout(5), new AbortController().signal]);\n\
                     const response = checkStatus(await fetch(url, { method: \"POST\", body: form, signal }));\n\
                     for await (const bytes of response.body ?? []) console.log(bytes.length);\n\
                     const lines = response.body?.pipeThrough(new TextDecoderStream()).getReader();\n\
                     const digest = await crypto.subtle.digest(\"SHA-256\", new TextEncoder().encode(\"tea\"));\n\
                     return structuredClone({ digest, line: await lines?.read(), tag: response.headers.get(\"etag\") });\n\
                 };";
    let text = text.replace("import { handle,", "import { checkStatus, handle,");
    std::fs::write(&source, format!("{text}\n{there}\n"))?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 0, "{told}");
    Ok(())
}

/// In a world that has another interface `types`, so that the generated names of the contract's change.
#[test]
fn a_python_package_with_compiled_extensions_is_named() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "python")?;
    let shop = folder.join("wit/deps/shop");
    std::fs::create_dir_all(&shop)?;
    std::fs::write(
        shop.join("shop.wit"),
        "package example:shop@0.1.0;\ninterface types { pour: func() -> u32; }\n",
    )?;
    let world = folder.join("wit/job.wit");
    let text = std::fs::read_to_string(&world)?;
    let with_shop = text.replace(
        "    import context;\n",
        "    import context;\n    import example:shop/types@0.1.0;\n",
    );
    assert_ne!(text, with_shop);
    std::fs::write(&world, with_shop)?;

    let ledger = folder.join("ledger");
    std::fs::create_dir(&ledger)?;
    std::fs::write(ledger.join("__init__.py"), "from . import _sums\n")?;
    std::fs::write(ledger.join("_sums.cpython-314-x86_64-linux-gnu.so"), "")?;
    let source = folder.join("handler.py");
    let text = std::fs::read_to_string(&source)?;
    std::fs::write(&source, format!("{text}\nimport ledger\n"))?;
    let told = complaint(&folder)?;
    assert!(
        told.contains("ledger has compiled extensions, which a component cannot load: ")
            && told.contains("_sums.cpython-314-x86_64-linux-gnu.so\nit is imported from handler.py, line "),
        "{told}"
    );
    assert!(!told.contains("Traceback"), "{told}");
    Ok(())
}

#[test]
fn a_handler_in_javascript_that_exports_none_is_not_built() -> anyhow::Result<()> {
    let parent = tempfile::tempdir()?;
    let folder = project(parent.path(), "js")?;
    let source = folder.join("handler.js");
    let text = std::fs::read_to_string(&source)?;
    std::fs::write(&source, text.replace("export const handler", "export const handle_it"))?;
    let (code, told) = said(&mut build(&folder))?;
    assert_eq!(code, 1, "{told}");
    assert!(told.contains("handler.js: exports no `handler`"), "{told}");
    Ok(())
}
