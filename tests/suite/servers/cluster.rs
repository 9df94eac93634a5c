//! A cluster of three masters with a replica each.

use std::ops::RangeInclusive;

use anyhow::{Context, ensure};

use super::Server;
use crate::support::eventually;

/// How many masters there are, and how many replicas.
const MASTERS: usize = 3;

/// How many slots a cluster has.
const SLOTS: usize = 16_384;

/// How many keys move at once.
const BATCH: &str = "100";

/// How long a batch may take, in milliseconds.
const MIGRATE_TIMEOUT_MS: &str = "30000";

pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Six servers with these arguments on top; returns once each knows all others and has its data.
    pub(crate) async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
        // Replicas would wait for others to join them; and one that lags is better than no master.
        let replicas = [
            "--repl-diskless-sync-delay",
            "0",
            "--cluster-replica-validity-factor",
            "0",
        ];
        let arguments = [&cluster, &replicas, arguments].concat();
        let nodes = (0..2 * MASTERS).map(|_| Server::start(&arguments));
        let started = Self {
            nodes: nodes.collect::<Result<_, _>>()?,
        };
        started.share_slots().await?;
        started.introduce().await?;
        started.replicate().await?;
        let settled = async || Ok(started.is_settled().await?.then_some(()));
        eventually("the cluster settles", settled).await?;
        Ok(started)
    }

    /// Has no replica take over from a master that is slow, as on a busy machine: what that one has not passed on is lost then.
    pub(crate) async fn keep_masters(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            let () = node.tell(&["CONFIG", "SET", "cluster-node-timeout", "600000"]).await?;
        }
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        let address = |node: &Server| format!("127.0.0.1:{}", node.port());
        let addresses: Vec<_> = self.nodes.iter().map(address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// The server on this port.
    pub(crate) fn node(&mut self, port: u16) -> anyhow::Result<&mut Server> {
        let mut nodes = self.nodes.iter_mut();
        nodes.find(|node| node.port() == port).context("no such node")
    }

    /// The port of the master that holds this key, once all servers that answer name the same.
    pub(crate) async fn master_of(&self, key: &str) -> anyhow::Result<u16> {
        let slot = self.slot_of(key).await?;
        let agreed = async || self.agreed(slot).await;
        eventually("the cluster agrees on a key's master", agreed).await
    }

    /// Kills the master that holds this key, and tells its port.
    pub(crate) async fn kill_master_of(&mut self, key: &str) -> anyhow::Result<u16> {
        let port = self.master_of(key).await?;
        self.node(port)?.kill();
        Ok(port)
    }

    /// Waits until another server is the key's master and all that answer find the cluster well, and tells its port.
    pub(crate) async fn until_failed_over(&self, key: &str, old_port: u16) -> anyhow::Result<u16> {
        let slot = self.slot_of(key).await?;
        eventually("a replica takes over", async || {
            let agreed = self.agreed(slot).await?.filter(|port| *port != old_port);
            Ok(if self.is_well().await? { agreed } else { None })
        })
        .await
    }

    /// Moves the slot with this key, and all keys in it, to another master while clients go on, and tells its port.
    pub(crate) async fn move_slot_of(&self, key: &str) -> anyhow::Result<u16> {
        let (slot, source, target) = self.begin_to_move(key).await?;
        while self.move_batch(slot, source, target).await? {}
        self.end_move(slot, target).await
    }

    /// Begins to move the slot of a key: its keys are still where they were, and new ones are made elsewhere. Tells the
    /// slot, where it is and where it goes.
    pub(crate) async fn begin_to_move(&self, key: &str) -> anyhow::Result<(usize, u16, u16)> {
        let (slot, source) = (self.slot_of(key).await?, self.master_of(key).await?);
        let members = members(self.answering()?).await?;
        let masters: Vec<_> = members.iter().filter(|member| !member.slots.is_empty()).collect();
        let id_of = |port| {
            masters
                .iter()
                .find(|master| master.port == port)
                .map(|master| &*master.id)
        };
        let others = masters.iter().map(|master| master.port).filter(|port| *port != source);
        let target = others.min().context("no other master")?;
        let (source_id, target_id) = (id_of(source).context("source")?, id_of(target).context("target")?);
        self.set_slot(target, slot, &["IMPORTING", source_id]).await?;
        self.set_slot(source, slot, &["MIGRATING", target_id]).await?;
        Ok((slot, source, target))
    }

    /// Has the slot stay where it is.
    pub(crate) async fn give_up_move(&self, (slot, source, target): (usize, u16, u16)) -> anyhow::Result<()> {
        self.set_slot(source, slot, &["STABLE"]).await?;
        self.set_slot(target, slot, &["STABLE"]).await
    }

    async fn end_move(&self, slot: usize, target: u16) -> anyhow::Result<u16> {
        let members = members(self.answering()?).await?;
        let masters = members.iter().filter(|member| !member.slots.is_empty());
        let (targets, others): (Vec<_>, Vec<_>) = masters.partition(|master| master.port == target);
        let target_id = &*targets.first().context("target")?.id;
        // The new owner first: until it knows, nobody else may send clients to it.
        self.set_slot(target, slot, &["NODE", target_id]).await?;
        for master in others {
            self.set_slot(master.port, slot, &["NODE", target_id]).await?;
        }
        eventually("all know where the slot went", async || {
            let agreed = self.agreed(slot).await?;
            Ok(agreed.filter(|port| *port == target))
        })
        .await
    }

    /// Moves some of the slot's keys, and tells whether there were any.
    async fn move_batch(&self, slot: usize, source: u16, target: u16) -> anyhow::Result<bool> {
        let (source, slot, target) = (self.at(source)?, slot.to_string(), target.to_string());
        let keys: Vec<String> = source.tell(&["CLUSTER", "GETKEYSINSLOT", &slot, BATCH]).await?;
        if keys.is_empty() {
            return Ok(false);
        }
        let mut words = vec!["MIGRATE", "127.0.0.1", &target, "", "0", MIGRATE_TIMEOUT_MS];
        words.extend(source.password().iter().flat_map(|password| ["AUTH", password]));
        words.push("KEYS");
        words.extend(keys.iter().map(String::as_str));
        let _: String = source.tell(&words).await?;
        Ok(true)
    }

    async fn set_slot(&self, port: u16, slot: usize, what: &[&str]) -> anyhow::Result<()> {
        let slot = slot.to_string();
        let words = [&["CLUSTER", "SETSLOT", &slot], what].concat();
        self.at(port)?.tell(&words).await
    }

    async fn slot_of(&self, key: &str) -> anyhow::Result<usize> {
        self.answering()?.tell(&["CLUSTER", "KEYSLOT", key]).await
    }

    fn at(&self, port: u16) -> anyhow::Result<&Server> {
        let mut nodes = self.nodes.iter();
        nodes.find(|node| node.port() == port).context("no such node")
    }

    fn answering(&self) -> anyhow::Result<&Server> {
        let mut nodes = self.nodes.iter();
        nodes.find(|node| node.answers()).context("no server answers")
    }

    /// The port of a slot's master if all servers that answer name the same.
    async fn agreed(&self, slot: usize) -> anyhow::Result<Option<u16>> {
        let mut named = Vec::new();
        for node in self.nodes.iter().filter(|node| node.answers()) {
            let members = members(node).await?;
            let owns = |member: &&Member| member.slots.iter().any(|slots| slots.contains(&slot));
            named.push(members.iter().find(owns).map(|owner| owner.port));
        }
        named.dedup();
        Ok(if named.len() == 1 { named[0] } else { None })
    }

    /// Whether all servers that answer would serve any key.
    async fn is_well(&self) -> anyhow::Result<bool> {
        for node in self.nodes.iter().filter(|node| node.answers()) {
            let info: String = node.tell(&["CLUSTER", "INFO"]).await?;
            if !info.contains("cluster_state:ok") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether each server is on terms with all others and has its part.
    async fn is_settled(&self) -> anyhow::Result<bool> {
        for node in &self.nodes {
            let members = members(node).await?;
            let (owners, replicas): (Vec<_>, Vec<_>) = members.iter().partition(|member| !member.slots.is_empty());
            let known = (owners.len(), replicas.len()) == (MASTERS, MASTERS);
            if !known || !replicas.iter().all(|member| member.is("slave")) || !members.iter().all(|m| m.linked) {
                return Ok(false);
            }
        }
        self.is_well().await
    }

    /// Makes the first servers masters of a part each.
    async fn share_slots(&self) -> anyhow::Result<()> {
        for (index, master) in self.nodes[..MASTERS].iter().enumerate() {
            let [first, next] = [index, index + 1].map(|index| index * SLOTS / MASTERS);
            let (first, last) = (first.to_string(), (next - 1).to_string());
            let () = master.tell(&["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await?;
        }
        // Or they would have to find out which claim is newer.
        for (index, node) in self.nodes.iter().enumerate() {
            let epoch = (index + 1).to_string();
            let () = node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
        }
        Ok(())
    }

    /// Makes all servers known to each other; gossip alone would take its time.
    async fn introduce(&self) -> anyhow::Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            for other in &self.nodes[..index] {
                let port = other.port().to_string();
                let () = node.tell(&["CLUSTER", "MEET", "127.0.0.1", &port]).await?;
            }
        }
        Ok(())
    }

    /// Makes the last servers replicas of the first, as soon as they know them, and waits until they have their data.
    async fn replicate(&self) -> anyhow::Result<()> {
        let (masters, replicas) = self.nodes.split_at(MASTERS);
        for (master, replica) in masters.iter().zip(replicas) {
            let id: String = master.tell(&["CLUSTER", "MYID"]).await?;
            eventually("a replica knows its master", async || {
                let known = members(replica).await?.iter().any(|member| member.id == id);
                Ok(known.then_some(()))
            })
            .await?;
            let () = replica.tell(&["CLUSTER", "REPLICATE", &id]).await?;
        }
        for replica in replicas {
            replica.until_synced().await?;
        }
        Ok(())
    }
}

/// A server as another one sees it.
struct Member {
    id: String,
    port: u16,
    /// Such as `myself,master`.
    flags: String,
    linked: bool,
    slots: Vec<RangeInclusive<usize>>,
}

impl Member {
    fn is(&self, flag: &str) -> bool {
        self.flags.split(',').any(|own| own == flag)
    }

    /// Reads `<id> <ip>:<port>@<bus>[,<name>] <flags> <master> <ping> <pong> <epoch> <link> <slots>…`.
    fn read(line: &str) -> anyhow::Result<Self> {
        let words: Vec<_> = line.split(' ').collect();
        ensure!(words.len() >= 8, "a line of CLUSTER NODES: {line}");
        let address = words[1].split('@').next().unwrap_or_default();
        let slots = words[8..].iter().filter(|slots| !slots.starts_with('['));
        let range = |slots: &&str| {
            let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
            anyhow::Ok(first.parse()?..=last.parse()?)
        };
        Ok(Self {
            id: words[0].to_owned(),
            port: address.rsplit(':').next().unwrap_or_default().parse()?,
            flags: words[2].to_owned(),
            linked: words[7] == "connected",
            slots: slots.map(range).collect::<Result<_, _>>()?,
        })
    }
}

/// All servers as this one sees them.
async fn members(node: &Server) -> anyhow::Result<Vec<Member>> {
    let lines: String = node.tell(&["CLUSTER", "NODES"]).await?;
    lines.lines().map(Member::read).collect()
}
