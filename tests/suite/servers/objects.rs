//! An object store that speaks S3 and verifies signatures: `SeaweedFS`, which `cargo xtask test` installs.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::free_port;
use crate::support::eventually;

/// A store for one test. It ends with the test run, however that ends.
pub(crate) struct ObjectStore {
    pub(crate) port: u16,
    /// Once its input ends, it kills the server and removes its folder.
    _shell: Child,
}

impl ObjectStore {
    /// A store that knows one key and serves nobody else.
    pub(crate) async fn start(access_key_id: &str, secret_access_key: &str) -> anyhow::Result<Self> {
        let folder = TempDir::new()?.keep();
        let credentials = [json!({"accessKey": access_key_id, "secretKey": secret_access_key})];
        let identity = json!({"name": "test", "credentials": credentials, "actions": ["Admin"]});
        std::fs::write(folder.join("s3.json"), json!({"identities": [identity]}).to_string())?;
        // Its servers talk by sockets in /tmp, too, which are called after their ports.
        let script = "trap '' HUP INT TERM
            cd \"$0\"; \"$@\" >/dev/null 2>&1 & server=$!
            read -r _; kill -s KILL $server; wait $server; rm -r \"$0\"
            for port in $PORTS; do rm -f /tmp/seaweedfs-*-$port.sock; done";
        let ports = (0..8).map(|_| Ok(free_port()?.to_string()));
        let ports: Vec<_> = ports.collect::<anyhow::Result<_>>()?;
        let options = ["s3", "master", "volume", "filer"]
            .map(|server| [".port", ".port.grpc"].map(|end| format!("-{server}{end}")));
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&folder).arg(program());
        command
            .args("server -ip 127.0.0.1 -dir . -s3 -s3.config s3.json -s3.port.iceberg 0 -s3.port.lance 0".split(' '));
        command.args("-volume.max 100 -master.volumeSizeLimitMB 64 -master.telemetry=false".split(' '));
        command.args(
            options
                .as_flattened()
                .iter()
                .zip(&ports)
                .flat_map(|(option, port)| [option, port]),
        );
        command.env("PORTS", ports.join(" "));
        let port = ports[0].parse()?;
        let started = Self {
            port,
            _shell: command.stdin(Stdio::piped()).spawn().context("sh")?,
        };
        eventually("the object store listens", async || {
            Ok(TcpStream::connect(("127.0.0.1", port)).await.ok())
        })
        .await
        .with_context(|| format!("is {} there? run: cargo xtask test", program().display()))?;
        Ok(started)
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/servers/bin/weed")
}
