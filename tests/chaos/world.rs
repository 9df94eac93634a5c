//! Everything that is there: a Redis, the network, four workers, and an observer who sees Redis past the network.

use std::path::Path;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{Client, RedisResult};
use tokio::sync::Mutex;

use crate::handler::deploy_all;
use crate::keys::Keys;
use crate::ledger::Ledger;
use crate::network::Network;
use crate::places::Places;
use crate::server::connect;
use crate::servers::Server;
use crate::tally::Tally;
use crate::worker::{Starter, Worker};

pub(crate) const WORKERS: usize = 4;

pub(crate) struct World {
    /// Each is held by the event that befalls it, and events wait for each other.
    pub(crate) server: Mutex<Server>,
    pub(crate) workers: Vec<Mutex<Worker>>,
    pub(crate) network: Network,
    pub(crate) starter: Starter,
    pub(crate) keys: Keys,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) places: Arc<Places>,
    pub(crate) tally: Tally,
    /// Straight to Redis.
    pub(crate) client: Client,
}

impl World {
    /// Starts all of it, in an empty folder.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        for name in ["plugins", "logs"] {
            std::fs::create_dir(folder.join(name))?;
        }
        deploy_all(&folder.join("plugins"))?;
        let server = Server::start(&[])?;
        let network = Network::start(server.port())?;
        let client = Client::open(server.url())?;
        let keys = Keys {
            prefix: format!("chaos-{:016x}", fastrand::u64(..)),
        };
        let ledger = Arc::<Ledger>::default();
        let places = Arc::<Places>::default();
        let books = (Arc::clone(&ledger), Arc::clone(&places));
        let starter = Starter::new(network.url(), keys.clone(), folder.to_owned(), books);
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            workers.push(Mutex::new(starter.start().await?));
        }
        Ok(Self {
            server: Mutex::new(server),
            workers,
            network,
            starter,
            keys,
            ledger,
            places,
            tally: Tally::default(),
            client,
        })
    }

    /// A new connection straight to Redis: an older one may have ended with the server that it led to.
    pub(crate) async fn observer(&self) -> RedisResult<MultiplexedConnection> {
        connect(&self.client).await
    }
}
