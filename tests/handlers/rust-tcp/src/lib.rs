//! Opens connections as tests/suite/connections.rs asks it to.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use kiln_handler::tcp::{self, Stream};
use kiln_handler::{Failure, Job, handler};
use redis::Commands;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt};
use tokio_postgres::{Client, Config, NoTls};

handler!(handle);

#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "do")]
    act: String,
    host: String,
    port: u16,
    #[serde(default)]
    name: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    table: String,
    #[serde(default)]
    repeat: usize,
    #[serde(default)]
    n: i32,
    #[serde(default)]
    rows: i32,
    timeout_ms: Option<u64>,
}

fn handle(job: Job<Asked>) -> Result<Value, Failure> {
    let asked = &job.payload;
    match asked.act.as_str() {
        "greet" => Ok(greet(asked)?),
        "upload" => Ok(upload(asked)?),
        "upgrade" => Ok(upgrade(asked)?),
        "several" => Ok(several(asked)?),
        "sql" => block_on(query(asked)),
        "import" => block_on(import(asked)),
        "redis" => Ok(with_redis(asked)?),
        unknown => Err(Failure::permanent(format!("unknown: {unknown}"))),
    }
}

fn connected(asked: &Asked) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((asked.host.as_str(), asked.port))?;
    stream.set_read_timeout(asked.timeout_ms.map(Duration::from_millis))?;
    Ok(stream)
}

/// Hears what the server says first, and answers it.
fn greet(asked: &Asked) -> io::Result<Value> {
    let mut stream = BufReader::new(connected(asked)?);
    let mut line = || -> io::Result<String> {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    };
    let greeting = line()?;
    writeln!(stream.get_mut(), "{}", asked.text)?;
    let mut answer = String::new();
    stream.read_line(&mut answer)?;
    Ok(json!({ "greeting": greeting, "answer": answer.trim() }))
}

/// Sends everything, and reads to the end what comes back.
fn upload(asked: &Asked) -> io::Result<Value> {
    let mut stream = connected(asked)?;
    stream.write_all(asked.text.repeat(asked.repeat).as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    Ok(json!({ "bytes": bytes.len(), "sum": sum }))
}

/// Goes on with TLS once the server consents.
fn upgrade(asked: &Asked) -> io::Result<Value> {
    let mut stream = Stream::connect(&asked.host, asked.port)?;
    writeln!(stream, "STARTTLS")?;
    let mut consent = [0; b"go on\n".len()];
    stream.read_exact(&mut consent)?;
    stream.start_tls(&asked.name)?;
    writeln!(stream, "{}", asked.text)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(json!({ "answer": answer.trim() }))
}

/// Has connections under way at once, each in a future that only its own waker has polled again.
fn several(asked: &Asked) -> io::Result<Value> {
    let mut greeted: FuturesUnordered<_> = (0..asked.n).map(|_| greet_later(asked)).collect();
    tcp::block_on(async {
        let mut answers = Vec::new();
        while let Some(answer) = greeted.next().await {
            answers.push(answer?);
        }
        Ok(answers.into())
    })
}

async fn greet_later(asked: &Asked) -> io::Result<Value> {
    let mut stream = tokio::io::BufReader::new(Stream::connect(&asked.host, asked.port)?);
    let (mut greeting, mut answer) = (String::new(), String::new());
    stream.read_line(&mut greeting).await?;
    let none = AsyncWriteExt::write(&mut stream, &[]).await?;
    stream.write_all(format!("{}\n", asked.text).as_bytes()).await?;
    stream.read_line(&mut answer).await?;
    Ok(json!({ "greeting": greeting.trim(), "answer": answer.trim().get(none..) }))
}

async fn database(asked: &Asked) -> Result<Client, Failure> {
    let mut config = Config::new();
    config.user("kiln").password("tea").dbname("postgres");
    // tokio would look the name up on another thread, of which there is none.
    let addresses: Vec<_> = (asked.host.as_str(), asked.port).to_socket_addrs()?.collect();
    let stream = tokio::net::TcpStream::connect(addresses.as_slice()).await?;
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Asks with parameters, and meets an error that leaves the connection usable.
async fn query(asked: &Asked) -> Result<Value, Failure> {
    let database = database(asked).await?;
    let row = database
        .query_one("SELECT $1::int + 1, $2::text, NULL::text", &[&asked.n, &asked.text])
        .await?;
    let (n, text, nothing): (i32, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
    let error = database.execute("SELECT * FROM nowhere", &[]).await.err();
    let code = error
        .as_ref()
        .and_then(tokio_postgres::Error::code)
        .ok_or_else(|| Failure::permanent("no error"))?;
    Ok(json!({ "rows": [[n, text, nothing]], "code": code.code() }))
}

/// Puts rows into a table in one transaction.
async fn import(asked: &Asked) -> Result<Value, Failure> {
    let mut database = database(asked).await?;
    let table = &asked.table;
    let transaction = database.transaction().await?;
    transaction
        .execute(&format!("CREATE TABLE {table} (n int PRIMARY KEY, name text)"), &[])
        .await?;
    let insert = transaction
        .prepare(&format!("INSERT INTO {table} VALUES ($1, $2)"))
        .await?;
    for n in 0..asked.rows {
        transaction.execute(&insert, &[&n, &format!("row {n}")]).await?;
    }
    transaction.commit().await?;
    let row = database
        .query_one(&format!("SELECT count(*), sum(n) FROM {table}"), &[])
        .await?;
    Ok(json!({ "sums": [row.get::<_, i64>(0), row.get::<_, i64>(1)] }))
}

/// With a runtime of its own: a handler is a plain function.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(work)
}

fn with_redis(asked: &Asked) -> redis::RedisResult<Value> {
    let client = redis::Client::open(format!("redis://{}:{}/", asked.host, asked.port))?;
    let mut connection = client.get_connection()?;
    let key = &asked.key;
    connection.set::<_, _, ()>(key, &asked.text)?;
    let mut several = redis::pipe();
    for _ in 0..asked.n {
        several.incr(format!("{key}:n"), 1);
    }
    let counted: Vec<i64> = several.query(&mut connection)?;
    let text: String = connection.get(key)?;
    Ok(json!({ "text": text, "counted": counted.last() }))
}
