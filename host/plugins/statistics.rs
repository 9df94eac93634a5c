//! Counts the attempts of each version, by the events that tell of them, and sets a version aside that fails too often.

use std::sync::{Arc, Weak};

use super::{Plugin, Plugins};
use crate::events::{Event, PluginVersion, Subscriber};
use crate::outcome::Attempt;

/// Hears of attempts, as long as the plugins are there.
pub(super) struct Statistics(Weak<Plugins>);

impl Statistics {
    pub(super) fn of(plugins: &Arc<Plugins>) -> Self {
        Self(Arc::downgrade(plugins))
    }
}

impl Subscriber for Statistics {
    fn on(&self, event: &Event<'_>) {
        let (plugin, attempt) = match event {
            Event::Started(run) => (run.plugin, None),
            Event::Ended { run, attempt } => (run.plugin, Some(*attempt)),
            _ => return,
        };
        if let Some(plugins) = self.0.upgrade() {
            plugins.count(plugin, attempt);
        }
    }
}

impl Plugins {
    /// Counts an attempt that begins, or one that is over. Attempts of a replaced version are not counted: nobody reads
    /// its counts.
    fn count(&self, version: PluginVersion<'_>, over: Option<&Attempt>) {
        let versions = self.versions.load();
        let Some(plugin) = versions.get(&version.number) else {
            return;
        };
        let Some(attempt) = over else {
            return plugin.stats.begin();
        };
        plugin.stats.end(attempt);
        let rule = self.settings.quarantine.as_ref();
        if let Some(why) = rule.and_then(|rule| plugin.stats.judge(rule, attempt)) {
            self.set_aside(plugin, &why);
        }
    }

    fn set_aside(&self, plugin: &Arc<Plugin>, why: &str) {
        if plugin.set_aside(why) {
            self.changed.send_replace(());
            let instead = plugin.instead();
            self.events.tell(Event::PluginSetAside {
                plugin: plugin.id(),
                why,
                instead: instead.as_deref().map(|plugin| plugin.handler.short_digest()),
            });
        }
    }
}
