//! How the test itself reaches Redis: in time or not at all, and asking nothing twice.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisResult};

use crate::servers::Server;

/// Time a connection or a command may take. A push that has no answer by then counts as unanswered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Ends the server with that signal and starts it again where it was.
pub(crate) fn restart(server: &mut Server, signal: &str) -> anyhow::Result<()> {
    match signal {
        "-KILL" => server.kill(),
        _ => server.shut_down()?,
    }
    server.restart()
}

pub(crate) async fn connect(client: &Client) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}
