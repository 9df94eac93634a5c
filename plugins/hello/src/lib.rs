//! Greets: `{"to": "World"}` becomes `{"greeting": "Hello, World!"}`.

use kiln::job::types::{Failure, Job};
use serde::Deserialize;

wit_bindgen::generate!({ path: "../../wit", world: "job-handler", generate_all });

struct Hello;
export!(Hello);

impl exports::kiln::job::handler::Guest for Hello {
    fn handle(job: Job) -> Result<Option<String>, Failure> {
        // A payload that makes no sense makes none the next time either.
        let payload: Option<Payload> =
            serde_json::from_str(&job.payload).map_err(|err| Failure::Permanent(format!("payload: {err}")))?;
        let to = payload.map_or_else(|| "World".to_owned(), |payload| payload.to);
        println!("attempt {} of {}", job.attempt, job.max_attempts);
        Ok(Some(
            serde_json::json!({ "greeting": format!("Hello, {to}!") }).to_string(),
        ))
    }
}

#[derive(Deserialize)]
struct Payload {
    to: String,
}
