//! Loading one file, off the threads that serve the queue, for as long as that may take.

use std::sync::Arc;

use tokio::task::{JoinError, spawn_blocking};

use super::Plugin;
use super::files::Content;
use super::folder::{Loaded, Source};
use crate::sandbox::{CompileStop, Sandbox};

/// A file to be loaded, and what is known of it.
pub(super) struct Load {
    pub(super) sandbox: Arc<Sandbox>,
    pub(super) source: Arc<Source>,
    pub(super) good: Option<Arc<Plugin>>,
    pub(super) content: Option<Content>,
}

impl Load {
    /// Loads it, off the threads that serve the queue. Compiling is stopped at `end`, or when nobody waits for it any more.
    pub(super) async fn until(&self, end: impl Future<Output = ()>) -> Result<Loaded, JoinError> {
        let stop = StopOnDrop::default();
        let (sandbox, source, stopped) = (Arc::clone(&self.sandbox), Arc::clone(&self.source), Arc::clone(&stop.0));
        let (good, content) = (self.good.clone(), self.content.clone());
        let mut load = spawn_blocking(move || source.load(&sandbox, good.as_deref(), content.as_ref(), &stopped));
        tokio::select! {
            loaded = &mut load => return loaded,
            () = end => stop.0.stop(),
        }
        load.await
    }
}

/// Stops a compilation that nobody waits for.
#[derive(Default)]
struct StopOnDrop(Arc<CompileStop>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}
