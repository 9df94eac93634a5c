//! A TCP proxy that harms its connections when told to.
//!
//! Runs on a thread and a runtime of its own, so it goes on whatever the test's runtime does.
//! Every chunk is judged between reading and writing, so what a client sends after a call meets what the call set.
//! Knows nothing about Redis: a reply is whatever the server sends next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

pub(crate) struct Proxy {
    port: u16,
    /// The proxy ends when this is dropped.
    faults: Option<watch::Sender<Faults>>,
    to_lose: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What happens to chunks and connections from now on.
#[derive(Clone, Copy, Default)]
struct Faults {
    upstream: u16,
    delay: Duration,
    holding: bool,
    refusing: bool,
    /// How often connections were cut; one that was born later is spared.
    age: u64,
    /// Connections born before this age are closed.
    cut: u64,
    /// Connections born before this age are closed after so many bytes of reply.
    cut_mid_reply: (u64, usize),
    /// Connections over which these bytes are to go are closed.
    choke: Option<&'static [u8]>,
}

impl Faults {
    fn chokes_on(&self, chunk: &[u8]) -> bool {
        let is_in = |bytes: &[u8]| chunk.windows(bytes.len()).any(|window| window == bytes);
        self.choke.is_some_and(is_in)
    }
}

impl Proxy {
    /// A proxy on a port of its own for the server on `upstream`.
    pub(crate) fn start(upstream: u16) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let to_lose = Arc::<AtomicU64>::default();
        let (faults, seen) = watch::channel(Faults {
            upstream,
            ..Faults::default()
        });
        let counted = Arc::clone(&to_lose);
        let thread = std::thread::spawn(move || {
            let served = runtime.block_on(serve(listener, seen, counted));
            served.expect("a proxy's port stays open");
        });
        Ok(Self {
            port,
            faults: Some(faults),
            to_lose,
            thread: Some(thread),
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.set(|faults| {
            faults.age += 1;
            faults.cut = faults.age;
        });
    }

    /// Closes each connection that is open now, once it got so many bytes of what the server sends next.
    pub(crate) fn cut_mid_reply(&self, after_bytes: usize) {
        self.set(|faults| {
            faults.age += 1;
            faults.cut_mid_reply = (faults.age, after_bytes);
        });
    }

    /// Discards the next reply, whose command was carried out, and closes its connection; once a call.
    pub(crate) fn lose_replies(&self) {
        self.to_lose.fetch_add(1, SeqCst);
    }

    /// How many replies are still to be lost.
    pub(crate) fn replies_to_lose(&self) -> u64 {
        self.to_lose.load(SeqCst)
    }

    /// Makes each chunk late, either way.
    pub(crate) fn delay(&self, delay: Duration) {
        self.set(|faults| faults.delay = delay);
    }

    /// Closes each connection over which these bytes are to go, either way.
    pub(crate) fn choke_on(&self, bytes: &'static [u8]) {
        self.set(|faults| faults.choke = Some(bytes));
    }

    /// Accepts connections, keeps them open and forwards nothing; what they send, even their end, waits.
    pub(crate) fn hold(&self) {
        self.set(|faults| faults.holding = true);
    }

    /// Closes new connections at once.
    pub(crate) fn refuse(&self) {
        self.set(|faults| faults.refusing = true);
    }

    /// Neither holds nor refuses any more.
    pub(crate) fn resume(&self) {
        self.set(|faults| (faults.holding, faults.refusing) = (false, false));
    }

    fn set(&self, change: impl FnOnce(&mut Faults)) {
        self.faults.as_ref().expect("kept until drop").send_modify(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.faults.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Accepts connections until the proxy is dropped; they end with the runtime.
async fn serve(
    listener: std::net::TcpListener,
    faults: watch::Receiver<Faults>,
    to_lose: Arc<AtomicU64>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut ended = faults.clone();
    let accepting = async {
        loop {
            let (client, _) = listener.accept().await?;
            let Faults { refusing, age, .. } = *faults.borrow();
            if refusing {
                continue;
            }
            let link = Link {
                born: age,
                faults: faults.clone(),
                to_lose: Arc::clone(&to_lose),
            };
            tokio::spawn(async move { link.carry(client).await });
        }
    };
    tokio::select! {
        stopped = accepting => stopped,
        _ = ended.wait_for(|_| false) => Ok(()),
    }
}

/// A connection and what it has to heed.
#[derive(Clone)]
struct Link {
    born: u64,
    faults: watch::Receiver<Faults>,
    to_lose: Arc<AtomicU64>,
}

impl Link {
    /// Forwards both ways until either side or a fault ends it.
    async fn carry(&self, client: TcpStream) {
        let mut faults = self.faults.clone();
        let upstream = faults.borrow().upstream;
        let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
            return;
        };
        if client.set_nodelay(true).and(server.set_nodelay(true)).is_err() {
            return;
        }
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (requests, replies) = (self.clone(), self.clone());
        tokio::select! {
            biased;
            _ = faults.wait_for(|faults| faults.cut > self.born) => {}
            _ = requests.forward_requests(from_client, to_server) => {}
            _ = replies.forward_replies(from_server, to_client) => {}
        }
    }

    async fn forward_requests(mut self, mut client: OwnedReadHalf, mut server: OwnedWriteHalf) -> anyhow::Result<()> {
        let mut chunk = vec![0; CHUNK];
        loop {
            let length = read(&mut client, &mut chunk).await?;
            let faults = self.judge().await?;
            anyhow::ensure!(!faults.chokes_on(&chunk[..length]), "choked");
            server.write_all(&chunk[..length]).await?;
        }
    }

    async fn forward_replies(mut self, mut server: OwnedReadHalf, mut client: OwnedWriteHalf) -> anyhow::Result<()> {
        let mut chunk = vec![0; CHUNK];
        let mut granted = None;
        loop {
            let mut length = read(&mut server, &mut chunk).await?;
            let faults = self.judge().await?;
            anyhow::ensure!(!faults.chokes_on(&chunk[..length]), "choked");
            let (cut_at, after_bytes) = faults.cut_mid_reply;
            if self.born < cut_at {
                length = length.min(*granted.get_or_insert(after_bytes));
            }
            let one_less = |to_lose: u64| to_lose.checked_sub(1);
            let lost = self.to_lose.fetch_update(SeqCst, SeqCst, one_less);
            anyhow::ensure!(lost.is_err(), "the reply gets lost");
            client.write_all(&chunk[..length]).await?;
            granted = granted.map(|granted| granted - length);
            anyhow::ensure!(granted != Some(0), "cut mid-reply");
        }
    }

    /// Waits until a chunk may go on, and says what applies to it then.
    async fn judge(&mut self) -> anyhow::Result<Faults> {
        let delay = self.faults.borrow().delay;
        // Even no sleep at all would last until the next tick.
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let faults = *self.faults.wait_for(|faults| !faults.holding).await?;
        anyhow::ensure!(self.born >= faults.cut, "cut");
        Ok(faults)
    }
}

async fn read(from: &mut OwnedReadHalf, chunk: &mut [u8]) -> anyhow::Result<usize> {
    let length = from.read(chunk).await?;
    (length > 0).then_some(length).context("closed")
}
