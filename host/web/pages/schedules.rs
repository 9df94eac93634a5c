//! What workers push by the clock: when each came last and comes next, and pushing one now.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{Tab, empty, when};
use super::{View, still};
use crate::admin::schedules::Listed;
use crate::text;
use crate::web::body::form;
use crate::web::guard::{Caller, Role};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::words;

/// Schedules that the page shows. The API has all.
const SHOWN: usize = 500;

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let all = room.schedules().await?;
    let content = html! {
        div.head { h1 { "Schedules" } p.soft { "As the running workers fire them, by the clocks of their time zones." } }
        @if let Some(pushed) = view.query.get("pushed") {
            p.notice.good role="status" { "Pushed now, beside its instants: " a href={ "/jobs/" (words::part(pushed)) } { (text::name(pushed)) } }
        }
        @if all.is_empty() {
            (empty("No running worker has a schedule", &html! { "They stand in the manifests of plugins: " code { "[[schedule]]" } "." }))
        } @else {
            (table(&view, &all))
            @if all.len() > SHOWN { p.soft { "And " (words::count((all.len() - SHOWN) as u64)) " more: " a href="/api/v1/schedules" { "the API" } " has all." } }
        }
    };
    Ok(still(&view, Tab::Schedules, "Schedules", &content))
}

fn table(view: &View, all: &[Listed]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table: schedules" {
            table {
                thead { tr { th scope="col" { "Schedule" } th scope="col" { "When" } th scope="col" { "Last" } th scope="col" { "Next" } th scope="col" { "Queue" } th.number scope="col" { "Workers" } th scope="col" { span.hidden { "Actions" } } } }
                tbody {
                    @for schedule in all.iter().take(SHOWN) {
                        tr {
                            th scope="row" { (text::name(&schedule.name)) div.soft { "job " (text::name(&schedule.job)) } }
                            td { code { (text::line(&schedule.when, text::MAX_LINE_BYTES)) } div.soft { (text::name(&schedule.zone)) } }
                            td { @match &schedule.last { Some(last) => { (when(words::parse_ms(last))) } None => { span.soft { "not yet" } } } }
                            td {
                                @match schedule.next.first() { Some(next) => { (when(words::parse_ms(next))) div.soft.nowrap { (text::name(next)) } } None => { span.soft { "never" } } }
                            }
                            td { a href={ "/queues/" (words::part(&schedule.queue)) } { (text::name(&schedule.queue)) } }
                            td.number { (schedule.hosts.len()) }
                            td.nowrap {
                                @if view.may(Role::Operator) {
                                    form method="post" action="/schedules/run" {
                                        input type="hidden" name="name" value=(schedule.name);
                                        button type="submit" aria-label={ "Run " (text::name(&schedule.name)) " now" } { "Run now" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn run(
    State(room): State<Shared>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<Response, Problem> {
    let form = form(body).await?;
    let name = form.get("name").ok_or_else(|| Problem::bad("which schedule?"))?;
    let pushed = room.run_schedule(&caller, name).await?;
    let query = words::query(&[("pushed", &pushed.id)]);
    Ok((StatusCode::SEE_OTHER, [(LOCATION, format!("/schedules{query}"))]).into_response())
}
