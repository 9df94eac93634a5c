//! The dashboard as browsers and programs meet it, over HTTP: what it shows, what it does, and whom it lets do it.

mod access;
mod bounds;
mod failed;
mod flow;
mod hostile;
mod life;
mod outage;
mod pushing;
mod schema;
mod steering;
mod trying;

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use kiln::job::Job;
use kiln::queue::{QueueName, Store, StoreSettings};
use serde_json::{Value, json};

use crate::process::Worker;
use crate::service::{folder_of, push};
use crate::support::{PATIENCE, default_queue, eventually, kiln, redis_settings};

/// A dashboard in a process of its own.
pub(crate) struct Dashboard {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    said: Arc<Mutex<Vec<String>>>,
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|err| panic!("{err}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(of, _)| of.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Dashboard {
    pub(crate) fn start(settings: &StoreSettings, extra: &[&str]) -> anyhow::Result<Self> {
        let mut command = kiln();
        command.args([
            "serve",
            "--listen",
            "0",
            "--store",
            &settings.url,
            "--prefix",
            &settings.prefix,
        ]);
        let mut process = command.args(extra).stderr(Stdio::piped()).spawn()?;
        let stderr = process.stderr.take().context("piped")?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
        let line = lines.find(|line| line.as_ref().map_or(true, |line| line.contains("address=")));
        let line = line.context("it ended")??;
        // The log goes on, and somebody has to read it.
        let said = Arc::<Mutex<Vec<String>>>::default();
        let lines = lines.map_while(Result::ok);
        let heard = Arc::clone(&said);
        std::thread::spawn(move || lines.for_each(|line| heard.lock().unwrap().push(line)));
        let (_, address) = line.split_once("address=").context("the address")?;
        let address = address.split_whitespace().next().context("the address")?.parse()?;
        Ok(Self { process, address, said })
    }

    /// Waits until its log has a line with this in it.
    pub(crate) async fn until_said(&self, what: &str) -> anyhow::Result<()> {
        let has = || self.said.lock().unwrap().iter().any(|line| line.contains(what));
        eventually(what, async || Ok(has().then_some(()))).await
    }

    /// Asks once, over a connection of its own, with these header fields.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> anyhow::Result<Answer> {
        ask(self.address, method, path, headers, body)
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.ask("GET", path, &[], "")
    }

    /// Sends a form as a browser does.
    pub(crate) fn submit(&self, path: &str, form: &str) -> anyhow::Result<Answer> {
        let headers = [
            ("sec-fetch-site", "same-origin"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        self.ask("POST", path, &headers, form)
    }

    pub(crate) fn api(&self, method: &str, path: &str, body: &Value) -> anyhow::Result<Answer> {
        let path = format!("/api/v1{path}");
        self.ask(
            method,
            &path,
            &[("content-type", "application/json")],
            &body.to_string(),
        )
    }

    /// Asks the API until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        eventually(path, async || {
            let answer = self.get(&format!("/api/v1{path}"))?;
            Ok((answer.status == 200).then(|| answer.json()).filter(&is))
        })
        .await
    }
}

pub(crate) fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    if !headers.iter().any(|(name, _)| *name == "host") {
        write!(request, "host: {address}\r\n")?;
    }
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| answer.clone())?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

/// Puts these entries into the failed list.
pub(crate) async fn fail(settings: &StoreSettings, entries: &[String]) -> anyhow::Result<()> {
    let client = redis::Client::open(settings.url.as_str())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    for some in entries.chunks(1_000) {
        let key = format!("{}:failed", settings.prefix);
        redis::cmd("RPUSH")
            .arg(key)
            .arg(some)
            .exec_async(&mut connection)
            .await?;
    }
    Ok(())
}

/// A failed entry of a plugin of that name, which trapped there.
pub(crate) fn trap(id: &str, plugin: &str, place: &str) -> String {
    let failed_at = jiff::Timestamp::now().to_string();
    json!({
        "id": id, "name": plugin, "queue": "default", "payload": {"n": 1}, "attempts": 3, "failed_at": failed_at,
        "error": "trap: unreachable",
        "failure": {
            "kind": "trap", "message": format!("unreachable at job {id}"), "handler": plugin,
            "digest": "ce60aa11bb22cc33dd44", "attempt": 3, "duration_ms": 12,
            "backtrace": format!("    3:   0x1f2 - {plugin}.wasm!{place}\n    4:   0x99 - {plugin}.wasm!main"),
            "stderr": "about to fail",
        },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_shows_the_queues_and_pauses_and_resumes_one() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    push(&store, &[r#"{"name":"a"}"#, r#"{"name":"b"}"#]).await?;
    store.note_queues(&[default_queue()]).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let queues = dashboard
        .until("/queues", |answer| answer["items"][0]["ready"] == 2)
        .await?;
    assert_eq!(queues["items"][0]["name"], "default");
    let page = dashboard.get("/queues")?;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("no host"), "nobody serves it");
    let overview = dashboard.get("/")?;
    assert!(
        overview.body.contains("2 jobs wait, and no host serves this queue"),
        "{}",
        overview.body
    );
    let paused = dashboard.submit("/queues/default/pause", "reason=mail+is+down")?;
    assert_eq!(
        (paused.status, paused.header("location")),
        (303, Some("/queues/default?done=paused"))
    );
    let pause = store.counts(&default_queue()).await?.paused.context("paused")?;
    assert_eq!(pause.reason, "mail is down");
    assert!(
        dashboard
            .get("/queues/default?done=paused")?
            .body
            .contains("Paused: no host takes a job")
    );
    assert_eq!(dashboard.api("POST", "/queues/default/resume", &json!({}))?.status, 200);
    assert_eq!(store.counts(&default_queue()).await?.paused, None);
    let acts: Vec<_> = dashboard.get("/api/v1/audit")?.json()["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|deed| deed["act"].clone())
        .collect();
    assert_eq!(acts, ["resume", "pause"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_a_queue_are_listed_by_their_state_and_part_by_part() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let jobs: Vec<_> = (0..5).map(|n| format!(r#"{{"id":"{n}","name":"a"}}"#)).collect();
    push(&store, &jobs.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let first = dashboard.get("/api/v1/queues/default/jobs?limit=3")?.json();
    let ids = |part: &Value| {
        part["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["id"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&first), ["0", "1", "2"]);
    let next = first["next"].as_str().context("there is more")?;
    let second = dashboard
        .get(&format!("/api/v1/queues/default/jobs?limit=3&cursor={next}"))?
        .json();
    assert_eq!(
        (ids(&second), &second["next"]),
        (vec![json!("3"), json!("4")], &Value::Null)
    );
    assert_eq!(
        dashboard.get("/api/v1/queues/default/jobs?cursor=nonsense")?.status,
        400
    );
    // Farther than any list can be long.
    let beyond = "MS4xODQ0Njc0NDA3MzcwOTU1MTYxNQ";
    for path in [
        "/queues/default?show=delayed&from=18446744073709551615".to_owned(),
        "/queues/default?from=x".to_owned(),
        format!("/api/v1/queues/default/jobs?state=delayed&cursor={beyond}"),
    ] {
        assert_eq!(dashboard.get(&path)?.status, 400, "{path}");
    }
    let delayed = json!({"name": "later", "delay_ms": 3_600_000, "payload": {"n": 9_007_199_254_740_993_u64}});
    let pushed = dashboard.api("POST", "/jobs", &json!([delayed, {"name": "now"}]))?;
    assert_eq!(pushed.status, 201, "{pushed:?}");
    let later = dashboard.get("/api/v1/queues/default/jobs?state=delayed")?.json();
    assert_eq!(later["items"][0]["name"], "later");
    assert_eq!(later["items"][0]["id"], pushed.json()["items"][0]["id"]);
    let refused = dashboard.api(
        "POST",
        "/jobs",
        &json!([{"name": "a"}, {"name": "b", "queue": "not a queue"}]),
    )?;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("job 1: queue name"), "{}", refused.body);
    assert_eq!(
        store.counts(&default_queue()).await?.ready,
        6,
        "of a request that is refused, nothing is pushed"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn many_queues_come_page_by_page() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let names: Vec<_> = (0..150).map(|n| format!("q{n:03}")).collect();
    let pushes = names.iter().map(|name| kiln::queue::Push {
        queue: QueueName::new(name).unwrap(),
        job: r#"{"name":"a"}"#.to_owned(),
        due_ms: None,
    });
    store.push(&pushes.collect::<Vec<_>>()).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let on = |page: &str| {
        let rows = page.split("id=\"queue-").skip(1);
        rows.map(|row| row.split('"').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let first = dashboard.get("/queues?sort=name")?.body;
    assert_eq!(on(&first), names[..100]);
    assert!(first.contains("sort=name&amp;from=100"), "{first}");
    assert_eq!(on(&dashboard.get("/queues?sort=name&from=100")?.body), names[100..]);
    let mut listed = Vec::new();
    let mut path = "/api/v1/queues?limit=60".to_owned();
    loop {
        let part = dashboard.get(&path)?.json();
        let items = part["items"].as_array().context("a list")?;
        assert!(items.len() <= 60);
        listed.extend(items.iter().map(|queue| queue["name"].as_str().unwrap().to_owned()));
        let Some(next) = part["next"].as_str() else { break };
        path = format!("/api/v1/queues?limit=60&cursor={next}");
    }
    assert_eq!(listed, names);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_the_dashboard_of_a_store_in_its_memory() -> anyhow::Result<()> {
    let folder = folder_of(&[("echo", ""), ("trap", "")])?;
    let jobs = folder.path().join("jobs.ndjson");
    std::fs::write(
        &jobs,
        "{\"id\":\"t1\",\"name\":\"trap\",\"max_attempts\":1}\n{\"id\":\"e1\",\"name\":\"echo\",\"payload\":[1]}\n",
    )?;
    let settings = StoreSettings::new("memory:");
    let jobs = jobs.to_str().context("text")?;
    let worker = Worker::start(&settings, folder.path(), &["--ui", "0", "--jobs", jobs])?;
    worker.until_said("the dashboard is at").await?;
    let line = worker.lines_with("the dashboard is at").remove(0);
    let (_, address) = line.split_once("address=").context("the address")?;
    let address: SocketAddr = address.split_whitespace().next().context("the address")?.parse()?;
    let failed = eventually("the job failed", async || {
        let failed = ask(address, "GET", "/api/v1/failed", &[], "")?;
        Ok((failed.status == 200)
            .then(|| failed.json())
            .filter(|failed| failed["matching"] == 1))
    })
    .await?;
    assert_eq!(failed["items"][0]["id"], "t1");
    let page = ask(address, "GET", "/jobs/t1", &[], "")?;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("Where it failed"), "{}", page.body);
    let plugins = ask(address, "GET", "/api/v1/plugins", &[], "")?.json();
    let names: Vec<_> = plugins["items"]
        .as_array()
        .context("a list")?
        .iter()
        .map(|plugin| plugin["name"].clone())
        .collect();
    assert_eq!(names, ["echo", "trap"]);
    let done = eventually("the other completed", async || {
        let job = ask(address, "GET", "/api/v1/jobs/e1", &[], "")?;
        Ok((job.status == 200).then(|| job.json()))
    })
    .await?;
    assert_eq!((&done["state"], &done["result"]), (&json!("completed"), &json!([1])));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_tells_of_every_sample() -> anyhow::Result<()> {
    let settings = redis_settings();
    let dashboard = Dashboard::start(&settings, &[])?;
    let mut stream = TcpStream::connect(dashboard.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /api/v1/events HTTP/1.1\r\nhost: {}\r\n\r\n", dashboard.address).as_bytes())?;
    let store = Store::open(&settings).await?;
    push(&store, &[r#"{"name":"a"}"#]).await?;
    store.note_queues(&[QueueName::new("default").unwrap()]).await?;
    let mut told = String::new();
    while !told.contains(r#""ready":1"#) {
        let mut some = [0; 4096];
        let count = stream.read(&mut some)?;
        anyhow::ensure!(count > 0, "it ended: {told}");
        told.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    assert!(
        told.contains("text/event-stream") && told.contains("event: sample\ndata: {"),
        "{told}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_that_nobody_looks_at_asks_the_store_nothing() -> anyhow::Result<()> {
    let server = crate::servers::Server::start(&[])?;
    let settings = crate::support::settings_at(&server.url());
    let dashboard = Dashboard::start(&settings, &[])?;
    let commands = async || -> anyhow::Result<u64> {
        let stats: String = server.tell(&["INFO", "commandstats"]).await?;
        let scripts = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        Ok(scripts
            .and_then(|rest| rest.split(',').next()?.parse().ok())
            .unwrap_or(0))
    };
    assert_eq!(commands().await?, 0, "nobody has looked yet");
    assert_eq!(dashboard.get("/")?.status, 200);
    let looked = commands().await?;
    assert!(looked > 0);
    // Until samples have ended by themselves: no two counts a sample apart differ then.
    let quiet = kiln::web::SAMPLE_INTERVAL * 2;
    eventually("the sampler rests", async || {
        let before = commands().await?;
        tokio::time::sleep(quiet).await;
        Ok((commands().await? == before).then_some(()))
    })
    .await?;
    assert!(commands().await? - looked < 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_load_of_a_queue_is_what_it_has_for_workers_now() -> anyhow::Result<()> {
    let settings = redis_settings();
    let store = Store::open(&settings).await?;
    let now_ms = store.now().await?.as_millisecond();
    let due = |due_ms| kiln::queue::Push {
        queue: default_queue(),
        job: Job::new("a", "default", kiln::job::null()).encode(),
        due_ms,
    };
    // One is ready, two have been due for a while, and one is not due for long.
    let jobs = [None, Some(now_ms - 5_000), Some(now_ms - 1), Some(now_ms + 3_600_000)];
    store.push(&jobs.map(due)).await?;
    let dashboard = Dashboard::start(&settings, &[])?;
    let load = || anyhow::Ok(dashboard.get("/api/v1/queues/default/load")?.json());
    assert_eq!(load()?, json!({"jobs": 3}));
    kiln::admin::pause::pause(&store, &kiln::queue::Pausable::Queue(default_queue()), "ada", "").await?;
    eventually("the pause is seen", async || {
        Ok((load()? == json!({"jobs": 0})).then_some(()))
    })
    .await?;
    assert_eq!(dashboard.get("/api/v1/queues/none/load")?.json(), json!({"jobs": 0}));
    Ok(())
}

/// A job that waits in a queue, by its id.
pub(crate) async fn is_ready(store: &Store, id: &str) -> anyhow::Result<bool> {
    let seen = store.peek(&default_queue(), kiln::queue::Place::Ready, 0, 100).await?;
    Ok(seen
        .iter()
        .any(|seen| Job::decode(&seen.job.bytes).is_ok_and(|job| job.id == id)))
}
