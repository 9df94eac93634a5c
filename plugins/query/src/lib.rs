//! Runs the SQL statement of its manifest against PostgreSQL, with parameters from the payload: `{"customer": 7, "since":
//! "2026-01-01"}` becomes `{"rows": [{"id": 1, …}]}`.
//!
//! No part of the statement comes from a payload. The server turns rows into JSON, so that every type it has is served, and
//! none loses digits on the way.

mod connection;
mod parameter;
mod settings;

use futures_util::TryStreamExt as _;
use kiln_handler::{Failure, Job, config, handler, tcp};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::{Client, Error};

use parameter::{Parameter, Payload};
use settings::Settings;

handler!(handle);

/// Bytes of JSON that all rows together may have. The host takes no result that is much larger.
const MAX_BYTES: usize = 3 * 1024 * 1024;

fn handle(job: Job<Payload>) -> Result<Answer, Failure> {
    let settings = Settings::read(config)?;
    let parameters = Parameter::all(&settings.parameters, &job.payload)?;
    tcp::block_on(connection::with(&settings, async |client| {
        run(client, &settings, &parameters).await
    }))
}

#[derive(Debug, Default, Serialize)]
struct Answer {
    rows: Vec<Box<RawValue>>,
    /// How many rows a statement has changed that returns none.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<u64>,
}

/// In one transaction: a statement that fails, or returns too much, changes nothing.
async fn run(client: &mut Client, settings: &Settings, parameters: &[Parameter]) -> Result<Answer, Failure> {
    let transaction = client.transaction().await.map_err(told)?;
    let statement = transaction.prepare(&settings.statement).await.map_err(told)?;
    let (wanted, given) = (statement.params().len(), parameters.len());
    if wanted != given {
        let why = format!("config: the statement has {wanted} parameters, `parameters` names {given}");
        return Err(Failure::permanent(why));
    }
    let mut answer = Answer::default();
    if statement.columns().is_empty() {
        answer.changed = Some(transaction.execute_raw(&statement, parameters).await.map_err(told)?);
    } else {
        let rows = transaction
            .query_raw(&settings.as_json(), parameters)
            .await
            .map_err(told)?;
        let mut rows = std::pin::pin!(rows);
        let mut bytes = 0;
        while let Some(row) = rows.try_next().await.map_err(told)? {
            let json: String = row.try_get(0).map_err(told)?;
            bytes += json.len();
            let most = settings.max_rows;
            if answer.rows.len() == most {
                let why = format!("the statement returns more than {most} rows, which max_rows allows");
                return Err(Failure::permanent(why));
            }
            if bytes > MAX_BYTES {
                let why = format!("the statement returns rows of more than {MAX_BYTES} bytes together");
                return Err(Failure::permanent(why));
            }
            answer.rows.push(RawValue::from_string(json)?);
        }
    }
    transaction.commit().await.map_err(told)?;
    Ok(answer)
}

/// What the server says of the parameters (a value that does not fit its type, or breaks a constraint) is no better the
/// next time. All else may be: the server, its load, the statement in the manifest.
fn told(err: Error) -> Failure {
    let Some(said) = err.as_db_error() else {
        return err.into();
    };
    let why = format!("{}: {} ({})", said.severity(), said.message(), said.code().code());
    match said.code().code().get(..2) {
        Some("22" | "23") => Failure::permanent(why),
        _ => Failure::retry(why),
    }
}
