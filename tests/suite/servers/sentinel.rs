//! A master and its replicas, watched by sentinels.

use std::collections::HashMap;

use anyhow::Context;

use super::Server;
use crate::support::eventually;

/// What the sentinels call the master.
const MASTER_NAME: &str = "mymaster";

/// How many servers the sentinels watch.
const NODES: usize = 3;

/// After how many milliseconds without a sign of life each sentinel counts a server as down. They look for one every
/// second, so less than this would make them take every new master for dead. Were they alike, all could stand for
/// election at once, none be elected, and the next try be six seconds away.
const DOWN_AFTER_MS: [u16; 3] = [1500, 1700, 1900];

/// How often, in milliseconds, a sentinel tells the others of itself and asks servers about themselves. Only then does
/// it learn of a sentinel, or of a master that came back and has to become a replica.
const PERIODS_MS: [&str; 4] = ["PUBLISH-PERIOD", "200", "INFO-PERIOD", "1000"];

/// A master, two replicas and three sentinels, of which two decide.
pub(crate) struct Sentinels {
    /// The master, until the sentinels choose another one, and its replicas.
    pub(crate) nodes: Vec<Server>,
    pub(crate) sentinels: Vec<Server>,
}

/// What clients have to say to the servers and to the sentinels; a client of the one may not know the other.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passwords<'a> {
    pub(crate) node: Option<&'a str>,
    pub(crate) sentinel: Option<&'a str>,
}

impl Sentinels {
    /// Returns once all sentinels know the replicas and each other.
    pub(crate) async fn start(passwords: Passwords<'_>) -> anyhow::Result<Self> {
        let nodes = start_nodes(passwords.node).await?;
        let mut arguments = vec!["--sentinel"];
        arguments.extend(passwords.sentinel.iter().flat_map(|word| ["--requirepass", word]));
        let start = |down_after| Server::start_with(&settings(nodes[0].port(), down_after, passwords), &arguments);
        let sentinels = DOWN_AFTER_MS.into_iter().map(start).collect::<Result<_, _>>()?;
        let started = Self { nodes, sentinels };
        for sentinel in &started.sentinels {
            let () = sentinel
                .tell(&[&["SENTINEL", "DEBUG"], &PERIODS_MS[..]].concat())
                .await?;
        }
        for sentinel in &started.sentinels {
            until_settled(sentinel).await?;
        }
        Ok(started)
    }

    /// The sentinels as URLs name them: `127.0.0.1:26379,…`.
    pub(crate) fn addresses(&self) -> String {
        let address = |sentinel: &Server| format!("127.0.0.1:{}", sentinel.port());
        self.sentinels.iter().map(address).collect::<Vec<_>>().join(",")
    }

    /// Where clients find the master, without passwords.
    pub(crate) fn url(&self) -> String {
        format!("redis+sentinel://{}/{MASTER_NAME}", self.addresses())
    }

    /// The server on this port.
    pub(crate) fn node(&mut self, port: u16) -> anyhow::Result<&mut Server> {
        let mut nodes = self.nodes.iter_mut();
        nodes.find(|node| node.port() == port).context("no such node")
    }

    /// The master's port, once all sentinels that answer name the same.
    pub(crate) async fn master_port(&self) -> anyhow::Result<u16> {
        eventually("the sentinels agree on a master", async || self.agreed().await).await
    }

    /// Kills the master, and tells its port.
    pub(crate) async fn kill_master(&mut self) -> anyhow::Result<u16> {
        let port = self.master_port().await?;
        self.node(port)?.kill();
        Ok(port)
    }

    /// Waits until another server is the master, and tells its port.
    pub(crate) async fn until_failed_over(&self, old_port: u16) -> anyhow::Result<u16> {
        eventually("the sentinels choose another master", async || {
            let agreed = self.agreed().await?.filter(|port| *port != old_port);
            let Some(master) = self.nodes.iter().find(|node| agreed == Some(node.port())) else {
                return Ok(None);
            };
            // A server that changes its role drops everybody.
            let info: Option<String> = master.tell(&["INFO", "replication"]).await.ok();
            let leads = info.is_some_and(|info| info.contains("role:master"));
            Ok(leads.then_some(master.port()))
        })
        .await
    }

    /// The master's port if all sentinels that answer name the same.
    async fn agreed(&self) -> anyhow::Result<Option<u16>> {
        let mut named = Vec::new();
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.answers()) {
            let address: (String, u16) = sentinel
                .tell(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME])
                .await?;
            named.push(address.1);
        }
        named.dedup();
        Ok((named.len() == 1).then(|| named[0]))
    }
}

async fn start_nodes(password: Option<&str>) -> anyhow::Result<Vec<Server>> {
    // Replicas would wait for others to join them.
    let mut arguments = vec!["--repl-diskless-sync-delay", "0"];
    arguments.extend(
        password
            .iter()
            .flat_map(|word| ["--requirepass", word, "--masterauth", word]),
    );
    let start = |_| Server::start(&arguments);
    let nodes: Vec<_> = (0..NODES).map(start).collect::<Result<_, _>>()?;
    let port = nodes[0].port().to_string();
    for replica in &nodes[1..] {
        let () = replica.tell(&["REPLICAOF", "127.0.0.1", &port]).await?;
        // Once restarted, it is what it was, as after the sentinels changed its role.
        let () = replica.tell(&["CONFIG", "REWRITE"]).await?;
    }
    for replica in &nodes[1..] {
        replica.until_synced().await?;
    }
    Ok(nodes)
}

/// What a sentinel needs to know before it starts.
fn settings(port: u16, down_after_ms: u16, passwords: Passwords<'_>) -> String {
    let mut lines = vec![
        format!("sentinel monitor {MASTER_NAME} 127.0.0.1 {port} 2"),
        format!("sentinel down-after-milliseconds {MASTER_NAME} {down_after_ms}"),
        format!("sentinel failover-timeout {MASTER_NAME} 3000"),
    ];
    let to_nodes = passwords
        .node
        .map(|word| format!("sentinel auth-pass {MASTER_NAME} {word}"));
    let to_each_other = passwords.sentinel.map(|word| format!("sentinel sentinel-pass {word}"));
    lines.extend([to_nodes, to_each_other].into_iter().flatten());
    lines.join("\n")
}

/// Waits until a sentinel knows the others and could choose any replica.
async fn until_settled(sentinel: &Server) -> anyhow::Result<()> {
    eventually("a sentinel knows the replicas and the others", async || {
        let master: HashMap<String, String> = sentinel.tell(&["SENTINEL", "MASTER", MASTER_NAME]).await?;
        let replicas: Vec<HashMap<String, String>> = sentinel.tell(&["SENTINEL", "REPLICAS", MASTER_NAME]).await?;
        let others: Vec<HashMap<String, String>> = sentinel.tell(&["SENTINEL", "SENTINELS", MASTER_NAME]).await?;
        let calm = |entry: &HashMap<String, String>, flags| entry.get("flags").is_some_and(|now| now == flags);
        let synced = |replica: &HashMap<String, String>| replica.get("master-link-status").is_some_and(|s| s == "ok");
        let settled = calm(&master, "master")
            && (replicas.len(), others.len()) == (2, 2)
            && replicas.iter().all(|replica| calm(replica, "slave") && synced(replica))
            && others.iter().all(|other| calm(other, "sentinel"));
        Ok(settled.then_some(()))
    })
    .await
}
