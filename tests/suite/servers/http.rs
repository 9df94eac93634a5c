//! HTTP servers that answer as a test says, and tell what they were asked.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::AbortHandle;

use crate::support::PATIENCE;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find_map(|(found, value)| (found == name).then_some(value.as_str()))
    }
}

/// Takes one request from each connection, answers it, and closes. It ends when this is dropped.
pub(crate) struct HttpServer {
    pub(crate) port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    accepting: AbortHandle,
}

impl HttpServer {
    /// Answers with what `answer` writes; what comes from a client that is gone by then is nobody's loss.
    pub(crate) async fn start<F>(
        answer: impl Fn(Asked, BufReader<TcpStream>) -> F + Send + Sync + 'static,
    ) -> anyhow::Result<Self>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (told, answer) = (Arc::clone(&asked), Arc::new(answer));
        let accepting = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (told, answer) = (Arc::clone(&told), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut connection = BufReader::new(connection);
                    let asked = read(&mut connection).await?;
                    if asked.method.is_empty() {
                        // Who connects and says nothing has asked nothing.
                        return Ok(());
                    }
                    told.lock().expect("no panic").push(asked.clone());
                    answer(asked, connection).await
                });
            }
        });
        Ok(Self {
            port,
            asked,
            accepting: accepting.abort_handle(),
        })
    }

    /// Answers everything with these bytes.
    pub(crate) async fn answering(answer: impl Into<Vec<u8>>) -> anyhow::Result<Self> {
        let answer = Arc::new(answer.into());
        Self::start(move |_, mut connection| {
            let answer = Arc::clone(&answer);
            async move { Ok(connection.write_all(&answer).await?) }
        })
        .await
    }

    /// Answers nobody before it has been asked so often; then everybody, with the path that was asked for.
    pub(crate) async fn answering_all_of(requests: usize) -> anyhow::Result<Self> {
        let all = Arc::new(Barrier::new(requests));
        Self::start(move |asked, mut connection| {
            let all = Arc::clone(&all);
            async move {
                all.wait().await;
                let answer = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", asked.path);
                Ok(connection.write_all(answer.as_bytes()).await?)
            }
        })
        .await
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn read(connection: &mut BufReader<TcpStream>) -> anyhow::Result<Asked> {
    let mut asked = head(connection).await?;
    asked.body = body(&asked, connection).await?;
    Ok(asked)
}

/// The next request, without its body.
pub(crate) async fn head(connection: &mut BufReader<TcpStream>) -> anyhow::Result<Asked> {
    let first = line(connection).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    while let Some((name, value)) = line(connection).await?.split_once(':') {
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    Ok(asked)
}

/// What is left of the body of a request.
pub(crate) async fn body(asked: &Asked, connection: &mut BufReader<TcpStream>) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    if asked.header("transfer-encoding") == Some("chunked") {
        while let Some(chunk) = chunk(connection).await? {
            body.extend(chunk);
        }
    } else {
        body.resize(asked.header("content-length").unwrap_or("0").parse()?, 0);
        connection.read_exact(&mut body).await?;
    }
    Ok(body)
}

/// The next chunk of a body that is sent in such; none after the last.
pub(crate) async fn chunk(connection: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Vec<u8>>> {
    let length = usize::from_str_radix(&line(connection).await?, 16)?;
    let mut chunk = vec![0; length];
    connection.read_exact(&mut chunk).await?;
    line(connection).await?;
    Ok((length > 0).then_some(chunk))
}

async fn line(connection: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = Vec::new();
    connection.read_until(b'\n', &mut line).await?;
    // A header may be latin1.
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// Asks once, over a connection of its own. Status and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let answer = exchange(
        address,
        &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"),
    )?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
    let status = head.split(' ').nth(1).context("a status")?;
    Ok((status.parse()?, body.to_owned()))
}

pub(crate) fn exchange(address: SocketAddr, request: &str) -> anyhow::Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
