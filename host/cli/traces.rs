//! The flags of `kiln worker` about traces.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Usage;
use super::store::duration;
use crate::events::Events;
use crate::observe::{Keep, Receiver, Traces};
use crate::worker::Spans;

/// Where traces go, and which attempts they tell of.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Traces")]
pub(super) struct TraceArgs {
    /// Send a span for each attempt that is kept to this receiver of OTLP over HTTP, such as `http://127.0.0.1:4318`
    /// [default: none]
    #[arg(long = "traces", env = "KILN_TRACES", value_name = "URL")]
    url: Option<String>,
    /// A header for the receiver, such as authorization=Bearer …; repeat for more. The variable has one on each line
    #[arg(id = "trace_headers", long = "trace-header", env = "KILN_TRACE_HEADERS", value_delimiter = '\n', value_parser = header, value_name = "NAME=VALUE")]
    headers: Vec<(String, String)>,
    /// The share of attempts that are kept of those that neither fail nor take long
    #[arg(long = "trace-share", env = "KILN_TRACE_SHARE", default_value = "1%", value_parser = share, value_name = "PERCENT")]
    share: f64,
    /// From when on an attempt takes long, and is kept in any case
    #[arg(long = "trace-slow", env = "KILN_TRACE_SLOW", default_value = "1s", value_parser = duration, value_name = "DURATION")]
    slow: Duration,
    /// Have a job's first attempt be a child of its producer's span, instead of a trace that links to it
    #[arg(long = "trace-child", env = "KILN_TRACE_CHILD", value_parser = clap::builder::BoolishValueParser::new())]
    child: bool,
}

impl TraceArgs {
    /// How spans belong to those of producers, if a receiver is named.
    pub(super) fn spans(&self) -> Option<Spans> {
        self.url.as_ref().map(|_| Spans { as_child: self.child })
    }

    /// Begins to send traces, if a receiver is named.
    pub(super) fn start(&self, events: &Events) -> anyhow::Result<Option<Arc<Receiver>>> {
        let Some(url) = &self.url else { return Ok(None) };
        let host = gethostname::gethostname().to_string_lossy().into_owned();
        let instance = format!("{host}-{}", std::process::id());
        let receiver = Receiver::start(url, self.headers.clone(), instance);
        let receiver = receiver.map_err(|why| Usage(format!("--traces: {why}")))?;
        let keep = Keep {
            share: self.share,
            slow: self.slow,
            as_child: self.child,
        };
        events.subscribe(&Arc::new(Traces::new(keep, Arc::clone(&receiver))));
        Ok(Some(receiver))
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn share(text: &str) -> Result<f64, String> {
    let percent = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let percent = percent.ok_or("write it like 1%")?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("it must be between 0% and 100%".to_owned());
    }
    Ok(percent / 100.0)
}
