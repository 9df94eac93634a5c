//! The schedules of the plugins that serve.

use std::sync::Arc;

use super::{Plugin, Plugins};
use crate::config::Schedule;

/// A schedule of a plugin that serves.
#[derive(Debug, Clone)]
pub struct Scheduled {
    /// What it is called among those of all plugins: `plugin/id`.
    pub name: Arc<str>,
    /// The name of the jobs it pushes.
    pub job: Arc<str>,
    /// When, and where to.
    pub schedule: Arc<Schedule>,
}

impl Plugins {
    /// The schedules of all plugins, by plugin and in the order of the manifest. Those of a version that is set aside count
    /// while no other serves in its place: its jobs wait.
    #[must_use]
    pub fn schedules(&self) -> Vec<Scheduled> {
        let good: Vec<_> = self.entries().values().filter_map(|entry| entry.good.clone()).collect();
        let serving = good.into_iter().map(|plugin| plugin.instead().unwrap_or(plugin));
        serving.flat_map(|plugin| scheduled(&plugin)).collect()
    }
}

fn scheduled(plugin: &Plugin) -> Vec<Scheduled> {
    let of_plugin = |schedule: &Arc<Schedule>| Scheduled {
        name: name_of(plugin.handler.name(), schedule).into(),
        job: plugin.job_of(schedule).into(),
        schedule: Arc::clone(schedule),
    };
    plugin.schedules.iter().map(of_plugin).collect()
}

/// What a plugin's schedule is called among those of all plugins. A plugin's name is that of a file, so it has no slash.
#[must_use]
pub fn name_of(plugin: &str, schedule: &Schedule) -> String {
    format!("{plugin}/{}", schedule.id())
}

impl Plugin {
    /// Its schedules, as reports have them.
    pub(super) fn schedules_told(&self) -> Vec<serde_json::Value> {
        let schedules = self.schedules.iter();
        schedules
            .filter_map(|schedule| serde_json::to_value(&**schedule).ok())
            .collect()
    }

    /// Its schedules, in the order of its manifest.
    #[must_use]
    pub fn schedules(&self) -> &[Arc<Schedule>] {
        &self.schedules
    }

    /// The name of the jobs that a schedule of this plugin pushes.
    fn job_of<'a>(&'a self, schedule: &'a Schedule) -> &'a str {
        let only = self.jobs.first().map_or(self.handler.name(), String::as_str);
        schedule.job().unwrap_or(only)
    }
}
