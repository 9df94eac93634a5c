//! TCP servers that do with every connection what a test says.

use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

/// Serves every connection, until this is dropped.
pub(crate) struct TcpServer {
    pub(crate) port: u16,
    accepting: AbortHandle,
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TcpServer {
    pub(crate) async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection));
            }
        });
        let accepting = accepting.abort_handle();
        Ok(Self { port, accepting })
    }
}
