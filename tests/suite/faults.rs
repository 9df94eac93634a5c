//! What can befall a Redis, and how it ends.

use std::time::Duration;

use crate::proxy::Proxy;
use crate::servers::Server;

/// What can befall a Redis while a service runs on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    Restart,
    Crash,
    Pause,
    Replica,
    Full,
    ClientsMax,
    ScriptFlush,
    Cut,
    CutMidReply,
    LostReplies,
    Slow,
    Hold,
    Refuse,
}

pub(crate) const FAULTS: [Fault; 13] = [
    Fault::Restart,
    Fault::Crash,
    Fault::Pause,
    Fault::Replica,
    Fault::Full,
    Fault::ClientsMax,
    Fault::ScriptFlush,
    Fault::Cut,
    Fault::CutMidReply,
    Fault::LostReplies,
    Fault::Slow,
    Fault::Hold,
    Fault::Refuse,
];

/// Takes every place for clients that a server has, until it is dropped.
pub(crate) struct Crowd(Vec<redis::aio::MultiplexedConnection>);

impl Crowd {
    async fn gather(redis: &Server) -> anyhow::Result<Self> {
        let client = redis::Client::open(redis.url())?;
        let mut crowd = Vec::new();
        while let Ok(connection) = client.get_multiplexed_async_connection().await {
            crowd.push(connection);
        }
        Ok(Self(crowd))
    }
}

impl Fault {
    /// What has to be held until it is over, if anything.
    pub(crate) async fn begin(self, redis: &mut Server, proxy: &Proxy) -> anyhow::Result<Option<Crowd>> {
        match self {
            Self::Restart => redis.shut_down()?,
            Self::Crash => redis.kill(),
            Self::Pause => redis.pause()?,
            Self::Replica => redis.tell(&["REPLICAOF", "127.0.0.1", "1"]).await?,
            Self::Full => redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?,
            Self::ClientsMax => {
                let crowd = Crowd::gather(redis).await?;
                assert!(crowd.0.len() > 10);
                proxy.cut();
                // Those that were cut off have left their places: these are taken as well.
                let more = Crowd::gather(redis).await?;
                return Ok(Some(Crowd(crowd.0.into_iter().chain(more.0).collect())));
            }
            Self::ScriptFlush => redis.tell(&["SCRIPT", "FLUSH"]).await?,
            Self::Cut => proxy.cut(),
            Self::CutMidReply => proxy.cut_mid_reply(3),
            Self::LostReplies => proxy.lose_replies(),
            Self::Slow => proxy.delay(Duration::from_millis(150)),
            Self::Hold => proxy.hold(),
            Self::Refuse => {
                proxy.refuse();
                proxy.cut();
            }
        }
        Ok(None)
    }

    pub(crate) async fn end(self, redis: &mut Server, proxy: &Proxy) -> anyhow::Result<()> {
        match self {
            Self::Restart | Self::Crash => redis.restart()?,
            Self::Pause => redis.resume()?,
            Self::Replica => redis.tell(&["REPLICAOF", "NO", "ONE"]).await?,
            Self::Full => redis.tell(&["CONFIG", "SET", "maxmemory", "0"]).await?,
            Self::Slow => proxy.delay(Duration::ZERO),
            Self::Hold | Self::Refuse => proxy.resume(),
            Self::ClientsMax | Self::ScriptFlush | Self::Cut | Self::CutMidReply | Self::LostReplies => {}
        }
        Ok(())
    }
}
