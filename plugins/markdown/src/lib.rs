//! Turns Markdown into HTML that is safe to show: `{"markdown": "…"}` becomes `{"html": "…"}`.
//!
//! Raw HTML in the Markdown is kept as far as it is harmless; scripts, styles and unknown links are dropped. Footnotes
//! are absent, because their links need ids, and ids of one text would clash with those of the page around it.

use std::borrow::Cow;

use kiln_handler::{Failure, Job, OrFail, handler, log};
use pulldown_cmark::{Options, Parser};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

handler!(handle);

fn handle(job: Job<Box<RawValue>>) -> Result<Page, Failure> {
    // The parser of HTML would tell of every token.
    log::set_max_level(log::LevelFilter::Off);
    let payload: Payload =
        serde_json::from_str(job.payload.get()).or_permanent(r#"payload is not {"markdown": "text"}"#)?;
    let html = sanitise(&render(&payload.markdown));
    Ok(Page { html })
}

#[derive(Deserialize)]
struct Payload {
    markdown: String,
}

#[derive(Serialize)]
struct Page {
    html: String,
}

/// HTML as the Markdown asks for, harmful or not.
fn render(markdown: &str) -> String {
    let extensions = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut html = String::with_capacity(markdown.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut html, Parser::new_ext(markdown, extensions));
    html
}

/// Drops what could harm a page. The exceptions are what `render` itself writes: the language of a code block, the
/// alignment of a table cell, the box of a task.
fn sanitise(html: &str) -> String {
    ammonia::Builder::default()
        .add_tag_attributes("code", ["class"])
        .add_tag_attributes("th", ["style"])
        .add_tag_attributes("td", ["style"])
        .filter_style_properties(["text-align"].into())
        .add_tags(["input"])
        .add_tag_attributes("input", ["checked"])
        .set_tag_attribute_value("input", "type", "checkbox")
        .set_tag_attribute_value("input", "disabled", "")
        .attribute_filter(|element, attribute, value| match (element, attribute) {
            ("code", "class") if !value.starts_with("language-") => None,
            _ => Some(Cow::Borrowed(value)),
        })
        .clean(html)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> String {
        sanitise(&render(markdown))
    }

    #[test]
    fn renders_tables_strikethrough_and_tasks() {
        let table = html("| a | b |\n|---|--:|\n| 1 | ~~2~~ |\n");
        assert!(
            table.contains("<td style=\"text-align:right\"><del>2</del></td>"),
            "{table}"
        );
        let task = html("- [x] done\n");
        assert!(
            task.contains("type=\"checkbox\"") && task.contains("disabled"),
            "{task}"
        );
    }

    #[test]
    fn keeps_the_language_of_a_code_block_and_no_other_class() {
        assert!(html("```rust\nfn main() {}\n```").contains("<code class=\"language-rust\">"));
        assert!(!html("<code class=\"admin\">x</code>").contains("admin"));
    }

    #[test]
    fn drops_what_could_run_or_deceive() {
        let harmful = [
            "<script>alert(1)</script>",
            "[x](javascript:alert(1))",
            "<img src=x onerror=alert(1)>",
            "<td style=\"position:fixed\">x</td>",
            "<input type=\"password\" name=\"p\">",
            "<iframe src=\"https://example.com\"></iframe>",
        ];
        for markdown in harmful {
            let html = html(markdown);
            for word in ["script", "onerror", "position", "password", "iframe"] {
                assert!(!html.contains(word), "{markdown}: {html}");
            }
        }
    }
}
