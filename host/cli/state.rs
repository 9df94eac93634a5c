//! `kiln state`: what handlers remember.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use serde_json::json;

use super::store::{StoreArgs, positive_duration};
use super::{Missing, out};
use crate::admin::state as admin;
use crate::queue::StateStore;
use crate::state::BucketId;
use crate::text::{self, MAX_LINE_BYTES};

/// Read and change what handlers remember
///
/// A plugin's manifest grants it buckets: its own, of which `--plugin` says whose, or shared ones.
#[derive(Debug, Args)]
pub(super) struct StateArgs {
    #[command(subcommand)]
    command: StateCommand,
}

#[derive(Debug, Subcommand)]
enum StateCommand {
    /// Print a value as it is
    Get {
        #[command(flatten)]
        bucket: BucketArgs,
        /// Its key
        key: String,
        /// Print one JSON object: the value as text, or in Base64 where it is none, and its version
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Set a value, whatever the bucket's quota
    Set {
        #[command(flatten)]
        bucket: BucketArgs,
        /// Its key
        key: String,
        /// The value; - for standard input
        value: String,
        /// How long it lasts [default: for good]
        #[arg(long, value_parser = positive_duration, value_name = "DURATION")]
        ttl: Option<Duration>,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// List keys, in the order of their bytes
    List {
        #[command(flatten)]
        bucket: BucketArgs,
        /// Only keys that begin with this
        #[arg(long, default_value = "", value_name = "TEXT")]
        starting_with: String,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        store: StoreArgs,
    },
    /// Delete a value
    Delete {
        #[command(flatten)]
        bucket: BucketArgs,
        /// Its key
        key: String,
        #[command(flatten)]
        store: StoreArgs,
    },
}

#[derive(Debug, Args)]
struct BucketArgs {
    /// The bucket's name
    #[arg(value_parser = bucket_name)]
    bucket: String,
    /// The plugin whose own bucket it is [default: the shared one of that name]
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    plugin: Option<String>,
}

fn bucket_name(name: &str) -> Result<String, String> {
    BucketId::check_name(name).map(|()| name.to_owned())
}

impl BucketArgs {
    fn id(&self) -> BucketId {
        match &self.plugin {
            Some(plugin) => BucketId::of_plugin(plugin, &self.bucket),
            None => BucketId::shared(&self.bucket),
        }
    }
}

pub(super) async fn state(args: StateArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        StateCommand::Get {
            bucket,
            key,
            json,
            store,
        } => {
            let entry = admin::get(&open(&store).await?, &bucket.id(), &key).await?;
            let entry = entry.ok_or_else(|| no_value(&bucket, &key))?;
            if json {
                let value = match str::from_utf8(&entry.value) {
                    Ok(text) => json!({"text": text}),
                    Err(_) => json!({"base64": STANDARD.encode(&entry.value)}),
                };
                writeln!(out(), "{}", json!({"value": value, "version": entry.version}))?;
            } else {
                out().write_all(&entry.value)?;
            }
        }
        StateCommand::Set {
            bucket,
            key,
            value,
            ttl,
            store,
        } => {
            let value = if value == "-" {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes)?;
                bytes
            } else {
                value.into_bytes()
            };
            admin::set(&open(&store).await?, &bucket.id(), &key, value, ttl).await?;
        }
        StateCommand::List {
            bucket,
            starting_with,
            json,
            store,
        } => list(&open(&store).await?, &bucket.id(), &starting_with, json).await?,
        StateCommand::Delete { bucket, key, store } => {
            if !admin::delete(&open(&store).await?, &bucket.id(), &key).await? {
                return Err(no_value(&bucket, &key).into());
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open(store: &StoreArgs) -> anyhow::Result<StateStore> {
    Ok(StateStore::of(store.open().await?))
}

async fn list(store: &StateStore, bucket: &BucketId, prefix: &str, json: bool) -> anyhow::Result<()> {
    let (mut out, mut all, mut after) = (out(), Vec::new(), None);
    loop {
        let page = admin::list(store, bucket, prefix, after.as_deref()).await?;
        let is_last = admin::is_last(&page);
        after = page.last().cloned();
        if json {
            all.extend(page);
        } else {
            for key in &page {
                writeln!(out, "{}", text::line(key, MAX_LINE_BYTES))?;
            }
        }
        if is_last {
            break;
        }
    }
    if json {
        writeln!(out, "{}", json!(all))?;
    }
    Ok(())
}

fn no_value(bucket: &BucketArgs, key: &str) -> Missing {
    let (key, name) = (text::name(key), text::name(&bucket.bucket));
    Missing(match &bucket.plugin {
        Some(plugin) => format!(
            "there is no value of {key} in the bucket {name} of plugin {}",
            text::name(plugin)
        ),
        None => {
            format!("there is no value of {key} in the shared bucket {name}; --plugin names the plugin of its own one")
        }
    })
}
