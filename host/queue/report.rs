//! What hosts tell of themselves, for operators to read. Nothing of what becomes of a job depends on it.

use uuid::Uuid;

use super::{Backend, QueueError, Store};

impl Store {
    /// Leaves what a host tells of itself, a JSON text, for half a minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn publish(&self, host: &str, report: &str) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.publish(host, report).await,
            Backend::Memory(_) => Ok(()),
        }
    }

    /// Takes it away again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw(&self, host: &str) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.withdraw(host).await,
            Backend::Memory(_) => Ok(()),
        }
    }

    /// What the hosts tell of themselves: host and JSON text.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reports(&self) -> Result<Vec<(String, String)>, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.reports().await,
            Backend::Memory(_) => Ok(Vec::new()),
        }
    }

    /// Asks every host to serve with this plugin again, should it have set it aside.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ask_release(&self, plugin: &str) -> Result<(), QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.ask_release(plugin, &Uuid::new_v4().to_string()).await,
            Backend::Memory(_) => Ok(()),
        }
    }

    /// What tells one such request from the one before, if there is one from the last minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release_asked(&self, plugin: &str) -> Result<Option<String>, QueueError> {
        match &self.0 {
            Backend::Redis(store) => store.release_asked(plugin).await,
            Backend::Memory(_) => Ok(None),
        }
    }
}
