//! Handlers for Kiln as ordinary functions: what arrives as JSON text arrives as a type, what is returned leaves as JSON.
//!
//! ```
//! use kiln_handler::{Failure, Job, OrFail, handler, log};
//! use serde::{Deserialize, Serialize};
//!
//! handler!(greet);
//!
//! fn greet(job: Job<Guest>) -> Result<Greeting, Failure> {
//!     log::info!("attempt {} of {}", job.attempt, job.max_attempts);
//!     let house = std::env::var("HOUSE")?; // any error: the job is tried again by the retry policy
//!     let name = job.payload.name.or_permanent("a guest has a name")?; // not tried again
//!     let text = format!("welcome to {house}, {name}");
//!     Ok(Greeting { text })
//! }
//!
//! #[derive(Deserialize)]
//! struct Guest {
//!     name: Option<String>,
//! }
//!
//! #[derive(Serialize)]
//! struct Greeting {
//!     text: String,
//! }
//! ```
//!
//! A panic is no [`Failure`]: it ends the attempt as a trap, and Kiln shows its message and place.
//!
//! Outside Wasm a handler is a function like any other, for `cargo test`: call it with a [`Job::of`].

mod answer;
mod failure;
pub mod flow;
mod host;
pub mod http;
mod job;
mod json;
mod logger;
pub mod state;
pub mod tcp;

pub use failure::{Failure, OrFail};
pub use host::{config, is_cancelled, progress, remaining};
pub use job::Job;
/// The facade of the `log` crate, which speaks to Kiln's log, beside the job's id, name and plugin.
///
/// Heard are `debug` and above of the handler's own crate, `info` and above of others. Where a library that logs much
/// costs time, or `trace` is wanted, the handler can say so: `log::set_max_level(log::LevelFilter::Warn)`.
pub use log;

/// The contract as it was generated from `wit/`, for what this crate leaves out.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated")]
pub mod raw {
    pub use self::kiln::job::types;

    wit_bindgen::generate!({ path: "../wit", world: "job-handler", generate_all, pub_export_macro: true });
}

/// Makes a function what the plugin exports: `handler!(handle);`, once in a crate.
///
/// It has the form `fn handle(job: Job<P>) -> Result<R, Failure>`. The payload is any `P: DeserializeOwned`, or
/// `Box<RawValue>` for the JSON text as it was pushed; one that does not fit fails for good and says where. The result
/// is any `R: Serialize`, again with `Box<RawValue>` for JSON text that exists already; `()` and `None` are no result.
#[macro_export]
macro_rules! handler {
    ($handle:path) => {
        const _: () = {
            // No other name comes into scope here: it could be the function's.
            use $crate::__private::Json as _;

            struct KilnPlugin;

            impl $crate::raw::exports::kiln::job::handler::Guest for KilnPlugin {
                fn handle(
                    job: $crate::raw::types::Job,
                ) -> ::core::result::Result<::core::option::Option<::std::string::String>, $crate::raw::types::Failure>
                {
                    $crate::__private::listen(::core::env!("CARGO_CRATE_NAME"));
                    let result = $handle($crate::__private::read(job)?)?;
                    ::core::result::Result::Ok($crate::__private::Answer(result).json()?)
                }
            }

            // Elsewhere, where linkers do not take its names, it is checked all the same.
            #[cfg(target_family = "wasm")]
            $crate::raw::export! { KilnPlugin with_types_in $crate::raw }
            #[cfg(not(target_family = "wasm"))]
            let _ = <KilnPlugin as $crate::raw::exports::kiln::job::handler::Guest>::handle;
        };
    };
}

#[doc(hidden)]
pub mod __private {
    pub use crate::answer::{Answer, Json};
    pub use crate::job::read;
    pub use crate::logger::listen;
}
