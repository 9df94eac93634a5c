//! Style, scripts and the icon, which are part of this program.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use super::Problem;

const FILES: [(&str, &str, &str); 4] = [
    (
        "kiln.css",
        "text/css; charset=utf-8",
        include_str!("../assets/kiln.css"),
    ),
    (
        "kiln.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/kiln.js"),
    ),
    (
        "idiomorph.min.js",
        "text/javascript; charset=utf-8",
        include_str!("../assets/idiomorph.min.js"),
    ),
    ("kiln.svg", "image/svg+xml", include_str!("../assets/kiln.svg")),
];

/// Part of the address of each file, so that a browser asks anew after an update.
pub(super) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let digest = FILES
        .iter()
        .fold(Sha256::new(), |digest, (_, _, text)| digest.chain_update(text));
    digest.finalize()[..6].iter().fold(String::new(), |mut version, byte| {
        let _ = write!(version, "{byte:02x}");
        version
    })
});

pub(super) async fn show(Path(file): Path<String>) -> Result<Response, Problem> {
    let found = FILES.iter().find(|(name, _, _)| *name == file);
    let (_, kind, text) = found.ok_or_else(|| Problem::missing("there is no such file"))?;
    Ok(([(CONTENT_TYPE, *kind), (CACHE_CONTROL, "max-age=86400")], *text).into_response())
}
