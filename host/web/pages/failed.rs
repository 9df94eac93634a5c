//! The failed list: filters, groups by cause, and what is done to everything that matches.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{Tab, badge, empty, version, when};
use super::{View, chart, live, still};
use crate::admin::AdminError;
use crate::admin::facts::Cause;
use crate::admin::failed::{Act, Filter, NO_ACT};
use crate::admin::index::{Choices, Coverage, FailedIndex, Found, Group, Indexed};
use crate::queue::QueueName;
use crate::text;
use crate::web::body::Pairs;
use crate::web::guard::Role;
use crate::web::live::HOUR;
use crate::web::problem::Problem;
use crate::web::room::{Room, Shared, Which};
use crate::web::words;

/// Entries on one page.
const PAGE: usize = 25;

/// Groups that are shown; a filter shows others.
const GROUPS: usize = 20;

/// Queues that are offered to move jobs to; others can be typed.
const QUEUES: usize = 200;

/// The filter of a query or a form.
///
/// # Errors
/// When the kind or the age makes no sense.
pub(in crate::web) fn filter_of(pairs: &Pairs) -> Result<Filter, Problem> {
    // As the index and the facts of an entry have them.
    let own = |key: &str| {
        pairs
            .get(key)
            .map(|value| text::line(value, text::MAX_LINE_BYTES).into_owned())
    };
    let kind = pairs
        .get("kind")
        .map(|kind| kind.parse().map_err(Problem::bad))
        .transpose()?;
    let older = pairs
        .get("older_than")
        .map(|age| crate::config::parse_duration(age).map_err(Problem::bad));
    let older = older.transpose()?;
    Ok(Filter {
        name: own("name"),
        kind,
        older_than_ms: older.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        plugin: own("plugin"),
        digest: own("digest"),
        queue: own("queue"),
        cause: own("cause"),
        text: own("text"),
    })
}

/// The filter as the pairs that [`filter_of`] reads.
pub(super) fn pairs_of(filter: &Filter) -> Vec<(&'static str, String)> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let pairs = [
        (
            "kind",
            filter.kind.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
        ),
        ("name", text(&filter.name)),
        ("plugin", text(&filter.plugin)),
        ("digest", text(&filter.digest)),
        ("queue", text(&filter.queue)),
        ("cause", text(&filter.cause)),
        ("text", text(&filter.text)),
        (
            "older_than",
            filter.older_than_ms.map(|ms| format!("{ms}ms")).unwrap_or_default(),
        ),
    ];
    pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect()
}

fn query_of(filter: &Filter, more: &[(&str, &str)]) -> String {
    let pairs = pairs_of(filter);
    let mut all: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
    all.extend(more);
    words::query(&all)
}

/// A filter in words: `kind trap, queue emails`. Empty for one that holds for all.
pub(super) fn in_words(filter: &Filter, cause: Option<&Cause>) -> String {
    let mut said = Vec::new();
    for (key, value) in pairs_of(filter) {
        let value = text::name(&value);
        said.push(match key {
            "text" => format!("containing “{value}”"),
            "older_than" => format!("that failed at least {value} ago"),
            "cause" => match cause {
                Some(cause) => format!("cause {}", cause.place),
                None => format!("cause {value}"),
            },
            _ => format!("{key} {value}"),
        });
    }
    said.join(", ")
}

/// What the index says to a filter. Looked up on a thread that may take its time.
async fn looked_up(room: &Room, filter: &Filter, before: Option<i64>) -> (Found, Arc<Vec<Group>>, Choices, Coverage) {
    let (index, filter) = (Arc::clone(&room.index), filter.clone());
    let look = move |index: &FailedIndex| {
        // Before the look: what is told to be whole is.
        let coverage = index.coverage();
        let (found, groups) = index.look(&filter, before, PAGE, HOUR);
        (found, groups, index.choices(), coverage)
    };
    let empty = room.index.coverage();
    tokio::task::spawn_blocking(move || look(&index)).await.unwrap_or((
        Found::default(),
        Arc::default(),
        Choices::default(),
        empty,
    ))
}

pub(super) async fn show(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let filter = filter_of(&view.query)?;
    let before = view.query.get("before").and_then(|before| before.parse().ok());
    room.settle_index().await;
    let (found, groups, choices, coverage) = looked_up(&room, &filter, before).await;
    let cause = filter
        .cause
        .as_ref()
        .and_then(|_| groups.first())
        .map(|group| group.cause.clone());
    let content = html! {
        div.head { h1 { "Failed jobs" } (coverage_said(&coverage)) }
        @if let Some(bulk) = room.bulks.running() {
            p.notice.warn { a href={ "/bulk/" (bulk.id) } { "Work on this list is under way: " (words::count(bulk.progress.done)) " done" } }
        }
        (filters(&filter, &choices, cause.as_ref()))
        @if coverage.len == 0 {
            (empty("The failed list is empty", &html! { "Jobs come here when their attempts have run out, or when trying again cannot help." }))
        } @else if found.matching == 0 {
            (empty("No failed job matches", &html! { a href="/failed" { "Show all" } }))
        } @else {
            (bar(&view, &filter, found.matching))
            @if filter.cause.is_none() && groups.len() > 1 { (grouped(&view, &filter, &groups)) }
            (list(&filter, &found))
        }
    };
    Ok(live(&view, Tab::Failed, "Failed jobs", &content))
}

/// How much of the list is in the index, and how old that is.
fn coverage_said(coverage: &Coverage) -> Markup {
    let age = match coverage.age_ms {
        Some(ms) if ms < 5_000 => "seen just now".to_owned(),
        Some(ms) => format!("seen {} ago", words::roughly(std::time::Duration::from_millis(ms))),
        None => "not seen yet".to_owned(),
    };
    html! {
        p.soft {
            @if coverage.building {
                "Reading the list: " (words::count(coverage.indexed)) " of " (words::count(coverage.len)) ", the newest first"
            } @else if coverage.indexed < coverage.len {
                "The newest " (words::count(coverage.indexed)) " of " (words::count(coverage.len)) "; " (age)
            } @else {
                (words::of(coverage.len, "entry", "entries")) "; " (age)
            }
        }
    }
}

fn filters(filter: &Filter, choices: &Choices, cause: Option<&Cause>) -> Markup {
    let select = |name: &str, label: &str, all: &str, values: Vec<(String, u64)>, chosen: Option<&str>| {
        let missing = chosen.filter(|chosen| !values.iter().any(|(value, _)| value == chosen));
        html! {
            div.field {
                label for=(name) { (label) }
                select id=(name) name=(name) {
                    option value="" { (all) }
                    @if let Some(missing) = missing { option value=(missing) selected { (text::name(missing)) } }
                    @for (value, count) in &values {
                        option value=(value) selected[chosen == Some(value.as_str())] { (text::name(value)) " (" (words::count(*count)) ")" }
                    }
                }
            }
        }
    };
    let most = |values: Vec<(String, u64)>| {
        let mut values: Vec<_> = values.into_iter().filter(|(value, _)| !value.is_empty()).collect();
        values.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        values.truncate(200);
        values
    };
    let kinds = choices
        .kinds
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count))
        .collect();
    let all = *filter == Filter::default();
    html! {
        form.filter.card method="get" action="/failed" role="search" data-keep="" {
            (select("kind", "Kind", "any kind", most(kinds), filter.kind.map(crate::outcome::FailureKind::as_str)))
            (select("plugin", "Plugin", "any plugin", most(choices.plugins.clone().into_iter().collect()), filter.plugin.as_deref()))
            (select("queue", "Queue", "any queue", most(choices.queues.clone().into_iter().collect()), filter.queue.as_deref()))
            div.field.grow {
                label for="text" { "Message, name or id contains" }
                input #text type="search" name="text" value=[filter.text.as_deref()] data-filter="";
            }
            @for (key, value) in pairs_of(filter) {
                @if !["kind", "plugin", "queue", "text"].contains(&key) { input type="hidden" name=(key) value=(value); }
            }
            div.field { span.hidden { "Apply" } button type="submit" { "Filter" } }
            @if !all { a.clear href="/failed" { "Clear" } }
        }
        @if let (Some(cause), Some(_)) = (cause, &filter.cause) {
            p.notice { "One cause: " @if let Some(kind) = cause.kind { (badge(kind.as_str(), "bad")) " " } (version(&cause.plugin, &cause.digest)) " at " code { (cause.place) } }
        }
    }
}

/// What can be done to everything that matches.
fn bar(view: &View, filter: &Filter, matching: u64) -> Markup {
    html! {
        div.bar {
            p { strong { (words::of(matching, "job", "jobs")) } @if *filter == Filter::default() { " in the list" } @else { " match" @if matching == 1 { "es" } } }
            div.actions {
                @if filter.names_others() {
                    span.soft { "These causes are not kept apart: filter by plugin, kind or text to work on some." }
                } @else if view.may(Role::Operator) { a.button.primary href={ "/failed/bulk" (query_of(filter, &[("act", "retry")])) } { "Retry " @if matching == 1 { "it" } @else { "all " (words::count(matching)) } "…" } a.button href={ "/failed/bulk" (query_of(filter, &[("act", "move")])) } { "Move to queue…" } }
                @if view.may(Role::Admin) && !filter.names_others() { a.button.danger href={ "/failed/bulk" (query_of(filter, &[("act", "delete")])) } { "Delete…" } }
            }
        }
    }
}

fn grouped(view: &View, filter: &Filter, groups: &[Group]) -> Markup {
    html! {
        h2 { "By cause" }
        div.scroll tabindex="0" role="region" aria-label="Table: failed jobs by cause" {
            table.groups {
                thead { tr { th scope="col" { "Cause" } th.number scope="col" { "Jobs" } th scope="col" { "Last hour" } th scope="col" { "First" } th scope="col" { "Last" } th scope="col" { span.hidden { "Actions" } } } }
                tbody {
                    @for group in groups.iter().take(GROUPS) {
                        @let of_group = Filter { cause: Some(group.id.clone()), ..filter.clone() };
                        tr id={ "group-" (group.id) } {
                            td {
                                a href={ "/failed" (query_of(&of_group, &[])) } { @if group.is_together() { "Further causes" } @else { (group.newest.message) } }
                                div.soft { @if let Some(kind) = group.cause.kind { (badge(kind.as_str(), "bad")) " " } (version(&group.cause.plugin, &group.cause.digest)) " " code { (group.cause.place) } }
                            }
                            td.number { (words::count(group.count)) }
                            td { (chart::spark(&group.parts)) }
                            td { (when(group.times_ms.map(|(first, _)| first))) }
                            td { (when(group.times_ms.map(|(_, last)| last))) }
                            td.nowrap { @if view.may(Role::Operator) && !group.is_together() { a.button href={ "/failed/bulk" (query_of(&of_group, &[("act", "retry")])) } aria-label={ "Retry the " (group.count) " of this cause" } { "Retry…" } } }
                        }
                    }
                }
            }
        }
        @if groups.len() > GROUPS { p.soft { "And " (words::count((groups.len() - GROUPS) as u64)) " causes more." } }
    }
}

fn list(filter: &Filter, found: &Found) -> Markup {
    html! {
        h2 { "Jobs, the latest first" }
        div.scroll tabindex="0" role="region" aria-label="Table: failed jobs" {
            table {
                thead { tr { th scope="col" { "Job" } th scope="col" { "Failure" } th scope="col" { "Queue" } th scope="col" { "Failed" } } }
                tbody {
                    @for entry in &found.entries {
                        tr {
                            td {
                                @if !entry.is_job { span.soft { "no job" } } @else {
                                    a href=(page_of(entry)) { @if entry.name.is_empty() { "without a name" } @else { (entry.name) } }
                                    div.id.soft { (entry.id) }
                                }
                            }
                            td.message { @if let Some(kind) = entry.kind { (badge(kind.as_str(), "bad")) " " } (entry.message) @if !entry.digest.is_empty() { div.soft { (version(&entry.plugin, &entry.digest)) } } }
                            td { (entry.queue) }
                            td { (when(entry.failed_at_ms)) }
                        }
                    }
                }
            }
        }
        @if let Some(next) = found.next { nav.pages aria-label="Older jobs" { a href={ "/failed" (query_of(filter, &[("before", &next.to_string())])) } { "Older →" } } }
    }
}

/// The page of a job: by its id where an address can hold that as it is.
fn page_of(entry: &Indexed) -> String {
    let is_walked = matches!(entry.id.as_str(), "" | "." | "..");
    let which = if entry.id_is_whole && !is_walked {
        Which::Job(entry.id.clone())
    } else {
        Which::Entry(entry.entry.clone())
    };
    which.path()
}

/// How a page asks whether something is to be done to everything that matches.
struct Question {
    act: &'static str,
    verb: &'static str,
    /// Who may do it.
    role: Role,
    /// What then becomes of the jobs.
    then: &'static str,
    /// What the button looks like.
    class: &'static str,
}

const QUESTIONS: [Question; 3] = [
    Question {
        act: "retry",
        verb: "Retry",
        role: Role::Operator,
        then: "Their jobs go back into their queues, each with all its attempts. They fail again for the same reason unless that has been mended.",
        class: "primary",
    },
    Question {
        act: "move",
        verb: "Move",
        role: Role::Operator,
        then: "Their jobs go into the queue that you name, each with all its attempts, and are that queue's from then on.",
        class: "primary",
    },
    Question {
        act: "delete",
        verb: "Delete",
        role: Role::Admin,
        then: "Their jobs are gone for good, with their payloads.",
        class: "danger",
    },
];

/// The field for the queue that jobs are moved to. It offers the queues that there are.
fn goal(view: &View) -> Markup {
    let known = view.sample.iter().flat_map(|sample| sample.figures.queues.keys());
    html! {
        div.field {
            label for="to" { "To queue" }
            input #to type="text" name="to" required maxlength=(QueueName::MAX_BYTES) list="queues" autocomplete="off";
            datalist #queues { @for queue in known.take(QUEUES) { option value=(queue) {} } }
        }
    }
}

/// Asks once more, before something is done to everything that matches.
pub(super) async fn confirm(State(room): State<Shared>, view: View) -> Result<Response, Problem> {
    let act = view.query.get("act");
    let question = QUESTIONS.iter().find(|question| act == Some(question.act));
    let Question {
        act,
        verb,
        role,
        then,
        class,
    } = question.ok_or_else(|| Problem::bad(NO_ACT))?;
    let filter = filter_of(&view.query)?;
    if filter.names_others() {
        return Err(AdminError::NotApart.into());
    }
    room.settle_index().await;
    let (found, groups, _, coverage) = looked_up(&room, &filter, None).await;
    let all = *filter_words(&filter, &groups) == *"";
    let jobs = words::of(found.matching, "job", "jobs");
    let content = html! {
        nav.crumbs aria-label="Where you are" { a href={ "/failed" (query_of(&filter, &[])) } { "Failed jobs" } " / " }
        h1 { (verb) " " (jobs) "?" }
        div.card.confirm {
            p { @if all { "Every entry of the failed list." } @else { "Every entry with " (filter_words(&filter, &groups)) "." } }
            p { (then) }
            @if coverage.building || coverage.indexed < coverage.len {
                p.notice.warn { "Not the whole list has been read yet: " (words::count(coverage.indexed)) " of " (words::count(coverage.len)) ". What matches in the rest is worked on too." }
            }
            p.soft { "This process does it in small steps, also after you have left. What fails from now on is left alone. You can watch it, and break it off." }
            @if view.may(*role) {
                form method="post" action="/bulk" {
                    input type="hidden" name="act" value=(act);
                    @for (key, value) in pairs_of(&filter) { input type="hidden" name=(key) value=(value); }
                    @if *act == "move" { (goal(&view)) }
                    div.actions {
                        button class=(class) type="submit" disabled[found.matching == 0 && !coverage.building] { (verb) " " (jobs) }
                        a.button href={ "/failed" (query_of(&filter, &[])) } { "Do nothing" }
                    }
                }
            } @else { p.notice { "You may look, and not do this." } }
        }
        @if groups.len() > 1 {
            h2 { "What they are" }
            ul.plain { @for group in groups.iter().take(10) { li { (words::count(group.count)) " × " (group.newest.message) " " span.soft { (version(&group.cause.plugin, &group.cause.digest)) } } } @if groups.len() > 10 { li.soft { "and " (groups.len() - 10) " causes more" } } }
        }
    };
    Ok(still(&view, Tab::Failed, &format!("{verb} failed jobs"), &content))
}

fn filter_words(filter: &Filter, groups: &[Group]) -> String {
    in_words(filter, groups.first().map(|group| &group.cause))
}

/// What is to be done.
///
/// # Errors
/// When there is no such act, or the queue of a move is missing or no name for one.
pub(super) fn act_of(pairs: &Pairs) -> Result<Act, Problem> {
    Act::named(pairs.get("act").unwrap_or_default(), pairs.get("to")).map_err(Problem::bad)
}
