//! What hosts tell of themselves, for operators to read. Nothing of what becomes of a job depends on it.

use uuid::Uuid;

use super::error::QueueError;
use super::store::Store;

impl Store {
    /// Leaves what a host tells of itself, a JSON text, for half a minute. A store in memory keeps none of this: it has one
    /// host, in this process.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn publish(&self, host: &str, report: &str) -> Result<(), QueueError> {
        self.backend().publish(host, report).await
    }

    /// Takes it away again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw(&self, host: &str) -> Result<(), QueueError> {
        self.backend().withdraw(host).await
    }

    /// What the hosts tell of themselves: host and JSON text.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reports(&self) -> Result<Vec<(String, String)>, QueueError> {
        self.backend().reports().await
    }

    /// Asks every host to serve with this plugin again, should it have set it aside.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ask_release(&self, plugin: &str) -> Result<(), QueueError> {
        self.backend().ask_release(plugin, &Uuid::new_v4().to_string()).await
    }

    /// What tells one such request from the one before, if there is one from the last minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release_asked(&self, plugin: &str) -> Result<Option<String>, QueueError> {
        self.backend().release_asked(plugin).await
    }
}
