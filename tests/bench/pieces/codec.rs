//! A job's JSON, read and written.

use std::hint::black_box;

use criterion::{Criterion, Throughput};
use kiln::job::Job;
use serde_json::value::RawValue;

pub(crate) fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for payload_bytes in [40, 400, 64 * 1024] {
        let text = job(payload_bytes).encode();
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("decode/{payload_bytes}"), |b| {
            b.iter(|| Job::decode(black_box(text.as_bytes())).unwrap());
        });
        let job = Job::decode(text.as_bytes()).unwrap();
        group.bench_function(format!("encode/{payload_bytes}"), |b| {
            b.iter(|| black_box(&job).encode());
        });
    }
    group.bench_function("new/40", |b| b.iter(|| job(black_box(40))));
    group.finish();
}

fn job(payload_bytes: usize) -> Job {
    let payload = format!(r#"{{"to":"{}"}}"#, "x".repeat(payload_bytes - 9));
    Job::new("hello", "default", RawValue::from_string(payload).unwrap())
}
