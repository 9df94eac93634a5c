//! The documentation shows what was tried.

use kiln::config::{LIMITS, Scope};

const AUTHORS: &str = include_str!("../../docs/authors.md");
const MANIFEST: &str = include_str!("../../docs/manifest.md");
const PROTOCOL: &str = include_str!("../../docs/protocol.md");
const LIMITS_PAGE: &str = include_str!("../../docs/limits.md");

/// The handler that needs no kit, as the authors' page shows it.
pub(crate) fn handler_without_a_kit() -> &'static str {
    blocks(AUTHORS, "rust")[1]
}

/// What stands between a fence of this language and the next.
fn blocks(page: &'static str, language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    page.split(&*fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn the_first_handler_shown_is_the_one_that_is_built_and_tested() {
    assert_eq!(
        blocks(AUTHORS, "rust")[0],
        include_str!("../../plugins/hello/src/lib.rs")
    );
}

#[test]
fn the_manifest_shown_is_read_as_it_says() {
    let manifest: kiln::config::Manifest = toml::from_str(blocks(MANIFEST, "toml")[0]).expect("a manifest");
    assert_eq!(manifest.jobs.expect("jobs"), ["send-email", "send-sms"]);
    assert_eq!(
        manifest.retry,
        kiln::config::RetryPolicy::default(),
        "it shows the defaults"
    );
    assert_eq!(
        manifest.grants.http[0].to_string(),
        "GET/POST https://api.example.com/v1"
    );
    let secrets: Vec<_> = manifest.grants.secrets.keys().collect();
    assert_eq!(secrets, ["API_KEY", "SIGNING_KEY"]);
}

#[test]
fn the_protocol_lists_every_kind_of_failure() {
    for kind in kiln::outcome::FailureKind::ALL {
        assert!(PROTOCOL.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
}

#[test]
fn the_limits_page_lists_every_limit_with_its_default_and_its_ceiling() {
    for spec in &LIMITS {
        let ceiling = match spec.scope {
            Scope::Plugin => spec.limit.show(spec.ceiling),
            Scope::Host => "–".to_owned(),
        };
        let default = spec.limit.show(spec.default);
        let row = format!("| `{}` | {default} | {ceiling} | {} |", spec.name, spec.about);
        assert!(LIMITS_PAGE.contains(&row), "missing: {row}");
    }
}
