//! Counts the instructions that one job takes, with callgrind: the same on a busy machine and on an idle one.
//!
//! Runs `tests/bench/line.rs` with two numbers of jobs; what the second run takes more is what its further jobs take. What a
//! function has libc do for it, to copy, clear and allocate, counts as its own. Instructions that copy or clear many bytes
//! count once for each, which overstates them in terms of time.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::apt;
use crate::shell::{Shell, say};

/// Jobs of the two runs.
const FEW: u64 = 500;
const MANY: u64 = 2_500;

/// Functions shown by name.
const SHOWN: usize = 25;

/// Whose a function is, by what its name has first. The first words win where several begin at one place.
const GROUPS: [(&str, &str); 21] = [
    ("wasmtime_wasi", "wasmtime's WASI"),
    ("wasmtime", "wasmtime"),
    ("cranelift", "wasmtime"),
    ("kiln::sandbox", "kiln: sandbox"),
    ("kiln::queue", "kiln: queue"),
    ("kiln::plugins", "kiln: plugins"),
    ("kiln::job", "JSON"),
    ("kiln", "kiln: the rest"),
    ("serde", "JSON"),
    ("itoa", "JSON"),
    ("jiff", "time stamps"),
    ("redis", "redis client"),
    ("combine", "redis client"),
    ("socket2", "tokio and I/O"),
    ("tokio", "tokio and I/O"),
    ("mio::", "tokio and I/O"),
    ("futures", "tokio and I/O"),
    ("tracing", "tracing"),
    ("uuid", "uuids and chance"),
    ("rand", "uuids and chance"),
    ("hashbrown", "maps"),
];

/// What a function takes for itself, and what libc does for it.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    own: i64,
    copying: i64,
    allocating: i64,
    libc: i64,
}

impl Cost {
    fn all(self) -> i64 {
        self.own + self.copying + self.allocating + self.libc
    }

    fn add(&mut self, other: Self, sign: i64) {
        self.own += sign * other.own;
        self.copying += sign * other.copying;
        self.allocating += sign * other.allocating;
        self.libc += sign * other.libc;
    }
}

/// By function: where it is and what it is called.
type Costs = BTreeMap<(String, String), Cost>;

/// Counts and shows, on a store in memory or on that of a URL.
pub(crate) fn count(root: &Path, store: &str) -> Result<()> {
    apt::ensure("valgrind", "valgrind")?;
    hide_auxiliary_vector()?;
    let sh = Shell::in_dir(root);
    let out = root.join("target/callgrind.out");
    let run = |tool: &str, jobs: u64| {
        let file = format!("--callgrind-out-file={}", out.display());
        let runner = match tool {
            "callgrind" => format!("['valgrind', '--quiet', '--tool=callgrind', '{file}']"),
            _ => "['valgrind', '--quiet', '--tool=none']".to_owned(),
        };
        let (config, jobs) = (format!("target.'cfg(all())'.runner = {runner}"), jobs.to_string());
        let line = ["bench", "--quiet", "--bench", "line", "--config", &config, "--"];
        sh.run("cargo", line.into_iter().chain([&*jobs, store]))
    };
    say("building, and compiling the handler for callgrind's processor");
    run("none", 1)?;
    let mut costs = Costs::new();
    for (jobs, sign) in [(MANY, 1), (FEW, -1)] {
        say(&format!("counting {jobs} jobs"));
        run("callgrind", jobs)?;
        let text = fs::read_to_string(&out).with_context(|| out.display().to_string())?;
        for (function, cost) in read(&text) {
            costs.entry(function).or_default().add(cost, sign);
        }
    }
    show(&costs, i64::try_from(MANY - FEW)?);
    Ok(())
}

/// Has the kernel refuse to tell where its own code is mapped: callgrind takes that away and cannot hide it from who asks in
/// this new way, as rustix does. The old way it knows how to answer.
#[cfg(target_os = "linux")]
fn hide_auxiliary_vector() -> Result<()> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    const PR_GET_AUXV: u64 = 0x4155_5856;
    const EINVAL: u32 = 22;
    let prctl = if cfg!(target_arch = "x86_64") { 157 } else { 167 };
    let asks = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, PR_GET_AUXV)?;
    let rules = [(prctl, vec![SeccompRule::new(vec![asks])?])].into();
    let (allow, refuse) = (SeccompAction::Allow, SeccompAction::Errno(EINVAL));
    let filter = SeccompFilter::new(rules, allow, refuse, std::env::consts::ARCH.try_into()?)?;
    Ok(seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?)
}

#[cfg(not(target_os = "linux"))]
fn hide_auxiliary_vector() -> Result<()> {
    Ok(())
}

/// Reads a profile: for each function its own cost, and what it calls libc for.
fn read(profile: &str) -> Costs {
    let (mut names, mut costs) = (Names::default(), Costs::new());
    let (mut object, mut function, mut callee) = ("", "", "");
    // Where the function is that was called last, unless it is where its caller is; whether its cost comes next.
    let (mut elsewhere, mut next_is_calls) = (None, false);
    for line in profile.lines() {
        match line.split_once('=') {
            Some(("ob", text)) => object = names.get('o', text),
            Some(("cob", text)) => elsewhere = Some(names.get('o', text)),
            Some(("fn", text)) => function = names.get('f', text),
            Some(("cfn", text)) => callee = names.get('f', text),
            Some(("calls", _)) => next_is_calls = true,
            Some(_) => {}
            None => {
                let Some(cost) = cost(line) else { continue };
                let place = if next_is_calls { elsewhere.take() } else { None };
                let taker = costs.entry((object.to_owned(), function.to_owned())).or_default();
                match (next_is_calls, is_libc(object), is_libc(place.unwrap_or(object))) {
                    (false, false, _) => taker.own += cost,
                    // All of the program is called from there.
                    (true, false, true) if callee == "(below main)" => {}
                    (true, false, true) => *libc_part(taker, callee) += cost,
                    // What libc takes stands at those who called it.
                    _ => {}
                }
                next_is_calls = false;
            }
        }
    }
    costs
}

/// Names are numbered where they first stand: `fn=(12) name`, later `fn=(12)`.
#[derive(Default)]
struct Names<'p>(HashMap<(char, &'p str), &'p str>);

impl<'p> Names<'p> {
    fn get(&mut self, kind: char, text: &'p str) -> &'p str {
        match text.split_once(' ') {
            Some((number, name)) => {
                self.0.insert((kind, number), name);
                name
            }
            None => self.0.get(&(kind, text)).copied().unwrap_or(text),
        }
    }
}

/// `position cost`, with a position in one of several forms.
fn cost(line: &str) -> Option<i64> {
    let (position, cost) = line.split_once(' ')?;
    let position = position.trim_start_matches(['+', '-', '*']);
    let is_cost = position.chars().all(|c| c.is_ascii_digit());
    is_cost.then(|| cost.trim().parse().ok())?
}

fn is_libc(object: &str) -> bool {
    object.contains("/libc.so") || object.contains("/ld-linux")
}

fn libc_part<'c>(cost: &'c mut Cost, function: &str) -> &'c mut i64 {
    let is = |words: &[&str]| words.iter().any(|word| function.contains(word));
    if is(&["memset", "memcpy", "memmove"]) {
        &mut cost.copying
    } else if is(&["malloc", "calloc", "realloc", "free", "memalign"]) {
        &mut cost.allocating
    } else {
        &mut cost.libc
    }
}

/// Whose a function is.
fn group((object, function): &(String, String)) -> &'static str {
    if object == "???" {
        return "the handler's own code";
    }
    let places = GROUPS
        .iter()
        .filter_map(|(words, group)| Some((function.find(words)?, group)));
    places
        .min_by_key(|(place, _)| *place)
        .map_or("std and others", |(_, group)| group)
}

fn show(costs: &Costs, jobs: i64) {
    let mut groups = BTreeMap::<_, Cost>::new();
    for (function, cost) in costs {
        groups.entry(group(function)).or_default().add(*cost, 1);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, cost)| -cost.all());
    let all = costs.values().map(|cost| cost.all()).sum::<i64>();
    let row = |name: &str, cost: Cost| {
        let [own, copying, allocating, libc] =
            [cost.own, cost.copying, cost.allocating, cost.libc].map(|instructions| instructions / jobs);
        println!(
            "{:>9} {own:>9} {copying:>9} {allocating:>9} {libc:>9}  {name}",
            cost.all() / jobs
        );
    };
    println!("\ninstructions a job: {}\n", all / jobs);
    println!(
        "{:>9} {:>9} {:>9} {:>9} {:>9}",
        "all", "own", "copying", "allocating", "libc"
    );
    for (group, cost) in &groups {
        row(group, *cost);
    }
    let mut functions: Vec<_> = costs.iter().collect();
    functions.sort_by_key(|(_, cost)| -cost.all());
    println!();
    for (function, cost) in functions.into_iter().take(SHOWN) {
        row(&format!("{} ({})", function.1, group(function)), *cost);
    }
}
