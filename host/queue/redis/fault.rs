//! Which errors of Redis mean that the store cannot be used, and which spoil a connection.

use ::redis::{ErrorKind, RedisError, ServerErrorKind};

/// Whether an error means that the store, as opposed to this one command, cannot be used for now.
pub(in crate::queue) fn is_outage(err: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain};
    let server = |kind| matches!(kind, BusyLoading | ClusterDown | MasterDown | ReadOnly | TryAgain);
    match err.kind() {
        // An answer cut off in the middle cannot be read.
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::NoValidReplicasFoundBySentinel => true,
        ErrorKind::Server(kind) if server(kind) => true,
        _ => {
            let code = err.code().unwrap_or_default();
            matches!(code, "OOM" | "BUSY" | "MISCONF" | "NOREPLICAS")
                || err.detail().is_some_and(|why| why.contains("max number of clients"))
        }
    }
}

/// Whether a connection that brought this error must be replaced: it is broken, or leads to a server that is not the
/// master.
pub(super) fn spoils(err: &RedisError) -> bool {
    err.is_unrecoverable_error()
        || err.is_io_error()
        || err.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
        || err.kind() == ErrorKind::Server(ServerErrorKind::MasterDown)
}
