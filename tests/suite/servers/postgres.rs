//! `PostgreSQL`, which every test shares: tables have names of their own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::{Process, Tls, free_port};

/// A server with the superuser [`Postgres::USER`], who has to prove the password by SCRAM, over TLS or without.
pub(crate) struct Postgres {
    pub(crate) port: u16,
    tls: Tls,
    _process: Process,
    _folder: TempDir,
}

impl Postgres {
    pub(crate) const USER: &str = "kiln";
    pub(crate) const PASSWORD: &str = "tea";

    /// The one of this test run.
    pub(crate) fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(|| Self::start().expect("a PostgreSQL server"))
    }

    fn start() -> anyhow::Result<Self> {
        let (folder, tls, port) = (TempDir::new()?, Tls::new()?, free_port()?);
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("password"), Self::PASSWORD)?;
        std::fs::copy(tls.server_certificate(), path("server.crt"))?;
        std::fs::copy(tls.server_key(), path("server.key"))?;
        let (data, password) = (path("data"), path("password"));
        let own = "chmod 600 \"$0\"/server.key; test \"$(id -u)\" != 0 || chown -R postgres \"$0\"";
        run(Command::new("sh").args(["-c", own]).arg(folder.path()))?;
        let mut make = unprivileged(&bin()?.join("initdb"))?;
        run(make
            .arg(format!("--pwfile={}", password.display()))
            .args(["-D".as_ref(), data.as_os_str()])
            .args(["--username", Self::USER, "--auth", "scram-sha-256"])
            .args(["--encoding", "UTF8", "--no-locale", "--no-sync"]))?;
        let setting = |setting: String| ["-c".to_owned(), setting];
        let settings = [
            setting(format!("port={port}")),
            setting("listen_addresses=127.0.0.1".to_owned()),
            setting("unix_socket_directories=".to_owned()),
            // What Process reads the process's number from.
            setting("log_line_prefix=%p:".to_owned()),
            setting("fsync=off".to_owned()),
            setting("ssl=on".to_owned()),
            setting(format!("ssl_cert_file={}", path("server.crt").display())),
            setting(format!("ssl_key_file={}", path("server.key").display())),
        ];
        let serve = unprivileged(&bin()?.join("postgres"))?;
        let words = std::iter::once(serve.get_program())
            .chain(serve.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .chain(["-D".to_owned(), data.display().to_string()])
            .chain(settings.into_iter().flatten());
        let words: Vec<_> = words.collect();
        let words = words.iter().map(String::as_str);
        // A kill would leave memory behind that it shares with its processes.
        let process = Process::start(&folder.path().display().to_string(), "QUIT", words)?;
        Ok(Self {
            port,
            tls,
            _process: process,
            _folder: folder,
        })
    }

    /// The authority of its certificate, which is for `localhost`.
    pub(crate) fn authority(&self) -> PathBuf {
        self.tls.authority()
    }
}

/// The folder of the newest `PostgreSQL`, as Debian lays it out.
fn bin() -> anyhow::Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").context("is PostgreSQL installed?")?;
    let newest = versions.flatten().map(|version| version.path().join("bin")).max();
    newest.context("PostgreSQL has no version")
}

/// A command that root runs as the system's user for `PostgreSQL`, which refuses to be run by root.
fn unprivileged(program: &Path) -> anyhow::Result<Command> {
    let id = Command::new("id").arg("-u").output().context("id")?;
    if id.stdout.trim_ascii() != b"0" {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
    command.arg(program);
    Ok(command)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
