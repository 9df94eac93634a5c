//! Instances that serve more than one attempt, where the manifest says so.

use std::num::NonZeroU32;

use kiln::config::SandboxSettings;
use kiln::outcome::{Attempt, FailureKind, Outcome};
use kiln::sandbox::{AttemptContext, Handler};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::egress::{grant, head, patient};
use crate::guests::{component_of, guests_folder};
use crate::sandbox::{TestHost, job_of, json, result, settings_with};
use crate::support::PATIENCE;
use crate::tcp::{self, INVALID};

async fn attempt(handler: &Handler, payload: &str) -> Attempt {
    let job = job_of("tally", json(&format!("\"{payload}\"")));
    handler.run(&job, "default", &AttemptContext::default()).await
}

/// How many attempts the instance has served that answers.
async fn served(handler: &Handler) -> anyhow::Result<String> {
    Ok(result(attempt(handler, "").await)?.expect("a digit"))
}

#[tokio::test]
async fn an_instance_serves_as_many_attempts_as_the_manifest_says() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    for (manifest, wanted) in [("", "1111111"), ("reuse = 1", "1111111"), ("reuse = 3", "1231231")] {
        let handler = host.load_with("tally", manifest)?;
        let mut told = String::new();
        for _ in 0..7 {
            told.push_str(&served(&handler).await?);
        }
        assert_eq!(told, wanted, "{manifest}");
    }
    Ok(())
}

#[tokio::test]
async fn an_instance_that_failed_by_itself_or_grew_large_serves_no_more() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let handler = host.load_with("tally", "reuse = 9")?;
    assert_eq!(served(&handler).await?, "1");
    // To ask for a retry is an answer.
    let Outcome::Failed { failure, .. } = attempt(&handler, "r").await.outcome else {
        panic!("not failed")
    };
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Error, "2"));
    assert_eq!(served(&handler).await?, "3");

    let Outcome::Failed { failure, .. } = attempt(&handler, "t").await.outcome else {
        panic!("not failed")
    };
    assert_eq!(failure.kind, FailureKind::Trap);
    assert_eq!(served(&handler).await?, "1");

    assert_eq!(result(attempt(&handler, "g").await)?.as_deref(), Some("2"));
    assert_eq!(served(&handler).await?, "1");
    Ok(())
}

/// Language runtimes do: Python's with its libraries has 22 MiB before it runs anything.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_starts_large_serves_several_attempts_too() -> anyhow::Result<()> {
    let host = TestHost::new()?;
    let text = std::fs::read_to_string(guests_folder().join("tally.wat"))?;
    let large = text.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 300)"#);
    let bytes = component_of("guest", &large)?;
    let handler = host.sandbox.load("tally", &bytes, &toml::from_str("reuse = 3")?)?;
    let mut told = String::new();
    for _ in 0..7 {
        told.push_str(&served(&handler).await?);
    }
    assert_eq!(told, "1231231");
    Ok(())
}

/// Each attempt has its own time, its own output and its own id in the log, in whatever instance.
#[tokio::test]
async fn every_attempt_has_a_report_of_its_own() -> anyhow::Result<()> {
    let host = TestHost::with(&settings_with(PATIENCE))?;
    let handler = host.load_with("chatty", "reuse = 9")?;
    let job = job_of("chatty", kiln::job::null());
    let mut reports = Vec::new();
    for _ in 0..3 {
        let attempt = host.attempt(&handler, &job).await;
        reports.push((attempt.report.stdout, attempt.report.stderr, attempt.report.log_lines));
    }
    assert!(!reports[0].0.text.is_empty());
    assert!(reports.iter().all(|report| *report == reports[0]), "{reports:?}");
    Ok(())
}

/// What waits for work holds slots of the pool; who needs them gets them.
#[tokio::test]
async fn instances_that_wait_stand_in_nobodys_way() -> anyhow::Result<()> {
    let settings = SandboxSettings {
        spare_slots: 0,
        ..SandboxSettings::new(NonZeroU32::new(2).expect("not zero"))
    };
    let host = TestHost::with(&settings)?;
    let handlers: Vec<_> = (0..3)
        .map(|_| host.load_with("tally", "reuse = 9"))
        .collect::<anyhow::Result<_>>()?;
    for round in 0..4 {
        for handler in &handlers {
            let first = served(handler).await?;
            assert!(round > 0 || first == "1", "{first}");
        }
    }
    Ok(())
}

/// A library may keep the number of a connection in the memory of its instance.
#[tokio::test]
async fn the_number_of_a_connection_names_none_of_a_later_attempt() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let server = listener.local_addr()?;
    let serving = tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            connection.write_all(b"hello").await?;
            open.push(connection);
        }
        std::io::Result::Ok(())
    });
    let host = patient()?;
    let manifest = format!("reuse = 9\n{}", tcp::grant(&server.to_string(), "private = true"));
    let handler = host.load_with("tcp", &manifest)?;
    let run = async |what: &str| {
        let payload = format!("127.0.0.1 {} {what}", server.port());
        let job = job_of("tcp", json(&format!("{payload:?}")));
        result(host.attempt(&handler, &job).await)
    };
    assert_eq!(run("cr").await?.as_deref(), Some("[1,5,0,0]"));
    assert_eq!(run("cwor").await?, Some(format!("[2,0,0,{INVALID}]")));
    serving.abort();
    Ok(())
}

/// Language runtimes keep the handles of standard output for as long as they live; what leads out of the sandbox ends with
/// the attempt that opened it.
#[tokio::test(flavor = "multi_thread")]
async fn no_connection_of_an_attempt_outlives_it_in_an_instance_that_is_kept() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let authority = listener.local_addr()?.to_string();
    let serving = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await?;
        head(&mut connection).await?;
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc")
            .await?;
        // Ends when it is left.
        connection.read_to_end(&mut Vec::new()).await
    });
    let host = patient()?;
    let handler = host.load_with("linger", &format!("reuse = 9\n{}", grant(&authority, "private = true")))?;
    let job = job_of("linger", json(&format!("{authority:?}")));
    let first = host.attempt(&handler, &job).await;
    assert_eq!(first.report.stdout.text, "still");
    assert_eq!(result(first)?.as_deref(), Some("1"));
    tokio::time::timeout(PATIENCE, serving).await???;
    for served in ["2", "3"] {
        let later = host.attempt(&handler, &job).await;
        assert_eq!(later.report.stdout.text, "still");
        assert_eq!(result(later)?.as_deref(), Some(served));
    }
    Ok(())
}
