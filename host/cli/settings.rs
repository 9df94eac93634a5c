//! Settings out of a file: `kiln.toml`, whose keys are the flags of `kiln worker`.
//!
//! A setting of the file replaces the default of its flag. clap does the rest: variables and flags go before it, and
//! its value is checked like theirs. A file is read only if `--config` or `KILN_CONFIG` names it, so that no folder in
//! which `kiln` happens to be run can name the store.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Usage;
use crate::file;
use crate::queue::without_password;

/// Bytes of a file of settings. One that sets everything comes to a hundredth of it.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// How alike a key and a flag must be, from 0 to 1, for an error to suggest the flag. At clap's own 0.7, `redis` would
/// suggest `read-timeout`.
const ALIKE: f64 = 0.8;

/// The table whose keys are the flags that begin so.
const ALERT: &str = "alert";

/// The flag that names the file.
const CONFIG: &str = "config";

/// What a file sets.
#[derive(Debug)]
pub(super) struct SettingsFile {
    path: PathBuf,
    entries: Vec<Entry>,
    /// Whether others than its owner may read it.
    others_may_read: bool,
}

#[derive(Debug)]
struct Entry {
    /// The variable of its flag. Commands that take the same variable share the setting.
    variable: OsString,
    line: usize,
    values: Vec<String>,
    secret: bool,
}

/// A setting in force, and where it comes from.
#[derive(Debug, Serialize)]
pub(super) struct Setting {
    pub(super) name: String,
    /// None: it is not set, and its help says what holds then.
    pub(super) value: Option<String>,
    pub(super) from: String,
}

impl SettingsFile {
    /// Reads the file at `path`, whose keys are the flags in `grammar`.
    ///
    /// # Errors
    /// When the file cannot be read or is too large, and, with the line, when it is no TOML, when a key is unknown, or when
    /// its flag would not take the value.
    pub(super) fn read(path: &Path, grammar: &clap::Command) -> Result<Self, Usage> {
        let wrong = |why: String| Usage(format!("{}: {why}", path.display()));
        let bytes = file::read(path, MAX_FILE_BYTES).map_err(|err| wrong(err.to_string()))?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(wrong(format!("is larger than {MAX_FILE_BYTES} bytes")));
        }
        let text = str::from_utf8(&bytes).map_err(|err| wrong(err.to_string()))?;
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let wrong_at = |offset, why: &str| Usage(format!("{}:{}: {why}", path.display(), line(offset)));
        let table = DeTable::parse(text)
            .map_err(|err| wrong_at(err.span().map_or(0, |span| span.start), err.message()))?
            .into_inner();
        let entry = |(at, key, value): (usize, String, &Spanned<DeValue<'_>>)| {
            let arg = flag(grammar, &key).map_err(|why| wrong_at(at, &why))?;
            let values = values(arg, value.get_ref()).map_err(|why| wrong_at(at, &why))?;
            Ok(Entry {
                variable: arg.get_env().unwrap_or_default().to_owned(),
                line: line(at),
                values,
                secret: is_secret(arg),
            })
        };
        Ok(Self {
            path: path.to_owned(),
            entries: keys(&table).into_iter().map(entry).collect::<Result<_, _>>()?,
            others_may_read: std::fs::metadata(path).is_ok_and(|found| found.mode() & 0o077 != 0),
        })
    }

    /// The grammar, with what the file sets as defaults.
    pub(super) fn defaults_in(&self, grammar: clap::Command) -> clap::Command {
        grammar
            .mut_args(|arg| match self.entry(&arg) {
                Some(entry) => arg.default_values(entry.values.clone()),
                None => arg,
            })
            .mut_subcommands(|command| self.defaults_in(command))
    }

    fn entry(&self, arg: &Arg) -> Option<&Entry> {
        let variable = arg.get_env()?;
        self.entries.iter().find(|entry| entry.variable == variable)
    }

    /// What is wrong with a file that holds a password and that others may read.
    pub(super) fn exposed(&self) -> Option<String> {
        let exposed = self.others_may_read && self.entries.iter().any(|entry| entry.secret);
        exposed.then(|| {
            format!(
                "{}: holds a password, and others may read it; chmod 600",
                self.path.display()
            )
        })
    }
}

/// The keys of a file and their values, each with where it stands, in the file's order. A key of the table `[alert]` stands
/// for the flag with `alert-` before it.
fn keys<'t>(table: &'t DeTable<'_>) -> Vec<(usize, String, &'t Spanned<DeValue<'t>>)> {
    let mut keys = Vec::new();
    for (key, value) in table {
        match value.get_ref() {
            DeValue::Table(alert) if key.get_ref() == ALERT => {
                let of_table = alert.iter();
                keys.extend(
                    of_table.map(|(key, value)| (key.span().start, format!("{ALERT}-{}", key.get_ref()), value)),
                );
            }
            _ => keys.push((key.span().start, key.get_ref().to_string(), value)),
        }
    }
    keys.sort_by_key(|(at, ..)| *at);
    keys
}

/// Every flag that a file may set: each one that has a variable.
pub(super) fn settable(grammar: &clap::Command) -> impl Iterator<Item = &Arg> {
    let worker = grammar.find_subcommand("worker").into_iter();
    worker
        .flat_map(clap::Command::get_arguments)
        .chain(grammar.get_arguments())
        .filter(|arg| arg.get_env().is_some() && arg.get_id() != CONFIG)
}

/// The flag of this name.
fn flag<'a>(grammar: &'a clap::Command, key: &str) -> Result<&'a Arg, String> {
    let named = settable(grammar).find(|arg| arg.get_long() == Some(key));
    named.ok_or_else(|| {
        let likeness = |name: &&str| strsim::jaro(name, key);
        let nearest = settable(grammar)
            .filter_map(Arg::get_long)
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .filter(|name| likeness(name) > ALIKE);
        match nearest {
            Some(nearest) => format!("there is no setting {key:?}; did you mean {nearest:?}?"),
            None => format!("there is no setting {key:?}; the flags of kiln worker are the settings there are"),
        }
    })
}

/// The values of a setting in the form that its flag takes: several, if the flag may be repeated.
fn values(arg: &Arg, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let name = arg.get_long().unwrap_or_default();
    if !arg.get_action().takes_values() {
        return match value {
            DeValue::Boolean(set) => Ok(vec![set.to_string()]),
            _ => Err(format!("{name} is either true or false")),
        };
    }
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    };
    let values: Option<Vec<_>> = match value {
        DeValue::Array(several) if matches!(arg.get_action(), ArgAction::Append) => {
            several.iter().map(|value| one(value.get_ref())).collect()
        }
        value => one(value).map(|value| vec![value]),
    };
    let values = values.filter(|values| !values.is_empty()).ok_or_else(|| {
        let or_list = match arg.get_action() {
            ArgAction::Append => ", or a list of those with at least one",
            _ => "",
        };
        format!("{name} is text or a whole number{or_list}")
    })?;
    check(arg, name, &values)?;
    Ok(values)
}

/// Lets clap check the values, as if the flag were given with them.
fn check(arg: &Arg, name: &str, values: &[String]) -> Result<(), String> {
    let given = values.iter().map(|value| format!("--{name}={value}"));
    let alone = clap::Command::new("kiln").no_binary_name(true).arg(arg.clone());
    alone.try_get_matches_from(given).map(drop).map_err(|err| {
        let told = err.to_string();
        // clap's first paragraph says what is wrong, the others are help.
        let why = told.split("\n\n").next().unwrap_or_default();
        let words: Vec<_> = why.trim_start_matches("error: ").split_whitespace().collect();
        words.join(" ")
    })
}

fn is_secret(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    id.ends_with("password")
        || matches!(
            id,
            "trace_headers" | "metric_headers" | "alert_webhook" | "alert_heartbeat"
        )
}

/// Every setting in force for the command whose matches these are, in the order of its help.
pub(super) fn in_force(grammar: &clap::Command, matches: &ArgMatches, file: Option<&SettingsFile>) -> Vec<Setting> {
    settable(grammar)
        .map(|arg| {
            let entry = file.and_then(|file| Some((file, file.entry(arg)?)));
            let from = match (matches.value_source(arg.get_id().as_str()), entry) {
                (Some(ValueSource::CommandLine), _) => "flag".to_owned(),
                (Some(ValueSource::EnvVariable), _) => arg.get_env().unwrap_or_default().to_string_lossy().into_owned(),
                (_, Some((file, entry))) => format!("{}:{}", file.path.display(), entry.line),
                (_, None) => "default".to_owned(),
            };
            Setting {
                name: arg.get_long().unwrap_or_default().to_owned(),
                value: shown(arg, matches),
                from,
            }
        })
        .collect()
}

/// The value as it may be shown: passwords are left out.
fn shown(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let given = matches.get_raw(arg.get_id().as_str())?;
    let given: Vec<_> = given.map(|value| value.to_string_lossy()).collect();
    Some(match arg.get_id().as_str() {
        _ if is_secret(arg) => "…".to_owned(),
        "store" | "egress_proxy" => without_password(&given.join(",")),
        _ => given.join(","),
    })
}
