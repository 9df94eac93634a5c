//! Batches: one by its id, and how far it has come.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use maud::html;

use super::layout::{Tab, badge, tile, when};
use super::{View, live, still};
use crate::admin::batches;
use crate::job::{MAX_BATCH_ID_BYTES, check_batch_id};
use crate::text;
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Asks for the id of a batch: they are not listed anywhere.
pub(super) async fn ask(view: View) -> Response {
    if let Some(id) = view.query.get("id") {
        let page = format!("/batches/{}", words::part(id));
        return (StatusCode::SEE_OTHER, [(LOCATION, page)]).into_response();
    }
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/queues" { "Queues" } " / " }
        h1 { "Batches" }
        form.card.confirm method="get" action="/batches" {
            p { "Jobs name their batch in " code { "metadata.kiln.batch" } ". It is known from the end of its first job on, and for seven days after that of its last one." }
            div { label for="id" { "A batch's id" } }
            div { input #id type="text" name="id" required maxlength=(MAX_BATCH_ID_BYTES) spellcheck="false"; }
            div { button.primary type="submit" { "Show it" } }
        }
    };
    still(&view, Tab::Queues, "Batches", &content)
}

pub(super) async fn show(State(room): State<Shared>, Path(id): Path<String>, view: View) -> Result<Response, Problem> {
    let unknown = || Problem::missing(batches::unknown(&text::name(&id)));
    check_batch_id(&id).map_err(|_| unknown())?;
    let batch = batches::batch(&room.store, &id).await?.ok_or_else(unknown)?;
    let (sizes, ended) = (batch.sizes, batch.sizes.done + batch.sizes.failed);
    let colour = match (batch.completed, batch.ended) {
        (true, _) => "good",
        (false, true) => "bad",
        (false, false) => "",
    };
    let announced = match batch.added() {
        0 => "as announced".to_owned(),
        added => format!(
            "{} announced, {} added",
            words::count(batch.announced),
            words::count(added)
        ),
    };
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href="/queues" { "Queues" } " / " a href="/batches" { "Batches" } " / " }
        div.head { h1 { (text::name(&id)) } (badge(batch.state(), colour)) }
        div.card {
            p role="status" #progress { strong { (words::count(ended)) } " of " (words::of(sizes.total, "job has", "jobs have")) " ended, " (words::share(ended, sizes.total)) "." }
            progress max=(sizes.total.max(1)) value=(ended) aria-label="Jobs that have ended" {}
            p.soft { "The first of them ended " (when(Some(batch.began.as_millisecond()))) "." }
        }
        dl.tiles {
            (tile("Jobs", &words::count(sizes.total), Some(&announced), None, ""))
            (tile("Completed", &words::count(sizes.done), None, None, ""))
            (tile("Failed", &words::count(sizes.failed), None, None, if sizes.failed > 0 { "bad" } else { "" }))
            (tile("Open", &words::count(batch.open), None, None, ""))
        }
        p.soft { "A failed job that is retried and completes counts as completed from then on. Open are those that wait, run, or were not pushed yet." }
    };
    let title = format!("{} · Batches", text::name(&id));
    Ok(live(&view, Tab::Queues, &title, &content))
}
