//! Greets: `{"to": "World"}` becomes `{"greeting": "Hello, World!"}`.

use kiln_handler::{Failure, Job, handler};
use serde::{Deserialize, Serialize};

handler!(hello);

fn hello(job: Job<Option<Payload>>) -> Result<Greeting, Failure> {
    let to = job.payload.map_or_else(|| "World".to_owned(), |payload| payload.to);
    println!("attempt {} of {}", job.attempt, job.max_attempts);
    let greeting = format!("Hello, {to}!");
    Ok(Greeting { greeting })
}

#[derive(Deserialize)]
struct Payload {
    to: String,
}

#[derive(Serialize)]
struct Greeting {
    greeting: String,
}
