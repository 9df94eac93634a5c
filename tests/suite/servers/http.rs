//! HTTP servers that answer as a test says, and tell what they were asked.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::AbortHandle;

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
    let first = line(connection).await?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    loop {
        let line = line(connection).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    if asked.header("transfer-encoding") == Some("chunked") {
        loop {
            let length = usize::from_str_radix(&line(connection).await?, 16)?;
            more(connection, length, &mut asked.body).await?;
            line(connection).await?;
            if length == 0 {
                break;
            }
        }
    } else {
        let length = asked.header("content-length").unwrap_or("0").parse()?;
        more(connection, length, &mut asked.body).await?;
    }
    Ok(asked)
}

async fn line(connection: &mut BufReader<TcpStream>) -> anyhow::Result<String> {
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    Ok(line.trim_end().to_owned())
}

async fn more(connection: &mut BufReader<TcpStream>, length: usize, body: &mut Vec<u8>) -> anyhow::Result<()> {
    let start = body.len();
    body.resize(start + length, 0);
    connection.read_exact(&mut body[start..]).await?;
    Ok(())
}
