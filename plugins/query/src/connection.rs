//! A connection to PostgreSQL over the host's, which speaks TLS and verifies certificates.

use std::future::{Ready, poll_fn, ready};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use kiln_handler::tcp::Stream;
use kiln_handler::{Failure, remaining};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config};

use crate::settings::Settings;
use crate::told;

/// Connects, does the work, and drives the connection meanwhile.
pub(crate) async fn with<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut config = Config::new();
    config
        .user(&settings.user)
        .dbname(&settings.database)
        .application_name("kiln")
        .ssl_mode(if settings.tls {
            SslMode::Require
        } else {
            SslMode::Disable
        })
        // So that the server, too, stops when the attempt is over.
        .options(format!("-c statement_timeout={}", remaining().as_millis().max(1)));
    if let Ok(password) = std::env::var("PGPASSWORD") {
        config.password(password);
    }
    let stream = Stream::connect(&settings.host, settings.port)?;
    let tls = HostTls(settings.host.clone());
    let (mut client, connection) = config.connect_raw(stream, tls).await.map_err(told)?;
    let (mut work, mut connection) = (pin!(work(&mut client)), pin!(connection));
    let mut is_open = true;
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if is_open && connection.as_mut().poll(context).is_ready() {
            // It is the client that tells why.
            is_open = false;
            context.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await
}

/// Has the host begin with TLS, for a server of this name.
struct HostTls(String);

impl TlsConnect<Stream> for HostTls {
    type Stream = Secured;
    type Error = io::Error;
    type Future = Ready<io::Result<Secured>>;

    fn connect(self, mut stream: Stream) -> Self::Future {
        ready(stream.start_tls(&self.0).map(|()| Secured(stream)))
    }
}

/// A connection with TLS.
struct Secured(Stream);

impl TlsStream for Secured {
    /// The host does not tell the certificate.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
