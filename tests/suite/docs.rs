//! The documentation shows what was tried.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kiln::config::{Grants, LIMITS, Manifest, Scope};
use kiln::sandbox::granted_lines;

/// The handler that needs no kit, as the authors' page shows it.
pub(crate) fn handler_without_a_kit() -> String {
    let page = page("docs/authors.md");
    let (_, without) = page.split_once("## Without a kit").expect("the chapter");
    blocks(without, "rust")[0].to_owned()
}

/// A page, by its path from the repository's root. Read here and now: who mends a page need not compile the suite.
fn page(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(root().join(path)).expect("a page")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What stands between a fence of this language and the next.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    page.split(&*fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn the_first_handler_shown_is_the_one_that_is_built_and_tested() {
    for path in ["README.md", "docs/authors.md"] {
        assert_eq!(
            blocks(&page(path), "rust")[0],
            include_str!("../../plugins/hello/src/lib.rs")
        );
    }
}

/// What a manifest grants below a key.
fn granted(manifest: &Manifest, key: &str) -> Vec<String> {
    let granted = granted_lines(&manifest.grants).expect("grants");
    let of_key = granted.into_iter().find(|(granted, _)| *granted == key);
    of_key.expect("a capability").1
}

/// One that is refused would show the fuzzer none of what is behind.
#[test]
fn the_manifests_that_fuzzing_starts_from_grant_something_of_every_kind() {
    let mut kinds = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("tests/data/manifests")).expect("a folder") {
        let path = entry.expect("an entry").path();
        let manifest = Manifest::parse(&page(&path)).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let granted = granted_lines(&manifest.grants).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let kinds_of = granted.into_iter().filter(|(_, lines)| !lines.is_empty());
        kinds.extend(kinds_of.map(|(key, _)| key));
    }
    let all = granted_lines(&Grants::default()).expect("no grants");
    assert_eq!(kinds, all.into_iter().map(|(key, _)| key).collect());
}

#[test]
fn the_readmes_manifest_is_one() {
    let manifest = Manifest::parse(blocks(&page("README.md"), "toml")[0]).expect("a manifest");
    assert_eq!(granted(&manifest, "http"), ["GET https://api.example.com"]);
}

#[test]
fn the_manifest_shown_is_read_as_it_says() {
    let manifest = Manifest::parse(blocks(&page("docs/manifest.md"), "toml")[0]).expect("a manifest");
    assert_eq!(manifest.jobs.as_deref().expect("jobs"), ["send-email", "send-sms"]);
    assert_eq!(
        manifest.retry,
        kiln::config::RetryPolicy::default(),
        "it shows the defaults"
    );
    assert_eq!(granted(&manifest, "http")[0], "GET/POST https://api.example.com/v1");
    assert_eq!(manifest.caps.len(), 1);
    let secrets = granted(&manifest, "secrets").join("; ");
    assert_eq!(
        secrets,
        "API_KEY (secret, for https://api.example.com); SIGNING_KEY (secret, its value); STORE_KEY (secret, signs requests to \
         https://api.example.com by sigv4 for s3 in eu-central-1)"
    );
}

#[test]
fn the_limits_across_hosts_shown_are_read() {
    let page = page("docs/manifest.md");
    let (_, limits) = page.split_once("## Limits across hosts").expect("the chapter");
    let manifest = Manifest::parse(blocks(limits, "toml")[0]).expect("a manifest");
    let pointers: Vec<_> = manifest.caps.iter().map(kiln::config::Cap::pointer).collect();
    assert_eq!(pointers, [Some("/customer"), None]);
}

#[test]
fn the_signing_secrets_shown_are_granted() {
    let page = page("docs/manifest.md");
    let (_, signing) = page.split_once("## Signing requests").expect("the chapter");
    let mut shown = 0;
    for block in blocks(signing, "toml") {
        let origin = |origin| format!("[[grants.http]]\norigin = \"https://{origin}\"\n");
        let everywhere = ["*.example.com", "partner.example"].map(origin).concat();
        // No origin may be signed for twice: each is read alone.
        for secret in block.split("[grants.secrets.").skip(1) {
            let manifest = format!(
                "{everywhere}{}[grants.secrets.{secret}",
                origin("*.s3.eu-central-1.amazonaws.com")
            );
            shown += granted(&Manifest::parse(&manifest).expect("a manifest"), "secrets").len();
        }
    }
    assert_eq!(shown, 5);
}

#[test]
fn the_settings_shown_are_read() -> anyhow::Result<()> {
    crate::settings::is_read(blocks(&page("docs/operators.md"), "toml")[0])
}

#[test]
fn the_operators_page_lists_every_setting_with_its_default() -> anyhow::Result<()> {
    let rows = crate::settings::defaults()?
        .into_iter()
        .map(|(name, default)| match default {
            Some(default) => format!("| `{name}` | `{default}` |"),
            None => format!("| `{name}` | – |"),
        });
    let operators = page("docs/operators.md");
    let (_, table) = operators.split_once("| key | default |").expect("the table");
    let listed = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed = listed.map(|line| line.splitn(4, '|').take(3).collect::<Vec<_>>().join("|") + "|");
    assert_eq!(listed.collect::<Vec<_>>(), rows.collect::<Vec<_>>());
    Ok(())
}

/// Every page of the documentation, by its path from the repository's root.
fn pages() -> Vec<(PathBuf, String)> {
    let chapters = std::fs::read_dir(root().join("docs")).expect("the chapters");
    let chapters = chapters.map(|entry| Path::new("docs").join(entry.expect("a chapter").file_name()));
    chapters
        .chain(["README.md".into(), "CHANGELOG.md".into()])
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = page(&path);
            (path, text)
        })
        .collect()
}

/// The name that code hosts and mdbook give the place of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_'))
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let anchors = |page: &Path| -> Vec<String> {
        let found = pages
            .iter()
            .find(|(path, _)| path == page)
            .map(|(_, text)| text.lines());
        let headings = found.into_iter().flatten().filter(|line| line.starts_with('#'));
        headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
    };
    for (page, text) in &pages {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("https://")) {
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a folder").join(file),
            };
            assert!(root().join(&target).exists(), "{}: {link}", page.display());
            let found = place.is_empty() || anchors(&target).iter().any(|anchor| anchor == place);
            assert!(found, "{}: no heading for {link}", page.display());
        }
    }
}

#[test]
fn the_book_has_every_page_and_leads_nowhere_else() {
    let (pages, book) = (pages(), page("docs/SUMMARY.md"));
    for (page, text) in pages.iter().filter(|(page, _)| page.starts_with("docs")) {
        let name = page.file_name().expect("a name").to_str().expect("utf-8");
        assert!(name == "SUMMARY.md" || book.contains(&format!("]({name})")), "{name}");
        // The rendered book holds only its pages: what is outside would be a dead link there.
        assert!(!text.contains("](../"), "{name} links out of the book");
    }
}

#[test]
fn the_protocol_lists_every_kind_of_failure() {
    let protocol = page("docs/protocol.md");
    for kind in kiln::outcome::FailureKind::ALL {
        assert!(protocol.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
}

#[test]
fn the_limits_page_lists_every_limit_with_its_default_its_ceiling_and_its_range() {
    let limits = page("docs/limits.md");
    for spec in &LIMITS {
        let ceiling = match spec.scope {
            Scope::Plugin => spec.limit.show(spec.ceiling),
            Scope::Host => "–".to_owned(),
        };
        let default = spec.limit.show(spec.default);
        let row = format!("| `{}` | {default} | {ceiling} | {} |", spec.name, spec.about);
        assert!(limits.contains(&row), "missing: {row}");
        let row = format!("| `{}` | {} | {} |", spec.name, spec.show_range(), spec.range);
        assert!(limits.contains(&row), "missing: {row}");
    }
}
