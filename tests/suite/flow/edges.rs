//! What producers may write in place of chains and batches: much too much of it, and what cannot be meant.

use kiln::job::{Job, MAX_NESTED_JOBS};

/// Why a job is refused that asks for this; empty: it is not.
fn refused(kiln: &str) -> String {
    let job = format!(r#"{{"id":"a","name":"a","metadata":{{"kiln":{kiln}}}}}"#);
    let job = Job::decode(job.as_bytes()).expect("a job");
    job.options().0.plans().refused.clone().unwrap_or_default()
}

/// A job in a job, so many times.
fn nested(open: &str, close: &str, times: usize) -> String {
    format!(r#"{}{{"name":"a"}}{}"#, open.repeat(times), close.repeat(times))
}

#[test]
fn jobs_that_are_nested_a_thousand_deep_are_refused_and_break_nothing() {
    let too_deep = format!("nested more than {MAX_NESTED_JOBS} deep");
    for times in [1_000, 20_000] {
        let batches = nested(r#"{"name":"a","batch":{"id":"b","of":1,"then":"#, "}}", times);
        let why = refused(&format!(r#"{{"batch":{{"id":"b","of":1,"then":{batches}}}}}"#));
        assert!(why.contains(&too_deep) || why.contains("bytes"), "{why}");
        let chains = nested(r#"{"name":"a","metadata":{"kiln":{"then":["#, "]}}}", times);
        let why = refused(&format!(r#"{{"then":[{chains}]}}"#));
        assert!(why.contains(&too_deep) || why.contains("bytes"), "{why}");
    }
    let deepest = MAX_NESTED_JOBS as usize - 1;
    for (times, is_refused) in [(deepest, false), (deepest + 1, true)] {
        let batches = nested(r#"{"name":"a","batch":{"id":"b","of":1,"then":"#, "}}", times);
        let why = refused(&format!(r#"{{"batch":{{"id":"b","of":1,"then":{batches}}}}}"#));
        assert_eq!(!why.is_empty(), is_refused, "{why}");
    }
}

#[test]
fn a_job_that_names_a_batch_twice_is_refused_since_it_would_call_back_twice() {
    let batch = |id: &str| format!(r#"{{"id":"{id}","of":2,"then":{{"name":"a"}}}}"#);
    let (one, other) = (batch("b"), batch("c"));
    assert_eq!(refused(&format!(r#"{{"batch":[{one},{other}]}}"#)), "");
    let why = refused(&format!(r#"{{"batch":[{one},{other},{one}]}}"#));
    assert_eq!(why, "metadata.kiln.batch: it names the batch b twice");
}

#[test]
fn a_chain_with_a_wrong_job_in_the_middle_is_refused_before_its_first_job_runs() {
    for wrong in [
        r#"{"name":""}"#,
        "7",
        "null",
        r#"{"name":"a","queue":"a b:lanes"}"#,
        r#"{"name":"a","delay":"-1s"}"#,
    ] {
        let links: Vec<_> = (1..=16)
            .map(|n| if n == 9 { wrong } else { r#"{"name":"a"}"# })
            .collect();
        let why = refused(&format!(r#"{{"then":[{}]}}"#, links.join(",")));
        assert!(why.starts_with("metadata.kiln.then: job 9 of it: "), "{wrong}: {why}");
    }
    assert_eq!(
        refused(&format!(r#"{{"then":[{}]}}"#, vec![r#"{"name":"a"}"#; 100].join(","))),
        ""
    );
    assert!(refused(&format!(r#"{{"then":[{}]}}"#, vec![r#"{"name":"a"}"#; 101].join(","))).contains("at most 100"));
}
