//! The README shows what was tried.

use kiln::config::{LIMITS, Scope};

const README: &str = include_str!("../../README.md");

/// What stands between a fence of this language and the next.
pub(crate) fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README
        .split(&*fence)
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}

#[test]
fn the_readmes_handler_is_the_one_that_is_built_and_tested() {
    assert_eq!(blocks("rust")[0], include_str!("../../plugins/hello/src/lib.rs"));
}

#[test]
fn the_readmes_manifest_is_read_as_it_says() {
    let manifest: kiln::config::Manifest = toml::from_str(blocks("toml")[0]).expect("a manifest");
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
fn the_readme_lists_every_kind_of_failure() {
    for kind in kiln::outcome::FailureKind::ALL {
        assert!(README.contains(&format!("\n| `{kind}` |")), "{kind}");
    }
}

#[test]
fn the_readme_lists_every_limit_with_its_default_and_its_ceiling() {
    for spec in &LIMITS {
        let ceiling = match spec.scope {
            Scope::Plugin => spec.limit.show(spec.ceiling),
            Scope::Host => "–".to_owned(),
        };
        let default = spec.limit.show(spec.default);
        let row = format!("| `{}` | {default} | {ceiling} | {} |", spec.name, spec.about);
        assert!(README.contains(&row), "missing: {row}");
    }
}
