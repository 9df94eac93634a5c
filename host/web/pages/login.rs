//! Logging in with a token, and out.

use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::{layout, shown};
use crate::text::is_hidden;
use crate::web::body::{Pairs, form};
use crate::web::problem::Problem;
use crate::web::room::Shared;
use crate::web::visit::Visit;

/// Wait after a wrong token.
const WRONG_WAIT: Duration = Duration::from_millis(500);

pub(super) async fn show(axum::extract::RawQuery(query): axum::extract::RawQuery) -> Response {
    let query = Pairs::of(query.unwrap_or_default().as_bytes());
    shown(&page(own_path(query.get("next")), false))
}

pub(super) async fn log_in(
    State(room): State<Shared>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let secure = room.guard.is_secure(&headers, &visit);
    let form = form(body).await?;
    let next = own_path(form.get("next"));
    let Some((name, cookie)) = room.guard.log_in(form.get("token").unwrap_or_default(), secure) else {
        tokio::time::sleep(WRONG_WAIT).await;
        tracing::warn!("a wrong token was given to the dashboard");
        return Ok((StatusCode::UNAUTHORIZED, shown(&page(next, true))).into_response());
    };
    tracing::info!(by = name, "somebody logged in to the dashboard");
    Ok((
        StatusCode::SEE_OTHER,
        [(LOCATION, next.to_owned()), (SET_COOKIE, cookie)],
    )
        .into_response())
}

pub(super) async fn log_out(
    State(room): State<Shared>,
    Extension(visit): Extension<Visit>,
    headers: HeaderMap,
) -> Response {
    let secure = room.guard.is_secure(&headers, &visit);
    let cookie = room.guard.log_out(&headers, secure);
    (
        StatusCode::SEE_OTHER,
        [(LOCATION, "/login".to_owned()), (SET_COOKIE, cookie)],
    )
        .into_response()
}

/// A path of ours: no other site's address.
fn own_path(next: Option<&str>) -> &str {
    let is_own =
        |next: &&str| next.starts_with('/') && !next.starts_with("//") && !next.contains(|c| c == '\\' || is_hidden(c));
    next.filter(is_own).unwrap_or("/")
}

fn page(next: &str, wrong: bool) -> Markup {
    let content = html! {
        h1 { "Log in" }
        form.card.login method="post" action="/login" {
            @if wrong { p.notice.bad role="alert" { "That token is not known here." } }
            label for="token" { "Token" }
            input #token type="password" name="token" autocomplete="current-password" required autofocus;
            input type="hidden" name="next" value=(next);
            button.primary type="submit" { "Log in" }
            p.soft { "Whoever runs this dashboard has a file of tokens, one for each person." }
        }
    };
    layout::bare("Log in", &content)
}

#[cfg(test)]
mod tests {
    use super::own_path;

    #[test]
    fn a_login_leads_to_no_other_site() {
        assert_eq!(own_path(Some("/failed?kind=trap")), "/failed?kind=trap");
        for other in [
            "https://evil.example",
            "//evil.example",
            "/\\evil.example",
            "javascript:alert(1)",
            "/a\nb",
        ] {
            assert_eq!(own_path(Some(other)), "/", "{other}");
        }
    }
}
