//! `kiln run` without a network: recorded answers, and state from a file.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::thread::JoinHandle;

use crate::service::folder_of;
use crate::support::kiln;

/// Answers so many requests with what their authorization header says. Its authority, and how it ended.
fn echo(times: usize) -> anyhow::Result<(String, JoinHandle<anyhow::Result<()>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let authority = listener.local_addr()?.to_string();
    let serving = std::thread::spawn(move || {
        for time in 0..times {
            let (mut connection, _) = listener.accept()?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let authorization = head.lines().find_map(|line| line.strip_prefix("authorization: "));
            let body = format!(
                "{{\"time\": {time}, \"heard\": {:?}}}",
                authorization.unwrap_or_default()
            );
            // In one piece: a client that reads no body is gone before a second one.
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: sid=hush; Path=/\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            );
            connection.write_all(answer.as_bytes())?;
        }
        Ok(())
    });
    Ok((authority, serving))
}

/// Runs a guest; what came of it.
fn run(folder: &Path, guest: &str, payload: &str, more: &[&str]) -> anyhow::Result<(i32, String, String)> {
    let mut command = kiln();
    command.arg("run").arg(folder.join(guest).with_extension("wasm"));
    command.arg(format!("{payload:?}")).args(more);
    if more.contains(&"--record") {
        command.env("KILN_SECRET_KEY", "s3cret-value");
    }
    let Output { status, stdout, stderr } = command.output()?;
    Ok((
        status.code().unwrap_or(-1),
        String::from_utf8(stdout)?,
        String::from_utf8(stderr)?,
    ))
}

/// The text of every file in a folder, by name.
fn files(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.push((name, std::fs::read_to_string(path)?));
    }
    files.sort();
    Ok(files)
}

#[test]
fn what_was_recorded_is_answered_without_a_server_and_without_secrets() -> anyhow::Result<()> {
    let (authority, serving) = echo(1)?;
    let manifest = format!(
        "[[grants.http]]\norigin = \"http://{authority}\"\nprivate = true\n\
         [grants.secrets.KEY]\norigin = \"http://{authority}\""
    );
    let folder = folder_of(&[("request", &*manifest)])?;
    let recordings = folder.path().join("recordings");
    let at = recordings.to_string_lossy();
    let payload = format!("GET {authority} /rates?api_key=hush&q=1 0 Bearer ");
    let (code, live, told) = run(folder.path(), "request", &payload, &["--record", &at])?;
    assert_eq!(code, 0, "{told}");
    serving.join().expect("no panic")?;
    assert!(told.ends_with("recorded 1 exchange\n"), "{told}");
    let expected = format!(
        "[request]\nmethod = \"GET\"\nurl = \"http://{authority}/rates?api_key=HIDDEN&q=1\"\n\
         headers = [\"authorization: HIDDEN\"]\n\n[response]\nstatus = 200\nheaders = [\n    \
         \"content-type: application/json\",\n    \"set-cookie: sid=HIDDEN; Path=/\",\n]\n\
         body = '{{\"time\": 0, \"heard\": \"Bearer kiln-secret-KEY\"}}'\n"
    );
    let name = format!("0001-get-{}-rates.toml", authority.replace(':', "-"));
    assert_eq!(files(&recordings)?, [(name.clone(), expected)]);

    let (code, replayed, told) = run(folder.path(), "request", &payload, &["--replay", &at])?;
    assert_eq!(
        (code, told.contains("not asked for")),
        (0, false),
        "no server, no secret: {told}"
    );
    let status = |result: &str| result.split(',').next().map(str::to_owned);
    assert_eq!(
        (status(&live), status(&replayed)),
        (Some("[200".into()), Some("[200".into()))
    );

    let other = format!("GET {authority} /rate 0");
    let (code, _, told) = run(folder.path(), "request", &other, &["--replay", &at])?;
    assert_eq!(code, 15, "{told}");
    let said = format!(
        "http request GET http://{authority}/rate: not recorded in {at}; the nearest is GET \
         http://{authority}/rates?api_key=HIDDEN&q=1 ({name}); record it with kiln run --record"
    );
    assert!(told.contains(&said), "{told}");
    assert!(told.ends_with(&format!("not asked for | {name}\n")), "{told}");

    let (code, _, told) = run(folder.path(), "request", &payload, &["--record", &at])?;
    assert!(code == 2 && told.contains("holds recordings already"), "{told}");
    Ok(())
}

#[test]
fn requests_of_either_interface_are_recorded_in_order_with_bodies_and_failures() -> anyhow::Result<()> {
    // The guest may be through before its second request has reached the server, which then waits for it: not joined.
    let (authority, _) = echo(2)?;
    let manifest = format!("[[grants.http]]\norigin = \"http://{authority}\"\nprivate = true\n");
    let folder = folder_of(&[("exchange", &*manifest)])?;
    let recordings = folder.path().join("recordings");
    let at = recordings.to_string_lossy();
    let twice = format!("GET http://{authority}/ 0 2");
    let (code, _, told) = run(folder.path(), "exchange", &twice, &["--record", &at])?;
    assert!(code == 0 && told.ends_with("recorded 2 exchanges\n"), "{told}");
    // The guest reads the first answer that comes; the other is kept as far as it has.
    let (code, result, told) = run(folder.path(), "exchange", &twice, &["--replay", &at])?;
    assert!(code == 0 && result.starts_with("[200,"), "{result} {told}");
    let thrice = format!("GET http://{authority}/ 0 3");
    let (code, _, told) = run(folder.path(), "exchange", &thrice, &["--replay", &at])?;
    assert!(code == 15 && told.contains("recorded only 2 times"), "{told}");

    // A server that is gone: that is recorded, too. The body that was streamed to it is not sent.
    let (authority, serving) = echo(0)?;
    serving.join().expect("no panic")?;
    let manifest = format!("[[grants.http]]\norigin = \"http://{authority}\"\nprivate = true\n");
    std::fs::write(folder.path().join("exchange.toml"), manifest)?;
    let gone = folder.path().join("gone");
    let at = gone.to_string_lossy();
    let put = format!("PUT http://{authority}/ 0 1");
    let live = run(folder.path(), "exchange", &put, &["--record", &at])?.1;
    let kept = files(&gone)?;
    assert!(
        kept.len() == 1 && kept[0].1.ends_with("[response]\nerror = \"connect\"\n"),
        "{kept:?}"
    );
    assert_eq!(run(folder.path(), "exchange", &put, &["--replay", &at])?.1, live);

    // What a limit ends is recorded and answered, too.
    let (authority, serving) = echo(1)?;
    let small = "[limits]\nhttp_body_bytes = \"20B\"\n";
    let manifest = format!("[[grants.http]]\norigin = \"http://{authority}\"\nprivate = true\n{small}");
    std::fs::write(folder.path().join("exchange.toml"), manifest)?;
    let large = folder.path().join("large");
    let at = large.to_string_lossy();
    let get = format!("GET http://{authority}/ 0 1");
    let live = run(folder.path(), "exchange", &get, &["--record", &at])?;
    assert_eq!((live.0, &*live.1), (0, "[0,0,0,7]\n"), "{}", live.2);
    serving.join().expect("no panic")?;
    let kept = files(&large)?;
    assert!(
        kept[0].1.ends_with("[response]\nerror = \"large-answer\"\n"),
        "{kept:?}"
    );
    let replayed = run(folder.path(), "exchange", &get, &["--replay", &at])?;
    assert_eq!((replayed.0, &*replayed.1), (0, "[0,0,0,7]\n"), "{}", replayed.2);
    std::fs::write(folder.path().join("exchange.toml"), "")?;

    // As an author writes one by hand.
    let answer = "[request]\nmethod = \"PUT\"\nurl = \"http://a.example/x\"\nbody = \"012345670123456701234567\"\n\
                  [response]\nstatus = 507\nbody = \"0123456789\"\n";
    let by_hand = folder.path().join("by hand");
    std::fs::create_dir(&by_hand)?;
    std::fs::write(by_hand.join("full.toml"), answer)?;
    let at = by_hand.to_string_lossy();
    let put = "PUT http://a.example/x 0 1";
    let allowed = ["--allow", "http=http://a.example", "--replay", &at];
    let (code, result, told) = run(folder.path(), "exchange", put, &allowed)?;
    assert_eq!((code, &*result), (0, "[507,10,2,0]\n"), "{told}");
    assert_eq!(
        run(folder.path(), "exchange", put, &["--replay", &at])?.0,
        15,
        "not granted"
    );
    std::fs::write(by_hand.join("full.toml"), answer.replace("status = 507", "status = 5"))?;
    let (code, _, told) = run(folder.path(), "exchange", put, &allowed)?;
    assert!(code == 2 && told.contains("full.toml: status 5 is none"), "{told}");
    Ok(())
}

#[test]
fn the_recording_that_is_shown_answers_the_request_that_it_shows() -> anyhow::Result<()> {
    let page = include_str!("../../docs/authors.md");
    let (_, chapter) = page.split_once("## Tests without a network").expect("the chapter");
    let (_, shown) = chapter.split_once("```toml\n").expect("a recording");
    let (shown, _) = shown.split_once("```").expect("its end");
    let folder = folder_of(&[("exchange", "[[grants.http]]\norigin = \"https://api.example.com\"\n")])?;
    let recordings = tempfile::tempdir()?;
    std::fs::write(recordings.path().join("1.toml"), shown)?;
    let at = recordings.path().to_string_lossy();
    let post = "POST https://api.example.com/rates?key=mine 0 1";
    let (code, result, told) = run(folder.path(), "exchange", post, &["--replay", &at])?;
    assert_eq!((code, &*result), (0, "[200,15,2,0]\n"), "{told}");
    Ok(())
}

#[test]
fn state_comes_from_a_file_and_goes_to_one() -> anyhow::Result<()> {
    let folder = folder_of(&[("state", "[grants.state.counts]\n[grants.state.rates]\nshared = true")])?;
    let (before, after) = (folder.path().join("before.json"), folder.path().join("after.json"));
    std::fs::write(
        &before,
        r#"{"counts": {"n": "41", "raw": {"base64": "/wA="}}, "rates": {"eur": "1.1"}}"#,
    )?;
    let (at, to) = (before.to_string_lossy(), after.to_string_lossy());
    let files = ["--state", &*at, "--state-after", &*to];
    let (code, _, told) = run(folder.path(), "state", "later counts n", &files)?;
    assert_eq!(code, 0, "{told}");
    assert!(told.ends_with("state | counts | n | \"41\" → \"42\"\n"), "{told}");
    assert_eq!(
        std::fs::read_to_string(&after)?,
        r#"{
  "counts": {
    "n": "42",
    "raw": {
      "base64": "/wA="
    }
  },
  "rates": {
    "eur": "1.1"
  }
}
"#
    );
    let (code, _, told) = run(folder.path(), "state", "fail counts n", &files)?;
    assert_eq!(code, 12, "{told}");
    assert!(
        std::fs::read_to_string(&after)?.contains("\"n\": \"41\""),
        "what failed writes nothing"
    );
    for (wrong, why) in [
        (
            r#"{"count": {}}"#,
            "the bucket count is not granted; add [grants.state.count]",
        ),
        (r#"{"counts": {"n": 1}}"#, "a value is a text, or"),
        (r#"{"counts": {"n": {"base64": "?"}}}"#, "is no Base64"),
    ] {
        std::fs::write(&before, wrong)?;
        let (code, _, told) = run(folder.path(), "state", "get counts n", &files)?;
        assert!(code == 2 && told.contains(why), "{wrong}: {told}");
    }
    Ok(())
}
