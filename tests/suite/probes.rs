//! What a worker answers to whoever watches over it: probes over HTTP, and the service manager.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use kiln::queue::{Store, StoreSettings};
use kiln::web::{HEADER_TIME, MAX_CONNECTIONS, MAX_HEADER_BYTES};
use tempfile::TempDir;

use crate::process::Worker;
use crate::servers::Server;
use crate::servers::http::{exchange, get};
use crate::service::{folder_of, push};
use crate::support::{PATIENCE, default_queue, eventually, kiln, redis_settings, settings_at};

/// A worker that listens, and where.
pub(crate) async fn listening(
    settings: &StoreSettings,
    folder: &Path,
    extra: &[&str],
) -> anyhow::Result<(Worker, SocketAddr)> {
    let worker = Worker::start(settings, folder, &[&["--listen", "0"], extra].concat())?;
    worker.until_said("listening address=").await?;
    let line = worker.lines_with("listening address=").remove(0);
    let (_, address) = line.split_once("address=").context("the address")?;
    Ok((worker, address.trim().parse()?))
}

async fn until(address: SocketAddr, path: &str, status: u16) -> anyhow::Result<String> {
    eventually(path, async || {
        let (found, body) = get(address, path)?;
        Ok((found == status).then_some(body))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_has_joined_is_live_ready_and_started() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", "")])?;
    let (mut worker, address) = listening(&redis_settings(), folder.path(), &[]).await?;
    assert!(address.ip().is_loopback());
    assert_eq!(until(address, "/readyz", 200).await?, "ok\n");
    for path in ["/livez", "/startupz"] {
        assert_eq!(get(address, path)?, (200, "ok\n".to_owned()), "{path}");
    }
    let (_, live) = get(address, "/livez?verbose")?;
    for check in ["heartbeat", "guard", "promote", "reap", "watch", "epochs"] {
        assert!(live.contains(&format!("[+] {check}: ok\n")), "{live}");
    }
    let (_, ready) = get(address, "/readyz?verbose")?;
    assert_eq!(
        ready,
        "[+] joined: ok\n[+] store: ok\n[+] plugins: ok\n[+] running: ok\nok\n"
    );
    assert_eq!(get(address, "/nothing")?.0, 404);
    worker.signal("-TERM")?;
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_makes_a_worker_unready_and_leaves_it_live() -> anyhow::Result<()> {
    let (redis, folder) = (Server::start(&[])?, folder_of(&[("echo", "")])?);
    let (worker, address) = listening(&settings_at(&redis.url()), folder.path(), &["--lease", "2s"]).await?;
    until(address, "/readyz", 200).await?;
    redis.pause()?;
    assert_eq!(until(address, "/readyz", 503).await?, "[-] store: cannot be used\n");
    worker.until_said("the lease could not be put off").await?;
    assert_eq!(get(address, "/livez")?.0, 200);
    redis.resume()?;
    until(address, "/readyz", 200).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn from_sigterm_on_a_worker_is_unready_and_answers_until_it_has_drained() -> anyhow::Result<()> {
    let (settings, folder) = (redis_settings(), folder_of(&[("sleep", "")])?);
    let (mut worker, address) = listening(&settings, folder.path(), &["--grace", "2s"]).await?;
    let store = Store::open(&settings).await?;
    push(&store, &[r#"{"name":"sleep"}"#]).await?;
    eventually("the job runs", async || {
        Ok((store.counts(&default_queue()).await?.in_flight == 1).then_some(()))
    })
    .await?;
    worker.signal("-TERM")?;
    assert_eq!(until(address, "/readyz", 503).await?, "[-] running: draining\n");
    assert_eq!(get(address, "/livez")?.0, 200);
    assert_eq!(worker.exit_code()?, Some(6));
    assert!(TcpStream::connect(address).is_err());
    Ok(())
}

#[test]
fn a_port_that_is_taken_ends_the_start_before_the_store_is_asked() -> anyhow::Result<()> {
    let (taken, folder) = (TcpListener::bind("127.0.0.1:0")?, folder_of(&[])?);
    let address = taken.local_addr()?.to_string();
    let mut command = kiln();
    // A store that cannot be reached would end it with another code.
    command.args([
        "worker",
        "--store",
        "redis://127.0.0.1:1",
        "--listen",
        &address,
        "--plugins",
    ]);
    let output = command.arg(folder.path()).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("kiln: cannot listen on {address}: ")), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_nothing_or_too_much_keep_nobody_from_asking() -> anyhow::Result<()> {
    let folder = folder_of(&[])?;
    let (_worker, address) = listening(&redis_settings(), folder.path(), &[]).await?;
    let large = format!("GET /livez HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(2 * MAX_HEADER_BYTES));
    let refused = exchange(address, &large);
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.starts_with("HTTP/1.1 431 ")));
    let silent: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| TcpStream::connect(address))
        .collect::<Result<_, _>>()?;
    // It waits for one of them to be cut off.
    let began = std::time::Instant::now();
    assert_eq!(get(address, "/livez")?.0, 200);
    assert!(
        began.elapsed() > HEADER_TIME / 2,
        "more connections than the bound were served"
    );
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE))?;
        // What it said, if anything, ends.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    }
    Ok(())
}

/// A service manager, as a worker meets it.
struct Manager {
    socket: UnixDatagram,
    folder: TempDir,
}

impl Manager {
    fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = UnixDatagram::bind(folder.path().join("notify"))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, folder })
    }

    fn worker(&self, plugins: &Path) -> anyhow::Result<Worker> {
        let mut command = kiln();
        command
            .env("NOTIFY_SOCKET", self.folder.path().join("notify"))
            .env("WATCHDOG_USEC", "300000");
        Ok(Worker::heard(Worker::spawn(command, &redis_settings(), plugins, &[])?))
    }

    fn hears(&self) -> std::io::Result<String> {
        let mut message = [0; 1024];
        let len = self.socket.recv(&mut message)?;
        Ok(String::from_utf8_lossy(&message[..len]).into_owned())
    }

    /// The next message that is no ping.
    fn news(&self) -> anyhow::Result<String> {
        loop {
            match self.hears()? {
                ping if ping == "WATCHDOG=1\n" => {}
                news => return Ok(news),
            }
        }
    }
}

#[test]
fn the_service_manager_hears_of_start_reload_and_end_and_pings_while_the_worker_runs() -> anyhow::Result<()> {
    let (manager, folder) = (Manager::start()?, folder_of(&[("echo", "")])?);
    let mut worker = manager.worker(folder.path())?;
    assert_eq!(manager.news()?, "READY=1\n");
    worker.signal("-HUP")?;
    let reloading = manager.news()?;
    let (_, usec) = reloading
        .split_once("RELOADING=1\nMONOTONIC_USEC=")
        .context("reloading")?;
    assert!(usec.trim().parse::<u64>()? > 0);
    assert_eq!(manager.news()?, "READY=1\n");
    assert_eq!(manager.hears()?, "WATCHDOG=1\n");

    worker.signal("-STOP")?;
    manager.socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // What it sent before it was stopped comes first.
    let silence = loop {
        match manager.hears() {
            Ok(ping) => assert_eq!(ping, "WATCHDOG=1\n"),
            Err(err) => break err,
        }
    };
    assert_eq!(silence.kind(), ErrorKind::WouldBlock, "longer than the watchdog waits");

    worker.signal("-CONT")?;
    manager.socket.set_read_timeout(Some(PATIENCE))?;
    assert_eq!(manager.hears()?, "WATCHDOG=1\n");
    worker.signal("-TERM")?;
    assert_eq!(manager.news()?, "STOPPING=1\n");
    assert_eq!(worker.exit_code()?, Some(0));
    Ok(())
}
