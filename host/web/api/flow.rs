//! Batches, and the lanes in which jobs wait for limits across hosts.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;

use super::queues::{name_of, query_of};
use super::{answer, count, cursor, items, place};
use crate::admin::{batches, lanes as seen};
use crate::job::check_batch_id;
use crate::text;
use crate::web::problem::Problem;
use crate::web::room::Shared;

pub(super) async fn lanes(State(room): State<Shared>, Path(name): Path<String>, uri: Uri) -> Result<Response, Problem> {
    let (queue, query) = (name_of(&name)?, query_of(&uri));
    query.only(&["plugin", "cursor", "limit"])?;
    let (from, count) = (place(&query)?.unwrap_or_default(), count(&query)?);
    let (found, next) = seen::part(&room.store, &queue, query.get("plugin"), from, count).await?;
    Ok(items(&found, next.map(cursor)))
}

pub(super) async fn batch(State(room): State<Shared>, Path(id): Path<String>) -> Result<Response, Problem> {
    let unknown = || Problem::missing(batches::unknown(&text::name(&id)));
    check_batch_id(&id).map_err(|_| unknown())?;
    let batch = batches::batch(&room.store, &id).await?.ok_or_else(unknown)?;
    Ok(answer(&batch))
}
