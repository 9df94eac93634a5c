//! Who did what.

use axum::extract::State;
use axum::response::Response;
use maud::html;

use super::layout::{Tab, empty, when};
use super::{View, live};
use crate::admin::audit;
use crate::text;
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Deeds that the page shows.
const SHOWN: usize = 200;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let deeds = audit::list(&room.store, SHOWN).await?;
    let content = html! {
        div.head { h1 { "Audit" } p.soft { "What was done in dashboards and by the API. " code { "kiln" } " on a command line is not recorded." } }
        @if deeds.is_empty() {
            (empty("Nothing was done yet", &html! { "Every retry, deletion, pause, resumption and release stands here." }))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Table: what was done" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "To what" } } }
                    tbody { @for deed in &deeds { tr { td { (when(words::parse_ms(&deed.at))) } td { @if deed.by.is_empty() { span.soft { "no name" } } @else { (text::name(&deed.by)) } } td.nowrap { (text::name(&deed.act)) } td { (text::line(&deed.what, 512)) } } } }
                }
            }
        }
    };
    Ok(live(&view, Tab::Audit, "Audit", &content))
}
