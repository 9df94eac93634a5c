//! Sends alerts and pings, on a thread that may wait.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Uri;

use super::{Alert, AlertSettings};

/// Time for one request.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Time that the program may take; then it is killed.
const COMMAND_TIME: Duration = Duration::from_secs(30);

/// Time between two looks whether it has ended.
const COMMAND_LOOK: Duration = Duration::from_millis(50);

/// Whoever is told.
#[derive(Debug)]
pub(super) struct Target {
    webhook: Option<Uri>,
    command: Option<String>,
    heartbeat: Option<Uri>,
    agent: Agent,
}

impl Target {
    pub(super) fn new(settings: &AlertSettings) -> Result<Self, String> {
        let of = |what: &str, url: &Option<String>| {
            let url = url.as_deref().map(uri).transpose();
            url.map_err(|why| format!("{what}: {why}"))
        };
        Ok(Self {
            webhook: of("webhook", &settings.webhook)?,
            command: settings.command.clone(),
            heartbeat: of("heartbeat", &settings.heartbeat)?,
            agent: agent(),
        })
    }

    pub(super) fn is_nobody(&self) -> bool {
        !(self.takes_alerts() || self.pings())
    }

    pub(super) fn takes_alerts(&self) -> bool {
        self.webhook.is_some() || self.command.is_some()
    }

    pub(super) fn pings(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// Tells of an alert: by the webhook, and by the program.
    pub(super) fn tell(&self, alert: &Alert) -> Result<(), String> {
        let body = serde_json::to_vec(alert).map_err(|err| err.to_string())?;
        let posted = match &self.webhook {
            Some(url) => self.post(url, &body),
            None => Ok(()),
        };
        let run = match &self.command {
            Some(command) => run(command, alert, &body),
            None => Ok(()),
        };
        posted.and(run)
    }

    pub(super) fn ping(&self) -> Result<(), String> {
        let Some(url) = &self.heartbeat else { return Ok(()) };
        let request = ureq::http::Request::get(url).body(()).map_err(|err| err.to_string())?;
        let answer = self.agent.run(request).map_err(|err| told(url, &err.to_string()))?;
        judged(url, answer.status().as_u16())
    }

    fn post(&self, url: &Uri, body: &[u8]) -> Result<(), String> {
        let request = ureq::http::Request::post(url).header("content-type", "application/json");
        let request = request.body(body).map_err(|err| err.to_string())?;
        let answer = self.agent.run(request).map_err(|err| told(url, &err.to_string()))?;
        judged(url, answer.status().as_u16())
    }
}

fn judged(url: &Uri, status: u16) -> Result<(), String> {
    match status {
        200..300 => Ok(()),
        status => Err(told(url, &format!("answers {status}"))),
    }
}

/// Names the host alone: the path of such a URL is often a secret.
fn told(url: &Uri, what: &str) -> String {
    format!("{}: {what}", url.host().unwrap_or_default())
}

/// Runs the program with the alert in its environment and as JSON on its standard input.
fn run(command: &str, alert: &Alert, body: &[u8]) -> Result<(), String> {
    let failed = |what: &dyn std::fmt::Display| format!("{command}: {what}");
    let mut child = Command::new(command)
        .env("KILN_ALERT", &alert.alert)
        .env("KILN_ALERT_TEXT", &alert.text)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|err| failed(&err))?;
    if let Some(mut input) = child.stdin.take() {
        // A pipe has room for all of it; a program that does not read it is none the worse.
        let _ = input.write_all(body);
    }
    let until = Instant::now() + COMMAND_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(failed(&status)),
            Ok(None) if Instant::now() < until => thread::sleep(COMMAND_LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(&"took too long, and was killed"));
            }
            Err(err) => return Err(failed(&err)),
        }
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(REQUEST_TIME))
        .user_agent(concat!("kiln/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn uri(url: &str) -> Result<Uri, String> {
    let wrong = || "no URL that begins with http:// or https://".to_owned();
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(uri)
}
