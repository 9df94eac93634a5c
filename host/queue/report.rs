//! Reports of hosts about themselves, for operators. No job depends on them.

use std::collections::HashMap;

use uuid::Uuid;

use super::error::QueueError;
use super::moves::Reported;
use super::store::Store;

impl Store {
    /// Keeps a host's report about itself, a JSON text, for half a minute, and returns the one before, if it is still kept. A
    /// store in memory keeps none: its only host is in this process.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn publish(&self, host: &str, report: &str) -> Result<Option<String>, QueueError> {
        self.backend().publish(host, report).await
    }

    /// Puts another report in place of that of a host, for as long as that is kept. False: none is.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn amend(&self, host: &str, report: &str) -> Result<bool, QueueError> {
        self.backend().amend(host, report).await
    }

    /// Deletes the host's report.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn withdraw(&self, host: &str) -> Result<(), QueueError> {
        self.backend().withdraw(host).await
    }

    /// A host's report about itself, if it is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn report(&self, host: &str) -> Result<Option<String>, QueueError> {
        self.backend().report(host).await
    }

    /// The hosts' reports about themselves. Those whose stamps are known, by the host, are not read again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn reports(&self, known: &HashMap<String, String>) -> Result<Vec<Reported>, QueueError> {
        self.backend().reports(known).await
    }

    /// Keeps what reports of several hosts have in common, by a name that no other text has, for a minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn keep_catalogue(&self, name: &str, text: &str) -> Result<(), QueueError> {
        self.backend().keep_catalogue(name, text).await
    }

    /// The text of that name, if it is kept.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn catalogue(&self, name: &str) -> Result<Option<String>, QueueError> {
        self.backend().catalogue(name).await
    }

    /// Asks every host that has set this plugin aside to serve with it again.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn ask_release(&self, plugin: &str) -> Result<(), QueueError> {
        self.backend().ask_release(plugin, &Uuid::new_v4().to_string()).await
    }

    /// The token of the latest such request, if there is one from the last minute.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn release_asked(&self, plugin: &str) -> Result<Option<String>, QueueError> {
        self.backend().release_asked(plugin).await
    }
}
