//! Real redis-servers: one alone here, sentinels, a cluster and certificates beside. And servers of other kinds that
//! handlers call.
//!
//! A server ends with the test run, however that ends. All write what they are told to a folder of their own, so one
//! that was killed comes back with its data.

mod cluster;
pub(crate) mod http;
pub(crate) mod mail;
mod objects;
mod postgres;
pub(crate) mod prometheus;
mod sentinel;
pub(crate) mod tcp;
mod tls;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering::SeqCst};
use std::thread::JoinHandle;

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::support::{PATIENCE, eventually};

pub(crate) use cluster::Cluster;
pub(crate) use http::{Asked, HttpServer};
pub(crate) use objects::ObjectStore;
pub(crate) use postgres::Postgres;
pub(crate) use sentinel::{Passwords, Sentinels};
pub(crate) use tls::Tls;

/// Ports from here on are given out: below those that systems use for outgoing connections, or one of these could take
/// the port of a server that is to come back.
const FIRST_PORT: u16 = 11_000;

/// How many ports are given out, and how far above its port a cluster node's bus is.
const PORTS: u16 = 10_000;

/// How often a server is started anew because somebody else took its port.
const ATTEMPTS: usize = 10;

/// A redis-server on a port and in a folder of its own.
pub(crate) struct Server {
    port: u16,
    arguments: Vec<String>,
    process: Option<Process>,
    paused: AtomicBool,
    folder: TempDir,
}

impl Server {
    /// A server with these arguments on top, such as `--requirepass`, `secret`.
    pub(crate) fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_with("", arguments)
    }

    /// A server with a file of settings, which it may rewrite.
    fn start_with(settings: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        for _ in 1..ATTEMPTS {
            match Self::try_start(settings, arguments) {
                Err(error) if error.to_string().contains("already in use") => {}
                started => return started,
            }
        }
        Self::try_start(settings, arguments)
    }

    fn try_start(settings: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        std::fs::write(folder.path().join("redis.conf"), settings)?;
        let mut server = Self {
            port: free_port()?,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
            paused: AtomicBool::new(false),
            folder,
        };
        server.restart()?;
        Ok(server)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where clients find it, with the password from its arguments.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.speaks_tls() { "rediss" } else { "redis" };
        let password = self.password().map(|password| format!(":{password}@"));
        format!("{scheme}://{}127.0.0.1:{}", password.unwrap_or_default(), self.port)
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.process.as_ref().context("the server does not run")?.pid)
    }

    /// Whether it runs and is not paused.
    pub(crate) fn answers(&self) -> bool {
        self.process.is_some() && !self.paused.load(SeqCst)
    }

    /// Ends it as a crash would, and returns once it is gone.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it in good order, and returns once it is gone.
    pub(crate) fn shut_down(&mut self) -> anyhow::Result<()> {
        self.resume()?;
        self.process.take().context("the server does not run")?.end("TERM")
    }

    /// Starts it again with its port, its arguments and its data; kills it first if it runs.
    pub(crate) fn restart(&mut self) -> anyhow::Result<()> {
        self.kill();
        self.paused.store(false, SeqCst);
        let port_option = if self.speaks_tls() { "--tls-port" } else { "--port" };
        let (port, folder) = (self.port.to_string(), self.folder.path().display().to_string());
        let (settings, socket) = (format!("{folder}/redis.conf"), self.socket().display().to_string());
        // Unlike the default, which can hold a write back for a second, this one survives a kill once it is answered.
        let aof = ["--appendonly", "yes", "--appendfsync", "no"];
        let command = [
            "redis-server",
            &settings,
            "--port",
            "0",
            port_option,
            &port,
            "--bind",
            "127.0.0.1",
        ];
        let files = ["--dir", &folder, "--unixsocket", &socket, "--save", ""];
        let own = self.arguments.iter().map(String::as_str);
        let arguments = command.into_iter().chain(files).chain(aof).chain(own);
        self.process = Some(Process::start(&folder, "KILL", arguments)?);
        Ok(())
    }

    /// Stops it in the middle of whatever it does; its connections stay open.
    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        self.paused.store(true, SeqCst);
        self.signal("STOP")
    }

    /// Lets it go on after a pause.
    pub(crate) fn resume(&self) -> anyhow::Result<()> {
        self.paused.store(false, SeqCst);
        self.signal("CONT")
    }

    /// Tells the server something past Kiln, and past its port.
    pub(crate) async fn tell<T: redis::FromRedisValue>(&self, words: &[&str]) -> anyhow::Result<T> {
        let password = self.password().map(|password| format!("?pass={password}"));
        let url = format!("unix://{}{}", self.socket().display(), password.unwrap_or_default());
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let mut connection = redis::Client::open(url)?
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let told = redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await;
        told.with_context(|| format!("{} to port {}", words.join(" "), self.port))
    }

    /// How many commands it has carried out, without those that ask.
    pub(crate) async fn commands(&self) -> anyhow::Result<u64> {
        let stats: String = self.tell(&["INFO", "commandstats"]).await?;
        let calls = stats.lines().filter(|line| !line.starts_with("cmdstat_info"));
        let calls = calls.filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok());
        Ok(calls.sum())
    }

    /// Sets a user up, with rules such as `on`, `>secret`, `~prefix*` and `+@all`.
    pub(crate) async fn set_user(&self, name: &str, rules: &[&str]) -> anyhow::Result<()> {
        self.tell(&[&["ACL", "SETUSER", name], rules].concat()).await
    }

    /// Waits until it is a replica and has what its master has.
    pub(crate) async fn until_synced(&self) -> anyhow::Result<()> {
        eventually("a replica has its master's data", async || {
            // A server that changes its role drops everybody.
            let info: Option<String> = self.tell(&["INFO", "replication"]).await.ok();
            Ok(info.filter(|info| info.contains("master_link_status:up")).map(drop))
        })
        .await
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let kill = format!("kill -s {signal} {}", self.pid()?);
        ensure!(Command::new("sh").args(["-c", &kill]).status()?.success(), "{kill}");
        Ok(())
    }

    /// Where it listens for what tests tell it, whatever becomes of its port.
    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn password(&self) -> Option<&str> {
        let option = self.arguments.iter().position(|argument| argument == "--requirepass")?;
        Some(&self.arguments[option + 1])
    }

    fn speaks_tls(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--tls-cert-file")
    }
}

/// A running server; it is killed when this is dropped.
struct Process {
    pid: u32,
    /// Once its input ends, which it does however the test run ends, it kills the server and removes its folder.
    shell: Child,
    /// Reads what the server says, which ends once it and all it forked are gone.
    log: Option<JoinHandle<()>>,
    /// What ends it at once.
    kill: &'static str,
}

impl Process {
    /// Starts a server, by its command line, and waits until it accepts connections.
    fn start<'a>(folder: &str, kill: &'static str, words: impl Iterator<Item = &'a str>) -> anyhow::Result<Self> {
        let script = "trap '' HUP INT TERM
            kill=$1; shift
            \"$@\" 2>&1 & server=$!
            exec >/dev/null 2>&1
            if read -r signal; then
                kill -s $signal $server; wait $server
            else
                kill -s $kill $server; wait $server; rm -r \"$0\"
            fi";
        let shell = Command::new("sh")
            .args(["-c", script, folder, kill])
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("sh")?;
        let mut process = Self {
            pid: 0,
            shell,
            log: None,
            kill,
        };
        let mut lines = BufReader::new(process.shell.stdout.take().context("stdout")?).lines();
        let mut said = Vec::new();
        for line in &mut lines {
            let line = line?;
            // The latter is what a sentinel says.
            if line.contains("eady to accept connections") || line.contains("Sentinel ID is") {
                process.pid = line.split(':').next().unwrap_or_default().parse()?;
                // Read on, or the server would block once the pipe is full.
                process.log = Some(std::thread::spawn(move || lines.for_each(drop)));
                return Ok(process);
            }
            said.push(line);
        }
        bail!(
            "the server did not start; is it installed? it said: {}",
            said.join("\n")
        )
    }

    /// Sends the server its last signal, and waits until it is gone.
    fn end(&mut self, signal: &str) -> anyhow::Result<()> {
        let mut input = self.shell.stdin.take().context("ended already")?;
        writeln!(input, "{signal}")?;
        self.shell.wait()?;
        // What it forked may still write to its folder.
        let _ = self.log.take().map(JoinHandle::join);
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.end(self.kill);
    }
}

/// A port that is free, and so is the one that a cluster node with this port has its bus on.
fn free_port() -> anyhow::Result<u16> {
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(fastrand::u16(..PORTS)));
    // Two servers of a test run never get the same port.
    let free = (0..PORTS)
        .map(|_| FIRST_PORT + next.fetch_add(1, SeqCst) % PORTS)
        .find(|port| {
            [*port, port + PORTS]
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        });
    free.context("no free port")
}
