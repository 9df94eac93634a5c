//! What clients may take of the dashboard's process.

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::Context as _;
use kiln::web::MAX_DASHBOARD_CONNECTIONS;
use serde_json::json;
use tempfile::NamedTempFile;

use super::Dashboard;
use crate::support::redis_settings;

const TOKEN: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";

/// Sends as much as the other side takes.
fn stuff(stream: &mut TcpStream, text: &[u8], most: usize) -> anyhow::Result<()> {
    stream.set_nonblocking(true)?;
    let mut sent = 0;
    while sent < most {
        match stream.write(&text[..text.len().min(most - sent)]) {
            Ok(count) => sent += count,
            Err(err) if err.kind() == ErrorKind::WouldBlock => break,
            Err(_) => break,
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_who_ask_and_do_not_read_keep_nobody_out() -> anyhow::Result<()> {
    let mut file = NamedTempFile::new()?;
    writeln!(file, "viewer vera {TOKEN}")?;
    let tokens = file.path().to_str().context("text")?;
    let dashboard = Dashboard::start(&redis_settings(), &["--tokens", tokens])?;
    let request = format!("GET /assets/kiln.css HTTP/1.1\r\nhost: {}\r\n\r\n", dashboard.address).repeat(64);
    let mut strangers = Vec::new();
    for _ in 0..MAX_DASHBOARD_CONNECTIONS {
        let mut stream = TcpStream::connect(dashboard.address)?;
        stuff(&mut stream, request.as_bytes(), 1 << 20)?;
        strangers.push(stream);
    }
    let bearer = format!("Bearer {TOKEN}");
    for _ in 0..3 {
        let page = dashboard.ask("GET", "/api/v1/overview", &[("authorization", &bearer)], "")?;
        assert_eq!(page.status, 200);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bodies_of_all_requests_together_take_bounded_memory() -> anyhow::Result<()> {
    let dashboard = Dashboard::start(&redis_settings(), &[])?;
    let length = 16 << 20;
    let part = vec![b' '; 1 << 20];
    let mut senders = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(dashboard.address)?;
        let head = format!(
            "POST /api/v1/jobs HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            dashboard.address
        );
        stream.write_all(head.as_bytes())?;
        stream.set_write_timeout(Some(Duration::from_millis(300)))?;
        // All but the last byte, or what is taken of it.
        for _ in 0..15 {
            if stream.write_all(&part).is_err() {
                break;
            }
        }
        senders.push(stream);
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", dashboard.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: u64 = line.context("VmRSS")?.trim().trim_end_matches(" kB").parse()?;
    assert!(kib < 200 * 1024, "it holds {kib} KiB");
    let pushed = dashboard.api("POST", "/jobs", &json!({"name": "small"}))?;
    assert_eq!(pushed.status, 201, "what is small is taken all the same: {pushed:?}");
    Ok(())
}
