//! Producers whose clock differs from Redis': what they delay is due by Redis'.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::Context as _;
use kiln::job::Job;
use serde_json::json;

use crate::support::{kiln, redis_settings, shared_redis};

/// How far the two clocks are apart, in seconds.
const APART_S: i64 = 120;

/// What an answer to `TIME` begins with: two strings, the first of which is the second of the day.
const TIME: &[u8] = b"*2\r\n$10\r\n";

/// A way to the shared server on which its clock seems so many seconds ahead, or behind.
fn ahead_by(seconds: i64) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let url = format!("redis://{}", listener.local_addr()?);
    let upstream = shared_redis().url().trim_start_matches("redis://").to_owned();
    // It ends with the tests.
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&upstream) else {
                break;
            };
            let asked = client.try_clone().and_then(|from| Ok((from, server.try_clone()?)));
            thread::spawn(move || asked.map(|(from, to)| pass(from, to, 0)));
            thread::spawn(move || pass(server, client, seconds));
        }
    });
    Ok(url)
}

/// Passes on what comes, with the time that is told set forward. No answer in these tests is cut in two.
fn pass(mut from: TcpStream, mut to: TcpStream, seconds: i64) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let found = bytes[..read].windows(TIME.len()).position(|window| window == TIME);
        if let Some(at) = found.filter(|_| seconds != 0) {
            let digits = &mut bytes[at + TIME.len()..][..10];
            let told: i64 = String::from_utf8_lossy(digits).parse().expect("seconds");
            digits.copy_from_slice((told + seconds).to_string().as_bytes());
        }
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Has a job delayed by 30 s, by a producer for which Redis' clock is that far ahead: its score and its JSON, as seconds
/// from now.
async fn delayed(seconds: i64, batch: bool) -> anyhow::Result<(i64, i64)> {
    let settings = redis_settings();
    let mut command = kiln();
    command
        .args(["push", "--store", &ahead_by(seconds)?, "--prefix", &settings.prefix])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null());
    let now = jiff::Timestamp::now().as_second();
    let mut push = if batch {
        command.args(["--batch", "-"]).spawn()?
    } else {
        command.args(["hello", "--delay", "30s"]).spawn()?
    };
    let line = json!({"name": "hello", "delay": 30_000_000_000_u64});
    writeln!(push.stdin.take().context("standard input")?, "{line}")?;
    anyhow::ensure!(push.wait()?.success());
    let key = format!("{}:queues:default:delayed", settings.prefix);
    let found: Vec<(String, f64)> = shared_redis().tell(&["ZRANGE", &key, "0", "-1", "WITHSCORES"]).await?;
    let (job, score) = found.first().context("a delayed job")?;
    let available = Job::decode(job.as_bytes())?.available_at().context("its time")?;
    #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970")]
    Ok((*score as i64 - now, available.as_second() - now))
}

#[tokio::test]
async fn what_is_pushed_with_a_delay_is_due_by_the_stores_clock_whatever_the_producers_says() -> anyhow::Result<()> {
    for seconds in [-APART_S, APART_S] {
        for batch in [false, true] {
            let (due, available) = delayed(seconds, batch).await?;
            for (what, found) in [("score", due), ("available_at", available)] {
                // A slow machine takes some seconds for it; the wrong clock would be two minutes off.
                let late = found - seconds - 30;
                assert!(
                    (-2..=60).contains(&late),
                    "{what}, {seconds} s ahead, batch {batch}: {late} s late"
                );
            }
        }
    }
    Ok(())
}
