//! A look at the plugin folder: nothing new, a new manifest, a new component that has been compiled before.

use std::fs;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use kiln::config::{PluginSettings, SandboxSettings};
use kiln::events::Events;
use kiln::plugins::Plugins;
use kiln::sandbox::Sandbox;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::guests::guest;
use crate::support::plugins;

pub(crate) fn reload(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let mut group = c.benchmark_group("reload");
    for count in [1, 1_000] {
        let (folder, all) = runtime.block_on(open(count, cache.path()));
        let refresh = async || all.refresh().await.unwrap();
        group.bench_function(format!("nothing new/{count}"), |b| {
            b.iter_custom(|times| crate::timed(&runtime, times, refresh));
        });
        let manifest = |number: u64| format!("version = \"{number}\"").into_bytes();
        group.bench_function(format!("a manifest/{count}"), |b| {
            b.iter_custom(|times| runtime.block_on(swaps(times, &folder.path().join("p0.toml"), manifest, refresh)));
        });
        let versions = ["hello", "mischief"].map(|name| fs::read(plugins().join(name).with_extension("wasm")).unwrap());
        let component = |number: u64| versions[usize::from(number.is_multiple_of(2))].clone();
        group.bench_function(format!("a component/{count}"), |b| {
            b.iter_custom(|times| runtime.block_on(swaps(times, &folder.path().join("p0.wasm"), component, refresh)));
        });
    }
    group.finish();
}

/// A folder with so many plugins, looked at and loaded.
async fn open(count: usize, cache: &Path) -> (TempDir, Arc<Plugins>) {
    let (folder, ok) = (tempfile::tempdir().unwrap(), guest("ok").unwrap());
    for number in 0..count {
        fs::write(folder.path().join(format!("p{number}.wasm")), &ok).unwrap();
    }
    let settings = SandboxSettings {
        cache_dir: Some(cache.to_owned()),
        ..SandboxSettings::new(NonZeroU32::MIN)
    };
    let patience = PluginSettings {
        patience: Duration::from_mins(10),
        ..PluginSettings::default()
    };
    let sandbox = Arc::new(Sandbox::new(&settings).unwrap());
    let plugins = Plugins::open(sandbox, folder.path(), patience, Events::default())
        .await
        .unwrap();
    assert_eq!(plugins.jobs().len(), count);
    (folder, plugins)
}

/// How long so many refreshes took, before each of which the file was given other content.
async fn swaps(times: u64, file: &Path, content: impl Fn(u64) -> Vec<u8>, refresh: impl AsyncFn()) -> Duration {
    let mut took = Duration::ZERO;
    for number in 0..times {
        let temporary = file.with_extension("new");
        fs::write(&temporary, content(number)).unwrap();
        fs::rename(&temporary, file).unwrap();
        let began = Instant::now();
        refresh().await;
        took += began.elapsed();
    }
    took
}
