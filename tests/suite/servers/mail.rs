//! An SMTP server, as far as clients need one to leave a message with.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_rustls::TlsAcceptor;

use super::tcp::TcpServer;

/// When a server of mail speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tls {
    Never,
    Always,
    /// Once the client asks for it, before which it takes no message.
    Offered,
}

/// Keeps what it is sent.
pub(crate) struct MailServer {
    pub(crate) port: u16,
    kept: Arc<Mutex<String>>,
    _serving: TcpServer,
}

impl MailServer {
    pub(crate) async fn start(tls: Tls, acceptor: &TlsAcceptor) -> anyhow::Result<Self> {
        let kept = Arc::<Mutex<String>>::default();
        let (keeps, acceptor) = (Arc::clone(&kept), acceptor.clone());
        let serving = TcpServer::start(move |connection| {
            let (kept, acceptor) = (Arc::clone(&keeps), acceptor.clone());
            async move {
                match tls {
                    Tls::Never => converse(connection, &kept, true, false).await.map(drop),
                    Tls::Always => converse(acceptor.accept(connection).await?, &kept, true, false)
                        .await
                        .map(drop),
                    Tls::Offered => {
                        let Some(plain) = converse(connection, &kept, true, true).await? else {
                            return Ok(());
                        };
                        converse(acceptor.accept(plain).await?, &kept, false, false)
                            .await
                            .map(drop)
                    }
                }
            }
        })
        .await?;
        Ok(Self {
            port: serving.port,
            kept,
            _serving: serving,
        })
    }

    /// The messages that it was sent since it was asked last.
    pub(crate) fn take(&self) -> String {
        std::mem::take(&mut *self.kept.lock().expect("no panic"))
    }
}

/// Takes messages, until the client leaves; or asks for TLS, where that is offered: then the connection comes back.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    connection: S,
    kept: &Mutex<String>,
    greets: bool,
    offers_tls: bool,
) -> anyhow::Result<Option<S>> {
    let mut connection = BufReader::new(connection);
    if greets {
        connection.write_all(b"220 server.example\r\n").await?;
        connection.flush().await?;
    }
    loop {
        let mut line = String::new();
        connection.read_line(&mut line).await?;
        let answer = match line.to_ascii_uppercase().get(..4).unwrap_or_default() {
            "EHLO" if offers_tls => "250-server.example\r\n250 STARTTLS\r\n",
            "STAR" if offers_tls => {
                connection.write_all(b"220 go on\r\n").await?;
                connection.flush().await?;
                return Ok(Some(connection.into_inner()));
            }
            "MAIL" if offers_tls => "530 not in plain text\r\n",
            "DATA" => {
                connection.write_all(b"354 go on\r\n").await?;
                connection.flush().await?;
                let mut message = String::new();
                while connection.read_line(&mut message).await? > 0 && !message.ends_with("\r\n.\r\n") {}
                kept.lock().expect("no panic").push_str(&message);
                "250 kept\r\n"
            }
            "QUIT" => {
                connection.write_all(b"221 farewell\r\n").await?;
                connection.flush().await?;
                return Ok(None);
            }
            "" => return Ok(None),
            _ => "250 well\r\n",
        };
        connection.write_all(answer.as_bytes()).await?;
        connection.flush().await?;
    }
}
